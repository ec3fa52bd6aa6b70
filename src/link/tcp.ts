/**
 * `tcp://host:port`: one held connection, kept and judged by the kernel's own keepalive (RFC 9293
 * section 3.8.4). Connecting is probing: each attempt is a probe of the machine. Once connected the
 * kernel has the clocks and the machine only keeps the state.
 * @module
 */
import net from 'node:net';
import type { Evidence, Reason } from '../keepalive/keepalive.ts';
import type { Timing } from '../keepalive/timing.ts';
import { SystemError } from '../sys/system-error.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { HeldTcp } from './held-tcp.ts';
import { hostPort, type LinkUrl } from './link-url.ts';
import { requireKeepalive } from './tcp-watch.ts';

/** A connection that ended sooner than this is not made anew at once, but after an interval. */
const SHORT_LIFE_MS = 5_000;

export class TcpLink extends HeldTcp {
  readonly #url: LinkUrl;
  #socket: net.Socket | undefined;
  #connectedAt = 0;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const { intervalMs, probes } = timing;
    const config = { intervalMs, probes, random: Math.random };
    super({ name, url: url.redacted, timing }, config, where);
    this.#url = url;
    this.remote = hostPort(url.host, url.port);
  }

  /** Throws `SystemError` where this machine cannot set keepalive. */
  protected open(): void {
    requireKeepalive();
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.release();
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  /**
   * An attempt to connect. It is left to the kernel, which repeats it, for as many intervals as
   * there are probes: a handshake slower than an interval must still come to its end.
   */
  protected sendProbe(sequence: number): void {
    if (this.#socket !== undefined && sequence % this.identity.timing.probes !== 0) return;
    this.shut();
    const { host, port, source } = this.#url;
    const startedAt = performance.now();
    const local = source === undefined ? {} : { localAddress: source };
    const socket = net.connect({ host, port, ...local });
    this.#socket = socket;
    socket.on('error', (error) => {
      if (this.#socket === socket && !this.held) this.#failed(error);
    });
    socket.once('connect', () => {
      if (this.#socket === socket) this.#connected(socket, startedAt);
    });
  }

  protected died(reason: Reason, evidence: Evidence): void {
    const lived = performance.now() - this.#connectedAt;
    this.shut();
    this.feed((machine, now) => {
      machine.handleFailure(reason, evidence, now);
      if (lived > SHORT_LIFE_MS) machine.handleProbeRequest(now);
    });
  }

  #failed(error: Error): void {
    const errno = errnoOf(error);
    const reason = error instanceof SystemError ? 'protocol-error' : reasonOf(errno);
    this.shut();
    this.feed((machine, now) => machine.handleFailure(reason, { errno }, now));
  }

  #connected(socket: net.Socket, startedAt: number): void {
    this.#connectedAt = performance.now();
    // What the peer says first (a banner) is not for us, and unread it would fill the buffer.
    socket.resume();
    this.reportReply(this.#connectedAt - startedAt);
    try {
      this.hold(socket);
    } catch (error) {
      this.reportNote((error as Error).message);
      this.#failed(error as Error);
    }
  }
}
