/**
 * A DTLS connection with heartbeats: the program's messages go through it, each in a datagram of its
 * own that may be lost or overtaken, and the peer's death ends it. Node has no DTLS.
 * @module
 */
import type { Socket } from 'node:dgram';
import { EventEmitter } from 'node:events';
import { isIP } from 'node:net';
import { setProbing } from '../../sys/udp-socket.ts';
import { HEARTBEAT_LEAST_PADDING, HEARTBEAT_OVERHEAD } from '../../wire/heartbeat.ts';
import { TLS_LONGEST_CONTENT } from '../../wire/tls-record.ts';
import type { Link } from '../link.ts';
import { hostPort } from '../link-url.ts';
import { UdpDialer } from '../udp-dialer.ts';
import { HEARTBEAT_PAYLOAD_LENGTH, type HeartbeatCounts } from './heartbeat-exchange.ts';
import { HeldChannel } from './held-channel.ts';
import { PathMtuSearch } from './path-mtu.ts';
import { type Checked, checkClient, type SecureClientOptions } from './secure-options.ts';

/** How a connection reaches its peer. */
export interface DatagramTransport {
  send(bytes: Uint8Array): void;
  close(): void;
  /** The socket, where it is the connection's own. */
  socket?(): Socket | undefined;
}

/** What a measurement of the path found. */
export interface PathMtu {
  /** The largest UDP payload that got through, in bytes. */
  readonly datagramBytes: number;
  /** With the headers of IP and UDP: the path MTU, in bytes. */
  readonly pathMtuBytes: number;
}

interface DtlsEvents {
  /** The handshake is done, and the certificate good. */
  secure: [];
  message: [Uint8Array];
  /** The connection is over by this. `close` follows. */
  error: [Error];
  close: [];
}

/** Tries for each size: one that is lost by chance must not look too long. */
const TRIES = 3;
/** How long an answer to a size is waited for: this many round trips, and at least so long. */
const ROUND_TRIPS = 8;
const LEAST_WAIT_MS = 200;

export class DtlsConnection extends EventEmitter<DtlsEvents> {
  readonly #transport: DatagramTransport;
  readonly #held: HeldChannel;
  #over = false;

