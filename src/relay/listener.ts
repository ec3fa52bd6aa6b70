/**
 * One listening socket of the relay: what is planned for it, what it counts, and when it accepts.
 * Clients beyond a limit wait in the kernel's queue, so nobody is turned away for a moment's crowd.
 * @module
 */
import type { KernelCalls, Memory } from '../sys/kernel-calls.ts';
import { encodeProxyHeader } from '../wire/proxy-protocol.ts';
import type { SocketAddress } from '../wire/socket-address.ts';
import type { PlannedRelay } from './relay-plan.ts';
import { LISTENER, type RelayTable } from './relay-table.ts';
import type { SocketOptions } from './socket-options.ts';

const NOBODY: SocketAddress = { address: '', port: 0 };

export class Listener {
  /** Its row in the table. */
  readonly row: number;
  fd: number;
  plan: PlannedRelay;
  /** Flows open now. */
  live = 0;
  readonly #calls: KernelCalls;
  readonly #table: RelayTable;
  readonly #options: SocketOptions;
  readonly #scratch: Memory;
  #tokens: number;
  #refilledAt: number;

  constructor(
    parts: { calls: KernelCalls; table: RelayTable; options: SocketOptions; scratch: Memory },
    row: number,
    fd: number,
    plan: PlannedRelay,
    now: number,
  ) {
    this.row = row;
    this.fd = fd;
    this.plan = plan;
    this.#calls = parts.calls;
    this.#table = parts.table;
    this.#options = parts.options;
    this.#scratch = parts.scratch;
    this.#tokens = plan.maxRate;
    this.#refilledAt = now;
  }

  /** It listens elsewhere from now on; its flows go on. */
  moveTo(fd: number, plan: PlannedRelay): void {
    this.#table.ints[this.#table.listeners.at(this.row) + LISTENER.fd] = fd;
    this.fd = fd;
    this.plan = plan;
  }

  /** Whether one more flow may come now; if so, it is counted. */
  admits(now: number): boolean {
    const { maxFlows, maxRate } = this.plan;
    if (maxFlows > 0 && this.live >= maxFlows) return false;
    if (maxRate > 0) {
      const more = ((now - this.#refilledAt) / 1_000) * maxRate;
      this.#tokens = Math.min(maxRate, this.#tokens + more);
      this.#refilledAt = now;
      if (this.#tokens < 1) return false;
      this.#tokens -= 1;
    }
    return true;
  }

  /** One that was admitted has not come. */
  giveBack(): void {
    this.#tokens += 1;
  }

  get accepted(): number {
    return this.#read(LISTENER.accepted);
  }

  get refused(): number {
    return this.#read(LISTENER.refused);
  }

  /** Flows that Multipath TCP carried, and those that fell back to TCP. */
  get multipath(): { inUse: number; fellBack: number } {
    return { inUse: this.#read(LISTENER.multipath), fellBack: this.#read(LISTENER.fellBack) };
  }

  /** Bytes of flows that have ended: from clients, and to them. */
  get ended(): { bytesUp: number; bytesDown: number } {
    const { doubles } = this.#table;
    const at = this.#table.listeners.at(this.row);
    return {
      bytesUp: doubles[(at + LISTENER.bytesUp) / 2] as number,
      bytesDown: doubles[(at + LISTENER.bytesDown) / 2] as number,
    };
  }

  countAccepted(): void {
    this.#add(LISTENER.accepted);
  }

  countRefused(): void {
    this.#add(LISTENER.refused);
  }

  countMultipath(used: boolean): void {
    this.#add(used ? LISTENER.multipath : LISTENER.fellBack);
  }

  countEnded(bytesUp: number, bytesDown: number): void {
    this.live -= 1;
    const { doubles } = this.#table;
    const at = this.#table.listeners.at(this.row);
    const [up, down] = [(at + LISTENER.bytesUp) / 2, (at + LISTENER.bytesDown) / 2];
    doubles[up] = (doubles[up] as number) + bytesUp;
    doubles[down] = (doubles[down] as number) + bytesDown;
  }

  /** Writes a client's PROXY header to a pipe; its length, or 0 if none could be written. */
  writeHeader(client: number, pipe: number): number {
    const source = this.#options.remoteAddress(client) ?? NOBODY;
    const destination = this.#options.localAddress(client) ?? NOBODY;
    const header = encodeProxyHeader(this.plan.proxy ?? 'v2', { source, destination });
    this.#scratch.bytes.set(header);
    return Math.max(0, this.#calls.write(pipe, this.#scratch.address, header.length));
  }

  #read(field: number): number {
    return (this.#table.ints[this.#table.listeners.at(this.row) + field] as number) >>> 0;
  }

  #add(field: number): void {
    const at = this.#table.listeners.at(this.row) + field;
    this.#table.ints[at] = ((this.#table.ints[at] as number) + 1) | 0;
  }
}
