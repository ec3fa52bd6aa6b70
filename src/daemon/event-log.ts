/**
 * What happened, newest last: state changes, switches and notes. Round trips are not in it; they
 * show in each link's status and history. Readers follow it by id, so none is missed or seen twice.
 *
 * The rule: **an event is told only once it is kept.** `append` costs a place in a list; what was
 * appended is kept at the end of the turn, or a quarter of a second after the batch before, and
 * then told, to listeners and in answers. So a kill takes no event away that somebody was told.
 * While the keeper cannot keep (and says why), events are told at once and held here, up to a
 * limit, for when it can again.
 * @module
 */
import { EventEmitter } from 'node:events';
import type { NoteEvent, StateEvent } from '../link/link.ts';

/** A group moved its traffic to another path. */
export interface SwitchEvent {
  readonly at: string;
  readonly group: string;
  readonly type: 'switch';
  readonly from: string;
  readonly to: string;
  readonly why: string;
}

/** Something a person should know about a group or the daemon. */
export interface PlainNote {
  readonly at: string;
  readonly group?: string;
  readonly type: 'note';
  readonly text: string;
}

export type LoggedEvent = (StateEvent | NoteEvent | SwitchEvent | PlainNote) & {
  /** Rises with every event, also over restarts; after a daemon that was killed with a gap. */
  readonly id: number;
};

/** Which events are wanted. */
export interface EventQuery {
  /** Only events after this id, oldest first. Default: the newest `limit` ones. */
  readonly since?: number | undefined;
  /** Without `since`: the newest `limit` ones below this id. */
  readonly before?: number | undefined;
  /** Only events of this link or group. */
  readonly link?: string | undefined;
  readonly limit: number;
}

/** Where events outlive the daemon. */
export interface EventKeeper {
  /** The highest id that may have been given so far. */
  readonly lastId: number;
  /** Keeps all of them, or none and returns false: they are offered again. */
  keep(events: readonly LoggedEvent[]): boolean;
  /**
   * Oldest first: the first `limit` above `after`, or the newest, or the newest below `before`.
   * `undefined` while it cannot read.
   */
  find(query: {
    readonly after?: number | undefined;
    readonly before?: number | undefined;
    readonly subject?: string | undefined;
    readonly limit: number;
  }): LoggedEvent[] | undefined;
}

/** Events that were asked for, oldest first. */
export interface EventPage {
  readonly items: LoggedEvent[];
  /**
   * The `since` of the following page, or the `before` of the one before it; `null` at the end, and
   * where neither was asked.
   */
  readonly next: number | null;
  /** Whether nothing is missing: false where the keeper cannot read what it has. */
  readonly isWhole: boolean;
}

/** Events held without a keeper; the oldest are forgotten first. About 4 MB. */
const CAPACITY = 10_000;
/** Events held while the keeper cannot keep. About 40 MB. */
const CAPACITY_IN_TROUBLE = 100_000;
/** Events kept at one go: some milliseconds. */
const BATCH = 500;
/** Pause between two batches, for a flood. The first event after a pause is kept at once. */
const PAUSE_MS = 250;

export class EventLog extends EventEmitter<{ event: [LoggedEvent] }> {
  readonly #keeper: EventKeeper | undefined;
  /** Not kept yet, oldest first; those up to `#toldId` were told nevertheless. */
  readonly #held: LoggedEvent[] = [];
  #lastId = 0;
  #toldId = 0;
  #lost = 0;
  #telling = false;
  #flushedAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  /** Without a keeper it remembers only what fits in memory, and tells everything at once. */
  constructor(keeper?: EventKeeper) {
    super();
    this.#keeper = keeper;
  }

  /** How many events are still to be kept. Rises while they come faster than that, or the keeper is ill. */
  get unkept(): number {
    return this.#keeper === undefined ? 0 : this.#held.length;
  }

