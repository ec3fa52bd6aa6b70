/**
 * Relay processes without a daemon: one carries, one stands by.
 * @module
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import type { PlannedRelay, RelayNews, RelayOrder } from '../../src/relay/relay-plan.ts';

const PROGRAM = path.join(import.meta.dirname, '../../src/relay/relay-process.ts');
/** A process must start and be heard. */
const NEWS_MS = 20_000;

interface Hooks {
  after(run: () => Promise<void>): void;
}

/** A plan with everything that a test does not care about. */
export function planned(relay: Partial<PlannedRelay>): PlannedRelay {
  return {
    name: 'r',
    protocol: 'tcp',
    address: '127.0.0.1',
    port: 0,
    targets: [],
    policy: { timeMs: 60_000, intervalMs: 10_000, probes: 3, userTimeoutMs: 0 },
    connectTimeoutMs: 3_000,
    idleTimeoutMs: 60_000,
    maxFlows: 10_000,
    maxRate: 0,
    mptcp: false,
    ...relay,
  };
}

/** One process and what it told. */
export class RelayPeer {
  readonly child: ChildProcess;
  readonly news: RelayNews[] = [];
  readonly #control: Duplex;
  readonly #waiting = new Set<() => void>();

  constructor(program: string = PROGRAM, ...args: string[]) {
    this.child = spawn(process.execPath, [program, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    });
    this.#control = this.child.stdio[3] as Duplex;
    // It is killed at any moment.
    this.#control.on('error', () => undefined);
    createInterface(this.#control).on('line', (line) => {
      this.news.push(JSON.parse(line) as RelayNews);
      for (const look of this.#waiting) look();
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  tell(order: RelayOrder): void {
    this.#control.write(`${JSON.stringify(order)}\n`);
  }

  /** News of a kind that is there or comes, from the `from`th on. */
  async hear<Kind extends RelayNews['news']>(
    kind: Kind,
    holds: (news: Extract<RelayNews, { news: Kind }>) => boolean = () => true,
    from = 0,
  ): Promise<Extract<RelayNews, { news: Kind }>> {
    const find = () =>
      this.news.slice(from).find((one) => one.news === kind && holds(one as never)) as
        | Extract<RelayNews, { news: Kind }>
        | undefined;
    return await new Promise((resolve, reject) => {
      const giveUp = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`no "${kind}" but ${JSON.stringify(this.news.slice(-5))}`));
      }, NEWS_MS);
      // One that has ended tells nothing more.
      giveUp.unref();
      const look = () => {
        const found = find();
        if (found === undefined) return;
        clearTimeout(giveUp);
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      look();
    });
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await gone;
  }
}

/** What a relay took over: flows, bytes in pipes, how long nobody carried, its own part of that. */
export interface Succession {
  readonly flows: number;
  readonly bytes: number;
  readonly gapMs: number;
  readonly ms: number;
}

export class RelayRig {
  readonly directory: string = mkdtempSync(path.join(os.tmpdir(), 'linkhold-relay-'));
  relays: readonly PlannedRelay[];
  readonly #program: string;
  readonly #peers: RelayPeer[] = [];
  current: RelayPeer;
  #standby: RelayPeer;

  private constructor(t: Hooks, relays: readonly PlannedRelay[], program: string) {
    this.relays = relays;
    this.#program = program;
    this.current = this.spawn();
    this.#standby = this.spawn();
    t.after(async () => await this.#remove());
  }

  static async start(
    t: Hooks,
    relays: readonly PlannedRelay[],
    program: string = PROGRAM,
  ): Promise<RelayRig> {
    const rig = new RelayRig(t, relays, program);
    await rig.begin(rig.current);
    return rig;
  }

  /** The port that a relay listens on. */
  async port(name = 'r'): Promise<number> {
    const { ports, failures } = await this.current.hear('planned');
    assert.deepEqual(failures, []);
    return ports[name] ?? 0;
  }

  /** Has `peer` take over, and carry from then on. */
  async begin(peer: RelayPeer): Promise<Extract<RelayNews, { news: 'ready' }>> {
    peer.tell({ do: 'begin', directory: this.directory, relays: this.relays });
    this.current = peer;
    return await peer.hear('ready');
  }

  /** Kills the relay; the one that stands by takes over. Answers how long nobody carried. */
  async kill(): Promise<Succession> {
    await this.#standby.hear('standing-by');
    const began = performance.now();
    this.current.child.kill('SIGKILL');
    return await this.#succeed(began);
  }

  /** The next one takes over from the relay that runs. */
  async upgrade(): Promise<Succession> {
    await this.#standby.hear('standing-by');
    return await this.#succeed(performance.now());
  }

  async #succeed(began: number): Promise<Succession> {
    const ready = await this.begin(this.#standby);
    const gapMs = Math.round(performance.now() - began);
    this.#standby = this.spawn();
    return { ...ready, gapMs };
  }

  spawn(program: string = this.#program, ...args: string[]): RelayPeer {
    const peer = new RelayPeer(program, ...args);
    this.#peers.push(peer);
    return peer;
  }

  /** Ends all processes, also the keeper, and waits until nobody of them is left. */
  async #remove(): Promise<void> {
    for (const peer of this.#peers) if (peer !== this.current) await peer.kill();
    // A relay that was killed has left a keeper, which the next one ends.
    if (this.current.child.exitCode !== null || this.current.child.signalCode !== null) {
      await this.begin(new RelayPeer(this.#program));
    }
    const gone = once(this.current.child, 'exit');
    this.current.tell({ do: 'stop' });
    await gone;
    const left = readdirSync(this.directory).filter((name) => name.startsWith('table'));
    assert.deepEqual(left, []);
    rmSync(this.directory, { recursive: true });
  }
}
