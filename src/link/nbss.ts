/**
 * `nbss://host`: a NetBIOS session and its one-way keepalive, `85 00 00 00` (RFC 1001 section 16.3, RFC
 * 1002 section 5.3). Nobody answers it; the kernel acknowledges it, and what tells of death is the
 * transport: the kernel's keepalive while nothing is in flight, its user timeout once a beat is.
 *
 * A server of SMB 2 only disconnects whoever begins with a keepalive, so a session is begun with
 * NEGOTIATE; one of SMB 1 only disconnects at that. A session that ends before the server has said
 * anything is followed by one that begins the other way.
 * @module
 */
import { randomBytes } from 'node:crypto';
import type net from 'node:net';
import type { Evidence, Reason } from '../keepalive/keepalive.ts';
import {
  idleBoundMs,
  inFlightBoundMs,
  type TcpLimits,
  tcpLimitsOf,
} from '../keepalive/tcp-limits.ts';
import type { Timing } from '../keepalive/timing.ts';
import { ffiMissing } from '../sys/libc.ts';
import { UsageError } from '../time/usage-error.ts';
import {
  encodeNbssKeepalive,
  encodeNbssMessage,
  encodeSessionRequest,
  isNetbiosName,
  type NbssPacket,
  NbssReader,
  negativeWords,
} from '../wire/nbss.ts';
import { encodeNegotiate } from '../wire/smb2.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { HeldTcp } from './held-tcp.ts';
import type { LinkFacts } from './link.ts';
import { hostPort, type LinkUrl, placeOfUrl } from './link-url.ts';
import { TcpDialer } from './tcp-dialer.ts';
import { requireKeepalive } from './tcp-watch.ts';

const NBSS_FACTS: LinkFacts = {
  kind: 'nbss',
  class: 'one-way',
  proves:
    "a NetBIOS session was accepted and the peer's kernel answers; not that the server still runs",
};

/** What every server answers to, whatever its name. */
const ANY_SERVER = '*SMBSERVER';
const OUR_NAME = 'LINKHOLD';
/** Bodies are not for us: this much of one is kept. */
const KEPT = 0;
/** tcp_retries2 unless somebody changed it. */
const RETRIES2 = 15;
/** The user timeout counts from the first retransmission, a second at most on any usual path. */
const FIRST_RETRANSMISSION_MS = 1_000;

