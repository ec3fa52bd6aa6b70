/**
 * What `tcp://` and `nbss://` links and sockets of a program have in common: a connected socket that
 * the kernel keeps, and whose state the machine records. Who made the connection, and what follows
 * its death, is for the kinds.
 * @module
 */
import type { Socket } from 'node:net';
import type { Evidence, KeepaliveConfig, Reason } from '../keepalive/keepalive.ts';
import { idleBoundMs, type TcpLimits } from '../keepalive/tcp-limits.ts';
import { ffiMissing } from '../sys/libc.ts';
import type { TcpOptions } from '../sys/tcp-socket.ts';
import { Link, type LinkFacts, type LinkIdentity, type LinkStatus } from './link.ts';
import { hostPort } from './link-url.ts';
import { type TcpVerdicts, TcpWatch } from './tcp-watch.ts';

/** What every plain TCP connection is and proves. */
export const TCP_FACTS: LinkFacts = {
  kind: 'tcp',
  class: 'answered',
  proves: "the path and the peer's kernel answer; not that the application runs",
};

/** Whether Multipath TCP is in use, in words; nothing for a link that did not ask for it. */
export function describeMptcp(mptcp: LinkStatus['mptcp']): string {
  if (mptcp === undefined) return '';
  if (!mptcp.inUse) return 'plain TCP, no Multipath TCP';
  return `Multipath TCP, ${mptcp.subflows} ${mptcp.subflows === 1 ? 'subflow' : 'subflows'}`;
}

export abstract class HeldTcp extends Link {
  readonly #options: TcpOptions;
  readonly #multipath: boolean;
  #watch: TcpWatch | undefined;

  /** `multipath`: its sockets are made for Multipath TCP. */
  constructor(
    identity: LinkIdentity,
    facts: LinkFacts,
    config: KeepaliveConfig,
    limits: TcpLimits,
    multipath = false,
  ) {
    super(identity, facts, config);
    this.#options = { enabled: true, ...limits };
    this.#multipath = multipath;
  }

  override status(): LinkStatus {
    if (!this.#multipath) return super.status();
    const subflows = this.#watch?.subflows;
    return { ...super.status(), mptcp: { inUse: subflows !== undefined, subflows: subflows ?? 0 } };
  }

  override get detectsWithinMs(): number {
    // Without FFI there is no user timeout that could override the count of probes.
    if (ffiMissing() !== undefined) return super.detectsWithinMs;
    return idleBoundMs(this.#options);
  }

  /** While connected the kernel is asked to probe. */
  override probe(): void {
    if (this.#watch === undefined) super.probe();
    else this.#watch.probe();
  }

  protected override wake(): void {
    if (this.#watch === undefined) super.wake();
    else this.#watch.probe();
  }

  protected get held(): boolean {
    return this.#watch !== undefined;
  }

  /** The connection that was held is over. */
  protected abstract died(reason: Reason, evidence: Evidence): void;

  /** Holds a connected socket. Throws `SystemError` if the kernel does not keep the options. */
  protected hold(socket: Socket): void {
    this.local = hostPort(socket.localAddress ?? '', socket.localPort ?? 0);
    this.remote = hostPort(socket.remoteAddress ?? '', socket.remotePort ?? 0);
    const verdicts: TcpVerdicts = {
      heard: (rttMs) => {
        this.reportReply(rttMs);
        this.feed((machine, now) => machine.handleReceived(now));
      },
      doubt: (evidence) => this.feed((machine) => machine.handleDoubt('no-answer', evidence)),
      dead: (reason, evidence) => this.died(reason, evidence),
      note: (text) => this.reportNote(text),
    };
    const watch = new TcpWatch(socket, this.#options, verdicts, this.#multipath);
    watch.start();
    if (this.#multipath && watch.subflows === undefined) {
      this.reportTrouble('the peer has no Multipath TCP: the connection is plain TCP');
    }
    this.#watch = watch;
    // Who asked for it gets the link back first, and can listen.
    queueMicrotask(() => {
      if (this.#watch === watch) this.feed((machine, now) => machine.handleReceived(now));
    });
  }

  /** Stops holding; the socket and its options stay as they are. */
  protected release(): void {
    this.#watch?.stop();
    this.#watch = undefined;
  }
}
