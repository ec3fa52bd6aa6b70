/**
 * What a path pays for going down again and again. Each flap adds to a penalty that decays; what is
 * left of earlier flaps decides how long the path is held down, and when it counts as flapping:
 *
 *     penalty(t) = 1000 a flap, halved every 15 min, at most 12 000
 *     held down    30 s × (flaps remembered − 1) after a flap, at most 300 s
 *     flapping     above 2000, until 750
 *
 * The ceiling makes an hour of calm enough, whatever happened before. Knows nothing of results.
 * @module
 */
import type { Instant } from '../time/instant.ts';

const FLAP_PENALTY = 1_000;
const SUPPRESS_AT = 2_000;
const REUSE_AT = 750;
const HALF_LIFE_MS = 900_000;
/** Four half-lives above `REUSE_AT`. */
const CEILING = 12_000;
const LONGEST_HOLD_MS = 300_000;

interface Memory {
  readonly penalty: number;
  readonly at: Instant;
  readonly holdEndsAt: Instant;
  readonly calmAt: Instant;
}

const CLEAN: Memory = { penalty: 0, at: 0, holdEndsAt: -Infinity, calmAt: -Infinity };

/** The damping of one path. It has no deadlines: all it tells can be computed from `now`. */
export class Damping {
  readonly #holdDownMs: number;
  #memory = CLEAN;
  #before = CLEAN;

  /** `holdDownMs` 0 turns all of it off. */
  constructor(holdDownMs: number) {
    this.#holdDownMs = holdDownMs;
  }

  /** When it was or will be out of hold-down and no longer flapping. */
  get freeAt(): Instant {
    return Math.max(this.#memory.holdEndsAt, this.#memory.calmAt);
  }

  /** What is left of the penalty. */
  penalty(now: Instant): number {
    return this.#memory.penalty * 2 ** ((this.#memory.at - now) / HALF_LIFE_MS);
  }

  /** The end of the hold-down, or `undefined` if none runs. */
  heldUntil(now: Instant): Instant | undefined {
    return this.#memory.holdEndsAt > now ? this.#memory.holdEndsAt : undefined;
  }

  /** When it will be calm if it stays up, or `undefined` if it is not flapping. */
  flappingUntil(now: Instant): Instant | undefined {
    return this.#memory.calmAt > now ? this.#memory.calmAt : undefined;
  }

  /** Input: the path went down, or became poor. */
  handleFlap(now: Instant): void {
    this.#before = this.#memory;
    if (this.#holdDownMs === 0) return;
    const penalty = Math.min(CEILING, this.penalty(now) + FLAP_PENALTY);
    const remembered = Math.round(penalty / FLAP_PENALTY);
    const holdMs = Math.min(this.#holdDownMs * (remembered - 1), LONGEST_HOLD_MS);
    const flaps = penalty > SUPPRESS_AT || this.flappingUntil(now) !== undefined;
    this.#memory = {
      penalty,
      at: now,
      holdEndsAt: holdMs > 0 ? now + holdMs : this.#memory.holdEndsAt,
      calmAt: flaps ? now + HALF_LIFE_MS * Math.log2(penalty / REUSE_AT) : this.#memory.calmAt,
    };
  }

  /** Input: the last flap was another's fault; it is as if it had not been. */
  handleExcuse(): void {
    this.#memory = this.#before;
  }
}
