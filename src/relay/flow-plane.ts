/**
 * The data plane of TCP: one thread, level-triggered epoll(7), splice(2). Bytes in transit lie in
 * kernel pipes, never in our memory, so back-pressure and exactness are the kernel's, also when this
 * process is killed between two instructions.
 *
 * It splices in only while the direction's pipe is empty. So EAGAIN on the way in can only mean that
 * the source is empty, on the way out that the sink is full; and an end always finds the pipe drained.
 * @module
 */
import { ERRNO, type KernelCalls } from '../sys/kernel-calls.ts';
import { Endpoints, NONE, READ } from './endpoints.ts';
import { FAILED, HUNG_UP, READ_HUNG_UP, WRITABLE } from './event-poll.ts';
import { type ConnectorParts, FlowConnector } from './flow-connector.ts';
import type { Listener } from './listener.ts';
import { FLOW, FLOW_BITS, FLOW_STATE, type RelayTable } from './relay-table.ts';
import { TCP_STATE } from './socket-options.ts';

const CHUNK = 256 * 1_024;
/** A message so short was probably the whole of it: no second look. */
const SHORT = 16 * 1_024;
/** One hot flow moves so much before others get their turn. */
const BUDGET = 1_024 * 1_024;
const SHUT_WR = 1;
const { EAGAIN } = ERRNO;

/** What a plane works with. */
export interface FlowParts extends ConnectorParts {
  /** There is a flow less. */
  readonly ended: () => void;
}

export class FlowPlane {
  readonly #parts: FlowParts;
  readonly #calls: KernelCalls;
  readonly #table: RelayTable;
  readonly #ends: Endpoints;
  readonly #connector: FlowConnector;
  readonly #listeners: (Listener | undefined)[] = [];
  readonly #freeRows: number[] = [];
  /** Their rows may be used again after this batch of events: one of theirs may still be in it. */
  readonly #retired: number[] = [];

