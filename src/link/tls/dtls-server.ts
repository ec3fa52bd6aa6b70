/**
 * Accepts DTLS connections with heartbeats on one socket: a client's address and port are its name.
 * Nothing is kept of a client, and little work done for it, before it has shown by a cookie that it is
 * where it says.
 * @module
 */
import dgram from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { isIP } from 'node:net';
import { DtlsCookies } from '../../sys/dtls-cookies.ts';
import { DTLS_HEADER_LENGTH, recordType, TLS_HANDSHAKE } from '../../wire/tls-record.ts';
import { hostPort } from '../link-url.ts';
import { DtlsConnection } from './dtls-connection.ts';
import {
  type Checked,
  checkServer,
  MOST_CONNECTIONS,
  type SecureServerOptions,
} from './secure-options.ts';

interface DtlsServerEvents {
  connection: [DtlsConnection];
  /** A client whose handshake failed. */
  clientError: [Error];
  error: [Error];
}

const CLIENT_HELLO = 1;

/** Whether a datagram begins an association: a ClientHello that is not encrypted (epoch 0). */
function isClientHello(bytes: Uint8Array): boolean {
  const epoch = ((bytes[3] ?? 1) << 8) | (bytes[4] ?? 1);
  return (
    recordType(bytes) === TLS_HANDSHAKE && epoch === 0 && bytes[DTLS_HEADER_LENGTH] === CLIENT_HELLO
  );
}

export class DtlsServer extends EventEmitter<DtlsServerEvents> {
  readonly #checked: Checked;
  readonly #most: number;
  readonly #cookies = new DtlsCookies();
  readonly #connections = new Map<string, DtlsConnection>();
  #socket: dgram.Socket | undefined;

  constructor(options: SecureServerOptions) {
    super();
    this.#checked = checkServer(options, 'createDtlsServer');
    this.#most = options.maxConnections ?? MOST_CONNECTIONS;
  }

  /** Connections at present, those in their handshake included. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Resolves to the bound port. Rejects with the kernel's error. `host` is an address. */
  async listen(port: number, host = '127.0.0.1'): Promise<number> {
    const socket = dgram.createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
    this.#socket = socket;
    socket.bind(port, host);
    await once(socket, 'listening');
    socket.on('error', (error) => this.emit('error', error));
    socket.on('message', (bytes, from) => this.#receive(bytes, from.address, from.port));
    return socket.address().port;
  }

  /** Says goodbye to all and stops. */
  async close(): Promise<void> {
    for (const connection of this.#connections.values()) connection.close();
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) return;
    socket.close();
    await once(socket, 'close');
  }

  #receive(bytes: Uint8Array, address: string, port: number): void {
    const client = hostPort(address, port);
    const known = this.#connections.get(client);
    // A client that begins anew from its old port is to prove it, as any other (section 4.2.8).
    if (known !== undefined && !(known.secure && isClientHello(bytes))) {
      known.receive(bytes);
      return;
    }
    if (!isClientHello(bytes)) return;
    const judged = this.#cookies.judge(bytes, client);
    if (judged === undefined) return;
    if (judged instanceof Uint8Array) {
      this.#socket?.send(judged, port, address);
      return;
    }
    known?.close();
    if (this.#connections.size >= this.#most) return;
    const checked = { ...this.#checked, session: { ...this.#checked.session, prestate: judged } };
    const connection = new DtlsConnection(
      `dtls+heartbeat://${client}`,
      {
        send: (datagram) => this.#socket?.send(datagram, port, address),
        close: () => this.#connections.delete(client),
      },
      checked,
    );
    this.#connections.set(client, connection);
    this.#introduce(connection);
    connection.start();
    connection.receive(bytes);
  }

  #introduce(connection: DtlsConnection): void {
    const early = (error: Error) => this.emit('clientError', error);
    connection.on('error', early);
    connection.once('secure', () => {
      connection.off('error', early);
      this.emit('connection', connection);
    });
  }
}

/** A server that is not listening yet. Throws `UsageError`, and `SystemError` without GnuTLS. */
export function createDtlsServer(
  options: SecureServerOptions,
  onConnection?: (connection: DtlsConnection) => void,
): DtlsServer {
  const server = new DtlsServer(options);
  if (onConnection !== undefined) server.on('connection', onConnection);
  return server;
}
