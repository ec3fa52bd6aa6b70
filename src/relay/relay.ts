/**
 * A listener in front of a group's paths. A new flow goes by the path in use at that moment; what
 * becomes of the flows of a path that was left is `oldFlows`. Bytes go through `node:net` streams
 * with their back-pressure, each direction ends by itself, and a reset is passed on as a reset.
 * Knows nothing of links: who chooses the path is asked through `pick`.
 * @module
 */
import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import { connectMptcp, requireMptcp, usesMptcp } from '../sys/mptcp.ts';
import { SystemError } from '../sys/system-error.ts';
import { descriptorOf } from '../sys/tcp-socket.ts';

/** What happens to flows of a path that was left: stay, stay for a grace, or be reset at once. */
export const OLD_FLOWS = ['keep', 'drain', 'reset'] as const;
export type OldFlows = (typeof OLD_FLOWS)[number];

/** Where a new flow goes. */
export interface RelayTarget {
  /** The path's name. */
  readonly path: string;
  readonly host: string;
  readonly port: number;
  /** Local address to connect from. */
  readonly source?: string | undefined;
}

export interface RelayConfig {
  readonly host: string;
  readonly port: number;
  readonly oldFlows: OldFlows;
  /** How long `drain` lets old flows end by themselves, in milliseconds. */
  readonly graceMs: number;
  /** Connect by Multipath TCP, where the path's server has it (RFC 8684). Default: no. */
  readonly mptcp?: boolean;
  /** The path in use now, or `undefined` while there is none; the client is reset then. */
  readonly pick: () => RelayTarget | undefined;
}

/** How a relay stands. */
export interface RelayCounts {
  /** Flows open now, by path. */
  readonly flows: Readonly<Record<string, number>>;
  /** Flows since the start. */
  readonly accepted: number;
  /** Flows whose path did not take the connection. */
  readonly refused: number;
  /** Where Multipath TCP is asked for: flows that it carried, and those that fell back to TCP. */
  readonly mptcp?: { readonly inUse: number; readonly fellBack: number };
}

interface RelayEvents {
  error: [Error];
}

/** A path that does not answer a connection request for so long has refused it. */
const CONNECT_TIMEOUT_MS = 10_000;

/** Node turns longer delays into 1 ms. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** Ends a socket by a reset; one that is still connecting has nobody to tell it to. */
function reset(socket: net.Socket): void {
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

interface Flow {
  readonly client: net.Socket;
  readonly upstream: net.Socket;
}

export class Relay extends EventEmitter<RelayEvents> {
  readonly #config: RelayConfig;
  readonly #flows = new Map<string, Set<Flow>>();
  readonly #graces = new Map<string, NodeJS.Timeout>();
  #server: net.Server | undefined;
  #accepted = 0;
  #refused = 0;
  #multipath = 0;
  #fellBack = 0;

  constructor(config: RelayConfig) {
    super();
    this.#config = config;
  }

  /** Listens; resolves to the bound port. Throws `SystemError`. */
  async start(): Promise<number> {
    const { host, port, mptcp = false } = this.#config;
    if (mptcp) requireMptcp();
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen({ host, port });
    try {
      await once(server, 'listening');
    } catch (error) {
      const errno = (error as NodeJS.ErrnoException).code ?? 'unknown';
      throw new SystemError(
        errno,
        `cannot listen on ${host} port ${port}: ${errno}; is it taken, or not an address of this machine?`,
      );
    }
    server.on('connection', (client) => this.#accept(client));
    server.on('error', (error) => this.emit('error', error));
    this.#server = server;
    return (server.address() as net.AddressInfo).port;
  }

  /** Stops listening and resets every flow. */
  close(): void {
    this.#server?.close();
    for (const timer of this.#graces.values()) clearTimeout(timer);
    for (const path of this.#flows.keys()) this.#reset(path);
  }

  counts(): RelayCounts {
    const flows = [...this.#flows].map(([path, set]) => [path, set.size] as const);
    return {
      flows: Object.fromEntries(flows.filter(([, size]) => size > 0)),
      accepted: this.#accepted,
      refused: this.#refused,
      ...(this.#config.mptcp === true
        ? { mptcp: { inUse: this.#multipath, fellBack: this.#fellBack } }
        : {}),
    };
  }

  /** New flows go elsewhere by now: deals with the flows that `path` still carries. */
  leave(path: string): void {
    const { oldFlows, graceMs } = this.#config;
    if (oldFlows === 'reset') this.#reset(path);
    if (oldFlows !== 'drain' || this.#graces.has(path)) return;
    const end = () => {
      this.#graces.delete(path);
      this.#reset(path);
    };
    this.#graces.set(path, setTimeout(end, Math.min(graceMs, LONGEST_DELAY_MS)));
  }

  /** The path is in use again: flows that were to end by themselves may stay. */
  enter(path: string): void {
    clearTimeout(this.#graces.get(path));
    this.#graces.delete(path);
  }

  #accept(client: net.Socket): void {
    this.#accepted += 1;
    // The reset that follows from `close` says all there is to say.
    client.on('error', () => undefined);
    const target = this.#config.pick();
    if (target === undefined) {
      client.resetAndDestroy();
      return;
    }
    const { path } = target;
    const upstream = this.#connect(target);
    client.setNoDelay(true);
    const flow: Flow = { client, upstream };
    const flows = this.#flows.get(path) ?? new Set();
    this.#flows.set(path, flows.add(flow));
    upstream.setTimeout(CONNECT_TIMEOUT_MS, () => reset(upstream));
    upstream.once('connect', () => {
      upstream.setTimeout(0);
      this.#countMultipath(upstream);
      client.pipe(upstream);
      upstream.pipe(client);
    });
    upstream.once('close', () => {
      flows.delete(flow);
      if (!upstream.readableEnded || !upstream.writableFinished) reset(client);
    });
    upstream.on('error', () => {
      if (upstream.connecting || upstream.bytesRead + upstream.bytesWritten === 0)
        this.#refused += 1;
    });
    client.once('close', () => {
      if (!client.readableEnded || !client.writableFinished) reset(upstream);
    });
  }

  #connect({ host, port, source }: RelayTarget): net.Socket {
    const local = source === undefined ? {} : { localAddress: source };
    const options = { host, port, ...local, allowHalfOpen: true, noDelay: true };
    return this.#config.mptcp === true ? connectMptcp(options) : net.connect(options);
  }

  #countMultipath(upstream: net.Socket): void {
    const fd = this.#config.mptcp === true ? descriptorOf(upstream) : undefined;
    if (fd === undefined) return;
    if (usesMptcp(fd)) this.#multipath += 1;
    else this.#fellBack += 1;
  }

  #reset(path: string): void {
    for (const { client, upstream } of this.#flows.get(path) ?? []) {
      reset(client);
      reset(upstream);
    }
  }
}
