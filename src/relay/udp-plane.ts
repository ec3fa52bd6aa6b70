/**
 * The data plane of UDP: a flow a client address, each with a socket of its own towards its path.
 * Datagrams pass through our memory, many a call (recvmmsg(2), sendmmsg(2)); one that the kernel does
 * not take is lost, as any may be on its way. A flow ends after `idleTimeout` without one.
 * @module
 */
import { ERRNO, type KernelCalls } from '../sys/kernel-calls.ts';
import { decodeSocketAddress } from '../wire/socket-address.ts';
import { BATCH, DatagramBatch } from './datagram-batch.ts';
import type { Dialer } from './dialer.ts';
import { type EventPoll, READABLE } from './event-poll.ts';
import type { Listener } from './listener.ts';
import { FLOW_STATE, type RelayTable, SESSION } from './relay-table.ts';
import { nextTarget, targetKey } from './target-order.ts';

/** Batches before others get their turn. */
const MOST_BATCHES = 8;
const NONE = -1;
const { EAGAIN } = ERRNO;

export interface UdpParts {
  readonly calls: KernelCalls;
  readonly table: RelayTable;
  readonly poll: EventPoll;
  readonly kind: number;
  readonly dialer: Dialer;
  readonly now: () => number;
  readonly refused: (listener: Listener, path: string) => void;
  readonly ended: (listener: Listener) => void;
}

export class UdpPlane {
  readonly #parts: UdpParts;
  readonly #table: RelayTable;
  readonly #batch: DatagramBatch;
  readonly #listeners: (Listener | undefined)[] = [];
  /** Rows by listener and client address. */
  readonly #rows = new Map<string, number>();
  readonly #usedAt: Float64Array;
  readonly #freeRows: number[] = [];
  readonly #retired: number[] = [];

  constructor(parts: UdpParts) {
    this.#parts = parts;
    this.#table = parts.table;
    this.#batch = new DatagramBatch(parts.calls);
    this.#usedAt = new Float64Array(parts.table.sessions.capacity);
  }

  /** Whether `tick` has something to do. */
  get isBusy(): boolean {
    return this.#rows.size > 0;
  }

  useListener(listener: Listener): void {
    this.#listeners[listener.row] = listener;
  }

