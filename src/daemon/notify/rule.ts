/**
 * The machine of one rule: what of the picture is told, and when. The theory:
 *
 *     trouble for `after` ─▶ due ─┐
 *     up for `recoverAfter`, calm ┼─▶ batch ── `groupWait` ──▶ quiet? ──no──▶ message
 *     group on another path ──────┘               ▲              │
 *                                                 └─ next minute ┘
 *
 * What is due is looked at again when the message is made, so that only what is still so is told,
 * and the end of a quiet time needs no memory of it. A trouble is told once until `back` is; what a
 * dead uplink explains is a line of the uplink's. An observer that was late starts its waits again.
 * @module
 */
import { Deadlines, type Waiter } from '../../time/deadlines.ts';
import { earliest, type Instant } from '../../time/instant.ts';
import type { Behind, Notice, ToldTroubles, Trouble } from './message.ts';
import type { Tellable } from './notify-schema.ts';
import { allBelow, type Thing } from './picture.ts';

/** What was told of a thing and is not over. */
export interface Told {
  readonly troubles: ToldTroubles;
  readonly incident?: string | undefined;
  /** Of a group: the path that was last told. */
  readonly path?: string | undefined;
}

/** What is remembered from before. */
export interface Memory {
  readonly told: Told;
  /** How long ago it was told. */
  readonly agoMs: number;
}

export interface RuleConfig {
  readonly name: string;
  covers(thing: Thing): boolean;
  readonly on: ReadonlySet<Tellable>;
  readonly afterMs: number;
  readonly recoverAfterMs: number;
  readonly groupWaitMs: number;
  readonly remindEveryMs: number | undefined;
  /** When to ask again, if it is quiet now. */
  quietUntil(now: Instant): Instant | undefined;
  readonly memory: ReadonlyMap<string, Memory>;
}

/** A message to be delivered; `memory` is to be kept with it, in one step. */
export interface RuleOutput {
  readonly rule: string;
  /** None: there is only something to remember. */
  readonly notices: readonly Notice[];
  readonly closed: readonly string[];
  readonly afterQuiet: boolean;
  readonly memory: readonly (readonly [key: string, told: Told | undefined])[];
}

/** So many facts a message at most; what is more goes by the next. */
const MOST_NOTICES = 500;
const MOST_NAMES = 100;
/** Things looked at before others have their turn: some milliseconds. */
const AT_ONCE = 500;
const NOTHING: Told = { troubles: {} };

interface Entry extends Waiter {
  readonly thing: Thing;
  told: Told;
  toldAt: Instant;
}

interface Want {
  readonly kind: Trouble | 'switch' | 'back';
  readonly at: Instant;
  readonly reminder?: true;
}

interface Fact {
  readonly notice: Notice | undefined;
  readonly key: string;
  readonly told: Told | undefined;
}

/** A message in the making, a part at a time. */
interface Telling {
  readonly due: readonly Entry[];
  /** How many of them have been looked at. */
  seen: number;
  /** What goes by the next parts. */
  readonly facts: Fact[];
  incident: string | undefined;
  /** Told when everything else has been. */
  readonly closed: string[];
}

export class Rule {
  readonly #config: RuleConfig;
  /** Every group, and the links of which something was or is to be told: healthy ones cost nothing. */
  readonly #entries = new Map<Thing, Entry>();
  readonly #waiting = new Deadlines<Entry>();
  readonly #batch = new Set<Entry>();
  /** What was told and is covered no more. */
  readonly #gone = new Map<string, Told>();
  /** How many things each incident still holds. */
  readonly #incidents = new Map<string, number>();
  #flushAt: Instant | undefined;
  #telling: Telling | undefined;
  #wasQuiet = false;
  #observedSince: Instant;

