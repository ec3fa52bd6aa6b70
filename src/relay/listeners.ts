/**
 * The listening sockets of all relays: opens and closes them as planned, accepts, and counts. A client
 * that there is no room for waits in the kernel's queue.
 * @module
 */
import { readFileSync } from 'node:fs';
import { ERRNO, type KernelCalls } from '../sys/kernel-calls.ts';
import { SystemError } from '../sys/system-error.ts';
import { decodeSocketAddress, encodeSocketAddress } from '../wire/socket-address.ts';
import type { Dialer } from './dialer.ts';
import { type EventPoll, READABLE } from './event-poll.ts';
import type { FlowPlane } from './flow-plane.ts';
import { Listener } from './listener.ts';
import type { PlannedRelay, RelayCounts, RelayNews } from './relay-plan.ts';
import { LISTENER, type RelayTable } from './relay-table.ts';
import type { SocketOptions } from './socket-options.ts';
import type { UdpPlane } from './udp-plane.ts';

/** Clients accepted before others get their turn. */
const MOST_ACCEPTS = 64;
/** For pipes that are lent, listeners and the process itself. */
const SPARE_DESCRIPTORS = 512;
const IPPROTO = { tcp: 6, udp: 17 } as const;

export interface ListenersParts {
  readonly calls: KernelCalls;
  readonly table: RelayTable;
  readonly poll: EventPoll;
  /** The kind of their events. */
  readonly kind: number;
  readonly dialer: Dialer;
  readonly options: SocketOptions;
  readonly flows: FlowPlane;
  readonly sessions: UdpPlane;
  readonly tell: (news: RelayNews) => void;
}

export class Listeners {
  readonly #parts: ListenersParts;
  readonly #scratch: ReturnType<KernelCalls['allocate']>;
  readonly #byRow = new Map<number, Listener>();
  readonly #byName = new Map<string, Listener>();
  /** They do not accept for now. */
  readonly #paused = new Set<Listener>();
  /** Flows that descriptors and the table allow. */
  readonly #room: number;

  constructor(parts: ListenersParts) {
    this.#parts = parts;
    this.#scratch = parts.calls.allocate(4_096);
    const descriptors = Math.floor((descriptorLimit() - SPARE_DESCRIPTORS) / 2);
    this.#room = Math.max(1, Math.min(descriptors, parts.table.flows.capacity));
  }

  /** Flows open now. */
  get #flows(): number {
    let sum = 0;
    for (const { live } of this.#byRow.values()) sum += live;
    return sum;
  }

  get isPaused(): boolean {
    return this.#paused.size > 0;
  }

  get hasFlows(): boolean {
    return this.#flows > 0;
  }

  /** Input: one has clients or datagrams. */
  handle(row: number): void {
    const listener = this.#byRow.get(row);
    if (listener?.plan.protocol === 'udp') this.#parts.sessions.receive(listener);
    else if (listener !== undefined) this.#accept(listener);
  }

