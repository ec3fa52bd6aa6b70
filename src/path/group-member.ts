/**
 * One path as its group sees it: health, a person's drain, and the clocks that belong to this path
 * alone. It does not know which path is in use.
 * @module
 */
import type { Instant } from '../time/instant.ts';
import type { LinkHealth } from './link-health.ts';
import type { PathConfig, PathOptions } from './path-config.ts';
import { PathHealth } from './path-health.ts';

/** How willingly traffic is put on a path, best first; never on an `unfit` one. */
export const STANDINGS = ['eligible', 'flapping', 'held', 'poor', 'drained', 'unfit'] as const;
export type Standing = (typeof STANDINGS)[number];

/** A path of a group. */
export class GroupMember {
  readonly name: string;
  readonly tier: number;
  readonly weight: number;
  readonly health: PathHealth;
  readonly #options: PathOptions;
  readonly #atLeast: number;
  readonly #maintenance: boolean;
  readonly #drainedLinks = new Set<string>();
  #resumedAt: Instant = -Infinity;
  #barredUntil: Instant = -Infinity;

  /** `linkOf` finds the health of a link, which other paths may share. */
  constructor(
    config: PathConfig,
    options: PathOptions,
    linkOf: (name: string) => LinkHealth,
    now: Instant,
  ) {
    const { name, tier = 1, weight = 1, links = [name], atLeast = 1, behind } = config;
    this.name = name;
    this.tier = tier;
    this.weight = weight;
    this.#options = options;
    this.#atLeast = atLeast;
    this.#maintenance = config.maintenance ?? false;
    const uplink = behind === undefined ? undefined : linkOf(behind);
    this.health = new PathHealth(links.map(linkOf), atLeast, uplink, options, now);
  }

  /** Whether a person took it out: too few of its links are left in. */
  get drained(): boolean {
    if (this.#maintenance) return true;
    return this.health.links.length - this.#drainedLinks.size < this.#atLeast;
  }

  /** Whether it was out for a while, so that its return is one. */
  get returns(): boolean {
    return this.health.fallen || this.#resumedAt > -Infinity;
  }

  /** See `Standing`. */
  standing(now: Instant): Standing {
    const { state, poor, damping } = this.health;
    if (state !== 'up') return 'unfit';
    if (this.drained) return 'drained';
    if (poor !== undefined) return 'poor';
    if (damping.heldUntil(now) !== undefined) return 'held';
    return damping.flappingUntil(now) === undefined ? 'eligible' : 'flapping';
  }

  /** Whether its last result was good and is recent enough to put traffic on it. */
  isVerified(now: Instant): boolean {
    return this.health.isVerified(now - this.#options.verifyWithinMs);
  }

  /** When it became or will become eligible, or `undefined` while it is not up, poor or drained. */
  eligibleSince(): Instant | undefined {
    const { freeSince } = this.health;
    if (freeSince === undefined || this.drained) return undefined;
    return Math.max(freeSince, this.#resumedAt);
  }

  /** The end of the wait before failback to it; only what was observed counts towards it. */
  failbackAt(observedSince: Instant): Instant | undefined {
    const since = this.eligibleSince();
    if (since === undefined) return undefined;
    const waited = Math.max(since, observedSince) + this.#options.failbackAfterMs;
    return Math.max(waited, this.#barredUntil);
  }

  /** Input: a person takes one of its links out, or puts it back. */
  handleDrain(link: string, drained: boolean, now: Instant): void {
    const before = this.drained;
    if (drained) this.#drainedLinks.add(link);
    else this.#drainedLinks.delete(link);
    if (before && !this.drained) this.#resumedAt = now;
  }

  /** Input: it could not be verified, so the wait before failback to it starts again. */
  handleRejection(now: Instant): void {
    const { failbackAfterMs, doubtIntervalMs } = this.#options;
    this.#barredUntil = now + Math.max(failbackAfterMs, doubtIntervalMs);
  }
}
