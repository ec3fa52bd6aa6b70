/**
 * Runs one sans-I/O machine against the real clock: the only owner of a timer for it.
 * @module
 */
import type { Instant } from '../time/instant.ts';

/** What a machine must offer to be driven. */
export interface Machine<Output> {
  handleTimeout(now: Instant): void;
  pollOutput(): Output | undefined;
  pollTimeout(): Instant | undefined;
}

/** Node turns longer delays into 1 ms, so a far deadline is reached in hops. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** Drains outputs and keeps one timer armed for the next deadline. */
export class Driver<Output> {
  readonly #machine: Machine<Output>;
  readonly #perform: (output: Output) => void;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #armedFor: Instant = Number.POSITIVE_INFINITY;
  #stopped = false;

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
    // A timer that is early anyway finds nothing due and arms itself anew: cheaper than to move it.
    if (deadline === undefined || this.#armedFor <= deadline) return;
    this.#disarm();
    this.#armedFor = deadline;
    const delay = Math.ceil(deadline - performance.now());
    this.#timer = setTimeout(this.#expire, Math.min(Math.max(delay, 0), LONGEST_DELAY_MS));
  }

  /** Ends it, also from within an output: nothing more is performed. */
  stop(): void {
    this.#stopped = true;
    this.#disarm();
  }

  /**
   * Timers run before sockets are read. What has already arrived must count, so the verdict waits
   * for one round of reading.
   */
  readonly #expire = (): void => {
    this.#immediate = setImmediate(() => {
      this.#armedFor = Number.POSITIVE_INFINITY;
      this.#machine.handleTimeout(performance.now());
      this.settle();
    });
  };

  #disarm(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
  }
}