  constructor(config: RuleConfig, things: ReadonlyMap<string, Thing>, now: Instant) {
    this.#config = config;
    this.#observedSince = now;
    for (const [key, { told, agoMs }] of config.memory) {
      const thing = things.get(key);
      this.#count(told.incident, 1);
      if (thing === undefined || !config.covers(thing)) this.#gone.set(key, told);
      else this.#enter(thing, told, now - agoMs);
    }
    if (this.#gone.size > 0) this.#flushAt = now + config.groupWaitMs;
    for (const thing of things.values()) this.handleChange(thing, now);
  }

  /** When to call `handleTimeout` next; it may have passed, where there was too much for one call. */
  get deadline(): Instant | undefined {
    if (this.#telling !== undefined) return Number.NEGATIVE_INFINITY;
    return earliest(this.#flushAt, this.#waiting.first()?.deadline);
  }

  /** Input: this thing, or what it lies behind, is not what it was. */
  handleChange(thing: Thing, now: Instant): void {
    let entry = this.#entries.get(thing);
    if (entry === undefined) {
      if (isWell(thing, now) || !this.#config.covers(thing)) return;
      entry = this.#enter(thing, NOTHING, now);
    }
    this.#arm(entry, now);
  }

  /** Input: nobody observed until now. */
  handleGap(now: Instant): void {
    this.#observedSince = now;
  }

  /** Input: the clock reached `now`. Output: a part of what is to be told. */
  handleTimeout(now: Instant): RuleOutput | undefined {
    for (let looked = 0; looked < AT_ONCE; looked += 1) {
      const entry = this.#waiting.first();
      if (entry === undefined || entry.deadline > now) break;
      this.#waiting.remove(entry);
      this.#arm(entry, now);
    }
    if (this.#telling === undefined) this.#begin(now);
    return this.#telling === undefined ? undefined : this.#tellPart(this.#telling, now);
  }

  /** Begins a message, if its time has come and it is not quiet. */
  #begin(now: Instant): void {
    if (this.#flushAt === undefined || now < this.#flushAt) return;
    this.#flushAt = this.#config.quietUntil(now);
    if (this.#flushAt !== undefined) {
      this.#wasQuiet = true;
      return;
    }
    const due = [...this.#batch];
    this.#batch.clear();
    this.#telling = { due, seen: 0, facts: [], incident: undefined, closed: [] };
  }

  #enter(thing: Thing, told: Told, toldAt: Instant): Entry {
    const path = told.path ?? thing.active;
    const all = thing.of === 'link' ? told : { ...told, path };
    const entry = { thing, told: all, toldAt, deadline: 0, slot: -1 };
    this.#entries.set(thing, entry);
    return entry;
  }

  /** Lets an entry wait for what it wants first, or puts it in the batch if that is due. */
  #arm(entry: Entry, now: Instant): void {
    const first = Math.min(...this.#wants(entry, now).map(({ at }) => at));
    if (first > now) {
      if (first === Number.POSITIVE_INFINITY) this.#waiting.remove(entry);
      else this.#waiting.put(entry, first);
      return;
    }
    this.#waiting.remove(entry);
    this.#batch.add(entry);
    this.#flushAt ??= now + this.#config.groupWaitMs;
  }

  #wants({ thing, told, toldAt }: Entry, now: Instant): Want[] {
    const { on, afterMs, recoverAfterMs, remindEveryMs } = this.#config;
    const wants: Want[] = [];
    if (thing.of === 'group' && on.has('switch') && thing.active !== told.path) {
      wants.push({ kind: 'switch', at: thing.switchedAt });
    }
    const { state } = thing;
    if (state === 'drained' || state === 'unknown') return wants;
    const watched = Math.max(thing.since, this.#observedSince);
    const calmAt = thing.damping.flappingUntil(now);
    if (state === 'up' && Object.keys(told.troubles).length > 0) {
      wants.push({ kind: 'back', at: Math.max(watched + recoverAfterMs, calmAt ?? 0) });
    }
    if (this.#isExplained(thing)) return wants;
    const news = (kind: Trouble) => on.has(kind) && told.troubles[kind] === undefined;
    if (state === 'down') {
      const at = Math.max(watched, thing.excusedUntil) + afterMs;
      if (news('down')) wants.push({ kind: 'down', at });
      else if (told.troubles.down !== undefined && remindEveryMs !== undefined) {
        wants.push({ kind: 'down', at: Math.max(at, toldAt + remindEveryMs), reminder: true });
      }
    }
    if (state === 'suspect' && news('suspect')) {
      wants.push({ kind: 'suspect', at: watched + afterMs });
    }
    if (calmAt !== undefined && news('flapping')) wants.push({ kind: 'flapping', at: now });
    return wants;
  }

  /**
   * Whether an uplink of it is down and told by this rule, or may be so in a moment: a link may be
   * found dead before its uplink is.
   */
  #isExplained(thing: Thing): boolean {
    const explains = (uplink: Thing | undefined) =>
      uplink !== undefined &&
      uplink !== thing &&
      this.#config.on.has('down') &&
      (uplink.state === 'down' || (uplink.state === 'suspect' && thing.state === 'down')) &&
      this.#config.covers(uplink);
    if (thing.of === 'link') return [...thing.behind].some(explains) && !isLoop(thing);
    return thing.state === 'down' && thing.paths.every(({ behind }) => explains(behind));
  }

  /** The next part, or `undefined` where nothing of what was looked at is so any more. */
  #tellPart(telling: Telling, now: Instant): RuleOutput | undefined {
    const { due, facts, closed } = telling;
    if (facts.length < MOST_NOTICES) {
      for (const entry of due.slice(telling.seen, telling.seen + AT_ONCE)) {
        this.#tellOf(entry, telling, now);
        this.#arm(entry, now);
      }
      telling.seen += AT_ONCE;
    }
    if (telling.seen >= due.length) this.#tellGone(telling);
    const part = facts.splice(0, MOST_NOTICES);
    const isLast = telling.seen >= due.length && facts.length === 0;
    const afterQuiet = this.#wasQuiet;
    if (isLast) {
      this.#telling = undefined;
      this.#wasQuiet = false;
    }
    if (part.length === 0 && closed.length === 0) return undefined;
    return {
      rule: this.#config.name,
      notices: part.flatMap(({ notice }) => notice ?? []),
      closed: isLast ? closed : [],
      afterQuiet,
      memory: part.map(({ key, told }) => [key, isOver(told) ? undefined : told]),
    };
  }

  #tellOf(entry: Entry, telling: Telling, now: Instant): void {
    const { thing } = entry;
    for (const want of this.#wants(entry, now)) {
      if (want.at > now) continue;
      telling.incident ??= `${this.#config.name}/${thing.key}@${thing.news.at}`.slice(0, 255);
      const before = entry.told;
      const notice = this.#tell(entry, want, telling.incident, now);
      if (before.incident === undefined) this.#count(entry.told.incident, 1);
      if (want.kind === 'back') this.#close(before.incident, telling);
      const isTold = want.kind !== 'back' || this.#config.on.has('back');
      telling.facts.push({ notice: isTold ? notice : undefined, key: thing.key, told: entry.told });
    }
  }

  #tellGone(telling: Telling): void {
    for (const [key, told] of this.#gone) {
      this.#close(told.incident, telling);
      telling.facts.push({ notice: this.#farewell(key, told), key, told: undefined });
    }
    this.#gone.clear();
  }

  #close(incident: string | undefined, { closed }: Telling): void {
    if (this.#count(incident, -1) === 0 && incident !== undefined) closed.push(incident);
  }

  /** The notice, and what is to be remembered of it. */
  #tell(entry: Entry, { kind, reminder }: Want, incident: string, now: Instant): Notice {
    const { thing, told } = entry;
    const { of, name, news } = thing;
    const subject = { of, name };
    entry.toldAt = now;
    if (kind === 'switch') {
      const { path = '', ...rest } = told;
      entry.told = { ...rest, path: thing.active };
      const since = thing.switchedIso;
      return { kind, ...subject, since, from: path, to: thing.active, why: thing.why };
    }
    if (kind === 'back') {
      entry.told = { troubles: {}, path: told.path };
      const ended = { ended: told.troubles, ...incidentOf(told) };
      return { kind, ...subject, since: news.at, ...ended };
    }
    const since = told.troubles[kind] ?? news.at;
    const troubles = { ...told.troubles, [kind]: since };
    entry.told = { ...told, troubles, incident: told.incident ?? incident };
    const { reason, evidence } = news;
    const behind = kind === 'down' && of === 'link' ? behindOf(thing) : undefined;
    return {
      kind,
      ...subject,
      since,
      ...(kind === 'flapping' ? {} : { reason, evidence }),
      ...(reminder === undefined ? {} : { reminder }),
      ...(behind === undefined ? {} : { behind }),
      ...incidentOf(entry.told),
    };
  }

  #farewell(key: string, told: Told): Notice | undefined {
    const since = Object.values(told.troubles)[0];
    if (since === undefined || !this.#config.on.has('back')) return undefined;
    const of = key.startsWith('group:') ? 'group' : 'link';
    const name = key.slice(of.length + 1);
    return { kind: 'gone', of, name, since, ended: told.troubles, ...incidentOf(told) };
  }

  #count(incident: string | undefined, step: number): number {
    if (incident === undefined) return 0;
    const count = (this.#incidents.get(incident) ?? 0) + step;
    if (count > 0) this.#incidents.set(incident, count);
    else this.#incidents.delete(incident);
    return count;
  }
}

/** A link of which there is nothing to tell, unless something was told of it before. */
function isWell({ of, state, damping }: Thing, now: Instant): boolean {
  if (of === 'group' || state === 'down' || state === 'suspect') return false;
  return damping.flappingUntil(now) === undefined;
}

function isOver(told: Told | undefined): boolean {
  return told?.path === undefined && Object.keys(told?.troubles ?? {}).length === 0;
}

function incidentOf({ incident }: Told): { incident?: string } {
  return incident === undefined ? {} : { incident };
}

/** Two links that are said to lie behind each other explain nothing. */
function isLoop(thing: Thing): boolean {
  return [...thing.behind].some((uplink) => allBelow(thing).has(uplink));
}

function behindOf(thing: Thing): Behind | undefined {
  const down = [...allBelow(thing)].filter(({ state }) => state === 'down');
  if (down.length === 0) return undefined;
  const names = down.slice(0, MOST_NAMES).map(({ name }) => name);
  return { count: down.length, names };
}
