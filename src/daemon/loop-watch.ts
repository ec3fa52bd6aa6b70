/**
 * How late the daemon's own timers are. A machine that is late blames nobody, but it cannot keep its
 * bounds either, so people are told.
 * @module
 */

const INTERVAL_MS = 250;
/** Lateness is remembered in so many spans of that length. */
const SPANS = 6;
const SPAN_MS = 10_000;
/** From here on it is said to be ill: bounds of seconds are missed by a part of them. */
const ILL_MS = 1_000;

export class LoopWatch {
  readonly #now: () => number;
  readonly #heard: ((lateMs: number) => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  /** The worst of each span, the present one last. */
  #worst: number[] = [0];
  #spanEnds = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Calls `told` with each lateness, in milliseconds. */
  onLateness(told: (lateMs: number) => void): void {
    this.#heard.push(told);
  }

  start(): void {
    this.#spanEnds = this.#now() + SPAN_MS;
    this.#arm();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** The worst lateness of about the last minute, in milliseconds. */
  get worstMs(): number {
    return Math.max(...this.#worst);
  }

  /** What is wrong, as a sentence, or `undefined`. */
  get trouble(): string | undefined {
    const { worstMs } = this;
    if (worstMs < ILL_MS) return undefined;
    const late = `its timers were up to ${Math.round(worstMs)} ms late in the last minute`;
    return `${late}; the machine is too busy to keep bounds of seconds`;
  }

  #arm(): void {
    this.#due = this.#now() + INTERVAL_MS;
    this.#timer = setTimeout(() => this.#look(), INTERVAL_MS).unref();
  }

  #look(): void {
    const now = this.#now();
    const late = Math.max(0, now - this.#due);
    if (now >= this.#spanEnds) {
      this.#worst = [...this.#worst, 0].slice(-SPANS);
      this.#spanEnds = now + SPAN_MS;
    }
    this.#worst.push(Math.max(this.#worst.pop() ?? 0, late));
    for (const told of this.#heard) told(late);
    this.#arm();
  }
}
