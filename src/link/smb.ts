/**
 * `smb://host`: SMB 2's own ECHO as the probe, without a login (MS-SMB2 sections 2.2.28, 3.3.5.17). The
 * answer comes from the server's process, so one that is stopped or hung shows, which the kernel's
 * keepalive never tells. Connecting is probing: until the first answer an attempt has the time of
 * all probes, then the connection is made anew.
 *
 * Microsoft's servers may disconnect a client that asks for ECHO before it logged in. Such a server
 * is asked by NEGOTIATE instead, on a new connection for each probe.
 * @module
 */
import { randomBytes } from 'node:crypto';
import type net from 'node:net';
import type { Evidence, Reason } from '../keepalive/keepalive.ts';
import type { Timing } from '../keepalive/timing.ts';
import { placeOf, UsageError } from '../time/usage-error.ts';
import { STATUS_SUCCESS, statusName } from '../wire/smb2.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { Link, type LinkFacts } from './link.ts';
import { hostPort, type LinkUrl } from './link-url.ts';
import { type SmbEvent, SmbSession } from './smb-session.ts';
import { TcpDialer } from './tcp-dialer.ts';

const SMB_FACTS: LinkFacts = {
  kind: 'smb',
  class: 'answered',
  proves: "the path and the SMB server's process answer; not that a login or a share works",
};

/** How far a connection has come: NEGOTIATE sent, the first ECHO sent, an ECHO answered. */
type Stage = 'negotiating' | 'asked' | 'held';

interface Connection {
  readonly socket: net.Socket;
  readonly session: SmbSession;
  stage: Stage;
  /** Round trip of NEGOTIATE. */
  rttMs: number;
}

export class SmbLink extends Link {
  readonly #dialer: TcpDialer;
  #connection: Connection | undefined;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const { timeMs, intervalMs, probes, beatMs } = timing;
    if (beatMs !== undefined) {
      const text = 'smb:// asks, it has no beat; a shorter `time` holds the link';
      throw new UsageError('bad-timing', `${placeOf(where, 'beat')}: ${text}`);
    }
    const config = { timeMs, intervalMs, probes, random: Math.random };
    super({ name, url: url.redacted, timing }, SMB_FACTS, config);
    this.#dialer = new TcpDialer(url, probes, {
      connected: (socket) => this.#connected(socket),
      ended: (error) => this.#ended(error),
    });
    this.remote = hostPort(url.host, url.port);
  }

  protected open(): void {
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.#connection = undefined;
    this.#dialer.hangUp();
  }

  protected sendProbe(): void {
    const connection = this.#connection;
    if (this.observed === 'down' && this.#byNegotiate) this.learn({ echoNeedsLogin: undefined });
    if (connection?.stage === 'held') {
      if (this.observed !== 'down') {
        this.#ask(connection);
        return;
      }
      this.#abandon();
    }
    this.#dialer.dial();
  }

  #connected(socket: net.Socket): void {
    this.local = hostPort(socket.localAddress ?? '', socket.localPort ?? 0);
    this.remote = hostPort(socket.remoteAddress ?? '', socket.remotePort ?? 0);
    socket.setNoDelay(true);
    const session = new SmbSession(this.identity.timing.probes + 1);
    const connection: Connection = { socket, session, stage: 'negotiating', rttMs: 0 };
    this.#connection = connection;
    socket.on('data', (bytes: Uint8Array) => this.#received(connection, bytes));
    // A server may join connections of one ClientGuid in one process. Ours are to be judged apart.
    socket.write(session.negotiate(randomBytes(16), performance.now()));
  }

  #ask({ socket, session }: Connection): void {
    const bytes = session.echo(performance.now());
    if (bytes !== undefined) socket.write(bytes);
    // Without credits what was asked before may still be answered.
    else if (!session.waiting) this.#broken('the server allows no more requests (0 credits)');
  }

  #received(connection: Connection, bytes: Uint8Array): void {
    let alive = false;
    try {
      for (const event of connection.session.receive(bytes, performance.now())) {
        if (this.#connection !== connection) return;
        if (this.#means(connection, event)) alive = true;
      }
    } catch (error) {
      if ((error as Error).name !== 'DecodeError') throw error;
      this.#broken(`this is no SMB 2 server: ${(error as Error).message}`);
      return;
    }
    if (alive) this.feed((machine, now) => machine.handleReceived(now));
  }

  /** Whether the event is a sign of life. Before the first answer nothing else is one. */
  #means(connection: Connection, event: SmbEvent): boolean {
    if (event.type === 'life') return connection.stage === 'held';
    if (event.type === 'answer') {
      connection.stage = 'held';
      this.reportReply(event.rttMs);
      return true;
    }
    connection.rttMs = event.rttMs;
    if (event.status !== STATUS_SUCCESS) {
      this.#settleForNegotiate(`it refuses SMB 2.0.2 and 2.1 (${statusName(event.status)})`);
    }
    if (this.#byNegotiate) {
      this.reportReply(event.rttMs);
      this.shut();
      return true;
    }
    connection.stage = 'asked';
    this.#ask(connection);
    return false;
  }

  /** The server answers NEGOTIATE, but no ECHO without a login. */
  get #byNegotiate(): boolean {
    return this.learned.echoNeedsLogin === true;
  }

  #settleForNegotiate(why: string): void {
    if (this.#byNegotiate) return;
    this.learn({ echoNeedsLogin: true });
    const text = 'the server answers NEGOTIATE but no ECHO without a login';
    this.reportNote(`${text}: ${why}; each probe is a new connection`);
  }

  #ended(error: Error | undefined): void {
    const connection = this.#connection;
    const { lasted } = this.#dialer;
    const errno = error === undefined ? undefined : errnoOf(error);
    const reason = errno === undefined ? 'closed' : reasonOf(errno);
    this.shut();
    const byServer = reason === 'closed' || reason === 'reset';
    if (byServer && connection?.stage === 'asked' && connection.session.betweenPackets) {
      this.#settleForNegotiate('it disconnects (MS-SMB2 section 3.3.5.17)');
      this.reportReply(connection.rttMs);
      this.feed((machine, now) => machine.handleReceived(now));
      return;
    }
    this.#failed(reason, errno === undefined ? {} : { errno }, lasted);
  }

  #broken(text: string): void {
    this.#abandon();
    this.reportTrouble(text);
    this.#failed('protocol-error', {}, false);
  }

  #abandon(): void {
    this.#connection = undefined;
    this.#dialer.abandon();
  }

  #failed(reason: Reason, evidence: Evidence, anew: boolean): void {
    this.feed((machine, now) => {
      machine.handleFailure(reason, evidence, now);
      if (anew) machine.handleProbeRequest(now);
    });
  }
}
