/**
 * The relays of a configuration: tells their engine where new flows go, now and whenever that changes,
 * and deals with the flows of paths that were left. Who chooses the path is asked.
 * @module
 */
import { isDeepStrictEqual } from 'node:util';
import { ProcessEngine } from '../relay/process-engine.ts';
import { type RelayEngine, StreamEngine } from '../relay/relay-engine.ts';
import type { PlannedRelay, PlannedTarget, RelayCounts } from '../relay/relay-plan.ts';
import { ffiMissing } from '../sys/libc.ts';
import { SystemError } from '../sys/system-error.ts';
import type { Config } from './config-schema.ts';
import { type RelayConfig, relayConfigs } from './relay-config.ts';
import type { EngineName } from './relay-schema.ts';
import type { OldFlows } from './schema-parts.ts';
import { TargetAddresses } from './target-addresses.ts';

/** Node turns longer delays into 1 ms. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;
/** Shares of paths that return grow by the second. */
const LOOK_MS = 1_000;

/** A relay as shown to people and programs. */
export interface RelayStatus extends RelayCounts {
  readonly name: string;
  readonly listen: string;
  readonly protocol: 'tcp' | 'udp';
  readonly group: string;
  readonly oldFlows: OldFlows;
  readonly engine: EngineName;
  /** The process that carries its connections. */
  readonly pid: number;
  /** Why it does not listen. */
  readonly failure: string | null;
}

/** A path that may take new flows, best first. */
export interface RelayPath {
  readonly path: string;
  readonly host: string;
  readonly port: number;
  readonly source: string | undefined;
  readonly share: number;
}

/** Whom relays ask and tell. */
export interface RelayHooks {
  /** The paths of a group for new flows, in the order in which they are tried. */
  paths(group: string): readonly RelayPath[];
  /** A path did not take a flow. */
  refused(group: string, path: string): void;
  note(text: string): void;
}

const NO_COUNTS: RelayCounts = {
  flows: {},
  accepted: 0,
  refused: 0,
  bytesUp: 0,
  bytesDown: 0,
};

export class Relays {
  readonly #hooks: RelayHooks;
  /** Where the process that splices keeps its table; without one there is no such process. */
  readonly #directory: string | undefined;
  readonly #engines = new Map<EngineName, RelayEngine>();
  readonly #addresses: TargetAddresses;
  readonly #graces = new Map<string, NodeJS.Timeout>();
  #relays: ReadonlyMap<string, RelayConfig> = new Map();
  #planned: readonly PlannedRelay[] = [];
  #failures: ReadonlyMap<string, Error> = new Map();
  #timer: NodeJS.Timeout | undefined;
  #soon = false;