  append(event: StateEvent | NoteEvent | SwitchEvent | PlainNote): void {
    this.#lastId = Math.max(this.#lastId, this.#keeper?.lastId ?? 0) + 1;
    const logged: LoggedEvent = { id: this.#lastId, ...event };
    this.#held.push(logged);
    if (this.#keeper !== undefined) {
      this.#schedule();
      return;
    }
    this.#limit(CAPACITY);
    this.#toldId = logged.id;
    this.emit('event', logged);
  }

  /**
   * Keeps what waits, up to a batch of it, and tells it. Returns whether nothing waits any more.
   * Called by itself; call it again after a while for a keeper that was in trouble.
   */
  flush(): boolean {
    if (this.#keeper === undefined || this.#held.length === 0) return true;
    // Who is told something and asks for more must not be told the next one before others are.
    if (this.#telling) return false;
    this.#flushedAt = performance.now();
    const batch = this.#held.slice(0, BATCH);
    if (this.#keeper.keep(batch)) {
      this.#held.splice(0, batch.length);
      this.#tell(batch);
      this.#confess();
      if (this.#held.length > 0) this.#schedule();
    } else {
      this.#lost += this.#limit(CAPACITY_IN_TROUBLE);
      this.#tell(this.#held);
    }
    return this.#held.length === 0;
  }

  /** The newest event that was told, also by a daemon before this one; 0 before the first. */
  get lastId(): number {
    this.flush();
    if (this.#keeper === undefined || this.#toldId > 0) return this.#toldId;
    const newest = this.#find({ limit: 1 });
    return newest === undefined ? this.#keeper.lastId : (newest[0]?.id ?? 0);
  }

  /** What is held and what is kept, as one. */
  query({ since, before, link, limit }: EventQuery): EventPage {
    this.flush();
    const latest = this.#keeper === undefined ? this.#held.slice(-CAPACITY) : this.#held;
    const held = latest.filter(
      (event) =>
        event.id <= this.#toldId &&
        (link === undefined || ('link' in event ? event.link : event.group) === link),
    );
    if (since === undefined) {
      const below = before === undefined ? held : held.filter(({ id }) => id < before);
      const rest = limit + 1 - below.length;
      const kept = rest > 0 ? this.#find({ before, subject: link, limit: rest }) : [];
      const all = [...(kept ?? []), ...below];
      const items = all.slice(-limit);
      const goesOn = before !== undefined && all.length > limit;
      const next = goesOn ? (items[0]?.id ?? null) : null;
      return { items, next, isWhole: kept !== undefined };
    }
    // An id that is yet to come is from a log that is gone: everything is news then.
    const known = Math.max(this.#lastId, this.#keeper?.lastId ?? 0);
    const after = since > known ? 0 : since;
    const kept = this.#find({ after, subject: link, limit: limit + 1 });
    const all = [...(kept ?? []), ...held.filter(({ id }) => id > after)];
    const items = all.slice(0, limit);
    const next = all.length > limit ? (items.at(-1)?.id ?? null) : null;
    // What follows from memory alone needs nobody who can read.
    const isWhole = kept !== undefined || after >= (this.#held[0]?.id ?? known + 1) - 1;
    return { items, next, isWhole };
  }

  /** Keeps and tells everything that waits, as far as that is possible. */
  close(): void {
    for (let first: LoggedEvent | undefined; this.#held[0] !== first; ) {
      [first] = this.#held;
      this.flush();
    }
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
  }

  #find(query: Parameters<EventKeeper['find']>[0]): LoggedEvent[] | undefined {
    return this.#keeper === undefined ? [] : this.#keeper.find(query);
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#immediate !== undefined) return;
    const wait = this.#flushedAt + PAUSE_MS - performance.now();
    const run = () => {
      this.#timer = undefined;
      this.#immediate = undefined;
      this.flush();
    };
    if (wait <= 0 || this.#held.length > BATCH) this.#immediate = setImmediate(run);
    else this.#timer = setTimeout(run, wait);
  }

  /** Those that were not told before: they lie at the end. */
  #tell(events: readonly LoggedEvent[]): void {
    const last = events.findLastIndex(({ id }) => id <= this.#toldId);
    const news = events.slice(last + 1);
    this.#toldId = news.at(-1)?.id ?? this.#toldId;
    this.#telling = true;
    try {
      for (const event of news) this.emit('event', event);
    } finally {
      this.#telling = false;
    }
  }

  /** Forgets the oldest of too many. Returns how many. */
  #limit(most: number): number {
    return this.#held.length > 2 * most ? this.#held.splice(0, most).length : 0;
  }

  #confess(): void {
    if (this.#lost === 0) return;
    const text = `${this.#lost} events are lost: more happened than fits in memory`;
    this.#lost = 0;
    this.append({ at: new Date().toISOString(), type: 'note', text });
  }
}
