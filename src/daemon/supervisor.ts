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
import { type OldFlows, Relay, type RelayCounts } from '../relay/relay.ts';
import { parseAddress } from './address.ts';
import { graceMs, pathTargets } from './config.ts';
import type { Config, ResponderEntry } from './config-schema.ts';
import type { EventLog } from './event-log.ts';
import { groupConfig, linksOf } from './group-config.ts';
import { GroupRunner, type GroupStatus, goOn, type PathInUseBefore } from './group-runner.ts';
import { Protector } from './protector.ts';
import type { PathInUse, RouteStatus } from './route-runner.ts';
import { Routes } from './routes.ts';

/** A relay as shown to people and programs. */
export interface RelayStatus extends RelayCounts {
  readonly name: string;
  readonly listen: string;
  readonly group: string;
  readonly oldFlows: OldFlows;
  /** The process that carries its connections. */
  readonly pid: number;
}

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
  readonly #relays = new Map<string, Relay>();
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

  constructor(log: EventLog, memory?: Memory) {
    this.#log = log;
    this.#memory = memory;
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
    for (const name of changed(now.relays, next.relays)) this.#stop(this.#relays, name);
    const responders = byListen(next);
    for (const listen of changed(byListen(now), responders)) this.#stop(this.#responders, listen);
    for (const listen of Object.keys(responders)) {
      if (!this.#responders.has(listen)) await tried(() => this.#startResponder(listen, next));
    }
    this.#targets = new Map(
      Object.keys(next.groups).map((name) => [name, pathTargets(next, name)]),
    );
    failures.push(...this.#applyLinks(now, next), ...this.#routes.apply(next));
    for (const name of Object.keys(next.relays)) {
      if (!this.#relays.has(name)) await tried(() => this.#startRelay(name));
    }
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

  groupStatuses(): GroupStatus[] {
    return [...this.#groups.values()].map((group) => group.status());
  }

  /** Each group's path in use. */
  *pathsInUse(): Generator<readonly [group: string, inUse: PathInUseBefore]> {
    for (const [name, group] of this.#groups) yield [name, group.inUse()];
  }

  relayStatuses(): RelayStatus[] {
    return [...this.#relays].map(([name, relay]) => {
      const {
        listen,
        group,
        oldFlows = 'keep',
      } = this.#config.relays[name] ?? {
        listen: '',
        group: '',
      };
      return { name, listen, group, oldFlows, pid: process.pid, ...relay.counts() };
    });
  }

  routeStatuses(): RouteStatus[] {
    return this.#routes.statuses();
  }

  #stop<Running extends { close(): void }>(running: Map<string, Running>, name: string): void {
    running.get(name)?.close();
    running.delete(name);
  }

  /** Links and groups change in one turn, so that relays always find a path to take. */
  #applyLinks(now: Config, next: Config): Error[] {
    const failures: Error[] = [];
    const inUse = new Map(this.pathsInUse());
    for (const name of this.#staleGroups(now, next)) this.#stop(this.#groups, name);
    const drained = this.links().filter(({ state }) => state === 'drained');
    const stayOut = new Set(drained.map(({ name }) => name));
    for (const name of changed(now.links, next.links)) this.#stop(this.#links, name);
    for (const name of Object.keys(next.links)) {
      if (this.#links.has(name)) continue;
      try {
        this.#startLink(name, next, stayOut.has(name));
      } catch (error) {
        failures.push(error as Error);
      }
    }
    for (const name of Object.keys(next.groups)) {
      if (this.#groups.has(name)) continue;
      this.#startGroup(name, next, inUse.get(name) ?? this.#inUseBefore(name, next));
    }
    return failures;
  }

  /** A group lives on over a reload only if neither it nor any of its links changed. */
  #staleGroups(now: Config, next: Config): string[] {
    const links = new Set(changed(now.links, next.links));
    const stale = new Set(changed(now.groups, next.groups));
    for (const [name, { paths }] of Object.entries(now.groups)) {
      if (paths.some((path) => linksOf(path).some((link) => links.has(link)))) stale.add(name);
    }
    return [...stale];
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
    link.on('state', (event) => this.#log.append(event));
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
      joined: (path) => this.#relaysOf(name, (relay) => relay.enter(path)),
      left: (path) => this.#relaysOf(name, (relay) => relay.leave(path)),
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
    this.#relaysOf(name, (relay) => {
      relay.enter(to);
      relay.leave(from);
    });
  }

  #relaysOf(name: string, act: (relay: Relay) => void): void {
    for (const [relay, { group }] of Object.entries(this.#config.relays)) {
      const running = this.#relays.get(relay);
      if (group === name && running !== undefined) act(running);
    }
  }

  /** How many flows are still on a path that was left, having dealt with them once more. */
  #oldFlows(name: string, path: string): number {
    let flows = 0;
    this.#relaysOf(name, (relay) => {
      const here = relay.counts().flows[path] ?? 0;
      if (here > 0) relay.leave(path);
      flows += here;
    });
    return flows;
  }

  #pathInUse(group: string): PathInUse | undefined {
    const status = this.#groups.get(group)?.status();
    if (status === undefined) return undefined;
    const { active, why, paths } = status;
    const up = paths.some((path) => path.link === active && path.state === 'up');
    return { path: active, up, why };
  }

  async #startRelay(name: string): Promise<void> {
    const entry = this.#config.relays[name];
    if (entry === undefined) return;
    const { host, port } = parseAddress(entry.listen, `relays.${name}.listen`);
    const relay = new Relay({
      host,
      port,
      oldFlows: entry.oldFlows ?? 'keep',
      graceMs: graceMs(entry.grace, `relays.${name}`),
      mptcp: entry.mptcp ?? false,
      pick: () => {
        const path = this.#groups.get(entry.group)?.nextPath() ?? '';
        const target = this.#targets.get(entry.group)?.get(path);
        return target === undefined ? undefined : { path, ...target };
      },
    });
    relay.on('error', (error) => this.#note(`relay ${name}: ${error.message}`));
    await relay.start();
    this.#relays.set(name, relay);
  }

  #noteOf(group: string, text: string): void {
    this.#log.append({ at: new Date().toISOString(), group, type: 'note', text });
  }

  #note(text: string): void {
    this.#log.append({ at: new Date().toISOString(), type: 'note', text });
  }
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
