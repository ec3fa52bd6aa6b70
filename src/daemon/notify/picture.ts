/**
 * How all links and groups stand, and what lies behind what: the part of the notifications' machine
 * that all rules share. It decides nothing.
 * @module
 */
import type { Evidence, LinkState } from '../../keepalive/keepalive.ts';
import { Damping } from '../../path/damping.ts';
import type { Instant } from '../../time/instant.ts';

/** What is told of a link. */
export interface LinkNews {
  readonly state: LinkState;
  /** Since when, ISO 8601. */
  readonly at: string;
  readonly reason: string;
  readonly evidence: Evidence;
}

export interface LinkConfig {
  readonly name: string;
  readonly tags: readonly string[];
}

export interface GroupConfig {
  readonly name: string;
  /** The path in use. */
  readonly active: string;
  /** Why it is, and since when, ISO 8601. */
  readonly why: string;
  readonly since: string;
  readonly paths: readonly {
    readonly links: readonly string[];
    readonly atLeast: number;
    readonly behind?: string | undefined;
  }[];
}

interface Path {
  readonly links: readonly Thing[];
  readonly atLeast: number;
  readonly behind: Thing | undefined;
}

/** Of the many links without groups and uplinks. */
const NONE: ReadonlySet<Thing> = new Set();
const UNKNOWN: LinkNews = { state: 'unknown', at: '', reason: 'not-observed', evidence: {} };

/** A link or a group, as it stands. */
export class Thing {
  readonly of: 'link' | 'group';
  readonly name: string;
  readonly tags: readonly string[];
  /** Its falls; those that a dead uplink explains are not its own. */
  readonly damping: Damping = new Damping(1);
  /** Uplinks of a link. */
  behind: ReadonlySet<Thing> = NONE;
  /** What lies behind it. */
  below: ReadonlySet<Thing> = NONE;
  /** Groups with paths of this link. */
  groups: ReadonlySet<Thing> = NONE;
  paths: readonly Path[] = [];
  state: LinkState = 'unknown';
  since: Instant;
  news: LinkNews = UNKNOWN;
  /** When its uplink was last down. */
  excusedUntil: Instant = Number.NEGATIVE_INFINITY;
  active = '';
  switchedAt: Instant;
  switchedIso = '';
  why = '';

  constructor(of: 'link' | 'group', name: string, tags: readonly string[], now: Instant) {
    this.of = of;
    this.name = name;
    this.tags = tags;
    this.since = now;
    this.switchedAt = now;
  }

  /** Its name among links and groups. */
  get key(): string {
    return `${this.of}:${this.name}`;
  }

  /** Takes note; true if its state is another one now. */
  enter(news: LinkNews, now: Instant): boolean {
    const from = this.state;
    if (news.state === from) return false;
    this.state = news.state;
    this.since = now;
    this.news = news;
    if (news.state === 'down' && (from === 'up' || from === 'suspect')) {
      this.damping.handleFlap(now);
      if ([...this.behind].some(({ state }) => state === 'down')) this.damping.handleExcuse();
    }
    return true;
  }
}

export class Picture {
  readonly things: ReadonlyMap<string, Thing>;

  constructor(links: readonly LinkConfig[], groups: readonly GroupConfig[], now: Instant) {
    const things = new Map<string, Thing>();
    const add = (thing: Thing) => {
      things.set(thing.key, thing);
      return thing;
    };
    for (const { name, tags } of links) add(new Thing('link', name, tags, now));
    for (const { name, active, why, since, paths } of groups) {
      const group = add(new Thing('group', name, [], now));
      group.active = active;
      group.why = why;
      group.switchedIso = since;
      group.paths = paths.map(({ links: names, atLeast, behind }) => ({
        links: names.flatMap((link) => things.get(`link:${link}`) ?? []),
        atLeast,
        behind: things.get(`link:${behind}`),
      }));
      relate(group);
    }
    this.things = things;
  }

  /** Everything for which the news of a link may matter, the link first. */
  handleLink(name: string, news: LinkNews, now: Instant): Iterable<Thing> {
    const link = this.things.get(`link:${name}`);
    if (link === undefined) return [];
    const wasDown = link.state === 'down';
    if (!link.enter(news, now)) return [];
    const affected = new Set([link]);
    for (const group of link.groups) {
      if (group.enter({ ...news, state: stateOf(group), reason: 'no path is up' }, now)) {
        affected.add(group);
      }
    }
    for (const below of allBelow(link)) {
      affected.add(below);
      if (wasDown) below.excusedUntil = now;
      else if (news.state === 'down' && below.state === 'down') below.damping.handleExcuse();
    }
    return affected;
  }

  /** A group uses another path. */
  handleSwitch(name: string, to: string, why: string, at: string, now: Instant): Thing | undefined {
    const group = this.things.get(`group:${name}`);
    if (group === undefined || group.active === to) return undefined;
    group.active = to;
    group.why = why;
    group.switchedAt = now;
    group.switchedIso = at;
    return group;
  }
}

function including(set: ReadonlySet<Thing>, thing: Thing): ReadonlySet<Thing> {
  return set === NONE ? new Set([thing]) : (set as Set<Thing>).add(thing);
}

/** Tells links of their groups, and of what they lie behind. */
function relate(group: Thing): void {
  for (const { links, behind } of group.paths) {
    for (const link of links) {
      link.groups = including(link.groups, group);
      if (behind === undefined || behind === link) continue;
      link.behind = including(link.behind, behind);
      behind.below = including(behind.below, link);
    }
  }
  for (const { behind } of group.paths) {
    if (behind !== undefined) behind.below = including(behind.below, group);
  }
}

/** Everything that lies behind a link, at any distance. */
export function allBelow(thing: Thing): Set<Thing> {
  const found = new Set<Thing>();
  // What is added while a set is walked is walked too.
  for (const below of thing.below) found.add(below);
  for (const one of found) for (const below of one.below) found.add(below);
  found.delete(thing);
  return found;
}

/** A group is up while one of its paths is, and down when none can be. */
function stateOf(group: Thing): LinkState {
  const alive = (path: Path) =>
    path.links.filter(({ state }) => state === 'up' || state === 'suspect').length >= path.atLeast;
  const dead = (path: Path) =>
    path.links.filter(({ state }) => state !== 'down').length < path.atLeast;
  if (group.paths.some(alive)) return 'up';
  if (group.paths.every(({ links }) => links.every(({ state }) => state === 'drained'))) {
    return 'drained';
  }
  const out = (path: Path) => dead(path) || path.links.some(({ state }) => state === 'drained');
  return group.paths.every(out) && group.paths.some(dead) ? 'down' : 'unknown';
}
