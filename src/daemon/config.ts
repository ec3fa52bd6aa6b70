/**
 * The daemon's configuration file: YAML, checked by schema and then by building what it describes.
 * Every error is one line with file, line and column. Starts nothing.
 * @module
 */
import { closeSync, openSync, readSync } from 'node:fs';
import type { z } from 'zod';
import { describeMatch, parseTo, type Rule } from '../host/rule.ts';
import { tcpLimitsOf } from '../keepalive/tcp-limits.ts';
import { resolveTiming } from '../keepalive/timing.ts';
import { readKey } from '../link/beat-auth.ts';
import { createLink, linkTarget } from '../link/registry.ts';
import { PathGroup } from '../path/path-group.ts';
import { placeOf, UsageError } from '../time/usage-error.ts';
import { type Address, parseAddress } from './address.ts';
import { type Config, configSchema } from './config-schema.ts';
import { groupConfig, inWordsOfTheFile } from './group-config.ts';
import { checkNotify } from './notify/notify-config.ts';
import { relayConfigs } from './relay-config.ts';
import { routeConfigs } from './route-config.ts';
import { NAME } from './schema-parts.ts';
import { checkStatusPage } from './status-page/status-page.ts';
import { YamlSource } from './yaml-source.ts';

/** Enough for 30,000 links; larger is another file. */
const LARGEST_FILE = 4 * 1_024 * 1_024;

/** Reads and checks a file. Throws `UsageError` (`bad-config`); nothing has been started then. */
export function loadConfig(file: string): Config {
  let text: string;
  try {
    text = readBounded(file);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const mend = code === 'ENOENT' ? 'name a file that exists: linkhold run FILE' : code;
    throw new UsageError('bad-config', `${file}: cannot be read; ${mend}`);
  }
  return parseConfig(text, file);
}

function tooLarge(file: string): UsageError {
  return new UsageError('bad-config', `${file}: larger than 4 MiB; is it the right file?`);
}

/** The text of a file or pipe, read no further than what is too large anyway. */
function readBounded(file: string): string {
  const bytes = Buffer.alloc(LARGEST_FILE + 1);
  const fd = openSync(file, 'r');
  try {
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(fd, bytes, length, bytes.length - length, null);
    }
    if (length > LARGEST_FILE) throw tooLarge(file);
    return bytes.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}

/** Checks the text of a configuration. `file` is named in errors. Throws `UsageError`. */
export function parseConfig(text: string, file: string): Config {
  if (text.length > LARGEST_FILE) throw tooLarge(file);
  const source = new YamlSource(text, file);
  const value = source.value() ?? {};
  refuseBadNames(value, source);
  const parsed = configSchema.safeParse(value);
  if (!parsed.success) {
    const found = parsed.error.issues.map((issue) => describe(issue, source));
    found.sort((a, b) => a.offset - b.offset);
    const [first] = found;
    if (first !== undefined) source.fail(first.offset, first.text);
    throw parsed.error;
  }
  try {
    buildAll(parsed.data);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const place = /^[\w.[\]-]+(?=: )/.exec(error.message)?.[0] ?? '';
    source.fail(source.offsetAt(place.split(/[.[\]]+/)), error.message);
  }
  return parsed.data;
}

/** Names are keys, and a schema sees keys too late: `__proto__` would vanish before it looks. */
function refuseBadNames(value: unknown, source: YamlSource): void {
  for (const section of [
    'links',
    'groups',
    'relays',
    'routes',
    'notify.channels',
    'notify.rules',
  ]) {
    const keys = section.split('.');
    const within = (outer: unknown, key: string) =>
      (outer as Record<string, unknown> | null)?.[key];
    const entries = keys.reduce<unknown>(within, value);
    if (typeof entries !== 'object' || entries === null || Array.isArray(entries)) continue;
    for (const name of Reflect.ownKeys(entries).map(String)) {
      if (NAME.test(name)) continue;
      const text = 'not a name; write letters, digits, "_" and "-", at most 64';
      source.fail(source.offsetOfKey(keys, name), `${section}.${name}: ${text}`);
    }
  }
}

function describe(
  issue: z.core.$ZodIssue,
  source: YamlSource,
): { readonly offset: number; readonly text: string } {
  const where = issue.path.length === 0 ? 'the file' : issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    const text = `no key "${key}" is known here; remove it or mend its spelling`;
    return { offset: source.offsetOfKey(issue.path, key), text: `${where}: ${text}` };
  }
  return { offset: source.offsetAt(issue.path), text: `${where}: ${issue.message}` };
}

/** Builds everything once, to find what a schema cannot see: references, URLs, timings. */
function buildAll(config: Config): void {
  for (const [name, { url, tags: _, ...timing }] of Object.entries(config.links)) {
    createLink(url, timing, `links.${name}`, name);
  }
  for (const name of Object.keys(config.groups)) {
    checkGroup(config, name);
    pathTargets(config, name);
  }
  const listeners = new Map<string, string>();
  const claim = (where: string, address: string) => {
    const taken = listeners.get(address);
    if (taken !== undefined) {
      throw new UsageError('bad-config', `${where}: ${taken} listens on ${address} already`);
    }
    listeners.set(address, where);
  };
  for (const { name, protocol, listen } of relayConfigs(config).values()) {
    claim(`relays.${name}.listen`, `${protocol} ${listen}`);
  }
  for (const [index, { listen, ...source }] of config.respond.entries()) {
    parseAddress(listen, `respond.${index}.listen`);
    readKey(source, `respond.${index}`);
    claim(`respond.${index}.listen`, `udp ${listen}`);
  }
  routeConfigs(config);
  protectRules(config);
  checkNotify(config);
  checkStatusPage(config);
}

function checkGroup(config: Config, name: string): void {
  const group = groupConfig(config, name);
  try {
    new PathGroup(group, 0);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(error.code, placeOf(`groups.${name}`, inWordsOfTheFile(error.message)));
  }
}

/** Where each path of a group leads: its `to`, or the host and port of its link. */
export function pathTargets(
  config: Config,
  group: string,
): ReadonlyMap<string, Address & { readonly source: string | undefined }> {
  const targets = new Map<string, Address & { source: string | undefined }>();
  for (const [index, { link, to }] of (config.groups[group]?.paths ?? []).entries()) {
    const target = linkTarget(config.links[link]?.url ?? '', `links.${link}.url`);
    const where = `groups.${group}.paths.${index}.to`;
    targets.set(link, { ...target, ...(to === undefined ? {} : parseAddress(to, where)) });
  }
  return targets;
}

/** The rules of each control group; `undefined` is the machine's. Throws `UsageError`. */
export function protectRules(config: Config): ReadonlyMap<string | undefined, readonly Rule[]> {
  const groups = new Map<string | undefined, Rule[]>();
  for (const [index, entry] of config.protect.entries()) {
    const where = `protect.${index}`;
    const { port = 0, to, cgroup, lock = false, ...timing } = entry;
    const prefix = to === undefined ? undefined : parseTo(to, `${where}.to`);
    const options = { enabled: true, ...tcpLimitsOf(resolveTiming(timing, where), where) };
    const rule: Rule = { port, to: prefix, options, lock };
    const rules = groups.get(cgroup) ?? [];
    if (rules.some((other) => describeMatch(other) === describeMatch(rule))) {
      throw new UsageError('bad-config', `${where}: ${describeMatch(rule)} has a rule already`);
    }
    groups.set(cgroup, [...rules, rule]);
  }
  return groups;
}
