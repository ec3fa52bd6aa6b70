/**
 * The two sockets of each flow and the pipe of each direction, by number: an endpoint is twice the
 * flow's row, plus one for the upstream side; the direction `e` moves bytes from endpoint `e` to
 * endpoint `e ^ 1`. It knows what epoll is to be asked for and which direction waits for a pipe.
 * @module
 */
import type { KernelCalls } from '../sys/kernel-calls.ts';
import { type EventPoll, READ_HUNG_UP, READABLE, WRITABLE } from './event-poll.ts';
import type { PipePool } from './pipe-pool.ts';
import { FLOW, type RelayTable } from './relay-table.ts';
import type { SocketOptions } from './socket-options.ts';

/** What is asked for to read. */
export const READ: number = READABLE | READ_HUNG_UP;
export const NONE = -1;
const OUTSIDE = -1;

export interface EndpointParts {
  readonly calls: KernelCalls;
  readonly table: RelayTable;
  readonly poll: EventPoll;
  /** The kind of its events. */
  readonly kind: number;
  readonly pipes: PipePool;
  readonly options: SocketOptions;
}

export class Endpoints {
  readonly fd: Int32Array;
  /** Bytes in the direction's pipe. */
  readonly waiting: Int32Array;
  /** The source has said all. */
  readonly ended: Uint8Array;
  /** What epoll is asked for; -1: it does not have the socket. */
  readonly asked: Int32Array;
  /** A direction that would read and has no pipe. */
  readonly starving: Uint8Array;
  readonly #parts: EndpointParts;
  readonly #pipeOf: Int32Array;
  readonly #starved: number[] = [];

  constructor(parts: EndpointParts) {
    this.#parts = parts;
    const count = 2 * parts.table.flows.capacity;
    this.fd = new Int32Array(count);
    this.waiting = new Int32Array(count);
    this.ended = new Uint8Array(count);
    this.asked = new Int32Array(count);
    this.starving = new Uint8Array(count);
    this.#pipeOf = new Int32Array(count);
  }

  /** The endpoints of a flow that is new here; those of other rows are not to be looked at. */
  use(row: number, client: number, upstream: number): void {
    for (const [e, fd] of [
      [2 * row, client],
      [2 * row + 1, upstream],
    ] as const) {
      this.fd[e] = fd;
      this.asked[e] = OUTSIDE;
      this.#pipeOf[e] = NONE;
    }
  }

  /** Asks epoll for what can make progress: not reading while bytes wait is the back-pressure. */
  arm(e: number): void {
    const mayRead = this.ended[e] === 0 && this.waiting[e] === 0 && this.starving[e] === 0;
    this.ask(e, (mayRead ? READ : 0) | (this.waiting[e ^ 1] === 0 ? 0 : WRITABLE));
  }

  ask(e: number, events: number): void {
    const asked = this.asked[e] as number;
    if (events === asked) return;
    const { poll, kind } = this.#parts;
    const fd = this.fd[e] as number;
    if (asked === OUTSIDE) poll.add(fd, events, kind, e);
    else poll.change(fd, events, kind, e);
    this.asked[e] = events;
  }

  /** Epoll has it no more, until it is armed anew. */
  leavePoll(e: number): void {
    this.#parts.poll.remove(this.fd[e] as number);
    this.asked[e] = OUTSIDE;
  }

  /** Closes a socket by a reset. */
  reset(e: number): void {
    const fd = this.fd[e] as number;
    this.fd[e] = NONE;
    this.asked[e] = OUTSIDE;
    if (fd < 0) return;
    this.#parts.options.resetOnClose(fd);
    this.#parts.calls.close(fd);
  }

  /** The direction's pipe, with its number to be had by `pipe`; false: there is none now. */
  borrowPipe(e: number): boolean {
    if ((this.#pipeOf[e] as number) >= 0) return true;
    const pipe = this.#parts.pipes.lend(e);
    this.#pipeOf[e] = pipe;
    if (pipe >= 0) return true;
    this.starving[e] = 1;
    this.#starved.push(e);
    return false;
  }

  readEnd(e: number): number {
    return this.#parts.pipes.readEnd(this.#pipeOf[e] as number);
  }

  writeEnd(e: number): number {
    return this.#parts.pipes.writeEnd(this.#pipeOf[e] as number);
  }

  /** Gives the direction's pipe back, with whatever is in it. */
  returnPipe(e: number): void {
    const pipe = this.#pipeOf[e] as number;
    if (pipe < 0) return;
    this.#pipeOf[e] = NONE;
    this.#parts.pipes.giveBack(pipe, this.waiting[e] as number);
    this.waiting[e] = 0;
    this.#feedOne();
  }

  /** Takes over a pipe with a direction's bytes. */
  adoptPipe(e: number, read: number, write: number, bytes: number): void {
    this.#pipeOf[e] = this.#parts.pipes.adopt(read, write, e);
    this.waiting[e] = bytes;
  }

  /** Counts bytes that were passed on. */
  count(e: number, bytes: number): void {
    const field = (e & 1) === 0 ? FLOW.bytesUp : FLOW.bytesDown;
    const { doubles, flows } = this.#parts.table;
    const at = (flows.at(e >> 1) + field) / 2;
    doubles[at] = (doubles[at] as number) + bytes;
  }

  /** The endpoint is nobody's. Its socket is closed and its pipe given back by now. */
  forget(e: number): void {
    this.fd[e] = NONE;
    this.ended[e] = 0;
    this.asked[e] = OUTSIDE;
    this.starving[e] = 0;
  }

  /** A pipe is free: the direction that has waited longest for one may read. */
  #feedOne(): void {
    for (let e = this.#starved.shift(); e !== undefined; e = this.#starved.shift()) {
      if (this.starving[e] === 0) continue;
      this.starving[e] = 0;
      this.arm(e);
      return;
    }
  }
}
