/**
 * The stream of events, as server-sent events, resumable by id. A reader is a place in the log and no
 * queue of its own: one that does not read costs a page of memory, falls behind, and is dropped when it
 * has not read for a while. It can come back with its last id.
 * @module
 */
import type { ServerResponse } from 'node:http';
import type { EventLog, LoggedEvent } from '../event-log.ts';
import { ProblemError } from './problem.ts';

/** Readers at once: a browser tab is one. */
export const MOST_READERS = 1_000;
/** Events that are read from the log in one go. */
const PAGE = 500;
/** A comment now and then holds the stream through whatever lies between. */
const BEAT_MS = 15_000;
/** A reader that took nothing for so many beats is gone. */
const MOST_MISSED_BEATS = 3;

interface Reader {
  readonly out: ServerResponse;
  /** The last event it was sent. */
  last: number;
  /** It lacks what follows this event: that could not be read. */
  lacksAfter: number | undefined;
  /** What was written is not yet taken, so nothing more is. */
  full: boolean;
  missedBeats: number;
}

export class EventStream {
  readonly #log: EventLog;
  readonly #readers = new Set<Reader>();
  readonly #beatMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: EventLog, beatMs: number = BEAT_MS) {
    this.#log = log;
    this.#beatMs = beatMs;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** Bytes that readers have not taken yet. */
  get unreadBytes(): number {
    return [...this.#readers].reduce((sum, { out }) => sum + out.writableLength, 0);
  }

  /** Throws `ProblemError` (503) where there are too many readers already. */
  requireRoom(): void {
    if (this.#readers.size < MOST_READERS) return;
    throw new ProblemError(503, `${MOST_READERS} readers follow the stream already`, 30);
  }

  /** Adds a reader; it gets everything after `since`, or what happens from now on. */
  open(out: ServerResponse, since: number | undefined): void {
    if (this.#readers.size === 0) this.#start();
    const last = since ?? this.#log.lastId;
    const reader: Reader = { out, last, lacksAfter: undefined, full: false, missedBeats: 0 };
    this.#readers.add(reader);
    out.on('drain', () => {
      reader.full = false;
      reader.missedBeats = 0;
      this.#catchUp(reader);
    });
    out.on('close', () => this.#forget(reader));
    out.on('error', () => out.destroy());
    this.#write(reader, ': linkhold\n\n');
    this.#catchUp(reader);
  }

  /** Ends every stream. */
  close(): void {
    for (const { out } of this.#readers) out.destroy();
  }

  #start(): void {
    this.#log.on('event', this.#tell);
    this.#timer = setInterval(() => this.#beat(), this.#beatMs);
  }

  #forget(reader: Reader): void {
    this.#readers.delete(reader);
    if (this.#readers.size > 0) return;
    this.#log.off('event', this.#tell);
    clearInterval(this.#timer);
  }

  /** One text for all who are up to date; the others read the log when they can. */
  readonly #tell = (event: LoggedEvent): void => {
    const text = frame(event);
    for (const reader of this.#readers) {
      if (reader.full) continue;
      if (reader.last !== event.id - 1 || reader.lacksAfter !== undefined) {
        this.#catchUp(reader);
        continue;
      }
      reader.last = event.id;
      this.#write(reader, text);
    }
  };

  /**
   * Sends what the reader lacks, page by page, until it has all or takes no more. Where the past
   * cannot be read it gets what happens; once it can be read, all from the gap on, in order.
   */
  #catchUp(reader: Reader): void {
    if (reader.lacksAfter !== undefined) {
      if (this.#log.query({ since: reader.lacksAfter, limit: 1 }).isWhole) {
        reader.last = reader.lacksAfter;
        reader.lacksAfter = undefined;
      }
    }
    while (!reader.full && reader.last !== this.#log.lastId) {
      const since = reader.last;
      const { items, isWhole } = this.#log.query({ since, limit: PAGE });
      // Whoever asks has what waits told first, to this reader too.
      if (reader.last !== since) continue;
      const last = items.at(-1)?.id;
      if (!isWhole) reader.lacksAfter ??= since;
      if (last === undefined) return;
      reader.last = last;
      this.#write(reader, items.map(frame).join(''));
    }
  }

  #write(reader: Reader, text: string): void {
    if (!reader.out.write(text)) reader.full = true;
  }

  #beat(): void {
    for (const reader of this.#readers) {
      if (!reader.full) {
        this.#write(reader, ':\n\n');
        this.#catchUp(reader);
      } else if (++reader.missedBeats >= MOST_MISSED_BEATS) reader.out.destroy();
    }
  }
}

function frame(event: LoggedEvent): string {
  return `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}
