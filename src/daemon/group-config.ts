/**
 * What the path machine needs to know of a group, from what the configuration file says of it.
 * @module
 */
import { resolveTiming } from '../keepalive/timing.ts';
import type { PathGroupConfig, QualityOptions } from '../path/path-group.ts';
import { parseDuration } from '../time/duration.ts';
import { UsageError } from '../time/usage-error.ts';
import type { Config, PathEntry, QualityEntry } from './config-schema.ts';

/** The longest gap between the probes of a link in doubt, unless the file says otherwise. */
const LONGEST_DOUBT_MS = 1_000;

/** Keys that hold a duration in the file are milliseconds in the machine. */
type Durations<Keys extends string> = { readonly [key in Keys as `${key}Ms`]?: number };

function inMs<Keys extends string>(
  entry: { readonly [key in Keys]?: string | undefined },
  keys: readonly Keys[],
  where: string,
): Durations<Keys> {
  const given = keys.flatMap((key) => {
    const text = entry[key];
    return text === undefined ? [] : [[`${key}Ms`, parseDuration(text, `${where}.${key}`)]];
  });
  return Object.fromEntries(given);
}

/** Every link that a path depends on: its own, further ones, and the one it lies behind. */
export function linksOf({ link, also = [], behind }: PathEntry): string[] {
  return [link, ...also, ...(behind === undefined ? [] : [behind])];
}

/** An error of the machine, in the names of the file: `failbackAfter`, `paths.0.also`. */
export function inWordsOfTheFile(message: string): string {
  return message.replace(/^(paths)\[(\d+)\]\.links/, '$1.$2.also').replace(/\b(\w+)Ms\b/g, '$1');
}

/** A path's links must exist; the place says which of them does not. */
function checkLinks({ link, also = [], behind }: PathEntry, config: Config, where: string): void {
  const named: [string, string | undefined][] = [['link', link]];
  for (const [index, name] of also.entries()) named.push([`also.${index}`, name]);
  named.push(['behind', behind]);
  for (const [key, name] of named) {
    if (name === undefined || Object.hasOwn(config.links, name)) continue;
    throw new UsageError('bad-config', `${where}.${key}: there is no link "${name}"`);
  }
}

/** The config of one group. Throws `UsageError`. */
export function groupConfig(config: Config, name: string): PathGroupConfig {
  const where = `groups.${name}`;
  const entry = config.groups[name];
  if (entry === undefined) throw new UsageError('bad-config', `${where}: there is no such group`);
  for (const [index, path] of entry.paths.entries()) {
    checkLinks(path, config, `${where}.paths.${index}`);
  }
  const durations = [
    'failbackAfter',
    'holdDown',
    'verifyWithin',
    'doubtInterval',
    'slowStart',
  ] as const;
  const { paths, quality, fall, rise, balance } = entry;
  if (balance === true && Object.values(config.routes).some(({ group }) => group === name)) {
    const text = 'a route of the group has one path at a time; leave balance out';
    throw new UsageError('bad-config', `${where}.balance: ${text}`);
  }
  return {
    paths: paths.map(({ link, also = [], atLeast, behind, maintenance, tier, weight }) => ({
      name: link,
      links: [link, ...also],
      ...{ atLeast, behind, maintenance, tier, weight },
    })),
    fall,
    rise,
    balance,
    doubtIntervalMs: doubtIntervalMs(config, paths),
    ...inMs(entry, durations, where),
    quality: quality && qualityOptions(quality, entry.paths, config, `${where}.quality`),
  };
}

/** A link in doubt is asked as often as one that does not answer; none oftener than it is told to. */
function doubtIntervalMs({ links }: Config, paths: readonly PathEntry[]): number {
  const intervals = paths
    .flatMap(linksOf)
    .map((link) => resolveTiming(links[link] ?? {}, `links.${link}`).intervalMs);
  return Math.min(Math.max(...intervals), LONGEST_DOUBT_MS);
}

function qualityOptions(
  { latencyBad, latencyGood, ...limits }: QualityEntry,
  paths: readonly PathEntry[],
  config: Config,
  where: string,
): QualityOptions {
  for (const link of paths.flatMap(({ link, also = [] }) => [link, ...also])) {
    const kind = /^(?:tcp|nbss)(?=:)/i.exec(config.links[link]?.url ?? '')?.[0];
    if (kind === undefined) continue;
    const text = `"${link}" is a ${kind} link and tells nothing of single probes; watch the path`;
    throw new UsageError('bad-config', `${where}: ${text} by another kind, or leave quality out`);
  }
  return { ...limits, ...inMs({ latencyBad, latencyGood }, ['latencyBad', 'latencyGood'], where) };
}