  constructor(parts: FlowParts) {
    this.#parts = parts;
    this.#calls = parts.calls;
    this.#table = parts.table;
    this.#ends = new Endpoints(parts);
    this.#connector = new FlowConnector(parts, this.#ends, {
      listenerOf: (at) => this.#listenerOf(at),
      connected: (row) => this.#start(row),
      abort: (row) => this.#abort(row),
    });
  }

  /** Whether `tick` has something to do. */
  get isConnecting(): boolean {
    return this.#connector.isBusy;
  }

  /** Rows with this number in their `listener` are its flows. */
  useListener(listener: Listener): void {
    this.#listeners[listener.row] = listener;
  }

  /** Takes a client that was accepted. */
  open(listener: Listener, client: number): void {
    const { ints, flows } = this.#table;
    const row = this.#freeRows.pop() ?? flows.used;
    if (row >= flows.capacity) {
      this.#parts.options.resetOnClose(client);
      this.#calls.close(client);
      return;
    }
    const at = flows.at(row);
    ints.fill(0, at, at + flows.stride);
    ints[at + FLOW.client] = client;
    ints[at + FLOW.upstream] = NONE;
    ints[at + FLOW.bits] = listener.plan.proxy === undefined ? 0 : FLOW_BITS.headerDue;
    ints[at + FLOW.listener] = listener.row;
    ints[at + FLOW.path] = NONE;
    ints[at + FLOW.state] = FLOW_STATE.live;
    flows.use(row);
    listener.live += 1;
    this.#ends.use(row, client, NONE);
    this.#connector.dial(row);
  }

  /** Input: epoll has something to tell of an endpoint. */
  handle(e: number, events: number): void {
    const { fd, waiting, ended, starving, asked } = this.#ends;
    // It was closed earlier in this batch.
    if ((fd[e] as number) < 0) return;
    if (this.#connector.isConnecting(e >> 1)) {
      this.#connector.handle(e >> 1, events);
      return;
    }
    // An error of a socket that is not being read is a reset.
    const unread = waiting[e] !== 0 || ended[e] !== 0 || starving[e] !== 0;
    if ((events & FAILED) !== 0 && unread) {
      this.#breakOff(e);
      return;
    }
    if ((events & WRITABLE) !== 0 && waiting[e ^ 1] !== 0) {
      this.#pump(e ^ 1, false);
      if ((fd[e] as number) < 0) return;
    }
    const broken = events & (FAILED | HUNG_UP);
    if (((asked[e] as number) & READ) !== 0 && ((events & READ) !== 0 || broken !== 0)) {
      this.#pump(e, (events & READ_HUNG_UP) !== 0 || broken !== 0);
    } else if ((events & HUNG_UP) !== 0 && asked[e] === 0) {
      // It cannot be masked, and would come for ever.
      this.#ends.leavePoll(e);
    }
  }

  /** Ends a batch of events. */
  settle(): void {
    for (let row = this.#retired.pop(); row !== undefined; row = this.#retired.pop()) {
      this.#freeRows.push(row);
    }
  }

  tick(): void {
    this.#connector.tick();
  }

  /** Resets the flows of a listener: all, or those that a path carries. */
  reset(listener: Listener, path?: string): void {
    this.#each((row, at) => {
      if (this.#table.ints[at + FLOW.listener] !== listener.row) return;
      if (path === undefined || this.#pathOf(at) === path) this.#abort(row);
    });
  }

  /** Calls back for each flow: its listener, its path, the bytes that passed each way. */
  forEach(
    tell: (listener: number, path: string, bytesUp: number, bytesDown: number) => void,
  ): void {
    const { ints, doubles } = this.#table;
    this.#each((_row, at) => {
      const up = doubles[(at + FLOW.bytesUp) / 2] as number;
      const down = doubles[(at + FLOW.bytesDown) / 2] as number;
      tell(ints[at + FLOW.listener] as number, this.#pathOf(at), up, down);
    });
  }

  /** Takes over a pipe with a direction's bytes; its flow is restored by now. */
  restorePipe(direction: number, read: number, write: number, bytes: number): void {
    this.#ends.adoptPipe(direction, read, write, bytes);
  }

  /** Takes over a flow whose row is in place. */
  restore(row: number): void {
    const { ints, flows } = this.#table;
    const at = flows.at(row);
    const { ended } = this.#ends;
    this.#ends.use(row, ints[at + FLOW.client] as number, ints[at + FLOW.upstream] as number);
    const bits = ints[at + FLOW.bits] as number;
    ended[2 * row] = (bits & FLOW_BITS.clientDone) === 0 ? 0 : 1;
    ended[2 * row + 1] = (bits & FLOW_BITS.upstreamDone) === 0 ? 0 : 1;
    if ((bits & FLOW_BITS.policyDue) !== 0) this.#connector.expectPolicy(row);
    const listener = this.#listenerOf(at);
    if (listener !== undefined) listener.live += 1;
  }

  /** A row that nobody uses, below those that are in use. */
  restoreFree(row: number): void {
    this.#freeRows.push(row);
  }

  /** Goes on with a flow that was taken over, with its pipes. Nothing was sent or closed before. */
  resume(row: number): void {
    const { ints, flows } = this.#table;
    const at = flows.at(row);
    const [client, upstream] = [2 * row, 2 * row + 1];
    const { fd, ended } = this.#ends;
    const isConnected = ((ints[at + FLOW.bits] as number) & FLOW_BITS.connected) !== 0;
    const isLost = ints[at + FLOW.state] === FLOW_STATE.aborted || (fd[client] as number) < 0;
    if (isLost || this.#listenerOf(at) === undefined) this.#abort(row);
    else if (!isConnected && (fd[upstream] as number) < 0) this.#connector.dial(row);
    else if (!isConnected) this.#connector.resume(row);
    else if (this.#wasReset(client) || this.#wasReset(upstream)) this.#abort(row);
    else if (ended[client] !== 0 && ended[upstream] !== 0) this.#finish(row);
    else this.#start(row);
  }

  #each(visit: (row: number, at: number) => void): void {
    const { ints, flows } = this.#table;
    const { used } = flows;
    for (let row = 0; row < used; row += 1) {
      const at = flows.at(row);
      if (ints[at + FLOW.state] === FLOW_STATE.live) visit(row, at);
    }
  }

  #pathOf(at: number): string {
    return this.#table.name(this.#table.ints[at + FLOW.path] as number);
  }

  #listenerOf(at: number): Listener | undefined {
    return this.#listeners[this.#table.ints[at + FLOW.listener] as number];
  }

  /** Both sides are there. */
  #start(row: number): void {
    const { ints, flows } = this.#table;
    const bits = flows.at(row) + FLOW.bits;
    if (((ints[bits] as number) & FLOW_BITS.headerDue) !== 0) {
      if (!this.#announce(row)) {
        this.#abort(row);
        return;
      }
      ints[bits] = (ints[bits] as number) & ~FLOW_BITS.headerDue;
    }
    this.#ends.arm(2 * row + 1);
    this.#ends.arm(2 * row);
  }

  /** Puts the PROXY header into the pipe, in front of all that the client says. */
  #announce(row: number): boolean {
    const client = 2 * row;
    const { waiting, fd } = this.#ends;
    // The relay before had no time to tell that it is there.
    if (waiting[client] !== 0) return true;
    const listener = this.#listenerOf(this.#table.flows.at(row));
    if (listener === undefined || !this.#ends.borrowPipe(client)) return false;
    waiting[client] = listener.writeHeader(fd[client] as number, this.#ends.writeEnd(client));
    return waiting[client] !== 0;
  }

  /** Moves bytes of a direction. `again`: look for more also after a short message. */
  #pump(e: number, again: boolean): void {
    const o = e ^ 1;
    const ends = this.#ends;
    const { waiting } = ends;
    const [source, sink] = [ends.fd[e] as number, ends.fd[o] as number];
    let left = BUDGET;
    let read = 0;
    for (;;) {
      if (waiting[e] === 0) {
        if (ends.ended[e] !== 0 || !ends.borrowPipe(e)) break;
        read = this.#calls.splice(source, ends.writeEnd(e), CHUNK);
        if (read <= 0) {
          ends.returnPipe(e);
          if (read !== EAGAIN && this.#endOf(e, read)) return;
          break;
        }
        waiting[e] = read;
      }
      const bytes = waiting[e] as number;
      const written = this.#calls.splice(ends.readEnd(e), sink, bytes);
      if (written === EAGAIN) break;
      if (written < 0) {
        this.#breakOff(o);
        return;
      }
      ends.count(e, written);
      waiting[e] = bytes - written;
      if (written < bytes) break;
      left -= written;
      if ((!again && read < SHORT) || left <= 0) {
        ends.returnPipe(e);
        break;
      }
    }
    ends.arm(e);
    ends.arm(o);
  }

  /** The source said all (0) or is dead (an errno), and its pipe is empty. True: so ends the flow. */
  #endOf(e: number, read: number): boolean {
    if (read < 0) {
      this.#breakOff(e);
      return true;
    }
    const { fd, ended } = this.#ends;
    const { ints, flows } = this.#table;
    ended[e] = 1;
    const isLast = ended[e ^ 1] !== 0;
    // Of the last end close(2) tells the other side: it has said all, so nothing of it is unread.
    if (!isLast) this.#calls.shutdown(fd[e ^ 1] as number, SHUT_WR);
    const at = flows.at(e >> 1) + FLOW.bits;
    const bit = (e & 1) === 0 ? FLOW_BITS.clientDone : FLOW_BITS.upstreamDone;
    ints[at] = (ints[at] as number) | bit;
    if (isLast) this.#finish(e >> 1);
    return isLast;
  }

  #finish(row: number): void {
    const at = this.#table.flows.at(row);
    this.#table.ints[at + FLOW.state] = FLOW_STATE.closing;
    this.#calls.close(this.#ends.fd[2 * row] as number);
    this.#calls.close(this.#ends.fd[2 * row + 1] as number);
    this.#forget(row, at);
  }

  /**
   * A socket is dead. What it had said before is delivered, as far as the other side takes it now;
   * then both are reset.
   */
  #breakOff(e: number): void {
    const ends = this.#ends;
    if (ends.waiting[e] === 0 && ends.ended[e] === 0 && ends.borrowPipe(e)) {
      const bytes = this.#calls.splice(ends.fd[e] as number, ends.writeEnd(e), CHUNK);
      if (bytes > 0) {
        const written = this.#calls.splice(ends.readEnd(e), ends.fd[e ^ 1] as number, bytes);
        ends.waiting[e] = bytes - Math.max(0, written);
        if (written > 0) ends.count(e, written);
      }
    }
    this.#abort(e >> 1);
  }

  /** Resets both sides. */
  #abort(row: number): void {
    const at = this.#table.flows.at(row);
    // First of all: the kernel tells of a reset only once.
    this.#table.ints[at + FLOW.state] = FLOW_STATE.aborted;
    for (const e of [2 * row, 2 * row + 1]) {
      this.#ends.returnPipe(e);
      this.#ends.reset(e);
    }
    this.#forget(row, at);
  }

  #forget(row: number, at: number): void {
    const listener = this.#listenerOf(at);
    const { doubles } = this.#table;
    const up = doubles[(at + FLOW.bytesUp) / 2] as number;
    const down = doubles[(at + FLOW.bytesDown) / 2] as number;
    this.#table.ints[at + FLOW.state] = FLOW_STATE.free;
    this.#ends.forget(2 * row);
    this.#ends.forget(2 * row + 1);
    this.#connector.forget(row);
    this.#retired.push(row);
    listener?.countEnded(up, down);
    this.#parts.ended();
  }

  /**
   * Whether the relay before read a reset and had no time to pass it on. The kernel has closed the
   * socket then: without an end of ours, or with fewer bytes than an orderly end, which counts as one.
   */
  #wasReset(e: number): boolean {
    const { fd, ended, waiting } = this.#ends;
    const { options } = this.#parts;
    if (ended[e] !== 0) return false;
    const socket = fd[e] as number;
    if (socket < 0) return true;
    if (options.tcpState(socket) !== TCP_STATE.closed) return false;
    if (ended[e ^ 1] === 0) return true;
    const field = (e & 1) === 0 ? FLOW.bytesUp : FLOW.bytesDown;
    const passed = this.#table.doubles[(this.#table.flows.at(e >> 1) + field) / 2] as number;
    const taken = passed + (waiting[e] as number) + options.unreadBytes(socket);
    return options.bytesReceived(socket) <= taken;
  }
}