  /** Input: a listener has datagrams. Further flows than it admits are not begun. */
  receive(listener: Listener): void {
    for (let turn = 0; turn < MOST_BATCHES; turn += 1) {
      const count = this.#batch.receive(listener.fd);
      for (let index = 0; index < count; ) {
        const name = this.#batch.name(index).slice();
        let last = index + 1;
        while (last < count && Buffer.compare(this.#batch.name(last), name) === 0) last += 1;
        this.#forward(listener, name, index, last - index);
        index = last;
      }
      if (count < BATCH) return;
    }
  }

  /** Input: a flow's own socket has datagrams, or an error. */
  handle(row: number): void {
    const { ints, sessions } = this.#table;
    const at = sessions.at(row);
    const listener = this.#listeners[ints[at + SESSION.listener] as number];
    if (ints[at + SESSION.state] !== FLOW_STATE.live || listener === undefined) return;
    const upstream = ints[at + SESSION.upstream] as number;
    const client = this.#clientOf(at).slice();
    for (let turn = 0; turn < MOST_BATCHES; turn += 1) {
      const count = this.#batch.receive(upstream);
      if (count === 0 || count === EAGAIN) return;
      if (count < 0) {
        this.#parts.refused(listener, this.#table.name(ints[at + SESSION.path] as number));
        this.#end(row);
        return;
      }
      this.#usedAt[row] = this.#parts.now();
      this.#count(at + SESSION.bytesDown, this.#batch.send(listener.fd, 0, count, client));
      if (count < BATCH) return;
    }
  }

  settle(): void {
    for (let row = this.#retired.pop(); row !== undefined; row = this.#retired.pop()) {
      this.#freeRows.push(row);
    }
  }

  /** Ends flows that have been idle for too long. */
  tick(): void {
    const now = this.#parts.now();
    this.#each((row, at) => {
      const listener = this.#listeners[this.#table.ints[at + SESSION.listener] as number];
      const idleMs = now - (this.#usedAt[row] as number);
      if (listener === undefined || idleMs >= listener.plan.idleTimeoutMs) this.#end(row);
    });
  }

  /** Ends the flows of a listener: all, or those that a path carries. */
  reset(listener: Listener, path?: string): void {
    const { ints } = this.#table;
    this.#each((row, at) => {
      if (ints[at + SESSION.listener] !== listener.row) return;
      const own = this.#table.name(ints[at + SESSION.path] as number);
      if (path === undefined || own === path) this.#end(row);
    });
  }

  /** Calls back for each flow: its listener, its path, the bytes that passed each way. */
  forEach(
    tell: (listener: number, path: string, bytesUp: number, bytesDown: number) => void,
  ): void {
    const { ints, doubles } = this.#table;
    this.#each((_row, at) => {
      const up = doubles[(at + SESSION.bytesUp) / 2] as number;
      const down = doubles[(at + SESSION.bytesDown) / 2] as number;
      const path = this.#table.name(ints[at + SESSION.path] as number);
      tell(ints[at + SESSION.listener] as number, path, up, down);
    });
  }

  /** Goes on with a flow that was taken over and whose row is in place. */
  resume(row: number): void {
    const { ints, sessions } = this.#table;
    const at = sessions.at(row);
    const listener = this.#listeners[ints[at + SESSION.listener] as number];
    const upstream = ints[at + SESSION.upstream] as number;
    if (listener === undefined || upstream < 0) {
      if (upstream >= 0) this.#parts.calls.close(upstream);
      ints[at + SESSION.state] = FLOW_STATE.free;
      this.#freeRows.push(row);
      return;
    }
    listener.live += 1;
    this.#usedAt[row] = this.#parts.now();
    this.#rows.set(this.#key(listener.row, this.#clientOf(at)), row);
    this.#parts.poll.add(upstream, READABLE, this.#parts.kind, row);
  }

  restoreFree(row: number): void {
    this.#freeRows.push(row);
  }

  #forward(listener: Listener, name: Uint8Array, from: number, count: number): void {
    const row = this.#rows.get(this.#key(listener.row, name)) ?? this.#begin(listener, name);
    if (row === undefined) return;
    const at = this.#table.sessions.at(row);
    this.#usedAt[row] = this.#parts.now();
    const upstream = this.#table.ints[at + SESSION.upstream] as number;
    this.#count(at + SESSION.bytesUp, this.#batch.send(upstream, from, count));
  }

  #begin(listener: Listener, name: Uint8Array): number | undefined {
    if (!listener.admits(this.#parts.now())) return undefined;
    const client = decodeSocketAddress(name);
    if (client === undefined) return undefined;
    const tried: string[] = [];
    for (;;) {
      const target = nextTarget(listener.plan.targets, () => client.address, tried);
      const row = this.#freeRows.pop() ?? this.#table.sessions.used;
      if (target === undefined || row >= this.#table.sessions.capacity) {
        listener.countRefused();
        return undefined;
      }
      const fd = this.#parts.dialer.associate(target);
      if (fd < 0) {
        tried.push(targetKey(target));
        this.#parts.refused(listener, target.path);
        this.#freeRows.push(row);
        continue;
      }
      this.#store(listener, row, fd, target.path, name);
      return row;
    }
  }

  #store(listener: Listener, row: number, fd: number, path: string, name: Uint8Array): void {
    const { ints, sessions } = this.#table;
    const at = sessions.at(row);
    ints.fill(0, at, at + sessions.stride);
    ints[at + SESSION.upstream] = fd;
    ints[at + SESSION.listener] = listener.row;
    ints[at + SESSION.path] = this.#table.nameRow(path);
    ints[at + SESSION.addressLength] = name.length;
    this.#table.bytesAt(at + SESSION.address, name.length).set(name);
    ints[at + SESSION.state] = FLOW_STATE.live;
    sessions.use(row);
    listener.live += 1;
    listener.countAccepted();
    this.#rows.set(this.#key(listener.row, name), row);
    this.#parts.poll.add(fd, READABLE, this.#parts.kind, row);
  }

  #end(row: number): void {
    const { ints, doubles, sessions } = this.#table;
    const at = sessions.at(row);
    const listener = this.#listeners[ints[at + SESSION.listener] as number];
    this.#rows.delete(this.#key(ints[at + SESSION.listener] as number, this.#clientOf(at)));
    ints[at + SESSION.state] = FLOW_STATE.free;
    this.#parts.calls.close(ints[at + SESSION.upstream] as number);
    ints[at + SESSION.upstream] = NONE;
    this.#retired.push(row);
    if (listener === undefined) return;
    const up = doubles[(at + SESSION.bytesUp) / 2] as number;
    listener.countEnded(up, doubles[(at + SESSION.bytesDown) / 2] as number);
    this.#parts.ended(listener);
  }

  #each(visit: (row: number, at: number) => void): void {
    const { ints, sessions } = this.#table;
    const { used } = sessions;
    for (let row = 0; row < used; row += 1) {
      const at = sessions.at(row);
      if (ints[at + SESSION.state] === FLOW_STATE.live) visit(row, at);
    }
  }

  #clientOf(at: number): Uint8Array {
    const length = this.#table.ints[at + SESSION.addressLength] as number;
    return this.#table.bytesAt(at + SESSION.address, Math.min(length, 28));
  }

  #key(listener: number, name: Uint8Array): string {
    return `${listener}:${Buffer.from(name).toString('latin1')}`;
  }

  #count(field: number, bytes: number): void {
    this.#table.doubles[field / 2] = (this.#table.doubles[field / 2] as number) + bytes;
  }
}
