/**
 * Runs sans-I/O machines against the real clock. All of them share one timer of Node's: a timer for
 * each of ten thousand links would cost more than the links do.
 * @module
 */
import { Deadlines, type Waiter } from '../time/deadlines.ts';
import type { Instant } from '../time/instant.ts';

/** What a machine must offer to be driven. */
export interface Machine<Output> {
  handleTimeout(now: Instant): void;
  pollOutput(): Output | undefined;
  pollTimeout(): Instant | undefined;
}

interface Sleeper extends Waiter {
  /** Its deadline has passed. */
  expire(): void;
}

/** Node turns longer delays into 1 ms, so a far deadline is reached in hops. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

const waiting = new Deadlines<Sleeper>();
let timer: NodeJS.Timeout | undefined;
let immediate: NodeJS.Immediate | undefined;
let armedFor: Instant = Number.POSITIVE_INFINITY;

/** Keeps the timer armed for the earliest deadline, and no timer where nobody waits. */
function arm(): void {
  if (immediate !== undefined) return;
  const deadline = waiting.first()?.deadline ?? Number.POSITIVE_INFINITY;
  // A timer that is early anyway finds nothing due and is armed anew: cheaper than to move it.
  if (armedFor <= deadline && deadline !== Number.POSITIVE_INFINITY) return;
  clearTimeout(timer);
  armedFor = deadline;
  if (deadline === Number.POSITIVE_INFINITY) return;
  const delay = Math.ceil(deadline - performance.now());
  timer = setTimeout(defer, Math.min(Math.max(delay, 0), LONGEST_DELAY_MS));
}

/**
 * Timers run before sockets are read. What has already arrived must count, so the verdicts wait for
 * one round of reading.
 */
function defer(): void {
  immediate = setImmediate(serve);
}

function serve(): void {
  const now = performance.now();
  try {
    for (;;) {
      const due = waiting.first();
      if (due === undefined || due.deadline > now) break;
      waiting.remove(due);
      due.expire();
    }
  } finally {
    immediate = undefined;
    armedFor = Number.POSITIVE_INFINITY;
    arm();
  }
}

/** Drains a machine's outputs and has it woken at its next deadline. */
export class Driver<Output> implements Sleeper {
  readonly #machine: Machine<Output>;
  readonly #perform: (output: Output) => void;
  #stopped = false;
  deadline: Instant = Number.POSITIVE_INFINITY;
  slot = -1;

  constructor(machine: Machine<Output>, perform: (output: Output) => void) {
    this.#machine = machine;
    this.#perform = perform;
  }

  /** Call after every input: performs what the machine asks for and arms the timer. */
  settle(): void {
    while (!this.#stopped) {
      const output = this.#machine.pollOutput();
      if (output === undefined) break;
      this.#perform(output);
    }
    if (this.#stopped) return;
    const deadline = this.#machine.pollTimeout();
    // One that waits for an earlier deadline finds nothing due then: cheaper than to move it.
    if (deadline === undefined || (this.slot >= 0 && this.deadline <= deadline)) return;
    waiting.put(this, deadline);
    arm();
  }

  expire(): void {
    this.#machine.handleTimeout(performance.now());
    this.settle();
  }

  /** Lets no deadline pass until `settle` is called again: nothing is observed meanwhile. */
  rest(): void {
    waiting.remove(this);
    arm();
  }

  /** Ends it, also from within an output: nothing more is performed. */
  stop(): void {
    this.#stopped = true;
    waiting.remove(this);
    arm();
  }
}
