/**
 * How often somebody may do something: a bucket a caller that fills with time. Memory is bounded:
 * where there are too many callers, the one that was least active is forgotten.
 * @module
 */

/** How many at once, and how many a second after that. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

interface Bucket {
  left: number;
  at: number;
}

const MOST_CALLERS = 10_000;

export class RateLimit {
  readonly #rate: Rate;
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** How many callers are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Whether the caller has one left at `now` (milliseconds). Takes nothing. */
  allows(caller: string, now: number): boolean {
    return this.#bucket(caller, now).left >= 1;
  }

  /** Takes one; `false` if there was none. */
  take(caller: string, now: number): boolean {
    const bucket = this.#bucket(caller, now);
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    this.#buckets.delete(caller);
    this.#buckets.set(caller, bucket);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > MOST_CALLERS && oldest !== undefined) this.#buckets.delete(oldest);
    return true;
  }

  #bucket(caller: string, now: number): Bucket {
    const { burst, perSecond } = this.#rate;
    const bucket = this.#buckets.get(caller) ?? { left: burst, at: now };
    bucket.left = Math.min(burst, bucket.left + ((now - bucket.at) / 1_000) * perSecond);
    bucket.at = now;
    return bucket;
  }
}
