/**
 * One path's health from a stream of results: hysteresis on both sides, and hold-down while it
 * flaps. The theory:
 *
 *     unknown --1 good--> up --`fall` bad--> down --`rise` good--> up
 *     unknown --`fall` bad--> down
 *
 * It does not know the other paths, drains, nor where results come from; see `path-group.ts`.
 * @module
 */
import type { Instant } from '../time/instant.ts';
import { type Loose, type PathOptions, readPathOptions } from './path-config.ts';

/** What is known of a path; `unknown` only until the first verdict. */
export const PATH_STATES = ['unknown', 'up', 'down'] as const;
/** See `PATH_STATES`. */
export type PathState = (typeof PATH_STATES)[number];

/** The options that concern one path alone. */
export type PathHealthConfig = Loose<Pick<PathOptions, 'fall' | 'rise' | 'holdDownMs'>>;

/** Downs that may be remembered before the next one costs a hold-down. */
const FREE_DOWNS = 3;
/** Time spent up that makes up for one down. */
const FORGIVEN_AFTER_MS = 300_000;
/** The longest hold-down. */
const LONGEST_HOLD_MS = 300_000;

/** Health of one path. It has no deadlines: all it tells can be computed from `now`. */
export class PathHealth {
  readonly #options: PathOptions;
  #state: PathState = 'unknown';
  #since: Instant;
  #goods = 0;
  #bads = 0;
  #lastGoodAt: Instant | undefined;
  #lastBadReason: string | undefined;
  #downs = 0;
  #holdEndsAt: Instant = -Infinity;

  /** Throws `UsageError` (`bad-path-option`). */
  constructor(config: PathHealthConfig, now: Instant) {
    this.#options = readPathOptions(config);
    this.#since = now;
  }

  /** The verdict. */
  get state(): PathState {
    return this.#state;
  }

  /** When the present state began. */
  get since(): Instant {
    return this.#since;
  }

  /** When the last good result came, counted or not. */
  get lastGoodAt(): Instant | undefined {
    return this.#lastGoodAt;
  }

  /** What the last bad result said, however long ago. */
  get lastBadReason(): string | undefined {
    return this.#lastBadReason;
  }

  /** Whether some results in a row, but not enough of them, speak against the present state. */
  get inDoubt(): boolean {
    return this.#state === 'down' ? this.#goods > 0 : this.#bads > 0;
  }

  /** When it was or will be both up and out of hold-down; `undefined` unless it is up. */
  get freeSince(): Instant | undefined {
    return this.#state === 'up' ? Math.max(this.#since, this.#holdEndsAt) : undefined;
  }

  /** The end of the hold-down, or `undefined` if none runs. It runs from the moment of the down. */
  heldUntil(now: Instant): Instant | undefined {
    return this.#holdEndsAt > now ? this.#holdEndsAt : undefined;
  }

  /** Input: one result; `reason` is remembered if it is bad. */
  handleResult(good: boolean, reason: string, now: Instant): void {
    if (good) this.#handleGood(now);
    else this.#handleBad(reason, now);
  }

  #handleGood(now: Instant): void {
    this.#bads = 0;
    this.#goods += 1;
    this.#lastGoodAt = now;
    // Nobody should wait at start: the first verdict needs one good result only.
    const enough = this.#state === 'unknown' ? 1 : this.#options.rise;
    if (this.#state !== 'up' && this.#goods >= enough) this.#enter('up', now);
  }

  #handleBad(reason: string, now: Instant): void {
    this.#goods = 0;
    this.#bads += 1;
    this.#lastBadReason = reason;
    if (this.#state === 'down' || this.#bads < this.#options.fall) return;
    const forgiven = Math.floor((now - this.#since) / FORGIVEN_AFTER_MS);
    this.#downs = Math.max(0, this.#downs - forgiven) + 1;
    const holdMs = this.#options.holdDownMs * Math.max(0, this.#downs - FREE_DOWNS);
    if (holdMs > 0) this.#holdEndsAt = now + Math.min(holdMs, LONGEST_HOLD_MS);
    this.#enter('down', now);
  }

  #enter(state: PathState, now: Instant): void {
    this.#state = state;
    this.#since = now;
  }
}
