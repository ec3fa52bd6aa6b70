/**
 * Events for ever, within a cap of bytes: the oldest go first.
 * @module
 */

import type { LoggedEvent } from '../event-log.ts';
import type { Meta } from './meta.ts';
import type { Names } from './names.ts';
import type { DatabaseSync, StatementSync } from './sqlite.ts';

/**
 * What events may take in the file: about a million. Too small: an outage of many links pushes the
 * one before it out; too large: the disk.
 */
export const EVENT_BYTES: number = 256 * 1_024 * 1_024;
/** An event's row and its place in the index, beside its text. */
const ROW_BYTES = 24;
const TRIM_ROWS = 500;

/** Which kept events are wanted: the first above `after`, or else the newest below `before`. */
export interface KeptQuery {
  readonly after?: number | undefined;
  /** Default: above all of them. */
  readonly before?: number | undefined;
  readonly subject?: string | undefined;
  readonly limit: number;
}

/** The link or group an event is of. */
export function subjectOf(event: LoggedEvent): string | undefined {
  return 'link' in event ? event.link : event.group;
}

export class EventTable {
  readonly #meta: Meta;
  readonly #names: Names;
  readonly #mostBytes: number;
  readonly #insert: StatementSync;
  readonly #forget: StatementSync;
  readonly #last: StatementSync;
  readonly #all: StatementSync;
  readonly #of: StatementSync;
  readonly #newest: StatementSync;
  readonly #newestOf: StatementSync;

  constructor(db: DatabaseSync, meta: Meta, names: Names, mostBytes: number) {
    this.#meta = meta;
    this.#names = names;
    this.#mostBytes = mostBytes;
    this.#insert = db.prepare('INSERT OR REPLACE INTO events (id, subject, body) VALUES (?, ?, ?)');
    this.#forget = db.prepare(
      `DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT ${TRIM_ROWS})
       RETURNING length(CAST(body AS BLOB)) AS bytes`,
    );
    this.#last = db.prepare('SELECT max(id) AS id FROM events');
    const select = 'SELECT id, body FROM events WHERE';
    this.#all = db.prepare(`${select} id > ? ORDER BY id LIMIT ?`);
    this.#of = db.prepare(`${select} subject = ? AND id > ? ORDER BY id LIMIT ?`);
    this.#newest = db.prepare(`${select} id < ? ORDER BY id DESC LIMIT ?`);
    this.#newestOf = db.prepare(`${select} subject = ? AND id < ? ORDER BY id DESC LIMIT ?`);
  }

  /** The highest id, 0 for none. */
  lastId(): number {
    return Number(this.#last.get()?.['id'] ?? 0);
  }

  /** Within a transaction of the caller's. Ids rise. */
  add(events: readonly LoggedEvent[]): void {
    let bytes = this.#meta.get('events') ?? 0;
    for (const event of events) {
      const { id, ...rest } = event;
      const body = JSON.stringify(rest);
      const subject = subjectOf(event);
      this.#insert.run(id, subject === undefined ? null : this.#names.idOf(subject), body);
      bytes += Buffer.byteLength(body) + ROW_BYTES;
    }
    while (bytes > this.#mostBytes) {
      const gone = this.#forget.all();
      if (gone.length === 0) break;
      for (const row of gone) bytes -= Number(row['bytes']) + ROW_BYTES;
    }
    this.#meta.set('events', Math.max(bytes, 0));
  }

  /** Oldest first. A row that cannot be read is left out, and others take its place. */
  find({ after, before = Number.MAX_SAFE_INTEGER, subject, limit }: KeptQuery): LoggedEvent[] {
    const newest = after === undefined;
    const of = subject === undefined ? undefined : this.#names.find(subject);
    if (subject !== undefined && of === undefined) return [];
    const found: LoggedEvent[] = [];
    for (let bound = after ?? before; found.length < limit; ) {
      const wanted = limit - found.length;
      const rows =
        of === undefined
          ? (newest ? this.#newest : this.#all).all(bound, wanted)
          : (newest ? this.#newestOf : this.#of).all(of, bound, wanted);
      for (const { id, body } of rows) {
        const event = parsed(body);
        if (event !== undefined) found.push({ id: Number(id), ...event } as LoggedEvent);
      }
      if (rows.length < wanted) break;
      bound = Number(rows.at(-1)?.['id']);
    }
    return newest ? found.reverse() : found;
  }
}

/** The object in a text, or `undefined` where there is none: a damaged row. */
export function parsed(text: unknown): object | undefined {
  try {
    const value: unknown = JSON.parse(String(text));
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
