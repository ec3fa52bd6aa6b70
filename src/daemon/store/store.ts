/**
 * The daemon's memory in one SQLite file: events, how links and groups last stood, and roll-ups of
 * what happened on each link. The daemon must live without it: whatever is wrong with the file or
 * its disk, the store says so in one sentence (`trouble`), tries again later, and what it is given
 * stays with the giver until then. A damaged file is put aside and a new one is begun.
 * @module
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SystemError } from '../../sys/system-error.ts';
import type { EventKeeper, LoggedEvent } from '../event-log.ts';
import { checkpoint } from './checkpoint.ts';
import { DATABASE_NAME, faultOf, isCorrupt, moveAside } from './database.ts';
import { EVENT_BYTES, type KeptQuery } from './event-table.ts';
import type { BarCell, Series, Span } from './history.ts';
import type { LinkStats } from './link-stats.ts';
import type { GroupPast, LinkPast } from './past.ts';
import { inTransaction, openTables, type Tables } from './tables.ts';

export interface StoreOptions {
  readonly directory: string;
  /** Something a person should know: a file put aside, a disk that is full. */
  readonly note: (text: string) => void;
  /** The wall clock, in milliseconds. Default: this machine's. */
  readonly wallMs?: () => number;
  /** A clock that is never set, in milliseconds. Default: this machine's. */
  readonly now?: () => number;
  /** See `EVENT_BYTES`. */
  readonly mostEventBytes?: number;
}

/** How the daemon before this one ended. */
export interface LastSign {
  /** When it last gave a sign of life, by the wall clock. */
  readonly atMs: number;
  /** Whether it was told to stop, and not killed. */
  readonly stopped: boolean;
}

/** What changed and is to be known again by the next daemon. */
export interface Standing {
  readonly links: readonly (readonly [string, LinkPast])[];
  readonly groups: readonly (readonly [string, GroupPast])[];
}

/** Who knows how links and groups stand. */
export interface StandingSource {
  /** What changed since it was last taken. */
  changes(): Standing;
  /** These changes are kept. */
  taken(standing: Standing): void;
}

/** After a fault. Shorter: a broken disk is asked all the time; longer: more is held in memory. */
const RETRY_MS = 5_000;
/** Ids that a daemon that was killed may have told without being able to keep them. */
const ID_GAP = 1_000_000;
/** At most one damaged file is put aside within this time. */
const ASIDE_MS = 600_000;
/** Long work gives way to timers and sockets after this. */
const SLICE_MS = 5;
const ROWS_A_LOOK = 50;