export class NbssLink extends HeldTcp {
  readonly #dialer: TcpDialer;
  readonly #called: string;
  readonly #beatMs: number;
  readonly #limits: TcpLimits;
  #socket: net.Socket | undefined;
  #askedAt = 0;
  /** Whether the present session has had a message. */
  #spokenTo = false;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const { beatMs = timing.timeMs, ...tcp } = timing;
    const limits = tcpLimitsOf(tcp, where);
    const { intervalMs, probes } = timing;
    const config = { intervalMs, probes, beatMs, random: Math.random };
    super({ name, url: url.redacted, timing: { ...timing, beatMs } }, NBSS_FACTS, config, limits);
    this.#called = url.parameters.get('called') ?? ANY_SERVER;
    if (!isNetbiosName(this.#called)) {
      const text = 'called= is no NetBIOS name; write 1 to 15 letters, for example ?called=FILESRV';
      throw new UsageError('bad-url', `${placeOfUrl(where)}: ${text}`);
    }
    this.#limits = limits;
    this.#beatMs = beatMs;
    this.#dialer = new TcpDialer(url, probes, {
      connected: (socket) => this.#connected(socket),
      // While it is held, the watch tells of its end.
      ended: (error) => {
        if (!this.held) this.#ended(error);
      },
    });
    this.remote = hostPort(url.host, url.port);
  }

  /** A beat is in flight when a verdict is near, so its user timeout follows after it. */
  override get detectsWithinMs(): number {
    const userTimeoutMs = ffiMissing() === undefined ? this.#limits.userTimeoutMs : 0;
    const idleMs = idleBoundMs({ ...this.#limits, userTimeoutMs });
    const inFlightMs = inFlightBoundMs(userTimeoutMs, RETRIES2) + FIRST_RETRANSMISSION_MS;
    return Math.min(this.#beatMs, idleMs) + inFlightMs;
  }

  /** Throws `SystemError` where this machine cannot set keepalive. */
  protected open(): void {
    requireKeepalive();
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.release();
    this.#socket = undefined;
    this.#dialer.hangUp();
  }

  /** An attempt to get a session. */
  protected sendProbe(): void {
    this.#dialer.dial();
  }

  protected override sendBeat(): void {
    // What still waits to leave is a beat by itself, and the kernel is at it.
    if (this.held && this.#socket?.writableLength === 0) this.#socket.write(encodeNbssKeepalive());
  }

  protected died(reason: Reason, evidence: Evidence): void {
    let anew = this.#dialer.lasted;
    if (!this.#spokenTo && (reason === 'closed' || reason === 'reset')) {
      const text = 'the server ended a session in which it had said nothing; the next begins';
      const negotiates = this.#negotiates;
      this.reportTrouble(`${text} ${negotiates ? 'without' : 'with'} NEGOTIATE`);
      // At once the first time, so that a server that wants the other way is not long down.
      anew ||= negotiates;
      this.learn({ refusesNegotiate: negotiates ? true : undefined });
    }
    this.#over(reason, evidence, anew);
  }

  /** Whether a session is begun with NEGOTIATE. */
  get #negotiates(): boolean {
    return this.learned.refusesNegotiate !== true;
  }

  #connected(socket: net.Socket): void {
    const reader = new NbssReader('netbios', KEPT);
    this.#socket = socket;
    this.#askedAt = performance.now();
    this.#spokenTo = false;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Uint8Array) => this.#received(socket, reader, bytes));
    socket.write(encodeSessionRequest(this.#called, OUR_NAME));
  }

  #received(socket: net.Socket, reader: NbssReader, bytes: Uint8Array): void {
    try {
      for (const packet of reader.read(bytes)) {
        if (this.#socket !== socket) return;
        this.#means(socket, packet);
      }
    } catch (error) {
      if ((error as Error).name !== 'DecodeError') throw error;
      this.#refused(
        'protocol-error',
        `this is no NetBIOS session service: ${(error as Error).message}`,
      );
    }
  }

  #means(socket: net.Socket, packet: NbssPacket): void {
    if (packet.type === 'keepalive') return;
    if (this.held) {
      if (packet.type === 'message') this.#spokenTo = true;
      else this.#refused('protocol-error', `the server sent a ${packet.type} within the session`);
    } else if (packet.type === 'positive') {
      this.#accepted(socket);
    } else if (packet.type === 'negative') {
      this.#refused('refused', `the server refuses the session, ${negativeWords(packet.code)}`);
    } else if (packet.type === 'retarget') {
      const there = hostPort(packet.address, packet.port);
      const text = `the server retargets to ${there}; if that is right, write nbss://${there}`;
      this.#refused('protocol-error', text);
    } else {
      this.#refused('protocol-error', `the server sent a ${packet.type} before the session`);
    }
  }

  #accepted(socket: net.Socket): void {
    this.reportReply(performance.now() - this.#askedAt);
    if (this.#negotiates) {
      const negotiate = encodeNegotiate({ messageId: 0n, credits: 1 }, randomBytes(16));
      socket.write(encodeNbssMessage(negotiate));
    }
    try {
      this.hold(socket);
    } catch (error) {
      this.#refused('protocol-error', (error as Error).message);
    }
  }

  #ended(error: Error | undefined): void {
    if (error === undefined) this.#over('closed', {}, false);
    else this.#over(reasonOf(errnoOf(error)), { errno: errnoOf(error) }, false);
  }

  #refused(reason: Reason, text: string): void {
    this.reportTrouble(text);
    this.#over(reason, {}, false);
  }

  #over(reason: Reason, evidence: Evidence, anew: boolean): void {
    this.shut();
    this.feed((machine, now) => {
      machine.handleFailure(reason, evidence, now);
      if (anew) machine.handleProbeRequest(now);
    });
  }
}
