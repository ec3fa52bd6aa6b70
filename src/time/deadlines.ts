/**
 * Many deadlines, the earliest first: a binary heap. Moving one allocates nothing.
 * @module
 */
import type { Instant } from './instant.ts';

/** What waits. Both fields belong to the queue while it waits. */
export interface Waiter {
  /** When it is due. Set it by `put` only. */
  deadline: Instant;
  /** Its place in the heap; -1 while it does not wait. */
  slot: number;
}

export class Deadlines<Entry extends Waiter> {
  readonly #heap: Entry[] = [];

  /** The entry that is due first. */
  first(): Entry | undefined {
    return this.#heap[0];
  }

  /** Lets `entry` wait until `deadline`, whether or not it waited before. */
  put(entry: Entry, deadline: Instant): void {
    entry.deadline = deadline;
    if (entry.slot < 0) entry.slot = this.#heap.push(entry) - 1;
    this.#sink(entry, this.#rise(entry, entry.slot));
  }

  /** `entry` waits no more. Does nothing if it did not. */
  remove(entry: Entry): void {
    const { slot } = entry;
    if (slot < 0) return;
    entry.slot = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === entry) return;
    this.#sink(last, this.#rise(last, slot));
  }

  /** From `slot` upwards to where `entry` belongs; returns that slot. */
  #rise(entry: Entry, slot: number): number {
    let here = slot;
    while (here > 0) {
      const above = (here - 1) >> 1;
      const parent = this.#heap[above];
      if (parent === undefined || parent.deadline <= entry.deadline) break;
      this.#place(parent, here);
      here = above;
    }
    this.#place(entry, here);
    return here;
  }

  #sink(entry: Entry, slot: number): void {
    let here = slot;
    for (;;) {
      const left = this.#heap[2 * here + 1];
      const right = this.#heap[2 * here + 2];
      const child =
        left !== undefined && right !== undefined && right.deadline < left.deadline ? right : left;
      if (child === undefined || entry.deadline <= child.deadline) break;
      const below = child.slot;
      this.#place(child, here);
      here = below;
    }
    this.#place(entry, here);
  }

  #place(entry: Entry, slot: number): void {
    this.#heap[slot] = entry;
    entry.slot = slot;
  }
}