  /** Made by `connectDtls` and by a `DtlsServer`. */
  constructor(name: string, transport: DatagramTransport, { session, timing }: Checked) {
    super();
    this.#transport = transport;
    this.#held = new HeldChannel(name, { ...session, datagram: true }, timing, {
      send: (bytes) => transport.send(bytes),
      mayAnswer: () => true,
      secured: () => this.emit('secure'),
      data: (bytes) => this.emit('message', bytes),
      ended: (error) => this.#end(error),
    });
  }

  /** Whether the handshake is done. */
  get secure(): boolean {
    return this.#held.channel.secure.secure;
  }

  /** The protocol chosen by ALPN. */
  get alpnProtocol(): string | undefined {
    return this.#held.channel.secure.alpn;
  }

  /** Whether the peer lets us send heartbeats; known once secure. */
  get heartbeatAllowed(): boolean {
    return this.#held.channel.secure.heartbeatAllowed;
  }

  /** The keepalive: state, reason and round trip. Undefined until secure, or if not allowed. */
  get link(): Link | undefined {
    return this.#held.link;
  }

  get heartbeats(): HeartbeatCounts {
    return this.#held.channel.counts;
  }

  /** The longest message that `send` takes, in bytes; 0 until secure. */
  get longestMessage(): number {
    return this.#held.channel.secure.longestMessage;
  }

  /** Begins the handshake. Made connections have begun already. */
  start(): void {
    this.#held.start();
  }

  /** A datagram came. */
  receive(bytes: Uint8Array): void {
    this.#held.channel.secure.receive(bytes);
  }

  /** The transport cannot be. */
  fail(error: Error): void {
    this.#held.close();
    this.#end(error);
  }

  /** Sends a message. Throws `RangeError` for one that fits no datagram, `Error` before `secure`. */
  send(message: Uint8Array): void {
    if (this.#over || !this.secure) throw new Error('the connection is not secure yet, or over');
    if (message.length === 0 || message.length > this.longestMessage) {
      throw new RangeError(
        `a message has 1 to ${this.longestMessage} bytes, not ${message.length}`,
      );
    }
    this.#held.channel.secure.write(message);
  }

  /** Asks the peer now; resolves to the round trip in milliseconds, from the first of its tries. */
  heartbeat(): Promise<number> {
    return this.#held.heartbeat();
  }

  /**
   * Finds the largest datagram that reaches the peer, by heartbeats of different lengths that must not
   * be fragmented. Takes some seconds where the path carries less than the interface. Only for who has
   * connected, for a server's socket is of all its clients; rejects with `SystemError` where Node or
   * the kernel does not let us forbid fragments.
   */
  async measurePathMtu(): Promise<PathMtu> {
    const socket = this.#transport.socket?.();
    if (socket === undefined) throw new Error('only the side that connected can measure the path');
    const least =
      this.#held.channel.secure.overhead + HEARTBEAT_OVERHEAD + HEARTBEAT_PAYLOAD_LENGTH;
    const most = this.#held.channel.secure.overhead + TLS_LONGEST_CONTENT;
    const search = new PathMtuSearch(least, most);
    setProbing(socket, true);
    try {
      for (let size = search.next(); size !== undefined; size = search.next()) {
        // A short one in between: a peer that is silent is not a path that is narrow.
        const rttMs = await this.#held.heartbeat();
        search.handleResult(await this.#passes(size - least, rttMs));
      }
    } finally {
      if (!this.#over) setProbing(socket, false);
    }
    const headers = isIP(socket.remoteAddress().address) === 6 ? 48 : 28;
    return { datagramBytes: search.largest, pathMtuBytes: search.largest + headers };
  }

  /** Says goodbye and ends the connection. */
  close(): void {
    if (this.#over) return;
    this.#held.channel.secure.bye();
    this.#held.close();
    this.#end(undefined);
  }

  async #passes(longer: number, rttMs: number): Promise<boolean> {
    const withinMs = TRIES * Math.max(LEAST_WAIT_MS, ROUND_TRIPS * rttMs);
    const padding = HEARTBEAT_LEAST_PADDING + longer;
    // The keepalive's own request may be in flight, and there is one at a time.
    while (this.#held.channel.asking) await this.#held.heartbeat();
    try {
      await this.#held.heartbeat({ withinMs, tries: TRIES, padding });
      return true;
    } catch (error) {
      if (this.#over) throw error;
      return false;
    }
  }

  #end(error: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#transport.close();
    if (error !== undefined) this.emit('error', error);
    this.emit('close');
  }
}

/**
 * Connects, verifies the certificate, and keeps the connection by heartbeats. Throws `UsageError`, and
 * `SystemError` without GnuTLS (`gnutls-missing`); whatever comes later is an `error` event.
 */
export function connectDtls(options: SecureClientOptions): DtlsConnection {
  const { host = 'localhost', port, localAddress } = options;
  const checked = checkClient(options, 'connectDtls');
  let socket: Socket | undefined;
  const dialer = new UdpDialer(
    { host, port, source: localAddress },
    {
      connected: (made) => {
        socket = made;
        connection.start();
      },
      message: (bytes) => connection.receive(bytes),
      failed: (error) => connection.fail(error),
      // Anybody can forge the kernel's word: the handshake's bound and the heartbeats decide.
      doubted: () => {},
    },
  );
  const connection = new DtlsConnection(
    `dtls+heartbeat://${hostPort(host, port)}`,
    { send: (bytes) => dialer.send(bytes), close: () => dialer.hangUp(), socket: () => socket },
    checked,
  );
  dialer.dial();
  return connection;
}
