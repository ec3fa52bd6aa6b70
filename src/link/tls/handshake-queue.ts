/**
 * Handshakes one after another: a step of one takes a millisecond or two of pure arithmetic, and
 * hundreds at once would make every timer late. So the steps wait in one line, and after a few
 * milliseconds of them everything else has its turn.
 * @module
 */

/** How long steps may run before timers and sockets have their turn. */
const TURN_MS = 5;

const waiting = new Set<() => void>();
let scheduled = false;

function schedule(): void {
  if (scheduled || waiting.size === 0) return;
  scheduled = true;
  setImmediate(serve);
}

function serve(): void {
  scheduled = false;
  const until = performance.now() + TURN_MS;
  for (const step of waiting) {
    waiting.delete(step);
    try {
      step();
    } finally {
      schedule();
    }
    if (performance.now() >= until) return;
  }
}

/** Runs `step` when its turn comes; once, however often it was asked for meanwhile. */
export function queueStep(step: () => void): void {
  waiting.add(step);
  schedule();
}

/** `step` is not to be run any more. */
export function dropStep(step: () => void): void {
  waiting.delete(step);
}
