/**
 * All that one relay process has: listeners, the planes of TCP and UDP, the keeper, the counts. It is
 * told plans and runs turn by turn; who tells it is not its business.
 * @module
 */
import { existsSync } from 'node:fs';
import type { KernelCalls } from '../sys/kernel-calls.ts';
import { Dialer } from './dialer.ts';
import { EventPoll, READABLE } from './event-poll.ts';
import { FlowPlane } from './flow-plane.ts';
import { KeeperMaker } from './keeper.ts';
import type { Listener } from './listener.ts';
import { Listeners } from './listeners.ts';
import { PipePool } from './pipe-pool.ts';
import type { PlannedRelay, RelayNews } from './relay-plan.ts';
import type { RelayTable } from './relay-table.ts';
import { SocketOptions } from './socket-options.ts';
import { type Inheritance, takeOver, withdraw } from './takeover.ts';
import { UdpPlane } from './udp-plane.ts';

/** Kinds of epoll's numbers. */
const KIND = { flow: 0, session: 1, listener: 2, control: 3, keeper: 4 } as const;
/** How often limits, idle flows, connect timeouts and counts are looked at while there are any. */
const TICK_MS = 100;
/** And while flows only go on. */
const IDLE_TICK_MS = 1_000;
const SIGKILL = 9;

export interface RelayCoreOptions {
  /** Where the table lies. */
  readonly directory: string;
  /** Descriptor of the socket to the daemon; `turn` tells when it is readable. */
  readonly control: number;
  readonly devNull: number;
  readonly tell: (news: RelayNews) => void;
}

export class RelayCore {
  readonly #calls: KernelCalls;
  readonly #options: RelayCoreOptions;
  readonly #poll: EventPoll;
  readonly #sockets: SocketOptions;
  readonly #dialer: Dialer;
  readonly #keepers: KeeperMaker;
  readonly #table: RelayTable;
  readonly #inheritance: Inheritance;
  readonly #flows: FlowPlane;
  readonly #sessions: UdpPlane;
  readonly #listeners: Listeners;
  readonly #startedAt = performance.now();
  #keeper = -1;
  #changed = true;
  #tickAt = 0;
  #controlReady = false;
  #isOrphan = false;

