/**
 * One relay by `node:net` streams, for machines where the data plane of the kernel is not to be had.
 * Each direction ends by itself, and a reset is passed on as a reset. Its flows end with its process.
 * @module
 */
import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import { connectMptcp, requireMptcp, usesMptcp } from '../sys/mptcp.ts';
import { SystemError } from '../sys/system-error.ts';
import { descriptorOf } from '../sys/tcp-socket.ts';
import { encodeProxyHeader } from '../wire/proxy-protocol.ts';
import type { PlannedRelay, PlannedTarget, RelayCounts } from './relay-plan.ts';
import { nextTarget, targetKey } from './target-order.ts';

interface StreamRelayEvents {
  /** A path did not take a flow. */
  refused: [path: string];
  error: [Error];
}

interface Flow {
  readonly path: string;
  readonly client: net.Socket;
  readonly upstream: net.Socket;
}

export class StreamRelay extends EventEmitter<StreamRelayEvents> {
  plan: PlannedRelay;
  readonly #flows = new Set<Flow>();
  #server: net.Server | undefined;
  #accepted = 0;
  #refused = 0;
  #bytesUp = 0;
  #bytesDown = 0;
  #multipath = 0;
  #fellBack = 0;

  constructor(plan: PlannedRelay) {
    super();
    this.plan = plan;
  }

  /** Listens; resolves to the bound port. Throws `SystemError`. */
  async start(): Promise<number> {
    const { address: host, port, mptcp, protocol } = this.plan;
    if (protocol === 'udp') throw new SystemError('EPROTONOSUPPORT', 'UDP needs the splice engine');
    if (mptcp) requireMptcp();
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen({ host, port });
    try {
      await once(server, 'listening');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      throw new SystemError(code, `cannot listen: ${code}`);
    }
    server.on('connection', (client) => this.#accept(client));
    server.on('error', (error) => this.emit('error', error));
    this.#server = server;
    return (server.address() as net.AddressInfo).port;
  }

  /** Stops listening and resets every flow. */
  close(): void {
    this.#server?.close();
    this.reset();
  }

  /** Resets the flows that a path carries, or all. */
  reset(path?: string): void {
    for (const flow of this.#flows) {
      if (path !== undefined && flow.path !== path) continue;
      end(flow.client);
      end(flow.upstream);
    }
  }

  counts(): RelayCounts {
    const flows: Record<string, number> = {};
    let [bytesUp, bytesDown] = [this.#bytesUp, this.#bytesDown];
    for (const { path, client, upstream } of this.#flows) {
      flows[path] = (flows[path] ?? 0) + 1;
      bytesUp += client.bytesRead;
      bytesDown += upstream.bytesRead;
    }
    const counts = { flows, accepted: this.#accepted, refused: this.#refused, bytesUp, bytesDown };
    if (!this.plan.mptcp) return counts;
    return { ...counts, mptcp: { inUse: this.#multipath, fellBack: this.#fellBack } };
  }

  #accept(client: net.Socket): void {
    this.#accepted += 1;
    // The reset that follows from `close` says all there is to say.
    client.on('error', () => undefined);
    if (this.plan.maxFlows > 0 && this.#flows.size >= this.plan.maxFlows) {
      client.resetAndDestroy();
      return;
    }
    client.setNoDelay(true);
    client.setKeepAlive(true, this.plan.policy.timeMs);
    this.#dial(client, []);
  }

  #dial(client: net.Socket, tried: readonly string[]): void {
    const key = () => client.remoteAddress ?? '';
    const target = nextTarget(this.plan.targets, key, tried);
    if (target === undefined) {
      this.#refused += 1;
      end(client);
      return;
    }
    const upstream = this.#connect(target);
    const flow: Flow = { path: target.path, client, upstream };
    this.#flows.add(flow);
    const giveUp = setTimeout(() => upstream.destroy(), this.plan.connectTimeoutMs);
    let connected = false;
    upstream.once('connect', () => {
      connected = true;
      clearTimeout(giveUp);
      this.#join(flow);
    });
    upstream.on('error', () => undefined);
    upstream.once('close', () => {
      clearTimeout(giveUp);
      this.#flows.delete(flow);
      if (connected) this.#part(flow);
      else if (client.destroyed) return;
      else {
        this.emit('refused', target.path);
        this.#dial(client, [...tried, targetKey(target)]);
      }
    });
    client.once('close', () => {
      if (!connected) upstream.destroy();
      else if (!client.readableEnded || !client.writableFinished) end(upstream);
    });
  }

  #join({ client, upstream }: Flow): void {
    this.#countMultipath(upstream);
    if (this.plan.proxy !== undefined) {
      const ends = {
        source: { address: client.remoteAddress ?? '', port: client.remotePort ?? 0 },
        destination: { address: client.localAddress ?? '', port: client.localPort ?? 0 },
      };
      upstream.write(encodeProxyHeader(this.plan.proxy, ends));
    }
    client.pipe(upstream);
    upstream.pipe(client);
  }

  #part({ client, upstream }: Flow): void {
    this.#bytesUp += client.bytesRead;
    this.#bytesDown += upstream.bytesRead;
    if (!upstream.readableEnded || !upstream.writableFinished) end(client);
  }

  #connect({ address: host, port, source }: PlannedTarget): net.Socket {
    const local = source === undefined ? {} : { localAddress: source };
    const { timeMs } = this.plan.policy;
    const alive = { keepAlive: true, keepAliveInitialDelay: timeMs };
    const options = { host, port, ...local, ...alive, allowHalfOpen: true, noDelay: true };
    return this.plan.mptcp ? connectMptcp(options) : net.connect(options);
  }

  #countMultipath(upstream: net.Socket): void {
    const fd = this.plan.mptcp ? descriptorOf(upstream) : undefined;
    if (fd === undefined) return;
    if (usesMptcp(fd)) this.#multipath += 1;
    else this.#fellBack += 1;
  }
}

/** Ends a socket by a reset; one that is still connecting has nobody to tell it to. */
function end(socket: net.Socket): void {
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}
