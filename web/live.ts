/**
 * Follows the daemon: its stream of events, and whether it can be reached at all. A stream may be silent
 * because nothing happens or because nobody is there, so the daemon is asked for a sign of life too.
 * @module
 */
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import { ask, contact, Refusal } from './api.ts';

/** As it is shown: what is older than a sign of life may be is told as such. */
export interface Contact {
  readonly reachable: boolean;
  /** Wall clock, in milliseconds. */
  readonly lastMs: number;
}

type Listener = (event: LoggedEvent | undefined) => void;

/** Between two signs of life. With the patience of one: a daemon that is gone is known in 13 s. */
const SIGN_MS = 5_000;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5_000;
const EVENT_TYPES = ['state', 'switch', 'note'];

class Live {
  #contact: Contact = { reachable: true, lastMs: Date.now() };
  readonly #listeners = new Set<Listener>();
  readonly #watchers = new Set<() => void>();
  #source: EventSource | undefined;
  #lastId: number | undefined;
  #retryMs = FIRST_RETRY_MS;
  #retry: ReturnType<typeof setTimeout> | undefined;

  get contact(): Contact {
    return this.#contact;
  }

  start(): void {
    contact.heard = () => this.#heard();
    contact.silent = () => this.#silent();
    this.#open();
    setInterval(() => this.#askForSign(), SIGN_MS);
    // A laptop that wakes, a tab that is shown again: what is on the page is old.
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#askForSign();
    });
    addEventListener('offline', () => this.#askForSign());
    addEventListener('online', () => this.#askForSign());
  }

  /** Called with each event, and with nothing when everything may have changed. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called when the contact changes. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Somebody else may be asking now, and may see more. */
  restart(): void {
    this.#source?.close();
    this.#open();
    this.#tell(undefined);
  }

  #open(): void {
    clearTimeout(this.#retry);
    const since = this.#lastId === undefined ? '' : `?since=${this.#lastId}`;
    const source = new EventSource(`/api/v1/stream${since}`);
    this.#source = source;
    source.addEventListener('open', () => {
      this.#retryMs = FIRST_RETRY_MS;
      this.#heard();
      this.#tell(undefined);
    });
    for (const type of EVENT_TYPES) {
      source.addEventListener(type, (message: MessageEvent<string>) => {
        const event = JSON.parse(message.data) as LoggedEvent;
        this.#lastId = event.id;
        this.#heard();
        this.#tell(event);
      });
    }
    source.addEventListener('error', () => {
      if (source !== this.#source) return;
      source.close();
      this.#askForSign();
      this.#retry = setTimeout(() => this.#open(), this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
    });
  }

  #askForSign(): void {
    ask('/healthz').catch((error: unknown) => {
      // A refusal is a sign of life; silence was told already.
      if (error instanceof Refusal) this.#heard();
    });
  }

  #heard(): void {
    this.#set({ reachable: true, lastMs: Date.now() });
  }

  #silent(): void {
    this.#set({ ...this.#contact, reachable: false });
  }

  #set(next: Contact): void {
    const changed = next.reachable !== this.#contact.reachable;
    this.#contact = next;
    if (!changed) return;
    for (const watcher of this.#watchers) watcher();
  }

  #tell(event: LoggedEvent | undefined): void {
    for (const listener of this.#listeners) listener(event);
  }
}

export const live: Live = new Live();
