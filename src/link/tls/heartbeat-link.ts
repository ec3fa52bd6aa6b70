/**
 * `tls+heartbeat://host:port` and `dtls+heartbeat://host:port`: the heartbeat of RFC 6520 as the probe,
 * inside one verified connection. For DTLS it is the only keepalive there is. A request leaves only
 * if the peer allowed it in the handshake; a server that did not is down for this link, with the
 * reason, and is asked again after an interval, for it may be another one by then.
 *
 * TCP repeats what is lost, so a request over TLS is sent once and stays in flight until the
 * connection is given up. Over DTLS it is repeated, all within `interval` × `probes`.
 * @module
 */
import { readFileSync } from 'node:fs';
import { isIP, type Socket } from 'node:net';
import type { Evidence, Reason } from '../../keepalive/keepalive.ts';
import type { Timing } from '../../keepalive/timing.ts';
import { GnutlsCredentials, systemCredentials } from '../../sys/gnutls-credentials.ts';
import { gnutls } from '../../sys/gnutls-library.ts';
import type { SessionOptions } from '../../sys/gnutls-session.ts';
import { TlsError } from '../../sys/tls-error.ts';
import { placeOf, UsageError } from '../../time/usage-error.ts';
import { errnoOf, reasonOf } from '../errno.ts';
import { Link, type LinkFacts } from '../link.ts';
import { hostPort, type LinkUrl, placeOfUrl } from '../link-url.ts';
import { TcpDialer } from '../tcp-dialer.ts';
import { UdpDialer } from '../udp-dialer.ts';
import { HeartbeatChannel, type HeartbeatOutcome } from './heartbeat-channel.ts';
import { DTLS_TRIES } from './heartbeat-exchange.ts';

/** What every link of these kinds is and proves. */
export function heartbeatFacts(datagram: boolean): LinkFacts {
  return {
    kind: datagram ? 'dtls+heartbeat' : 'tls+heartbeat',
    class: 'answered',
    proves: `the path and the peer's ${datagram ? 'DTLS' : 'TLS'} stack answer, with a verified certificate; not that the application works`,
  };
}

/** The first repetition of a DTLS flight: a second (RFC 6347 section 4.2.4.1), or sooner if in haste. */
export function flightMs(intervalMs: number): number {
  return Math.min(1_000, Math.max(50, Math.round(intervalMs / 4)));
}

/** Whom to trust: the certificates of a file, or those that this machine trusts. Throws `UsageError`. */
function readCredentials(ca: string | undefined, place: string): () => GnutlsCredentials {
  if (ca === undefined) return systemCredentials;
  let pem: Buffer;
  try {
    pem = readFileSync(ca);
  } catch (error) {
    throw new UsageError(
      'bad-ca',
      `${place}: ca=${ca} cannot be read (${errnoOf(error as Error)})`,
    );
  }
  let made: GnutlsCredentials | undefined;
  return () => {
    try {
      made ??= new GnutlsCredentials({ ca: pem });
    } catch (error) {
      if (!(error instanceof TlsError)) throw error;
      throw new UsageError('bad-ca', `${place}: ca=${ca} holds no certificate in PEM`);
    }
    return made;
  };
}

