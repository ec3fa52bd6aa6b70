/**
 * One path as its group sees it: health, a person's drain, and the clocks that belong to this path
 * alone (the next probe in doubt, the wait before failback). It does not know which path is in use.
 * @module
 */
import type { Instant } from '../time/instant.ts';
import type { PathConfig, PathOptions } from './path-config.ts';
import { PathHealth } from './path-health.ts';

/** How willingly traffic is put on a path, best first; never on an `unfit` one. */
export type Standing = 'eligible' | 'held' | 'drained' | 'unfit';

/** A path of a group. */
export class GroupMember {
  readonly name: string;
  readonly tier: number;
  readonly weight: number;
  readonly health: PathHealth;
  readonly #options: PathOptions;
  #drained: boolean = false;
  #resumedAt: Instant = -Infinity;
  #barredUntil: Instant = -Infinity;
  #doubtAt: Instant | undefined;

  constructor(config: PathConfig, options: PathOptions, now: Instant) {
    this.name = config.name;
    this.tier = config.tier ?? 1;
    this.weight = config.weight ?? 1;
    this.health = new PathHealth(options, now);
    this.#options = options;
  }

  /** Whether a person took it out. */
  get drained(): boolean {
    return this.#drained;
  }

  /** When doubt asks for the next probe, or `undefined` without doubt. */
  get doubtAt(): Instant | undefined {
    return this.#doubtAt;
  }

  /** See `Standing`. */
  standing(now: Instant): Standing {
    if (this.health.state !== 'up') return 'unfit';
    if (this.#drained) return 'drained';
    return this.health.heldUntil(now) === undefined ? 'eligible' : 'held';
  }

  /** Whether its last result was good and is recent enough to put traffic on it. */
  isVerified(now: Instant): boolean {
    const { state, inDoubt, lastGoodAt } = this.health;
    if (state !== 'up' || inDoubt || lastGoodAt === undefined) return false;
    return now - lastGoodAt <= this.#options.verifyWithinMs;
  }

  /** When it became or will become eligible, or `undefined` while it is down or drained. */
  eligibleSince(): Instant | undefined {
    const { freeSince } = this.health;
    if (freeSince === undefined || this.#drained) return undefined;
    return Math.max(freeSince, this.#resumedAt);
  }

  /** The end of the wait before failback to it; only what was observed counts towards it. */
  failbackAt(observedSince: Instant): Instant | undefined {
    const since = this.eligibleSince();
    if (since === undefined) return undefined;
    const waited = Math.max(since, observedSince) + this.#options.failbackAfterMs;
    return Math.max(waited, this.#barredUntil);
  }

  /** Input: a result of this path. */
  handleResult(good: boolean, reason: string, now: Instant): void {
    this.health.handleResult(good, reason, now);
    this.handleProbe(now);
  }

  /** Input: this path is being probed, or has just been heard of: no need to ask for a while. */
  handleProbe(now: Instant): void {
    this.#doubtAt = this.health.inDoubt ? now + this.#options.doubtIntervalMs : undefined;
  }

  /** Input: a person takes it out, or puts it back. */
  handleDrain(drained: boolean, now: Instant): void {
    if (this.#drained && !drained) this.#resumedAt = now;
    this.#drained = drained;
  }

  /** Input: it could not be verified, so the wait before failback to it starts again. */
  handleRejection(now: Instant): void {
    const { failbackAfterMs, doubtIntervalMs } = this.#options;
    this.#barredUntil = now + Math.max(failbackAfterMs, doubtIntervalMs);
  }
}
