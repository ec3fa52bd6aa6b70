/**
 * Monotonic instants. Machines receive `now` as an argument and answer with deadlines; nothing in
 * this room reads a clock.
 * @module
 */

/** Monotonic milliseconds. The absolute value means nothing; only differences do. */
export type Instant = number;

/** The earlier of two deadlines, where `undefined` means "no deadline". */
export function earliest(a: Instant | undefined, b: Instant | undefined): Instant | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  return Math.min(a, b);
}