export class HeartbeatLink extends Link {
  readonly #datagram: boolean;
  readonly #credentials: () => GnutlsCredentials;
  readonly #tcp: TcpDialer;
  readonly #udp: UdpDialer;
  readonly #hostname: string;
  #channel: HeartbeatChannel | undefined;
  /** An answer came on this connection. */
  #held = false;
  /** Probes since the UDP socket was made. */
  #waited = 0;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const datagram = url.scheme.startsWith('dtls');
    const { timeMs, intervalMs, probes, beatMs } = timing;
    if (beatMs !== undefined) {
      const text = `${url.scheme}:// asks, it has no beat; a shorter \`time\` holds the link`;
      throw new UsageError('bad-timing', `${placeOf(where, 'beat')}: ${text}`);
    }
    const config = { timeMs, intervalMs, probes, random: Math.random };
    super({ name, url: url.redacted, timing }, heartbeatFacts(datagram), config);
    this.#datagram = datagram;
    this.#hostname = url.parameters.get('servername') ?? url.host;
    this.#credentials = readCredentials(url.parameters.get('ca'), placeOfUrl(where));
    this.#tcp = new TcpDialer(url, probes, {
      connected: (socket) => this.#connectedTcp(socket),
      ended: (error) => this.#transportFailed(error),
    });
    this.#udp = new UdpDialer(url, {
      connected: (socket) => {
        const here = socket.address();
        const there = socket.remoteAddress();
        this.#connected(hostPort(here.address, here.port), hostPort(there.address, there.port));
      },
      message: (bytes) => this.#channel?.secure.receive(bytes),
      failed: (error) => this.#transportFailed(error),
      doubted: (error) => {
        const errno = errnoOf(error);
        this.feed((machine) => machine.handleDoubt(reasonOf(errno), { errno }));
      },
    });
    this.remote = hostPort(url.host, url.port);
  }

  protected open(): void {
    gnutls();
    this.#credentials();
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.#channel?.secure.bye();
    this.#forget();
    this.#tcp.hangUp();
    this.#udp.hangUp();
  }

  protected sendProbe(): void {
    if (this.#held && this.observed !== 'down') {
      this.#ask();
      return;
    }
    if (this.#held) this.#abandon();
    this.#dial();
  }

  #dial(): void {
    if (!this.#datagram) {
      this.#tcp.dial();
      return;
    }
    this.#waited += 1;
    if (this.#channel !== undefined && this.#waited <= this.identity.timing.probes) return;
    this.#abandon();
    this.#waited = 1;
    this.#udp.dial();
  }

  #connectedTcp(socket: Socket): void {
    socket.setNoDelay(true);
    const channel = this.#connected(
      hostPort(socket.localAddress ?? '', socket.localPort ?? 0),
      hostPort(socket.remoteAddress ?? '', socket.remotePort ?? 0),
      socket,
    );
    socket.on('data', (bytes: Uint8Array) => channel?.secure.receive(bytes));
  }

  #connected(local: string, remote: string, socket?: Socket): HeartbeatChannel | undefined {
    this.local = local;
    this.remote = remote;
    try {
      const channel = new HeartbeatChannel(
        this.#session(),
        this.#outcome((bytes) =>
          socket === undefined ? this.#udp.send(bytes) : socket.write(bytes),
        ),
        () => (socket?.writableLength ?? 0) === 0,
      );
      this.#channel = channel;
      channel.secure.start();
      return channel;
    } catch (error) {
      this.#ended(error as Error);
      return undefined;
    }
  }

  #session(): SessionOptions {
    const address = isIP(this.#hostname) !== 0;
    return {
      server: false,
      datagram: this.#datagram,
      credentials: this.#credentials(),
      heartbeat: true,
      verify: true,
      hostname: this.#hostname,
      serverName: address ? undefined : this.#hostname,
      retransmitMs: flightMs(this.identity.timing.intervalMs),
    };
  }

  #outcome(send: (bytes: Uint8Array) => void): HeartbeatOutcome {
    return {
      send,
      secured: () => this.#secured(),
      heard: () => {
        if (this.#held) this.feed((machine, now) => machine.handleReceived(now));
      },
      data: () => {},
      answered: (rttMs) => {
        this.#held = true;
        this.reportReply(rttMs);
        this.feed((machine, now) => machine.handleReceived(now));
      },
      unanswered: () => {},
      ended: (error) => this.#ended(error),
    };
  }

  #secured(): void {
    if (this.#channel?.secure.heartbeatAllowed === true) {
      this.#ask();
      return;
    }
    const text = 'the server does not offer heartbeats (RFC 6520), so none is sent';
    this.#failed('protocol-error', {}, `not offered: ${text}`);
  }

  /** The request in flight, if there is one, has its time still. */
  #ask(): void {
    const { intervalMs, probes } = this.identity.timing;
    if (this.#channel === undefined || this.#channel.asking) return;
    this.#channel.ask({
      withinMs: intervalMs * probes,
      ...(this.#datagram ? { tries: DTLS_TRIES } : {}),
    });
  }

  #ended(error: Error | undefined): void {
    if (error === undefined) this.#failed('closed', {});
    else if (!(error instanceof TlsError)) this.#failed('protocol-error', {}, error.message);
    else if (error.code === 'GNUTLS_E_PREMATURE_TERMINATION') this.#failed('closed', {});
    else if (error.ofCertificate) this.#failed('not-authentic', {}, error.message);
    else this.#failed('protocol-error', {}, error.message);
  }

  #transportFailed(error: Error | undefined): void {
    const secure = this.#channel?.secure;
    if (error === undefined && secure?.secure === false) {
      // An alert may wait for its turn, and tells more.
      secure.end();
      return;
    }
    const errno = error === undefined ? undefined : errnoOf(error);
    if (errno === undefined) this.#failed('closed', {});
    else this.#failed(reasonOf(errno), { errno });
  }

  /** A connection that had lasted is made anew at once, any other one after an interval. */
  #failed(reason: Reason, evidence: Evidence, trouble?: string): void {
    const anew = this.#tcp.lasted && trouble === undefined;
    this.#abandon();
    if (trouble !== undefined) this.reportTrouble(trouble);
    this.feed((machine, now) => {
      machine.handleFailure(reason, evidence, now);
      if (anew) machine.handleProbeRequest(now);
    });
  }

  #abandon(): void {
    // A peer that comes back may still have the session, and nothing else would tell it.
    if (this.#datagram) this.#channel?.secure.bye();
    this.#forget();
    this.#tcp.abandon();
    this.#udp.hangUp();
  }

  #forget(): void {
    this.#channel?.close();
    this.#channel = undefined;
    this.#held = false;
  }
}
