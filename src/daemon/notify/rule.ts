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
const NEVER: Memory = { told: { troubles: {} }, agoMs: 0 };

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

export class Rule {
  readonly #config: RuleConfig;
  readonly #entries = new Map<Thing, Entry>();
  readonly #waiting = new Deadlines<Entry>();
  readonly #batch = new Set<Entry>();
  /** What was told and is covered no more. */
  readonly #gone = new Map<string, Told>();
  /** How many things each incident still holds. */
  readonly #incidents = new Map<string, number>();
  #flushAt: Instant | undefined;
  #wasQuiet = false;
  #observedSince: Instant;

  constructor(config: RuleConfig, things: Iterable<Thing>, now: Instant) {
    this.#config = config;
    this.#observedSince = now;
    const unknown = new Map(config.memory);
    for (const thing of things) {
      if (!config.covers(thing)) continue;
      const { told, agoMs } = unknown.get(thing.key) ?? NEVER;
      unknown.delete(thing.key);
      const path = told.path ?? thing.active;
      const entry = {
        thing,
        told: thing.of === 'link' ? told : { ...told, path },
        toldAt: now - agoMs,
        deadline: 0,
        slot: -1,
      };
      this.#entries.set(thing, entry);
      this.#count(told.incident, 1);
      this.#arm(entry, now);
    }
    for (const [key, { told }] of unknown) {
      this.#gone.set(key, told);
      this.#count(told.incident, 1);
    }
    if (this.#gone.size > 0) this.#flushAt = now + config.groupWaitMs;
  }

  /** When to call `handleTimeout` next. */
  get deadline(): Instant | undefined {
    return earliest(this.#flushAt, this.#waiting.first()?.deadline);
  }

  /** Input: this thing, or what it lies behind, is not what it was. */
  handleChange(thing: Thing, now: Instant): void {
    const entry = this.#entries.get(thing);
    if (entry !== undefined) this.#arm(entry, now);
  }

  /** Input: nobody observed until now. */
  handleGap(now: Instant): void {
    this.#observedSince = now;
  }

  /** Input: the clock reached `now`. Output: what is to be told. */
  handleTimeout(now: Instant): RuleOutput[] {
    for (;;) {
      const entry = this.#waiting.first();
      if (entry === undefined || entry.deadline > now) break;
      this.#waiting.remove(entry);
      this.#arm(entry, now);
    }
    if (this.#flushAt === undefined || now < this.#flushAt) return [];
    const quiet = this.#config.quietUntil(now);
    if (quiet !== undefined) {
      this.#wasQuiet = true;
      this.#flushAt = quiet;
      return [];
    }
    this.#flushAt = undefined;
    const outputs = this.#flush(now);
    this.#wasQuiet = false;
    return outputs;
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
      this.#entries.has(uplink) &&
      (uplink.state === 'down' || (uplink.state === 'suspect' && thing.state === 'down'));
    if (thing.of === 'link') return [...thing.behind].some(explains) && !isLoop(thing);
    return thing.state === 'down' && thing.paths.every(({ behind }) => explains(behind));
  }

  #flush(now: Instant): RuleOutput[] {
    const due = [...this.#batch];
    this.#batch.clear();
    const facts: { notice: Notice | undefined; key: string; told: Told | undefined }[] = [];
    const closed: string[] = [];
    const close = (incident: string | undefined) => {
      if (this.#count(incident, -1) === 0 && incident !== undefined) closed.push(incident);
    };
    let incident: string | undefined;
    for (const entry of due) {
      for (const want of this.#wants(entry, now)) {
        if (want.at > now) continue;
        const { thing } = entry;
        incident ??= `${this.#config.name}/${thing.key}@${thing.news.at}`.slice(0, 255);
        const before = entry.told;
        const notice = this.#tell(entry, want, incident, now);
        if (before.incident === undefined) this.#count(entry.told.incident, 1);
        if (want.kind === 'back') close(before.incident);
        const isTold = want.kind !== 'back' || this.#config.on.has('back');
        facts.push({ notice: isTold ? notice : undefined, key: thing.key, told: entry.told });
      }
      this.#arm(entry, now);
    }
    for (const [key, told] of this.#gone) {
      close(told.incident);
      facts.push({ notice: this.#farewell(key, told), key, told: undefined });
    }
    this.#gone.clear();
    const outputs: RuleOutput[] = [];
    for (let from = 0; from < facts.length; from += MOST_NOTICES) {
      const part = facts.slice(from, from + MOST_NOTICES);
      outputs.push({
        rule: this.#config.name,
        notices: part.flatMap(({ notice }) => notice ?? []),
        // What is closed is told when everything else has been.
        closed: from + MOST_NOTICES >= facts.length ? closed : [],
        afterQuiet: this.#wasQuiet,
        memory: part.map(({ key, told }) => [key, isOver(told) ? undefined : told]),
      });
    }
    return outputs;
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
