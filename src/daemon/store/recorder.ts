/**
 * Watches links for the store: counts probes, losses, round trips and the time in each state, and
 * hands over what a minute brought once it is over. Lengths are of the monotonic clock; the wall
 * clock only names the minute. Time in which this process stood still counts as not observed.
 * @module
 */
import type { LinkState } from '../../keepalive/keepalive.ts';
import type { Link } from '../../link/link.ts';
import {
  COUNTED_STATES,
  type CountedState,
  emptyStats,
  isEmpty,
  type LinkStats,
} from './link-stats.ts';
import type { GroupPast, LinkPast } from './past.ts';
import type { LastSign, Standing, StandingSource, Store } from './store.ts';

/** What the recorder asks the daemon. */
export interface Watched {
  /** Every link there is. */
  links(): readonly Link[];
  /** Every group there is, and how it stands. */
  groups(): Iterable<readonly [string, GroupPast]>;
  /** Keeps events that wait. */
  flush(): void;
  note(text: string): void;
}

interface Entry {
  link: Link;
  state: LinkState;
  /** A person drained or resumed it in this life: that counts before what was remembered. */
  decided: boolean;
  /** Up to when its time is counted. */
  countedTo: number;
  stats: LinkStats;
  /** A probe left and nothing came yet. */
  waits: boolean;
}

interface Minute {
  readonly atMs: number;
  readonly stats: Map<string, LinkStats>;
}

const TICK_MS = 1_000;
/** A tick later than this was missed: nobody watched meanwhile. Links judge their own lateness. */
const SLACK_MS = 5_000;
const MINUTE_MS = 60_000;
/** How far behind the truth the last sign of life of a killed daemon may be. */
const BEAT_MS = 10_000;
/** Minutes held in memory while the store is in trouble. */
const MOST_MINUTES = 10;

export class Recorder implements StandingSource {
  readonly #store: Store;
  readonly #watched: Watched;
  readonly #entries = new Map<string, Entry>();
  /** Links whose standing is to be written. */
  readonly #changed = new Set<string>();
  /** How groups stand by what is written. */
  readonly #groups = new Map<string, GroupPast>();
  readonly #minutes: Minute[] = [];
  #timer: NodeJS.Timeout | undefined;
  #tickedAt: number;
  #beatAt: number;
  #minute: number;
  /** By the wall clock: from then on this daemon watches. */
  readonly #startedMs = Date.now();
  #working: Promise<void> | undefined;

  constructor(store: Store, watched: Watched) {
    this.#store = store;
    this.#watched = watched;
    store.attach(this);
    const now = performance.now();
    this.#tickedAt = now;
    this.#beatAt = now;
    this.#minute = Math.floor(Date.now() / MINUTE_MS);
  }

  /** Starts the clock, and tells for how long nobody watched. */
  start(): void {
    this.#tellGap();
    this.#timer = setInterval(() => this.tick(performance.now(), Date.now()), TICK_MS);
  }

