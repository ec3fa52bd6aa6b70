/**
 * What a group of paths may be told, with defaults, and the refusal of what makes no sense. It
 * knows numbers and names only; what they cause is in `path-health.ts` and `path-group.ts`.
 * @module
 */
import type { Instant } from '../time/instant.ts';
import { UsageError } from '../time/usage-error.ts';
import { type QualityLimits, type QualityOptions, readQuality } from './quality.ts';

/** One path of a group, as configured. */
export interface PathConfig {
  /** How outputs name it; unique in its group, never empty. */
  readonly name: string;
  /** The links whose results judge it, each once. Default: one, named as the path. */
  readonly links?: readonly string[] | undefined;
  /**
   * How many of its links must be up for the path to be, default 1. Too small and one lucky target
   * hides a dead path; too large and one dead target condemns a path that works.
   */
  readonly atLeast?: number | undefined;
  /** A link that this path needs: while it is down, the path's downs are not held against it. */
  readonly behind?: string | undefined;
  /** Out of use as if drained, until it is configured otherwise. Default false. */
  readonly maintenance?: boolean | undefined;
  /** Lower is preferred: 2 is used only while every tier 1 is out. A whole number, default 1. */
  readonly tier?: number | undefined;
  /**
   * Within a tier the heavier path is chosen first, and with `balance` new flows are shared in
   * proportion; at least 0, default 1. 0 carries nothing while another of its tier can.
   */
  readonly weight?: number | undefined;
}

/** The numbers of a group, each settled to a value. */
export interface PathOptions {
  /**
   * Consecutive bad results that take a path down, default 1: what reports the result has mostly
   * counted unanswered probes already. Too small and one mistake moves traffic; too large and
   * traffic stays on a dead path that many results longer.
   */
  readonly fall: number;
  /**
   * Consecutive good results that bring a path back, default 2. Too small and a path that works
   * now and then is believed; too large and a good path waits that many results longer.
   */
  readonly rise: number;
  /**
   * Hold-down of a path that went down again, in ms, default 30 000, times 1 at the second
   * remembered down, 2 at the third and so on, at most 300 000. 0 turns damping off, `flapping`
   * included. Too small and traffic flaps with the path; too large and a mended path is last choice
   * for long.
   */
  readonly holdDownMs: number;
  /**
   * How long a better tier must be eligible without a break before failback, in ms, default
   * 60 000. Too small and flows move twice for one outage; too large and traffic stays on the
   * dearer path. 0 fails back as soon as the path is up and verified.
   */
  readonly failbackAfterMs: number;
  /**
   * How long a candidate has to prove itself before a switch, in ms, default 1 000; a good result
   * as recent as that is proof already. Above 0. Too small (under a round trip) and good candidates
   * are passed over; too large and failover waits that long at each silent candidate.
   */
  readonly verifyWithinMs: number;
  /**
   * Gap between the extra probes of a path in doubt, in ms, default 1 000, and between two rounds
   * of candidates for a drain. Above 0. Too small and a struggling path gets more load; too large
   * and doubt lasts as long as the path's own probing lets it.
   */
  readonly doubtIntervalMs: number;
  /**
   * Whether all fit paths of the tier in use share new flows by weight. Default false: the path in
   * use carries all of them. Needs flows that may take any path, each a different one.
   */
  readonly balance: boolean;
  /**
   * How long the share of a path that returned takes to grow to its whole, in ms, default 30 000;
   * only with `balance`. Too small and a server that has just started gets everything at once; too
   * large and the others carry its part that long. 0 gives the whole at once.
   */
  readonly slowStartMs: number;
  /** When a link that answers is still too poor to use. Default: never. */
  readonly quality: QualityLimits | undefined;
}

/** The options that are numbers. */
type Numbers = Omit<PathOptions, 'balance' | 'quality'>;

/** A whole group, as configured. Whatever is left out has the default named in `PathOptions`. */
export interface PathGroupConfig extends Loose<Omit<PathOptions, 'quality'>> {
  /** Every path to the destination; the order decides between equal tier and weight. */
  readonly paths: readonly PathConfig[];
  /** When a link that answers is still too poor to use. Default: never. */
  readonly quality?: QualityOptions | undefined;
  /**
   * The path in use at the start, when a group is made anew around flows that go on. Default, and
   * if it is none of the paths: the best of them.
   */
  readonly inUse?: string | undefined;
  /** Since when `inUse` has been in use, if that is known. Default: now. */
  readonly inUseSince?: Instant | undefined;
  /** Why, in the words of then. Default: `start`. */
  readonly inUseWhy?: string | undefined;
}

/** All of it may be left out. */
export type Loose<Options> = { readonly [name in keyof Options]?: Options[name] | undefined };

