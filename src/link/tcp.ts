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
import { connectMptcp, requireMptcp } from '../sys/mptcp.ts';
import { SystemError } from '../sys/system-error.ts';
import { placeOf, UsageError } from '../time/usage-error.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { HeldTcp, TCP_FACTS } from './held-tcp.ts';
import { hostPort, type LinkUrl, placeOfUrl } from './link-url.ts';
import { type DialOutcome, TcpDialer } from './tcp-dialer.ts';
import { requireKeepalive } from './tcp-watch.ts';

/** Whether the URL asks for Multipath TCP. Throws `UsageError`. */
function readMultipath(url: LinkUrl, timing: Timing, where: string): boolean {
  const asked = url.parameters.get('mptcp');
  if (asked === undefined) return false;
  if (asked !== 'true') {
    const text = `mptcp=${asked.slice(0, 20)}: write mptcp=true, or leave it out`;
    throw new UsageError('bad-url', `${placeOfUrl(where)}: ${text}`);
  }
  if ((timing.userTimeoutMs ?? 0) > 0) {
    const text = 'the kernel has no user timeout for Multipath TCP; leave it out, or mptcp=true';
    throw new UsageError('bad-timing', `${placeOf(where, 'userTimeout')}: ${text}`);
  }
  return true;
}

export class TcpLink extends HeldTcp {
  readonly #dialer: TcpDialer;
  readonly #multipath: boolean;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const { intervalMs, probes } = timing;
    const multipath = readMultipath(url, timing, where);
    const config = { intervalMs, probes, random: Math.random };
    const limits = tcpLimitsOf(multipath ? { ...timing, userTimeoutMs: 0 } : timing, where);
    super({ name, url: url.redacted, timing }, TCP_FACTS, config, limits, multipath);
    this.#multipath = multipath;
    const outcome: DialOutcome = {
      connected: (socket, tookMs) => this.#connected(socket, tookMs),
      // While it is held, the watch tells of its end.
      ended: (error) => {
        if (error !== undefined && !this.held) this.#failed(error);
      },
    };
    this.#dialer = new TcpDialer(url, probes, outcome, multipath ? connectMptcp : undefined);
    this.remote = hostPort(url.host, url.port);
  }

  /** Throws `SystemError` where this machine cannot set keepalive. */
  protected open(): void {
    requireKeepalive();
    if (this.#multipath) requireMptcp();
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
