/**
 * A sliding window over packet ids, as of IPsec (RFC 4303 section 3.4.3) and OpenVPN: a packet is taken
 * once, in any order, unless it is older than the window is wide. Where packets also carry the time at
 * which their sender began to count, a later one begins a new window.
 * @module
 */

const WIDTH = 64;

export class ReplayWindow {
  /** The last id seen at each place, by the id modulo the width. */
  readonly #seen = new Float64Array(WIDTH);
  #highest = 0;
  #time = 0;

  /** Whether the packet is new; it is not, from then on. Ids begin with 1. */
  accept(id: number, time = 0): boolean {
    if (time < this.#time || id < 1) return false;
    if (time > this.#time) {
      this.#time = time;
      this.#highest = 0;
      this.#seen.fill(0);
    }
    if (id <= this.#highest - WIDTH || this.#seen[id % WIDTH] === id) return false;
    this.#seen[id % WIDTH] = id;
    this.#highest = Math.max(this.#highest, id);
    return true;
  }
}
