/**
 * What a group of paths may be told, with defaults, and the refusal of what makes no sense. It
 * knows numbers and names only; what they cause is in `path-health.ts` and `path-group.ts`.
 * @module
 */
import { UsageError } from '../time/usage-error.ts';

/** One path of a group, as configured. */
export interface PathConfig {
  /** How results and outputs name it; unique in its group, never empty. */
  readonly name: string;
  /** Lower is preferred: 2 is used only while every tier 1 is out. A whole number, default 1. */
  readonly tier?: number | undefined;
  /** Within a tier the heavier path is chosen first; at least 0, default 1. */
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
   * Hold-down of a flapping path in ms, default 30 000, times 1 at the 4th remembered down, 2 at
   * the 5th and so on, at most 300 000. 0 turns it off. Too small and traffic flaps with the path;
   * too large and a mended path is last choice for long.
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
}

/** A whole group, as configured. Whatever is left out has the default named in `PathOptions`. */
export interface PathGroupConfig extends Loose<PathOptions> {
  /** Every path to the destination; the order decides between equal tier and weight. */
  readonly paths: readonly PathConfig[];
  /**
   * The path in use at the start, when a group is made anew around flows that go on. Default, and
   * if it is none of the paths: the best of them.
   */
  readonly inUse?: string | undefined;
}

/** All of it may be left out. */
export type Loose<Options> = { readonly [name in keyof Options]?: Options[name] | undefined };

/** The settings of one option: its default and the least it may be. */
interface Limit {
  readonly byDefault: number;
  readonly least: number;
  readonly what: 'a whole number' | 'a time in ms';
}

const LIMITS: { readonly [name in keyof PathOptions]: Limit } = {
  fall: { byDefault: 1, least: 1, what: 'a whole number' },
  rise: { byDefault: 2, least: 1, what: 'a whole number' },
  holdDownMs: { byDefault: 30_000, least: 0, what: 'a time in ms' },
  failbackAfterMs: { byDefault: 60_000, least: 0, what: 'a time in ms' },
  // A switch is always verified and doubt always ends in a probe, so neither may be 0.
  verifyWithinMs: { byDefault: 1_000, least: 1, what: 'a time in ms' },
  doubtIntervalMs: { byDefault: 1_000, least: 1, what: 'a time in ms' },
};

function option(config: Loose<PathOptions>, name: keyof PathOptions): number {
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
export function readPathOptions(config: Loose<PathOptions>): PathOptions {
  return {
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
  for (const [index, { name, tier = 1, weight = 1 }] of paths.entries()) {
    const where = `paths[${index}]`;
    if (name === '') {
      throw new UsageError('bad-path', `${where}.name: it is empty; give the path a name`);
    }
    if (seen.has(name)) {
      const hint = 'rename one or remove it';
      throw new UsageError('duplicate-path', `${where}.name: "${name}" is there twice; ${hint}`);
    }
    seen.add(name);
    if (!Number.isSafeInteger(tier) || tier < 0) {
      const hint = 'use 1 for the preferred path, 2 for the next';
      throw new UsageError('bad-path', `${where}.tier: ${tier} is not a whole number; ${hint}`);
    }
    if (!Number.isFinite(weight) || weight < 0) {
      const hint = 'leave it out for 1';
      throw new UsageError('bad-path', `${where}.weight: ${weight} is not 0 or more; ${hint}`);
    }
  }
}
