/**
 * Runs what a configuration describes: links, groups, relays, routes, responders. Applying another
 * configuration touches only what differs, so that everything else is held through a reload.
 * @module
 */
import { isDeepStrictEqual } from 'node:util';
import { readKey } from '../link/beat-auth.ts';
import { BeatResponder } from '../link/beat-responder.ts';
import type { Link } from '../link/link.ts';
import { createLink } from '../link/registry.ts';
import { parseAddress } from './address.ts';
import { pathTargets } from './config.ts';
import type { Config, ResponderEntry } from './config-schema.ts';
import type { EventLog } from './event-log.ts';
import { groupConfig, linksOf } from './group-config.ts';
import { GroupRunner, type GroupStatus, goOn, type PathInUseBefore } from './group-runner.ts';
import { Protector } from './protector.ts';
import { type RelayPath, type RelayStatus, Relays } from './relays.ts';
import type { PathInUse, RouteStatus } from './route-runner.ts';
import { Routes } from './routes.ts';
import { inSlices } from './slices.ts';

/** What is known from before, and who is to watch. */
export interface Memory {
  /** A link is about to start: it may be told how it last stood. */
  follow(link: Link): void;
  /** The path that a group had in use in the daemon before this one. */
  inUse(group: string): PathInUseBefore | undefined;
}

const NOTHING: Config = { links: {}, groups: {}, relays: {}, routes: {}, respond: [], protect: [] };