  constructor(calls: KernelCalls, options: RelayCoreOptions) {
    this.#calls = calls;
    this.#options = options;
    this.#poll = new EventPoll(calls);
    this.#sockets = new SocketOptions(calls);
    this.#dialer = new Dialer(calls, this.#sockets);
    this.#keepers = new KeeperMaker(calls);
    const { table, inheritance } = takeOver(calls, options.directory);
    this.#table = table;
    this.#inheritance = inheritance;
    const common = {
      calls,
      table,
      poll: this.#poll,
      dialer: this.#dialer,
      now: () => performance.now(),
      refused: (listener: Listener, path: string) => {
        options.tell({ news: 'refused', relay: listener.plan.name, path });
      },
      ended: () => {
        this.#changed = true;
      },
    };
    this.#flows = new FlowPlane({
      ...common,
      kind: KIND.flow,
      options: this.#sockets,
      pipes: new PipePool(calls, table, options.devNull),
    });
    this.#sessions = new UdpPlane({ ...common, kind: KIND.session });
    this.#listeners = new Listeners({
      calls,
      table,
      poll: this.#poll,
      kind: KIND.listener,
      dialer: this.#dialer,
      options: this.#sockets,
      flows: this.#flows,
      sessions: this.#sessions,
      tell: options.tell,
    });
  }

  /** Takes over what was there, and carries. */
  begin(relays: readonly PlannedRelay[]): void {
    const { flows, sessions, listeners, pipes, strays, lost, replaced, seal } = this.#inheritance;
    if (lost !== undefined) this.#options.tell({ news: 'note', text: lost });
    this.#listeners.inherit(listeners, relays);
    this.#restoreRows(flows, sessions);
    for (const { direction, read, write, bytes } of pipes) {
      this.#flows.restorePipe(direction, read, write, bytes);
    }
    this.#makeKeeper();
    seal();
    this.#poll.add(this.#options.control, READABLE, KIND.control, 0);
    for (const row of flows) this.#flows.resume(row);
    for (const row of sessions) this.#sessions.resume(row);
    this.plan(relays);
    for (const fd of strays) this.#listeners.takeStray(fd);
    this.#flows.settle();
    this.#options.tell({
      news: 'ready',
      flows: flows.length + sessions.length,
      bytes: pipes.reduce((sum, { bytes }) => sum + bytes, 0),
      ms: Math.round(performance.now() - this.#startedAt),
      replaced,
    });
  }

  /** Makes the listeners equal to the plan; flows of a relay that is in both go on. */
  plan(relays: readonly PlannedRelay[]): void {
    this.#listeners.plan(relays);
    this.#changed = true;
    this.#settle();
  }

  /** Resets the flows that a path carries. */
  reset(relay: string, path: string): void {
    this.#listeners.reset(relay, path);
    this.#settle();
  }

  /** Waits for something to happen and deals with it. True: the control socket is readable. */
  turn(): boolean {
    this.#controlReady = false;
    this.#poll.wait(this.#patienceMs(), this.#handle);
    this.#settle();
    const now = performance.now();
    if (now >= this.#tickAt) this.#tick(now);
    return this.#controlReady;
  }

  /** The daemon is gone: it carries on, for the next one's relay. */
  forgetControl(): void {
    this.#poll.remove(this.#options.control);
    this.#isOrphan = true;
  }

  /** Nobody can ever take it over, for its table is gone. */
  get isForsaken(): boolean {
    return this.#isOrphan && !existsSync(this.#table.file);
  }

  /** Ends everything. */
  stop(): void {
    this.plan([]);
    this.#calls.kill(this.#table.keeper, SIGKILL);
    withdraw(this.#options.directory, this.#table);
  }

  readonly #handle = (kind: number, number: number, events: number): void => {
    switch (kind) {
      case KIND.flow:
        this.#flows.handle(number, events);
        break;
      case KIND.session:
        this.#sessions.handle(number);
        break;
      case KIND.listener:
        this.#changed = true;
        this.#listeners.handle(number);
        break;
      case KIND.control:
        this.#controlReady = true;
        break;
      case KIND.keeper:
        this.#renewKeeper();
        break;
    }
  };

  #restoreRows(flows: readonly number[], sessions: readonly number[]): void {
    for (const row of flows) this.#flows.restore(row);
    const [taken, kept] = [new Set(flows), new Set(sessions)];
    for (let row = 0; row < this.#table.flows.used; row += 1) {
      if (!taken.has(row)) this.#flows.restoreFree(row);
    }
    for (let row = 0; row < this.#table.sessions.used; row += 1) {
      if (!kept.has(row)) this.#sessions.restoreFree(row);
    }
  }

  #renewKeeper(): void {
    this.#keepers.bury(this.#table.keeper);
    this.#poll.remove(this.#keeper);
    this.#calls.close(this.#keeper);
    this.#makeKeeper();
    this.#options.tell({ news: 'note', text: 'the keeper of relayed connections was made anew' });
  }

  #makeKeeper(): void {
    this.#keeper = this.#keepers.make(this.#table);
    this.#poll.add(this.#keeper, READABLE, KIND.keeper, 0);
  }

  #settle(): void {
    this.#flows.settle();
    this.#sessions.settle();
  }

  get #isUrgent(): boolean {
    return this.#changed || this.#flows.isConnecting || this.#listeners.isPaused;
  }

  #patienceMs(): number {
    if (!this.#isUrgent && !this.#listeners.hasFlows && !this.#isOrphan) return -1;
    const at = this.#isUrgent ? this.#tickAt : this.#tickAt - TICK_MS + IDLE_TICK_MS;
    return Math.max(0, Math.ceil(at - performance.now()));
  }

  #tick(now: number): void {
    this.#tickAt = now + TICK_MS;
    this.#flows.tick();
    this.#sessions.tick();
    this.#listeners.resume();
    this.#settle();
    this.#changed = false;
    this.#options.tell({ news: 'counts', relays: this.#listeners.counts() });
  }
}