export class Store implements EventKeeper {
  readonly file: string;
  readonly #options: StoreOptions;
  readonly #wallMs: () => number;
  readonly #now: () => number;
  #tables: Tables | undefined;
  #trouble: string | undefined;
  /** Neither is tried again before: to open the file, and to write to it. */
  #openAt = Number.NEGATIVE_INFINITY;
  #writeAt = Number.NEGATIVE_INFINITY;
  #lastId = 0;
  #lastSign: LastSign | undefined;
  #links: Map<string, LinkPast> = new Map();
  #groups: Map<string, GroupPast> = new Map();
  #source: StandingSource | undefined;
  #asideAt = Number.NEGATIVE_INFINITY;
  #opened = false;
  /** Whether what the daemon before knew is read; `late`: only now, while this one runs. */
  #past: 'unread' | 'late' | 'read' = 'unread';
  #isNew = false;
  #closed = false;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#wallMs = options.wallMs ?? Date.now;
    this.#now = options.now ?? (() => performance.now());
    this.file = path.join(options.directory, DATABASE_NAME);
  }

  /** Reads what there is. Throws `SystemError` (`newer-database`) only; else see `trouble`. */
  open(): void {
    this.#isNew = !existsSync(this.file);
    // Above the ids of a file that cannot be read now, so that they rise nevertheless.
    this.#lastId = this.#wallMs();
    this.#read(() => undefined);
    this.#opened = true;
    this.beat(false);
    // A new file in the place of a damaged one: nothing runs yet that would have to know.
    this.takeLatePast();
  }

  /** Ends it. What is given afterwards is not kept. */
  close(): void {
    this.beat(true);
    this.#closed = true;
    this.#drop();
  }

  /** What is wrong, in one sentence, or `undefined`. For the state of the daemon itself. */
  trouble(): string | undefined {
    return this.#trouble;
  }

  /** How the daemon before this one ended, if there was one. */
  get lastSign(): LastSign | undefined {
    return this.#lastSign;
  }

  /** How links stood when the daemon before this one ended. */
  get links(): ReadonlyMap<string, LinkPast> {
    return this.#links;
  }

  get groups(): ReadonlyMap<string, GroupPast> {
    return this.#groups;
  }

  get lastId(): number {
    return this.#lastId;
  }

  /** True once, if what the daemon before knew could be read only after the start. */
  takeLatePast(): boolean {
    if (this.#past !== 'late') return false;
    this.#past = 'read';
    return true;
  }

  /** From now on how links and groups stand is kept together with what is told of them. */
  attach(source: StandingSource): void {
    this.#source = source;
  }

  keep(events: readonly LoggedEvent[]): boolean {
    this.#read(() => undefined);
    // What was known before is taken up first, and not written over.
    const standing = this.#past === 'read' ? this.#source?.changes() : undefined;
    const kept = this.#write((tables) => {
      tables.events.add(events);
      for (const [name, row] of standing?.links ?? []) tables.links.put(name, row);
      for (const [name, row] of standing?.groups ?? []) tables.groups.put(name, row);
    });
    if (!kept || standing === undefined) return kept;
    for (const [name, row] of standing.links) this.#links.set(name, row);
    for (const [name, row] of standing.groups) this.#groups.set(name, row);
    this.#source?.taken(standing);
    return true;
  }

  find(query: KeptQuery): LoggedEvent[] | undefined {
    return this.#read((tables) => tables.events.find(query));
  }

  /** A sign of life, so that the next daemon knows when this one ended. */
  beat(ended: boolean): boolean {
    return this.#write(({ meta }) => {
      meta.set('heartbeat', this.#wallMs());
      meta.set('ended', ended ? 1 : 0);
    });
  }

  /**
   * Adds what happened on links to the minute that `atMs` lies in, and takes what is kept out of
   * `minute`. False: the rest could not be kept; ask again later.
   */
  async putMinute(atMs: number, minute: Map<string, LinkStats>): Promise<boolean> {
    while (minute.size > 0) {
      if (!this.#putSome(atMs, minute, SLICE_MS)) return false;
      await nextTurn();
    }
    return true;
  }

  /** As `putMinute`, at one go: for the end of the daemon. */
  putMinuteNow(atMs: number, minute: Map<string, LinkStats>): boolean {
    return this.#putSome(atMs, minute, Number.POSITIVE_INFINITY);
  }

  /** Makes hours and days, forgets what is old, and lets the file take up its log. */
  async tidy(): Promise<boolean> {
    const nowMs = this.#wallMs();
    if (!(await this.#inSlices(({ rollUps }) => rollUps.make(nowMs)))) return false;
    if (!(await this.#inSlices(({ rollUps }) => rollUps.trim(nowMs)))) return false;
    try {
      await checkpoint(this.file);
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  /** A link's story in steps, or `undefined` while the file cannot be read. */
  series(link: string, span: Span, stepMs: number): Series | undefined {
    return this.#read(({ history }) => history.series(link, span, stepMs, this.#wallMs()));
  }

  /**
   * For each link at most `cells` cells of state shares, for a bar of its history. Whole hours and
   * more a cell are cheap; minutes of a day cost 1,440 rows a link.
   */
  async bars(links: readonly string[], span: Span, cells: number): Promise<Map<string, BarCell[]>> {
    const bars = new Map<string, BarCell[]>();
    let steps: Iterator<void> | undefined;
    let tables: Tables | undefined;
    for (let done: boolean | undefined = false; done === false; ) {
      done = this.#read((open) => {
        // After a fault the steps are those of a database that was closed: all over again.
        if (open !== tables) steps = undefined;
        tables = open;
        steps ??= open.history.bars(links, span, cells, this.#wallMs(), bars);
        return this.#runFor(SLICE_MS, steps);
      });
      await nextTurn();
    }
    return bars;
  }

  #putSome(atMs: number, minute: Map<string, LinkStats>, forMs: number): boolean {
    const kept: string[] = [];
    const written = this.#write(({ rollUps }) => {
      const until = this.#now() + forMs;
      for (const [link, stats] of minute) {
        rollUps.addMinute(atMs, link, stats);
        kept.push(link);
        if (kept.length % ROWS_A_LOOK === 0 && this.#now() >= until) break;
      }
    });
    if (written) for (const link of kept) minute.delete(link);
    return written;
  }

  async #inSlices(begin: (tables: Tables) => Iterator<void>): Promise<boolean> {
    const tables = this.#tables;
    if (tables === undefined) return false;
    const steps = begin(tables);
    for (let done = false; !done; ) {
      // After a fault the steps are those of a database that was closed.
      if (tables !== this.#tables) return false;
      const written = this.#write(() => {
        done = this.#runFor(SLICE_MS, steps);
      });
      if (!written) return false;
      await nextTurn();
    }
    return true;
  }

  #runFor(ms: number, steps: Iterator<void>): boolean {
    const until = this.#now() + ms;
    while (this.#now() < until) if (steps.next().done === true) return true;
    return false;
  }

  /** The open database, opened if that may be tried now. */
  #reach(): Tables | undefined {
    if (this.#tables !== undefined || this.#closed) return this.#tables;
    if (this.#now() < this.#openAt) return undefined;
    const { mostEventBytes = EVENT_BYTES } = this.#options;
    try {
      const tables = openTables(this.file, mostEventBytes);
      this.#tables = tables;
      if (this.#past === 'unread') this.#readPast(tables);
    } catch (error) {
      this.#openAt = this.#now() + RETRY_MS;
      throw error;
    }
    return this.#tables;
  }

  /** Before anything is written. */
  #readPast({ meta, events, links, groups }: Tables): void {
    const atMs = meta.get('heartbeat');
    const stopped = meta.get('ended') === 1;
    if (atMs !== undefined) this.#lastSign = { atMs, stopped };
    const last = events.lastId();
    const next = last + (this.#isNew || stopped ? 0 : ID_GAP);
    if (this.#opened) this.#lastId = Math.max(this.#lastId, last);
    else if (this.#isNew || last > 0) this.#lastId = next;
    this.#links = links.all();
    this.#groups = groups.all();
    this.#past = this.#opened ? 'late' : 'read';
  }

  #read<Result>(work: (tables: Tables) => Result): Result | undefined {
    try {
      const tables = this.#reach();
      return tables === undefined ? undefined : work(tables);
    } catch (error) {
      // Of a newer program: not ours to touch. Once we run, a file put there is only trouble.
      if (error instanceof SystemError && !this.#opened) throw error;
      this.#failed(error);
      return undefined;
    }
  }

  #write(work: (tables: Tables) => void): boolean {
    if (this.#now() < this.#writeAt) return false;
    const written = this.#read((tables) => {
      inTransaction(tables.db, () => work(tables));
      return true;
    });
    if (written !== true) return false;
    if (this.#trouble !== undefined) {
      this.#trouble = undefined;
      this.#options.note('the memory on disk works again');
    }
    return true;
  }

  #failed(error: unknown): void {
    if (this.#closed) return;
    this.#drop();
    if (isCorrupt(error) && this.#putAside(error)) {
      this.#openAt = Number.NEGATIVE_INFINITY;
      return;
    }
    this.#writeAt = this.#now() + RETRY_MS;
    const trouble = `${faultOf(error, this.file)}; what happens is kept in memory until it works`;
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#options.note(trouble);
  }

  /** Begins a new file, if the damaged one can be moved; a disk that damages all of them is left. */
  #putAside(cause: unknown): boolean {
    if (this.#now() - this.#asideAt < ASIDE_MS) return false;
    try {
      const aside = moveAside(this.file, this.#wallMs());
      this.#asideAt = this.#now();
      const why = (cause as Error).message;
      this.#options.note(
        `${this.file} was damaged (${why}): a new one is begun, it is now ${aside}`,
      );
      return true;
    } catch {
      return false;
    }
  }

  #drop(): void {
    const tables = this.#tables;
    this.#tables = undefined;
    try {
      tables?.db.close();
    } catch {
      // What cannot be closed is left to the end of the process; nothing more is asked of it.
    }
  }
}
