/**
 * The process that carries the flows of all relays: it is told what to do by the daemon through a
 * socket pair (descriptor 3), one JSON object a line, and does nothing else but wait in epoll(7). If
 * the daemon is gone it goes on by the last plan, until the next one's relay takes its flows over. It
 * may be killed at any instant.
 * @module
 */
import { openSync } from 'node:fs';
import { ERRNO, type KernelCalls } from '../sys/kernel-calls.ts';
import { leaveMemory } from './keeper.ts';
import { RelayCore } from './relay-core.ts';
import type { RelayNews, RelayOrder } from './relay-plan.ts';

const CONTROL = 3;
const ROOM = 64 * 1_024;
/** An order longer than this is none of ours. */
const LONGEST_ORDER = 16 * 1_024 * 1_024;
const POLLIN = 1;
/** A daemon that has not read so much is left without news until it has. */
const POLLOUT = 4;

/** Lines in and out of the control socket, which may be non-blocking or not. */
export class Control {
  readonly #calls: KernelCalls;
  readonly #memory: ReturnType<KernelCalls['allocate']>;
  readonly #decoder = new TextDecoder();
  #text = '';
  #open = true;

  constructor(calls: KernelCalls) {
    this.#calls = calls;
    this.#memory = calls.allocate(ROOM + 64);
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Waits for one order. `undefined`: the daemon is gone. */
  waitForOrder(): RelayOrder | undefined {
    for (;;) {
      const [order] = this.#take(1);
      if (order !== undefined) return order;
      this.#poll(POLLIN);
      if (!this.#read()) return undefined;
    }
  }

  /** Reads, and answers all orders that are there. */
  orders(): RelayOrder[] {
    this.#read();
    return this.pending();
  }

  /** Orders that came together with the one that was waited for. */
  pending(): RelayOrder[] {
    return this.#take(Infinity);
  }

  tell(news: RelayNews): void {
    if (!this.#open) return;
    const bytes = Buffer.from(`${JSON.stringify(news)}\n`);
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + ROOM);
      this.#memory.bytes.set(part);
      const written = this.#calls.write(CONTROL, this.#memory.address, part.length);
      if (written > 0) at += written;
      else if (written === ERRNO.EAGAIN) this.#poll(POLLOUT);
      else {
        this.#open = false;
        return;
      }
    }
  }

  /** False at the end of the stream. */
  #read(): boolean {
    const length = this.#calls.read(CONTROL, this.#memory.address, ROOM);
    if (length === ERRNO.EAGAIN || length === ERRNO.EINTR) return true;
    if (length <= 0) this.#open = false;
    else
      this.#text += this.#decoder.decode(this.#memory.bytes.subarray(0, length), { stream: true });
    if (this.#text.length > LONGEST_ORDER) this.#open = false;
    return this.#open;
  }

  #take(most: number): RelayOrder[] {
    const orders: RelayOrder[] = [];
    for (let end = this.#text.indexOf('\n'); end >= 0 && orders.length < most; ) {
      orders.push(JSON.parse(this.#text.slice(0, end)) as RelayOrder);
      this.#text = this.#text.slice(end + 1);
      end = this.#text.indexOf('\n');
    }
    return orders;
  }

  #poll(events: number): void {
    const { ints, address } = this.#memory;
    const at = ROOM / 4;
    ints[at] = CONTROL;
    ints[at + 1] = events;
    this.#calls.poll(address + ROOM, 1, -1);
  }
}

/** Waits for its turn, takes over, and carries until it is told to stop. */
export function runRelay(calls: KernelCalls): void {
  leaveMemory(calls);
  const control = new Control(calls);
  control.tell({ news: 'standing-by' });
  const first = control.waitForOrder();
  if (first?.do !== 'begin') return;
  const core = new RelayCore(calls, {
    directory: first.directory,
    control: CONTROL,
    devNull: openSync('/dev/null', 'w'),
    tell: (news) => control.tell(news),
  });
  core.begin(first.relays);
  let orders = control.pending();
  while (!core.isForsaken) {
    for (const order of orders) {
      if (order.do === 'stop') {
        core.stop();
        return;
      }
      if (order.do === 'plan') core.plan(order.relays);
      if (order.do === 'reset') core.reset(order.relay, order.path);
    }
    const isReadable = core.turn();
    orders = isReadable ? control.orders() : [];
    if (isReadable && !control.isOpen) core.forgetControl();
  }
  core.stop();
}