  constructor(hooks: RelayHooks, directory: string | undefined) {
    this.#hooks = hooks;
    this.#directory = directory;
    this.#addresses = new TargetAddresses(
      () => this.refresh(),
      (text) => hooks.note(text),
    );
  }

  /** Makes the relays those of `config`, whose groups run by now. Answers what failed. */
  async apply(config: Config): Promise<Error[]> {
    this.#relays = relayConfigs(config);
    const relays = [...this.#relays.values()];
    const targets = relays.flatMap(({ group }) => this.#hooks.paths(group));
    await this.#addresses.use([...relays, ...targets].map(({ host }) => host));
    clearInterval(this.#timer);
    if (relays.length > 0) {
      this.#timer = setInterval(() => this.refresh(), LOOK_MS);
      this.#timer.unref();
    }
    this.#planned = relays.map((relay) => this.#plan(relay));
    await this.#push();
    return [...this.#failures.values()];
  }

  /** Where new flows go may have changed: the engines are told, if it has. */
  refresh(): void {
    const next = [...this.#relays.values()].map((relay) => this.#plan(relay));
    if (isDeepStrictEqual(next, this.#planned) && this.#failures.size === 0) return;
    this.#planned = next;
    const before = this.#failures;
    this.#push().then(
      () => this.#tellFailures(before),
      (error: Error) => this.#hooks.note(`relays: ${error.message}`),
    );
  }

  /** As `refresh`, once for all that happens in this turn. */
  refreshSoon(): void {
    if (this.#soon || this.#relays.size === 0) return;
    this.#soon = true;
    setImmediate(() => {
      this.#soon = false;
      this.refresh();
    });
  }

  /** New flows of a group go elsewhere by now: deals with those that `path` still carries. */
  leave(group: string, path: string): void {
    for (const { name, oldFlows, graceMs } of this.#of(group)) {
      const key = `${name} ${path}`;
      if (oldFlows === 'reset') this.#reset(name, path);
      if (oldFlows !== 'drain' || this.#graces.has(key)) continue;
      const end = () => {
        this.#graces.delete(key);
        this.#reset(name, path);
      };
      this.#graces.set(key, setTimeout(end, Math.min(graceMs, LONGEST_DELAY_MS)));
    }
  }

  /** The path carries new flows again: old ones that were to end by themselves may stay. */
  enter(group: string, path: string): void {
    for (const { name } of this.#of(group)) {
      clearTimeout(this.#graces.get(`${name} ${path}`));
      this.#graces.delete(`${name} ${path}`);
    }
  }

  /** How many flows of a group a path carries. */
  flowsOn(group: string, path: string): number {
    const counts = this.#of(group).map(({ name }) => this.#counts(name).flows[path] ?? 0);
    return counts.reduce((sum, count) => sum + count, 0);
  }

  statuses(): RelayStatus[] {
    return [...this.#relays.values()].map((relay) => {
      const { name, listen, protocol, group, oldFlows } = relay;
      const engine = this.#engineOf(relay);
      const pid = this.#engines.get(engine)?.pid ?? 0;
      const failure = this.#failures.get(name)?.message ?? null;
      const counts = this.#counts(name);
      return { name, listen, protocol, group, oldFlows, engine, pid, failure, ...counts };
    });
  }

  /** Ends all relays. */
  async close(): Promise<void> {
    this.#stop();
    await Promise.all([...this.#engines.values()].map((engine) => engine.close()));
    this.#engines.clear();
  }

  /** Lets go of them: those of a process of their own carry on, for a daemon after this one. */
  async release(): Promise<void> {
    this.#stop();
    for (const engine of this.#engines.values()) {
      await (engine instanceof ProcessEngine ? engine.release() : engine.close());
    }
  }

  #stop(): void {
    clearInterval(this.#timer);
    for (const timer of this.#graces.values()) clearTimeout(timer);
    this.#addresses.close();
  }

  #of(group: string): RelayConfig[] {
    return [...this.#relays.values()].filter((relay) => relay.group === group);
  }

  #counts(name: string): RelayCounts {
    const relay = this.#relays.get(name);
    const engine = relay && this.#engines.get(this.#engineOf(relay));
    return engine?.counts(name) ?? NO_COUNTS;
  }

  #engineOf({ engine }: RelayConfig): EngineName {
    const isHere = this.#directory !== undefined && ffiMissing() === undefined;
    return engine ?? (isHere ? 'splice' : 'streams');
  }

  #reset(name: string, path: string): void {
    for (const engine of this.#engines.values()) engine.reset(name, path);
  }

  #plan({ group, host, name: relay, ...config }: RelayConfig): PlannedRelay {
    const { port, protocol, policy, connectTimeoutMs, idleTimeoutMs, proxy, mptcp } = config;
    const targets: PlannedTarget[] = this.#hooks
      .paths(group)
      .flatMap(({ host: target, ...path }) =>
        this.#addresses.of(target).map((address) => ({ ...path, address })),
      );
    const { maxFlows, maxRate } = config;
    const limits = { maxFlows, maxRate, connectTimeoutMs, idleTimeoutMs };
    const address = this.#addresses.of(host)[0] ?? host;
    return { name: relay, protocol, address, port, targets, policy, ...limits, proxy, mptcp };
  }

  async #push(): Promise<void> {
    const failures = new Map<string, Error>();
    const byEngine = new Map<EngineName, PlannedRelay[]>();
    for (const name of this.#engines.keys()) byEngine.set(name, []);
    for (const plan of this.#planned) {
      const relay = this.#relays.get(plan.name);
      const engine = relay === undefined ? 'streams' : this.#engineOf(relay);
      byEngine.set(engine, [...(byEngine.get(engine) ?? []), plan]);
    }
    for (const [name, plans] of byEngine) {
      for (const { relay, error } of await this.#engine(name).apply(plans)) {
        failures.set(relay, this.#explain(relay, error));
      }
    }
    this.#failures = failures;
  }

  #engine(name: EngineName): RelayEngine {
    const running = this.#engines.get(name);
    if (running !== undefined) return running;
    const engine =
      name === 'streams' ? new StreamEngine() : new ProcessEngine(this.#directory ?? '');
    engine.on('note', (text) => this.#hooks.note(text));
    engine.on('refused', (relay, path) => {
      const group = this.#relays.get(relay)?.group;
      if (group !== undefined) this.#hooks.refused(group, path);
    });
    this.#engines.set(name, engine);
    return engine;
  }

  #explain(name: string, { code, message }: SystemError): Error {
    const { listen = '' } = this.#relays.get(name) ?? {};
    const text =
      code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL'
        ? `cannot listen on ${listen}: ${code}; is it taken, or not an address of this machine?`
        : `cannot listen on ${listen}: ${message}`;
    return new SystemError(code, `relay ${name}: ${text}`);
  }

  /** What could not be opened is tried again with every refresh, and told when that changes. */
  #tellFailures(before: ReadonlyMap<string, Error>): void {
    for (const [name, { message }] of this.#failures) {
      if (before.get(name)?.message !== message) this.#hooks.note(message);
    }
    for (const name of before.keys()) {
      if (!this.#failures.has(name)) this.#hooks.note(`relay ${name}: it listens now`);
    }
  }
}
