/**
 * Delivers the messages of one channel, one after the other: each is tried again until it arrives,
 * is refused for good, or is a day old. It never waits for another channel, nor for a receiver that
 * does not answer.
 * @module
 */
import { formatDuration } from '../../time/duration.ts';
import { type Channel, DeliveryError } from './channel.ts';
import type { Message } from './message.ts';
import type { Outbox, Queued } from './outbox.ts';

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 300_000;
const GIVEN_UP_AFTER_MS = 86_400_000;
/** More than that in a day and nobody reads them; the oldest give way. */
const MOST_QUEUED = 500;

/** How long to wait after so many failures: 1 s, doubled each time up to 5 min, and up to as much
 * again by chance, so that many daemons do not come at once. */
export function waitMs(failures: number, random: number): number {
  const least = FIRST_WAIT_MS * 2 ** Math.min(failures - 1, 20);
  return Math.min(least * (1 + random), LONGEST_WAIT_MS);
}

/** One attempt, within the channel's limit. Rejects with `DeliveryError`. */
export async function deliver(
  channel: Channel,
  message: Message,
  abort: AbortController = new AbortController(),
): Promise<string> {
  const timer = setTimeout(() => abort.abort(), channel.limitMs);
  const late = new Promise<never>((_, reject) => {
    const text = `no answer within ${formatDuration(channel.limitMs)}`;
    abort.signal.addEventListener('abort', () => reject(new DeliveryError(text)));
  });
  try {
    return await Promise.race([channel.send(message, abort.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

export class Courier {
  readonly #outbox: Outbox;
  readonly #note: (text: string) => void;
  readonly #queue: Queued[];
  #channel: Channel;
  #abort: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #stopped = false;

  constructor(name: string, channel: Channel, outbox: Outbox, note: (text: string) => void) {
    this.#channel = channel;
    this.#outbox = outbox;
    this.#note = (text) => note(`notify: ${name}: ${text}`);
    this.#queue = outbox.queued(name);
    this.#next();
  }

  /** One more to deliver. */
  add(queued: Queued): void {
    this.#queue.push(queued);
    if (this.#queue.length > MOST_QUEUED) {
      // The first may be on its way.
      const [dropped] = this.#queue.splice(1, 1);
      if (dropped !== undefined) this.#giveUp(dropped, `${MOST_QUEUED} wait already`);
    }
    if (this.#timer === undefined) this.#next();
  }

  /** From now on delivers by this channel, and tries at once. */
  use(channel: Channel): void {
    this.#channel = channel;
    this.#retry();
  }

  /** Ends attempts; what is not delivered stays kept. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  #next(): void {
    const [first] = this.#queue;
    if (first === undefined || this.#abort !== undefined || this.#stopped) return;
    const abort = new AbortController();
    this.#abort = abort;
    deliver(this.#channel, first.message, abort).then(
      () => this.#arrived(first),
      (error: Error) => this.#failed(first, error),
    );
  }

  #arrived(queued: Queued): void {
    this.#abort = undefined;
    if (this.#stopped) return;
    if (this.#failures > 0) this.#note('works again');
    this.#failures = 0;
    this.#remove(queued);
    this.#next();
  }

  #failed(queued: Queued, error: Error): void {
    this.#abort = undefined;
    if (this.#stopped) return;
    const { final, waitMs: asked = 0 } = error as DeliveryError;
    const isOld = Date.now() - queued.queuedAt > GIVEN_UP_AFTER_MS;
    if (final === true || isOld) {
      this.#giveUp(queued, isOld ? `a day has passed; ${error.message}` : error.message);
      this.#queue.shift();
      this.#next();
      return;
    }
    this.#failures += 1;
    const wait = Math.max(waitMs(this.#failures, Math.random()), asked);
    if (this.#failures === 1) this.#note(`fails and is tried again: ${error.message}`);
    this.#timer = setTimeout(() => this.#retry(), wait);
  }

  #retry(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#next();
  }

  #giveUp({ number, message }: Queued, why: string): void {
    this.#note(`message ${message.id} is dropped: ${why}`);
    this.#forget(number);
  }

  #remove({ number }: Queued): void {
    this.#queue.shift();
    this.#forget(number);
  }

  #forget(number: number | undefined): void {
    if (number === undefined) return;
    try {
      this.#outbox.remove(number);
    } catch (error) {
      this.#note(`a message may come twice after a restart: ${(error as Error).message}`);
    }
  }
}
