/**
 * `tcp://host:port`: one held connection, kept and judged by the kernel's own keepalive (RFC 9293
 * section 3.8.4). Connecting is probing: each attempt is a probe of the machine. Once connected the
 * kernel has the clocks and the machine only keeps the state.
 * @module
 */
import net from 'node:net';
import type { Timing } from '../keepalive/timing.ts';
import type { TcpOptions } from '../sys/tcp-socket.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { Link, type LinkFacts } from './link.ts';
import { hostPort, type LinkUrl } from './link-url.ts';
import { TcpWatch, tcpDetectionBoundMs, tcpOptionsFor } from './tcp-watch.ts';

/** What every `tcp` link is and proves. */
export const TCP_FACTS: LinkFacts = {
  kind: 'tcp',
  class: 'answered',
  proves: "the path and the peer's kernel answer; not that the application runs",
};

/** A connection that ended sooner than this is not made anew at once, but after an interval. */
const SHORT_LIFE_MS = 5_000;

export class TcpLink extends Link {
  readonly #url: LinkUrl;
  readonly #options: TcpOptions;
  #socket: net.Socket | undefined;
  #watch: TcpWatch | undefined;
  #connectedAt = 0;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const { intervalMs, probes } = timing;
    const config = { intervalMs, probes, random: Math.random };
    super({ name, url: url.redacted, timing }, TCP_FACTS, config);
    this.#url = url;
    this.#options = tcpOptionsFor(timing, where);
    this.remote = hostPort(url.host, url.port);
  }

  override get detectsWithinMs(): number {
    return tcpDetectionBoundMs(this.#options);
  }

  /** While connected the kernel is asked to probe; otherwise a connection is tried. */
  override probe(): void {
    if (this.#watch === undefined) super.probe();
    else this.#watch.probe();
  }

  protected override wake(): void {
    if (this.#watch === undefined) super.wake();
    else this.#watch.probe();
  }

  protected open(): void {
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.#watch?.stop();
    this.#watch = undefined;
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  /** An attempt to connect; the one before it has had its interval. */
  protected sendProbe(): void {
    this.shut();
    const { host, port, source } = this.#url;
    const startedAt = performance.now();
    const local = source === undefined ? {} : { localAddress: source };
    const socket = net.connect({ host, port, ...local });
    this.#socket = socket;
    socket.on('error', (error) => {
      if (this.#socket === socket && this.#watch === undefined) this.#refused(error);
    });
    socket.once('connect', () => {
      if (this.#socket === socket) this.#connected(socket, startedAt);
    });
  }

  #refused(error: Error): void {
    const errno = errnoOf(error);
    this.shut();
    this.feed((machine, now) => machine.handleFailure(reasonOf(errno), { errno }, now));
  }

  #connected(socket: net.Socket, startedAt: number): void {
    this.local = hostPort(socket.localAddress ?? '', socket.localPort ?? 0);
    this.remote = hostPort(socket.remoteAddress ?? '', socket.remotePort ?? 0);
    const watch = new TcpWatch(socket, this.#options, {
      heard: (rttMs) => {
        this.reportReply(rttMs);
        this.feed((machine, now) => machine.handleReceived(now));
      },
      doubt: (evidence) => this.feed((machine) => machine.handleDoubt('no-answer', evidence)),
      dead: (reason, evidence) => {
        const lived = performance.now() - this.#connectedAt;
        this.shut();
        this.feed((machine, now) => {
          machine.handleFailure(reason, evidence, now);
          if (lived > SHORT_LIFE_MS) machine.handleProbeRequest(now);
        });
      },
      note: (text) => this.reportNote(text),
    });
    try {
      watch.start();
    } catch (error) {
      this.reportNote((error as Error).message);
      this.#refused(error as Error);
      return;
    }
    this.#watch = watch;
    this.#connectedAt = performance.now();
    // What the peer says first (a banner) is not for us, and unread it would fill the buffer.
    socket.resume();
    this.reportReply(this.#connectedAt - startedAt);
    this.feed((machine, now) => machine.handleReceived(now));
  }
}