  /** Makes the listeners equal to the plan; flows of a relay that is in both go on. */
  plan(relays: readonly PlannedRelay[]): void {
    const failures: { relay: string; errno: string }[] = [];
    const names = new Map(relays.map((relay) => [relay.name, relay]));
    for (const [name, listener] of this.#byName) {
      if (names.get(name)?.protocol !== listener.plan.protocol) this.#close(listener);
    }
    for (const relay of relays) {
      try {
        this.#apply(relay);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        failures.push({ relay: relay.name, errno: error.code });
      }
    }
    const ports = [...this.#byName].map(([name, { fd }]) => [
      name,
      this.#parts.options.localAddress(fd)?.port ?? 0,
    ]);
    this.#parts.tell({ news: 'planned', ports: Object.fromEntries(ports), failures });
  }

  /** Resets the flows that a path carries. */
  reset(relay: string, path: string): void {
    const listener = this.#byName.get(relay);
    if (listener === undefined) return;
    this.#planeOf(listener).reset(listener, path);
  }

  /** Those that are planned no more are closed, and their flows reset, once all is taken over. */
  inherit(rows: readonly number[], relays: readonly PlannedRelay[]): void {
    const { ints, listeners } = this.#parts.table;
    for (const row of rows) {
      const at = listeners.at(row);
      const fd = ints[at + LISTENER.fd] as number;
      if (fd < 0) continue;
      const name = this.#parts.table.name(ints[at + LISTENER.name] as number);
      const protocol = ints[at + LISTENER.protocol] as number;
      const plan = relays.find(
        (relay) => relay.name === name && IPPROTO[relay.protocol] === protocol,
      );
      if (plan !== undefined) this.#listen(row, fd, plan);
      else {
        ints[at + LISTENER.fd] = -1;
        this.#parts.calls.close(fd);
      }
    }
  }

  /** A client that was accepted in the last instant goes on; a socket that was for a path does not. */
  takeStray(fd: number): void {
    const local = this.#parts.options.localAddress(fd);
    const listener = [...this.#byRow.values()].find(
      (one) =>
        one.plan.protocol === 'tcp' &&
        this.#parts.options.localAddress(one.fd)?.port === local?.port,
    );
    const isClient =
      this.#parts.options.tcpState(fd) >= 0 &&
      !this.#parts.options.isListening(fd) &&
      this.#parts.options.remoteAddress(fd) !== undefined;
    if (listener === undefined || !isClient) {
      this.#parts.calls.close(fd);
      return;
    }
    listener.countAccepted();
    this.#parts.flows.open(listener, fd);
  }

  /** How each stands. */
  counts(): Record<string, RelayCounts> {
    const flows = new Map<number, Record<string, number>>();
    const sums = new Map<number, { bytesUp: number; bytesDown: number }>();
    for (const [row, listener] of this.#byRow) {
      flows.set(row, {});
      sums.set(row, listener.ended);
    }
    const add = (row: number, path: string, up: number, down: number) => {
      const [own, sum] = [flows.get(row), sums.get(row)];
      if (own === undefined || sum === undefined) return;
      own[path] = (own[path] ?? 0) + 1;
      sum.bytesUp += up;
      sum.bytesDown += down;
    };
    this.#parts.flows.forEach(add);
    this.#parts.sessions.forEach(add);
    const rows = [...this.#byRow].map(([row, { plan, accepted, refused, multipath }]) => {
      const counts = { flows: flows.get(row) ?? {}, accepted, refused };
      const bytes = sums.get(row) ?? { bytesUp: 0, bytesDown: 0 };
      return [plan.name, { ...counts, ...bytes, ...(plan.mptcp ? { mptcp: multipath } : {}) }];
    });
    return Object.fromEntries(rows);
  }

  #accept(listener: Listener): void {
    const now = performance.now();
    for (let turn = 0; turn < MOST_ACCEPTS; turn += 1) {
      if (this.#flows >= this.#room || !listener.admits(now)) {
        this.#pause(listener);
        return;
      }
      const client = this.#parts.calls.accept(listener.fd, 0, 0);
      if (client >= 0) {
        listener.countAccepted();
        this.#parts.flows.open(listener, client);
        continue;
      }
      listener.giveBack();
      if (client === ERRNO.EAGAIN) return;
      if (client === ERRNO.EMFILE || client === ERRNO.ENFILE) {
        const mend = 'raise its limit (LimitNOFILE), or set maxFlows of the relay';
        const text = `relay ${listener.plan.name}: no descriptor is left for one more flow; ${mend}`;
        if (!this.#paused.has(listener)) this.#parts.tell({ news: 'note', text });
        this.#pause(listener);
        return;
      }
    }
  }

  #pause(listener: Listener): void {
    if (this.#paused.has(listener)) return;
    this.#paused.add(listener);
    this.#parts.poll.change(listener.fd, 0, this.#parts.kind, listener.row);
  }

  /** Those that paused may try again. */
  resume(): void {
    for (const listener of this.#paused) {
      this.#parts.poll.change(listener.fd, READABLE, this.#parts.kind, listener.row);
    }
    this.#paused.clear();
  }

  #apply(plan: PlannedRelay): void {
    const listener = this.#byName.get(plan.name);
    if (listener === undefined) {
      this.#add(plan, this.#parts.dialer.listen(plan));
    } else if (this.#isBoundTo(listener.fd, plan)) {
      listener.plan = plan;
    } else {
      const fd = this.#parts.dialer.listen(plan);
      const before = listener.fd;
      this.#paused.delete(listener);
      listener.moveTo(fd, plan);
      this.#parts.poll.add(fd, READABLE, this.#parts.kind, listener.row);
      this.#parts.calls.close(before);
    }
  }

  /** Port 0 is any. */
  #isBoundTo(fd: number, { address, port }: PlannedRelay): boolean {
    const bound = this.#parts.options.localAddress(fd);
    const wanted = encodeSocketAddress(address, port);
    if (bound === undefined || wanted === undefined) return false;
    const same = decodeSocketAddress(wanted)?.address === bound.address;
    return same && (port === 0 || port === bound.port);
  }

  #add(plan: PlannedRelay, fd: number): void {
    let row = 0;
    while (this.#byRow.has(row)) row += 1;
    const { ints, listeners } = this.#parts.table;
    if (row >= listeners.capacity) {
      this.#parts.calls.close(fd);
      throw new SystemError('ENOSPC', `there can be ${listeners.capacity} relays at most`);
    }
    const at = listeners.use(row);
    ints.fill(0, at, at + listeners.stride);
    ints[at + LISTENER.protocol] = IPPROTO[plan.protocol];
    ints[at + LISTENER.name] = this.#parts.table.nameRow(plan.name);
    ints[at + LISTENER.fd] = fd;
    this.#listen(row, fd, plan);
  }

  #listen(row: number, fd: number, plan: PlannedRelay): void {
    const parts = {
      calls: this.#parts.calls,
      table: this.#parts.table,
      options: this.#parts.options,
      scratch: this.#scratch,
    };
    const listener = new Listener(parts, row, fd, plan, performance.now());
    this.#byRow.set(row, listener);
    this.#byName.set(plan.name, listener);
    this.#planeOf(listener).useListener(listener);
    this.#parts.poll.add(fd, READABLE, this.#parts.kind, row);
  }

  #close(listener: Listener): void {
    this.#planeOf(listener).reset(listener);
    this.#byRow.delete(listener.row);
    this.#byName.delete(listener.plan.name);
    this.#paused.delete(listener);
    this.#parts.table.ints[this.#parts.table.listeners.at(listener.row) + LISTENER.fd] = -1;
    this.#parts.calls.close(listener.fd);
  }

  #planeOf({ plan }: Listener): FlowPlane | UdpPlane {
    return plan.protocol === 'udp' ? this.#parts.sessions : this.#parts.flows;
  }
}

/** RLIMIT_NOFILE of this process. */
function descriptorLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 1_024);
}
