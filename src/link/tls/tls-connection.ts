/**
 * A TLS connection with heartbeats as a stream of Node's: the program's data goes through it, and the
 * peer's death ends it. Node's own `tls` cannot speak them.
 * @module
 */
import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import { Duplex } from 'node:stream';
import type { TlsVersion } from '../../sys/gnutls-session.ts';
import { UsageError } from '../../time/usage-error.ts';
import type { Link } from '../link.ts';
import { hostPort } from '../link-url.ts';
import type { HeartbeatCounts } from './heartbeat-exchange.ts';
import { HeldChannel, PeerDeadError } from './held-channel.ts';
import {
  type Checked,
  checkClient,
  checkServer,
  MOST_CONNECTIONS,
  type SecureClientOptions,
  type SecureServerOptions,
} from './secure-options.ts';

/** A heartbeat is to wait behind no more than so much of the program's data. */
const SLICE = 65_536;

/**
 * Events: those of a `Duplex`, and `secure` when the handshake is done and the certificate good. What
 * is written before leaves then.
 */
export class TlsConnection extends Duplex {
  readonly #transport: net.Socket;
  readonly #held: HeldChannel;
  /** What waits for the handshake, or for room. */
  #resume: (() => void) | undefined;

  /** Made by `connectTls` and by a `TlsServer`. */
  constructor(transport: net.Socket, { session, timing }: Checked) {
    super({ allowHalfOpen: false });
    this.#transport = transport;
    const remote = hostPort(transport.remoteAddress ?? 'connecting', transport.remotePort ?? 0);
    this.#held = new HeldChannel(
      `tls+heartbeat://${remote}`,
      { ...session, datagram: false },
      timing,
      {
        send: (bytes) => transport.write(bytes),
        // A peer that asks and reads no answers must not fill our memory with them.
        mayAnswer: () => !transport.writableNeedDrain,
        secured: () => {
          this.emit('secure');
          this.#go();
        },
        data: (bytes) => {
          if (this.push(bytes)) return;
          transport.pause();
          this.#held.pause();
        },
        ended: (error) => {
          if (error !== undefined) this.destroy(error);
          else this.push(null);
        },
      },
    );
    transport.setNoDelay(true);
    transport.on('data', (bytes: Uint8Array) => this.#held.channel.secure.receive(bytes));
    transport.on('end', () => this.#held.channel.secure.end());
    transport.on('drain', () => this.#go());
    // After the peer's goodbye its socket may be gone before ours is written: that is no failure.
    transport.on('error', (error) => this.destroy(this.#held.closed ? undefined : error));
    transport.on('close', () => this.#held.channel.secure.end());
    if (transport.connecting) transport.once('connect', () => this.#held.start());
    else this.#held.start();
  }

  /** Whether the handshake is done. */
  get secure(): boolean {
    return this.#held.channel.secure.secure;
  }

  get version(): TlsVersion | undefined {
    return this.#held.channel.secure.version;
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

  get remoteAddress(): string | undefined {
    return this.#transport.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.#transport.remotePort;
  }

  /** Asks the peer now; resolves to the round trip in milliseconds. */
  heartbeat(): Promise<number> {
    return this.#held.heartbeat();
  }

  /** TLS 1.3: goes on with new keys, and has the peer do so. Throws `TlsError`. */
  updateKeys(): void {
    this.#held.channel.secure.updateKeys();
  }

  override _read(): void {
    if (!this.#transport.isPaused()) return;
    this.#transport.resume();
    this.#held.resume();
  }

  override _write(
    chunk: Uint8Array,
    _encoding: string,
    done: (error?: Error | null) => void,
  ): void {
    this.#writeFrom(chunk, 0, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.secure) {
      this.#resume = () => this._final(done);
      return;
    }
    this.#held.bye();
    this.#transport.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#resume = undefined;
    if (error === null && this.secure) this.#held.channel.secure.bye();
    this.#held.close();
    // What a dead peer did not acknowledge the kernel would keep, and repeat, for minutes.
    if (error instanceof PeerDeadError) this.#transport.resetAndDestroy();
    else this.#transport.destroy();
    done(error);
  }

  /** Writes by slices, each when there is room. */
  #writeFrom(chunk: Uint8Array, at: number, done: (error?: Error | null) => void): void {
    if (!this.secure || this.#transport.writableNeedDrain) {
      this.#resume = () => this.#writeFrom(chunk, at, done);
      return;
    }
    const to = Math.min(at + SLICE, chunk.length);
    try {
      this.#held.channel.secure.write(chunk.subarray(at, to));
    } catch (error) {
      done(error as Error);
      return;
    }
    if (to < chunk.length) this.#writeFrom(chunk, to, done);
    else done();
  }

  #go(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }
}

/** Options of `connectTls`. */
export interface ConnectTlsOptions extends SecureClientOptions {
  /** A connection to use instead of a new one to `host` and `port`. */
  readonly socket?: net.Socket | undefined;
}

/**
 * Connects, verifies the certificate, and keeps the connection by heartbeats. Throws `UsageError`, and
 * `SystemError` without GnuTLS (`gnutls-missing`); whatever comes later is an `error` event.
 */
export function connectTls(options: ConnectTlsOptions): TlsConnection {
  const checked = checkClient(options, 'connectTls');
  const { host = 'localhost', port, localAddress } = options;
  const socket =
    options.socket ?? net.connect({ host, port, ...(localAddress ? { localAddress } : {}) });
  return new TlsConnection(socket, checked);
}

interface TlsServerEvents {
  connection: [TlsConnection];
  /** A client whose handshake failed. */
  clientError: [Error];
  error: [Error];
}

/** Accepts TLS connections with heartbeats. */
export class TlsServer extends EventEmitter<TlsServerEvents> {
  readonly #server: net.Server;
  readonly #connections = new Set<TlsConnection>();

  constructor(options: SecureServerOptions) {
    super();
    const checked = checkServer(options, 'createTlsServer');
    this.#server = net.createServer((socket) => this.#accept(socket, checked));
    this.#server.maxConnections = options.maxConnections ?? MOST_CONNECTIONS;
    this.#server.on('error', (error) => this.emit('error', error));
  }

  /** Connections at present, those in their handshake included. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Resolves to the bound port. Rejects with the kernel's error. */
  async listen(port: number, host = 'localhost'): Promise<number> {
    this.#server.listen(port, host);
    await once(this.#server, 'listening');
    const address = this.#server.address();
    if (address === null || typeof address === 'string') {
      throw new UsageError('bad-address', 'createTlsServer: a TCP port is needed');
    }
    return address.port;
  }

  /** Accepts no more, and ends those that are. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections) connection.destroy();
    await closed;
  }

  #accept(socket: net.Socket, checked: Checked): void {
    const connection = new TlsConnection(socket, checked);
    this.#connections.add(connection);
    const early = (error: Error) => this.emit('clientError', error);
    connection.on('error', early);
    connection.once('secure', () => {
      connection.off('error', early);
      this.emit('connection', connection);
    });
    connection.once('close', () => this.#connections.delete(connection));
  }
}

/** A server that is not listening yet. Throws `UsageError`, and `SystemError` without GnuTLS. */
export function createTlsServer(
  options: SecureServerOptions,
  onConnection?: (connection: TlsConnection) => void,
): TlsServer {
  const server = new TlsServer(options);
  if (onConnection !== undefined) server.on('connection', onConnection);
  return server;
}
