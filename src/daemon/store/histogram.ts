/**
 * Round trips as counts in fixed, log-spaced buckets: 40 a decade from 0.01 ms to 100 s. Counts of
 * different links or times can be added, and a percentile is told within 3 % of the truth (half a
 * bucket, 10^(1/80) − 1 = 2.92 %); the maximum is exact. Below 0.01 ms all are one, above 100 s too.
 * @module
 */

/** Buckets a decade: more would cost bytes, fewer would tell less. */
export const BUCKETS_PER_DECADE = 40;
/** The upper end of the first bucket, in milliseconds. */
export const LEAST_MS = 0.01;
const DECADES = 7;
export const LAST_BUCKET: number = DECADES * BUCKETS_PER_DECADE;
/** A value on a boundary belongs below it, whatever the logarithm's last bit says. */
const ROUNDING = 1e-9;

/** The bucket of a round trip: bucket b ends at 0.01 ms × 10^(b / 40). */
export function bucketOf(ms: number): number {
  if (!(ms > LEAST_MS)) return 0;
  const exact = Math.log10(ms / LEAST_MS) * BUCKETS_PER_DECADE;
  return Math.min(Math.ceil(exact - ROUNDING), LAST_BUCKET);
}

/** What a bucket's round trips are told as: its geometric middle. */
export function middleMs(bucket: number): number {
  if (bucket === 0) return LEAST_MS;
  return LEAST_MS * 10 ** ((bucket - 0.5) / BUCKETS_PER_DECADE);
}

export class Histogram {
  readonly #counts = new Map<number, number>();
  #total = 0;
  #maxMs = 0;

  /** How many round trips. */
  get total(): number {
    return this.#total;
  }

  /** The longest one, exactly; 0 without any. */
  get maxMs(): number {
    return this.#maxMs;
  }

  record(ms: number): void {
    this.addBucket(bucketOf(ms), 1);
    if (ms > this.#maxMs) this.#maxMs = ms;
  }

  addBucket(bucket: number, count: number): void {
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + count);
    this.#total += count;
  }

  /** As if the longest had been this long; for counts that are read back. */
  raiseMax(ms: number): void {
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  merge(other: Histogram): void {
    for (const [bucket, count] of other.#counts) this.addBucket(bucket, count);
    this.raiseMax(other.#maxMs);
  }

  /** Buckets that hold any, lowest first. */
  entries(): [bucket: number, count: number][] {
    return [...this.#counts].sort(([a], [b]) => a - b);
  }

  /** Several percentiles at once, each `share` from 0 to 1 by nearest rank; ask with ascending ones. */
  percentiles(shares: readonly number[]): number[] {
    const entries = this.entries();
    let next = 0;
    let below = 0;
    return shares.map((share) => {
      const rank = Math.max(1, Math.ceil(share * this.#total));
      for (;;) {
        const entry = entries[next];
        if (entry === undefined) return this.#maxMs;
        if (below + entry[1] >= rank) return Math.min(middleMs(entry[0]), this.#maxMs);
        below += entry[1];
        next += 1;
      }
    });
  }
}
