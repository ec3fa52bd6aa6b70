/**
 * Finds the largest datagram that a path carries, by requests that padding makes long (RFC 6520 section
 * 3, RFC 8899). An answer may be short, so only the way there is measured. Sans I/O.
 * @module
 */

/** A datagram of this size goes nearly everywhere (RFC 8899 section 5.1.2): searched from there. */
const BASE = 1_200;

export class PathMtuSearch {
  /** The largest size that got through. */
  #good: number;
  /** The smallest that did not. */
  #bad: number;
  #asked = 0;

  /** Both in bytes: one that is known to pass, and the longest that can be made. */
  constructor(least: number, most: number) {
    this.#good = least;
    this.#bad = most + 1;
  }

  /** The size to try next, or `undefined` when the answer is known. */
  next(): number | undefined {
    if (this.#bad - this.#good <= 1) return undefined;
    if (this.#asked === 0 && BASE > this.#good && BASE < this.#bad) this.#asked = BASE;
    else this.#asked = (this.#good + this.#bad) >> 1;
    return this.#asked;
  }

  /** Whether a datagram of the size that `next` gave got through. */
  handleResult(passed: boolean): void {
    if (passed) this.#good = this.#asked;
    else this.#bad = this.#asked;
  }

  /** The largest size that got through so far. */
  get largest(): number {
    return this.#good;
  }
}