  /** Writes what there is. Links must still be there. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#working;
    this.#keepStanding();
    this.#cut(performance.now());
    for (const { atMs, stats } of this.#minutes) this.#store.putMinuteNow(atMs, stats);
  }

  changes(): Standing {
    const links: [string, LinkPast][] = [];
    for (const name of this.#changed) {
      const link = this.#entries.get(name)?.link;
      if (link !== undefined) links.push([name, pastOf(link)]);
    }
    const groups = [...this.#watched.groups()].filter(([name, { active, why }]) => {
      const kept = this.#groups.get(name);
      return kept?.active !== active || kept.why !== why;
    });
    return { links, groups };
  }

  taken({ links, groups }: Standing): void {
    for (const [name] of links) this.#changed.delete(name);
    for (const [name, group] of groups) this.#groups.set(name, group);
  }

  /** A link begins: it takes up how it last stood, and is watched from now on. */
  follow(link: Link): void {
    const { name } = link;
    const before = this.#entries.get(name);
    const past = before === undefined ? this.#store.links.get(name) : pastOf(before.link);
    if (past?.url === link.identity.url) link.recall(past);
    const now = performance.now();
    if (before !== undefined) count(before, now);
    const entry: Entry = {
      link,
      state: link.state,
      decided: before?.decided ?? false,
      countedTo: now,
      stats: before?.stats ?? emptyStats(),
      waits: false,
    };
    this.#entries.set(name, entry);
    link.on('probe', () => {
      entry.stats.probes += 1;
      // One at a time: a next one leaves because nothing came.
      if (entry.waits) entry.stats.losses += 1;
      entry.waits = true;
    });
    link.on('reply', ({ rttMs }) => {
      entry.waits = false;
      entry.stats.roundTrips.record(rttMs);
    });
    link.on('learned', () => this.#changed.add(name));
    link.on('state', ({ from, to }) => {
      count(entry, performance.now());
      entry.state = to;
      this.#changed.add(name);
      // What a person did is kept before they are told that it is done.
      if (from !== 'drained' && to !== 'drained') return;
      entry.decided = true;
      this.#watched.flush();
    });
  }

  /** Once a second; `now` by the monotonic clock, `wallMs` by the wall clock. */
  tick(now: number, wallMs: number): void {
    const late = now - this.#tickedAt - TICK_MS;
    if (late > SLACK_MS) this.#skip(this.#tickedAt, now);
    this.#tickedAt = now;
    if (this.#store.takeLatePast()) this.#recallLate();
    this.#watched.flush();
    if (now - this.#beatAt >= BEAT_MS) {
      this.#beatAt = now;
      this.#store.beat(false);
      this.#keepStanding();
    }
    const minute = Math.floor(wallMs / MINUTE_MS);
    if (minute === this.#minute) return;
    this.#cut(now);
    this.#minute = minute;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  #tellGap(): void {
    const { lastSign } = this.#store;
    if (lastSign !== undefined) this.#watched.note(gapText(lastSign, this.#startedMs));
  }

  /** The memory could not be opened at the start, and can be now. */
  #recallLate(): void {
    this.#tellGap();
    // All is looked at first: a link that is drained writes how all of them stand now.
    const pasts = new Map(this.#store.links);
    for (const [name, { link, decided }] of this.#entries) {
      const past = pasts.get(name);
      const isSame = past?.url === link.identity.url;
      if (isSame) link.recall(decided ? { ...past, state: link.state } : past);
      this.#changed.add(name);
    }
  }

  /** What a link learned is kept with the next event, or without one. */
  #keepStanding(): void {
    if (this.#changed.size > 0) this.#store.keep([]);
  }

  /** Nobody watched from `from` to `to`. */
  #skip(from: number, to: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.countedTo < from) count(entry, from);
      entry.countedTo = to;
    }
    const seconds = Math.round((to - from) / 1_000);
    this.#watched.note(`nothing was observed for ${seconds} s: this process stood still`);
  }

  /** The minute is over: what it brought is put aside for writing. */
  #cut(now: number): void {
    const running = new Set(this.#watched.links());
    const stats = new Map<string, LinkStats>();
    for (const [name, entry] of this.#entries) {
      const gone = !running.has(entry.link);
      if (!gone) count(entry, now);
      if (!isEmpty(entry.stats)) stats.set(name, entry.stats);
      entry.stats = emptyStats();
      if (gone) this.#entries.delete(name);
    }
    if (stats.size > 0) this.#minutes.push({ atMs: this.#minute * MINUTE_MS, stats });
    if (this.#minutes.length > MOST_MINUTES) this.#minutes.shift();
  }

  async #work(): Promise<void> {
    for (;;) {
      const [first] = this.#minutes;
      if (first === undefined) break;
      if (!(await this.#store.putMinute(first.atMs, first.stats))) return;
      // It may have been pushed out meanwhile.
      if (this.#minutes[0] === first) this.#minutes.shift();
    }
    await this.#store.tidy();
  }
}

function pastOf(link: Link): LinkPast {
  const { state, since, reason, url } = link.status();
  return { state, since, reason, url, learned: link.learned };
}

/** Adds the time since it was last counted to the state the link is in. */
function count(entry: Entry, now: number): void {
  const { state } = entry;
  if (isCounted(state)) entry.stats.stateMs[state] += now - entry.countedTo;
  entry.countedTo = now;
}

function isCounted(state: LinkState): state is CountedState {
  return (COUNTED_STATES as readonly LinkState[]).includes(state);
}

function gapText({ atMs, stopped }: LastSign, nowMs: number): string {
  const last = new Date(atMs).toISOString();
  const how = stopped ? 'the daemon was stopped then' : 'the daemon ended then without a word';
  if (atMs <= nowMs) return `nothing was observed since ${last}: ${how}`;
  return `nothing was observed: ${how} at ${last}, which this machine's clock has yet to reach`;
}
