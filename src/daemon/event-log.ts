/**
 * What happened, newest last, in memory: state changes, switches and notes. Round trips are not
 * kept; they show in each link's status. Readers follow it by id, so none is missed or seen twice.
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
  /** Rises by one with every event; starts at 1 with the daemon. */
  readonly id: number;
};

/** Which events are wanted. */
export interface EventQuery {
  /** Only events after this id. Default: the newest `limit` ones. */
  readonly since?: number | undefined;
  /** Only events of this link or group. */
  readonly link?: string | undefined;
  readonly limit: number;
}

/** Events kept; the oldest are forgotten first. About 4 MB. */
const CAPACITY = 10_000;

export class EventLog extends EventEmitter<{ event: [LoggedEvent] }> {
  readonly #events: LoggedEvent[] = [];
  #lastId = 0;

  append(event: StateEvent | NoteEvent | SwitchEvent | PlainNote): void {
    this.#lastId += 1;
    const logged: LoggedEvent = { id: this.#lastId, ...event };
    this.#events.push(logged);
    if (this.#events.length > 2 * CAPACITY) this.#events.splice(0, CAPACITY);
    this.emit('event', logged);
  }

  /** Oldest first; `next` is the `since` of the following page, or `null` at the end. */
  query({ since, link, limit }: EventQuery): { items: LoggedEvent[]; next: number | null } {
    // An id that is yet to come is from a daemon before this one: everything is news then.
    const after = since === undefined || since > this.#lastId ? 0 : since;
    const kept = this.#events.slice(-CAPACITY);
    const wanted = kept.filter(
      (event) =>
        event.id > after &&
        (link === undefined || ('link' in event ? event.link : event.group) === link),
    );
    if (since === undefined) return { items: wanted.slice(-limit), next: null };
    const items = wanted.slice(0, limit);
    return { items, next: wanted.length > limit ? (items.at(-1)?.id ?? null) : null };
  }
}
