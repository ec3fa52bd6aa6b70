/**
 * `tcp://host:port`: one held connection, kept and judged by the kernel's own keepalive (RFC 9293
 * section 3.8.4). Connecting is probing: each attempt is a probe of the machine. Once connected the
 * kernel has the clocks and the machine only keeps the state.
 * @module
 */
import type net from 'node:net';
import type { Evidence, Reason } from '../keepalive/keepalive.ts';
import { tcpLimitsOf } from '../keepalive/tcp-limits.ts';
import type { Timing } from '../keepalive/timing.ts';
import { SystemError } from '../sys/system-error.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { HeldTcp, TCP_FACTS } from './held-tcp.ts';
import { hostPort, type LinkUrl } from './link-url.ts';
import { TcpDialer } from './tcp-dialer.ts';
import { requireKeepalive } from './tcp-watch.ts';

export class TcpLink extends HeldTcp {
  readonly #dialer: TcpDialer;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const { intervalMs, probes } = timing;
    const config = { intervalMs, probes, random: Math.random };
    super({ name, url: url.redacted, timing }, TCP_FACTS, config, tcpLimitsOf(timing, where));
    this.#dialer = new TcpDialer(url, probes, {
      connected: (socket, tookMs) => this.#connected(socket, tookMs),
      // While it is held, the watch tells of its end.
      ended: (error) => {
        if (error !== undefined && !this.held) this.#failed(error);
      },
    });
    this.remote = hostPort(url.host, url.port);
  }

  /** Throws `SystemError` where this machine cannot set keepalive. */
  protected open(): void {
    requireKeepalive();
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.release();
    this.#dialer.hangUp();
  }

  /** An attempt to connect. */
  protected sendProbe(): void {
    this.#dialer.dial();
  }

  protected died(reason: Reason, evidence: Evidence): void {
    const { lasted } = this.#dialer;
    this.shut();
    this.feed((machine, now) => {
      machine.handleFailure(reason, evidence, now);
      if (lasted) machine.handleProbeRequest(now);
    });
  }

  #failed(error: Error): void {
    const errno = errnoOf(error);
    const reason = error instanceof SystemError ? 'protocol-error' : reasonOf(errno);
    this.shut();
    this.feed((machine, now) => machine.handleFailure(reason, { errno }, now));
  }

  #connected(socket: net.Socket, tookMs: number): void {
    // What the peer says first (a banner) is not for us, and unread it would fill the buffer.
    socket.resume();
    this.reportReply(tookMs);
    try {
      this.hold(socket);
    } catch (error) {
      this.reportNote((error as Error).message);
      this.#failed(error as Error);
    }
  }
}