/** The settings of one option: its default and the least it may be. */
interface Limit {
  readonly byDefault: number;
  readonly least: number;
  readonly what: 'a whole number' | 'a time in ms';
}

const LIMITS: { readonly [name in keyof Numbers]: Limit } = {
  fall: { byDefault: 1, least: 1, what: 'a whole number' },
  rise: { byDefault: 2, least: 1, what: 'a whole number' },
  holdDownMs: { byDefault: 30_000, least: 0, what: 'a time in ms' },
  failbackAfterMs: { byDefault: 60_000, least: 0, what: 'a time in ms' },
  // A switch is always verified and doubt always ends in a probe, so neither may be 0.
  verifyWithinMs: { byDefault: 1_000, least: 1, what: 'a time in ms' },
  doubtIntervalMs: { byDefault: 1_000, least: 1, what: 'a time in ms' },
  slowStartMs: { byDefault: 30_000, least: 0, what: 'a time in ms' },
};

function option(config: Loose<Numbers>, name: keyof Numbers): number {
  const { byDefault, least, what } = LIMITS[name];
  const value = config[name] ?? byDefault;
  const fits = what === 'a whole number' ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (fits && value >= least) return value;
  const hint = `leave it out for ${byDefault}`;
  throw new UsageError(
    'bad-path-option',
    `${name}: ${value} is not ${what} of at least ${least}; ${hint}`,
  );
}

/** Every option settled. Throws `UsageError` (`bad-path-option`). */
export function readPathOptions(config: Omit<PathGroupConfig, 'paths'>): PathOptions {
  const { balance = false, slowStartMs, quality } = config;
  if (slowStartMs !== undefined && !balance) {
    const text = 'without balance there are no shares to grow; add balance or leave it out';
    throw new UsageError('bad-path-option', `slowStartMs: ${text}`);
  }
  return {
    balance,
    quality: quality === undefined ? undefined : readQuality(quality),
    slowStartMs: option(config, 'slowStartMs'),
    fall: option(config, 'fall'),
    rise: option(config, 'rise'),
    holdDownMs: option(config, 'holdDownMs'),
    failbackAfterMs: option(config, 'failbackAfterMs'),
    verifyWithinMs: option(config, 'verifyWithinMs'),
    doubtIntervalMs: option(config, 'doubtIntervalMs'),
  };
}

/** Refuses a list of paths nobody could choose from: `no-paths`, `bad-path`, `duplicate-path`. */
export function checkPaths(paths: readonly PathConfig[]): void {
  if (paths.length === 0) {
    throw new UsageError('no-paths', 'paths: the list is empty; name at least one path');
  }
  const seen = new Set<string>();
  for (const [index, path] of paths.entries()) {
    const { name, tier = 1, weight = 1 } = path;
    const where = `paths[${index}]`;
    if (name === '') {
      throw new UsageError('bad-path', `${where}.name: it is empty; give the path a name`);
    }
    if (seen.has(name)) {
      const hint = 'rename one or remove it';
      throw new UsageError('duplicate-path', `${where}.name: "${name}" is there twice; ${hint}`);
    }
    seen.add(name);
    checkTier(tier, where);
    if (!Number.isFinite(weight) || weight < 0) {
      const hint = 'leave it out for 1';
      throw new UsageError('bad-path', `${where}.weight: ${weight} is not 0 or more; ${hint}`);
    }
    checkLinks(path, where);
  }
  if (paths.every(({ maintenance }) => maintenance === true)) {
    const text = 'every path is in maintenance; leave one that can carry traffic';
    throw new UsageError('bad-path', `paths: ${text}`);
  }
}

function checkTier(tier: number, where: string): void {
  if (Number.isSafeInteger(tier) && tier >= 0) return;
  const hint = 'use 1 for the preferred path, 2 for the next';
  throw new UsageError('bad-path', `${where}.tier: ${tier} is not a whole number; ${hint}`);
}

function checkLinks(
  { name, links = [name], atLeast = 1, behind }: PathConfig,
  where: string,
): void {
  const twice = links.find((link, index) => links.indexOf(link) !== index);
  if (links.length === 0 || twice !== undefined) {
    const what = twice === undefined ? 'the list is empty' : `"${twice}" is there twice`;
    throw new UsageError('bad-path', `${where}.links: ${what}; name each link once`);
  }
  if (!Number.isSafeInteger(atLeast) || atLeast < 1 || atLeast > links.length) {
    const text = `${atLeast} is not from 1 to ${links.length}, the number of its links`;
    throw new UsageError('bad-path', `${where}.atLeast: ${text}; leave it out for 1`);
  }
  if (behind !== undefined && links.includes(behind)) {
    const text = `"${behind}" judges the path itself; name a link that leads to it`;
    throw new UsageError('bad-path', `${where}.behind: ${text}`);
  }
}
