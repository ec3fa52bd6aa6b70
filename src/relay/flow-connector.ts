/**
 * Finds each new flow a path: connects, and goes on to the next path while the client still knows
 * nothing. What the client says meanwhile stays in its socket, so a path that did not take the flow has
 * seen none of it.
 * @module
 */

import type { Dialer } from './dialer.ts';
import { type EndpointParts, type Endpoints, NONE } from './endpoints.ts';
import { FAILED, HUNG_UP, WRITABLE } from './event-poll.ts';
import type { Listener } from './listener.ts';
import { FLOW, FLOW_BITS } from './relay-table.ts';
import { nextTarget, targetKey } from './target-order.ts';

export interface ConnectorParts extends EndpointParts {
  readonly dialer: Dialer;
  readonly now: () => number;
  /** A path did not take a flow. */
  readonly refused: (listener: Listener, path: string) => void;
}

/** Who goes on with a flow: one that is connected, or that no path took. */
export interface ConnectorHooks {
  readonly listenerOf: (at: number) => Listener | undefined;
  readonly connected: (row: number) => void;
  readonly abort: (row: number) => void;
}

export class FlowConnector {
  readonly #parts: ConnectorParts;
  readonly #ends: Endpoints;
  readonly #hooks: ConnectorHooks;
  /** Until when a flow may connect; 0: it is not about to. */
  readonly #until: Float64Array;
  #count = 0;
  /** Rows whose policy may be due, of flows that have ended since among them. */
  #young: number[] = [];
  readonly #tried = new Map<number, string[]>();

  constructor(parts: ConnectorParts, ends: Endpoints, hooks: ConnectorHooks) {
    this.#parts = parts;
    this.#ends = ends;
    this.#hooks = hooks;
    this.#until = new Float64Array(parts.table.flows.capacity);
  }

  get isBusy(): boolean {
    return this.#count > 0 || this.#young.length > 0;
  }

  isConnecting(row: number): boolean {
    return (this.#until[row] as number) > 0;
  }

  /** Connects by the best path that was not tried yet; without one the client is reset. */
  dial(row: number): void {
    const { table, options, dialer } = this.#parts;
    const at = table.flows.at(row);
    const listener = this.#hooks.listenerOf(at);
    const client = this.#ends.fd[2 * row] as number;
    const key = () => options.remoteAddress(client)?.address ?? '';
    while (listener !== undefined) {
      const { targets, mptcp } = listener.plan;
      const tried = this.#tried.get(row) ?? [];
      const target = nextTarget(targets, key, tried);
      if (target === undefined) {
        listener.countRefused();
        break;
      }
      this.#tried.set(row, [...tried, targetKey(target)]);
      const fd = dialer.connect(target, mptcp);
      if (fd >= 0) {
        table.ints[at + FLOW.path] = table.nameRow(target.path);
        table.ints[at + FLOW.upstream] = fd;
        this.#ends.fd[2 * row + 1] = fd;
        this.resume(row);
        return;
      }
      this.#parts.refused(listener, target.path);
    }
    this.#hooks.abort(row);
  }

  /** Waits for a connection that is under way. */
  resume(row: number): void {
    const listener = this.#hooks.listenerOf(this.#parts.table.flows.at(row));
    this.#until[row] = this.#parts.now() + (listener?.plan.connectTimeoutMs ?? 0);
    this.#count += 1;
    this.#ends.ask(2 * row + 1, WRITABLE);
  }

  /** Input: epoll has something to tell of the upstream. */
  handle(row: number, events: number): void {
    if ((events & (FAILED | HUNG_UP)) !== 0) this.#tryNext(row);
    else this.#succeed(row);
  }

  /** A flow that is connected, or was before, gets its policy at the next tick if that is due. */
  expectPolicy(row: number): void {
    this.#young.push(row);
  }

  /** Paths that have not answered in time have not taken the flow. */
  tick(): void {
    for (const row of this.#young) this.#applyPolicy(row);
    this.#young = [];
    if (this.#count === 0) return;
    const now = this.#parts.now();
    for (let row = 0; row < this.#parts.table.flows.used; row += 1) {
      const until = this.#until[row] as number;
      if (until > 0 && until <= now) this.#tryNext(row);
    }
  }

  /** The flow has ended. */
  forget(row: number): void {
    this.#stop(row);
    this.#tried.delete(row);
  }

  #succeed(row: number): void {
    const { table, options } = this.#parts;
    this.forget(row);
    const at = table.flows.at(row);
    // Stored before a byte may pass: without it the next relay may choose another path.
    const bits = FLOW_BITS.connected | FLOW_BITS.policyDue;
    table.ints[at + FLOW.bits] = (table.ints[at + FLOW.bits] as number) | bits;
    this.expectPolicy(row);
    const listener = this.#hooks.listenerOf(at);
    if (listener?.plan.mptcp === true) {
      listener.countMultipath(options.usesMultipath(this.#ends.fd[2 * row + 1] as number));
    }
    this.#hooks.connected(row);
  }

  /** So late, for it is a sixth of what a flow costs, and the short ones never need it. */
  #applyPolicy(row: number): void {
    const { table, options } = this.#parts;
    const at = table.flows.at(row);
    const bits = table.ints[at + FLOW.bits] as number;
    const listener = this.#hooks.listenerOf(at);
    const fd = this.#ends.fd[2 * row + 1] as number;
    if (fd < 0 || listener === undefined || (bits & FLOW_BITS.policyDue) === 0) return;
    options.applyPolicy(fd, listener.plan.policy);
    table.ints[at + FLOW.bits] = bits & ~FLOW_BITS.policyDue;
  }

  #tryNext(row: number): void {
    const { table } = this.#parts;
    const at = table.flows.at(row);
    this.#stop(row);
    table.ints[at + FLOW.upstream] = NONE;
    this.#ends.reset(2 * row + 1);
    const listener = this.#hooks.listenerOf(at);
    const path = table.name(table.ints[at + FLOW.path] as number);
    if (listener !== undefined) this.#parts.refused(listener, path);
    this.dial(row);
  }

  #stop(row: number): void {
    if (this.#until[row] === 0) return;
    this.#until[row] = 0;
    this.#count -= 1;
  }
}