export class Supervisor {
  readonly #log: EventLog;
  readonly #memory: Memory | undefined;
  readonly #links = new Map<string, Link>();
  readonly #groups = new Map<string, GroupRunner>();
  readonly #relays: Relays;
  readonly #responders = new Map<string, BeatResponder>();
  readonly #protector = new Protector();
  readonly #routes = new Routes({
    inUse: (group) => this.#pathInUse(group),
    note: (group, text) => this.#noteOf(group, text),
  });
  #config: Config = NOTHING;
  #tags: ReadonlyMap<string, readonly string[]> = new Map();
  /** Where each path of each group leads. */
  #targets: ReadonlyMap<string, ReturnType<typeof pathTargets>> = new Map();

  /** Without `relayDirectory` relays go by streams of this process. */
  constructor(log: EventLog, memory?: Memory, relayDirectory?: string) {
    this.#log = log;
    this.#memory = memory;
    this.#relays = new Relays(
      {
        paths: (group) => this.#relayPaths(group),
        refused: (_group, path) => this.#doubt(path),
        note: (text) => this.#note(text),
      },
      relayDirectory,
    );
  }

  /**
   * Makes what runs equal to `config`. Listeners that cannot be opened and rules that cannot be kept are told together, as one
   * `SystemError` at the end; everything else runs then.
   */
  async apply(config: Config): Promise<void> {
    const next = untagged(config);
    this.#tags = new Map(Object.entries(config.links).map(([name, { tags = [] }]) => [name, tags]));
    const now = this.#config;
    this.#config = next;
    const failures: Error[] = [];
    const tried = async (attempt: () => Promise<void>) => {
      await attempt().catch((error: Error) => failures.push(error));
    };
    const responders = byListen(next);
    for (const listen of changed(byListen(now), responders)) this.#stop(this.#responders, listen);
    for (const listen of Object.keys(responders)) {
      if (!this.#responders.has(listen)) await tried(() => this.#startResponder(listen, next));
    }
    this.#targets = new Map(
      Object.keys(next.groups).map((name) => [name, pathTargets(next, name)]),
    );
    failures.push(...(await this.#applyLinks(now, next)), ...this.#routes.apply(next));
    failures.push(...(await this.#relays.apply(next)));
    if (!isDeepStrictEqual(now.protect, next.protect)) {
      const { notes, failures: refused } = this.#protector.apply(next);
      for (const text of notes) this.#note(text);
      failures.push(...refused);
    }
    const [first, ...others] = failures;
    if (first === undefined) return;
    for (const { message } of others) first.message += `; ${message}`;
    throw first;
  }

  /** Ends everything. */
  async close(): Promise<void> {
    await this.apply(NOTHING);
    await this.#relays.close();
  }

  /** Lets go of what is to outlive this program: routes, and relays of a process of their own. */
  async release(): Promise<void> {
    await this.#relays.release();
  }

  link(name: string): Link | undefined {
    return this.#links.get(name);
  }

  links(): Link[] {
    return [...this.#links.values()];
  }

  /** The tags that the configuration gives a link. */
  tagsOf(link: string): readonly string[] {
    return this.#tags.get(link) ?? [];
  }

  groupStatus(name: string): GroupStatus | undefined {
    return this.#groups.get(name)?.status();
  }

  groupStatuses(): GroupStatus[] {
    return [...this.#groups.values()].map((group) => group.status());
  }

  /** Each group's path in use. */
  *pathsInUse(): Generator<readonly [group: string, inUse: PathInUseBefore]> {
    for (const [name, group] of this.#groups) yield [name, group.inUse()];
  }

  relayStatuses(): RelayStatus[] {
    return this.#relays.statuses();
  }

  routeStatuses(): RouteStatus[] {
    return this.#routes.statuses();
  }

  #stop<Running extends { close(): void }>(running: Map<string, Running>, name: string): void {
    running.get(name)?.close();
    running.delete(name);
  }

  /**
   * Groups that were there change in one turn with their links, so that relays always find a path to
   * take. All else comes and goes in slices: links before anything that refers to them, groups after.
   */
  async #applyLinks(now: Config, next: Config): Promise<Error[]> {
    const failures: Error[] = [];
    const startLink = (name: string, drained = false) => {
      try {
        this.#startLink(name, next, drained);
      } catch (error) {
        failures.push(error as Error);
      }
    };
    const startGroup = (name: string, before = this.#inUseBefore(name, next)) =>
      this.#startGroup(name, next, before);
    const stale = changed(now.links, next.links);
    const running = stale.filter((name) => this.#links.has(name));
    const added = Object.keys(next.links).filter((name) => !this.#links.has(name));
    const change = (name: string) => {
      const drained = this.#links.get(name)?.state === 'drained';
      this.#stop(this.#links, name);
      if (Object.hasOwn(next.links, name)) startLink(name, drained);
    };
    const grouped = new Set(
      Object.values(now.groups).flatMap(({ paths }) => paths.flatMap(linksOf)),
    );
    await inSlices(added, (name) => startLink(name));
    await inSlices(
      running.filter((name) => !grouped.has(name)),
      change,
    );

    const inUse = new Map(this.pathsInUse());
    const groups = staleGroups(now, next, new Set(stale));
    for (const name of groups) this.#stop(this.#groups, name);
    for (const name of running) if (grouped.has(name)) change(name);
    for (const name of groups) {
      if (Object.hasOwn(next.groups, name)) startGroup(name, inUse.get(name));
    }

    const fresh = Object.keys(next.groups).filter((name) => !this.#groups.has(name));
    await inSlices(fresh, (name) => startGroup(name));
    return failures;
  }

  /** Where traffic goes by the kernel's routes counts before what a daemon before this one knew. */
  #inUseBefore(name: string, config: Config): PathInUseBefore | undefined {
    const known = this.#memory?.inUse(name);
    const active = this.#routes.inUse(config, name);
    if (active === undefined || active === known?.active) return known;
    return { active, since: new Date().toISOString(), why: 'start' };
  }

  async #startResponder(listen: string, config: Config): Promise<void> {
    const index = config.respond.findIndex((entry) => entry.listen === listen);
    const { host, port } = parseAddress(listen, `respond.${index}.listen`);
    const responder = new BeatResponder(
      host,
      port,
      readKey(config.respond[index] ?? {}, `respond.${index}`),
    );
    responder.on('error', (error) => this.#note(`responder ${listen}: ${error.message}`));
    await responder.start();
    this.#responders.set(listen, responder);
  }

  /** A link that a person took out stays out when it is made anew. */
  #startLink(name: string, config: Config, drained: boolean): void {
    const { url = '', tags: _, ...timing } = config.links[name] ?? {};
    const link = createLink(url, timing, `links.${name}`, name);
    link.on('state', (event) => {
      this.#log.append(event);
      this.#relays.refreshSoon();
    });
    link.on('note', (event) => this.#log.append(event));
    this.#memory?.follow(link);
    if (drained) link.drain();
    link.start();
    this.#links.set(name, link);
  }

  /** A group made anew stays on the path it had in use, if that is still one of its paths. */
  #startGroup(name: string, config: Config, before: PathInUseBefore | undefined): void {
    const paths = config.groups[name]?.paths ?? [];
    const names = new Set(paths.flatMap(linksOf));
    const links = [...names].flatMap((link) => this.#links.get(link) ?? []);
    const kept = before === undefined ? {} : goOn(before);
    const runner = new GroupRunner(name, { ...groupConfig(config, name), ...kept }, links, {
      note: (text) => this.#noteOf(name, text),
      switched: (from, to, why) => this.#moveFlows(name, from, to, why),
      joined: (path) => {
        this.#relays.refresh();
        this.#relays.enter(name, path);
      },
      left: (path) => {
        this.#relays.refresh();
        this.#relays.leave(name, path);
      },
      flowsOn: (path) => this.#oldFlows(name, path),
    });
    this.#groups.set(name, runner);
    if (before !== undefined && before.active !== runner.active) {
      const why = `${before.active} is no path of the group any more`;
      this.#moveFlows(name, before.active, runner.active, why);
    }
    runner.start();
  }

  /** New flows go to `to` by now; only then the old ones are dealt with. */
  #moveFlows(name: string, from: string, to: string, why: string): void {
    this.#log.append({ at: new Date().toISOString(), group: name, type: 'switch', from, to, why });
    this.#routes.moved(name, to, why);
    this.#relays.refresh();
    this.#relays.enter(name, to);
    this.#relays.leave(name, from);
  }

  /** How many flows are still on a path that was left, having dealt with them once more. */
  #oldFlows(name: string, path: string): number {
    const flows = this.#relays.flowsOn(name, path);
    if (flows > 0) this.#relays.leave(name, path);
    return flows;
  }

  /** Those that carry come first, by their shares; then those that would do, by rank. */
  #relayPaths(name: string): RelayPath[] {
    const rows = this.groupStatus(name)?.paths ?? [];
    const targets = this.#targets.get(name);
    return rows
      .filter(({ share, state, drained }) => share > 0 || (state === 'up' && !drained))
      .toSorted((a, b) => b.share - a.share || a.tier - b.tier || b.weight - a.weight)
      .flatMap(({ link: path, share }) => {
        const target = targets?.get(path);
        return target === undefined ? [] : [{ path, share, ...target }];
      });
  }

  /** A path did not take a flow: its link is asked at once. */
  #doubt(path: string): void {
    const link = this.#links.get(path);
    if (link?.state === 'up') link.probe();
  }

  #pathInUse(group: string): PathInUse | undefined {
    const status = this.groupStatus(group);
    if (status === undefined) return undefined;
    const { active, why, paths } = status;
    const up = paths.some((path) => path.link === active && path.state === 'up');
    return { path: active, up, why };
  }

  #noteOf(group: string, text: string): void {
    this.#log.append({ at: new Date().toISOString(), group, type: 'note', text });
  }

  #note(text: string): void {
    this.#log.append({ at: new Date().toISOString(), type: 'note', text });
  }
}

/** A group lives on over a reload only if neither it nor any of its links changed. */
function staleGroups(now: Config, next: Config, links: ReadonlySet<string>): Iterable<string> {
  const stale = new Set(changed(now.groups, next.groups));
  for (const [name, { paths }] of Object.entries(now.groups)) {
    if (paths.some((path) => linksOf(path).some((link) => links.has(link)))) stale.add(name);
  }
  return stale;
}

/** Tags change nothing of what runs. */
function untagged(config: Config): Config {
  const links = Object.entries(config.links).map(([name, { tags: _, ...link }]) => [name, link]);
  return { ...config, links: Object.fromEntries(links) };
}

/** Names whose entry is gone or another one. */
function changed<Entry>(
  now: Readonly<Record<string, Entry>>,
  next: Readonly<Record<string, Entry>>,
): string[] {
  return Object.keys(now).filter((name) => !isDeepStrictEqual(now[name], next[name]));
}

function byListen(config: Config): Record<string, ResponderEntry> {
  return Object.fromEntries(config.respond.map((entry) => [entry.listen, entry]));
}
