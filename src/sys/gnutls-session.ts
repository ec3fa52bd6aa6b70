/**
 * One TLS or DTLS session of GnuTLS, sans I/O: bytes are given to it and taken from it, and no call
 * waits. GnuTLS does the handshake, checks certificates, and seals what is written. Whoever seals
 * records of his own takes the keys from `traffic` and hands the sequence number back by `continueAt`:
 * one that is used twice would break the cipher.
 *
 * GnuTLS' own heartbeat is never used: an empty request ends the process, and newer versions are built
 * without it. Only the extension (RFC 6520 section 2) is negotiated here.
 * @module
 */
import type { GnutlsCredentials } from './gnutls-credentials.ts';
import {
  check,
  codeOf,
  copyOf,
  type Datum,
  datum,
  type Gnutls,
  gnutls,
  type Pointer,
  type PointerOut,
  wordsOf,
} from './gnutls-library.ts';
import { Pipe, pipeCallbacks } from './gnutls-pipe.ts';
import { TlsError } from './tls-error.ts';

/** GnuTLS' priorities: only ciphers whose records can be sealed with the keys of `traffic`. */
const DEFAULT_PRIORITY =
  'NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:+VERS-DTLS1.2:' +
  '-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305';

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3' | 'DTLSv1.2';
export type RecordCipher = 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';

/** What a session is to be. */
export interface SessionOptions {
  readonly server: boolean;
  /** DTLS rather than TLS. */
  readonly datagram: boolean;
  readonly credentials: GnutlsCredentials;
  /** Default: `DEFAULT_PRIORITY`. */
  readonly priority?: string | undefined;
  /** Whether to offer heartbeats, and to let the peer send requests. */
  readonly heartbeat: boolean;
  /** Whether the peer's certificate must be good. */
  readonly verify: boolean;
  /** The name or address that the certificate must have. */
  readonly hostname?: string | undefined;
  /** The name to ask for (RFC 6066 section 3); no address. */
  readonly serverName?: string | undefined;
  /** Protocols to offer or to choose from, the best first (RFC 7301). */
  readonly alpn?: readonly string[] | undefined;
  /** DTLS: when a flight is first repeated, in milliseconds. It doubles. */
  readonly retransmitMs?: number | undefined;
  /** DTLS servers: what the exchange of cookies has left. */
  readonly prestate?: DtlsPrestate | undefined;
}

/** The sequence numbers of a DTLS server after the exchange of cookies. */
export interface DtlsPrestate {
  recordSeq: number;
  readSeq: number;
  writeSeq: number;
}

/** The secrets of one direction. */
export interface Traffic {
  readonly key: Uint8Array;
  readonly iv: Uint8Array;
}

export type Direction = 'read' | 'write';

const SERVER = 1;
const CLIENT = 2;
const DATAGRAM = 4;
const NONBLOCK = 8;
const CERTIFICATE = 1;
const X509 = 1;
const DNS = 1;
const REQUIRE = 2;
const WARNING = 1;
const NO_RENEGOTIATION = 100;
const HEARTBEAT = 15;
const PARSED_WITH_TLS = 2;
/** Types of heartbeat_enable and heartbeat_allowed. */
const PEER_MAY_SEND = 1;
const LOCAL_MAY_SEND = 4;
/** Whoever uses the session has a shorter bound. */
const HANDSHAKE_MS = 60_000;
const RETRANSMIT_MS = 1_000;
const DTLS_MTU = 1_400;

const E_AGAIN = -28;
const E_INTERRUPTED = -52;
const E_REHANDSHAKE = -37;
const E_WARNING_ALERT = -16;
const E_FATAL_ALERT = -12;
const E_ALREADY_REGISTERED = -209;
const E_CERTIFICATE = [-43, -348];

const VERSIONS: ReadonlyMap<number, TlsVersion> = new Map([
  [4, 'TLSv1.2'],
  [5, 'TLSv1.3'],
  [202, 'DTLSv1.2'],
]);
const CIPHERS: ReadonlyMap<number, RecordCipher> = new Map([
  [10, 'aes-128-gcm'],
  [11, 'aes-256-gcm'],
  [23, 'chacha20-poly1305'],
]);

const priorities = new Map<string, Pointer>();

/** A priority string, read once. Throws `TlsError`, and `SystemError` without GnuTLS. */
export function readPriority(text: string): Pointer {
  let priority = priorities.get(text);
  if (priority === undefined) {
    const out: PointerOut = [null];
    check(`the priority string "${text}"`, gnutls().priorityInit(out, text, null, 0));
    priority = out[0] as Pointer;
    priorities.set(text, priority);
  }
  return priority;
}

export class GnutlsSession {
  readonly #library: Gnutls = gnutls();
  readonly #options: SessionOptions;
  readonly #pipe: Pipe;
  #open: Pointer | undefined;
  /** GnuTLS keeps this pointer and copies nothing. */
  #hostname: Pointer | undefined;
  /** The extension is GnuTLS' own. */
  #builtIn = false;

  /** Throws `TlsError` for what cannot be set, `SystemError` without GnuTLS. */
  constructor(options: SessionOptions) {
    this.#options = options;
    this.#pipe = new Pipe(options.server, options.datagram);
    const flags = (options.server ? SERVER : CLIENT) | (options.datagram ? DATAGRAM : 0) | NONBLOCK;
    const out: PointerOut = [null];
    check('cannot make a session', this.#library.init(out, flags));
    this.#open = out[0] as Pointer;
    try {
      this.#configure();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether everything given was read, and more is needed. */
  get starved(): boolean {
    return this.#pipe.starved;
  }

  /** Whether the peer lets us send heartbeat requests; known after the handshake. */
  get heartbeatAllowed(): boolean {
    if (!this.#builtIn) return this.#pipe.peerAllows;
    return this.#library.heartbeatAllowed(this.#session, LOCAL_MAY_SEND) !== 0;
  }

  /** The version agreed on, or `undefined` for one that is not ours. */
  get version(): TlsVersion | undefined {
    return VERSIONS.get(this.#library.protocol(this.#session));
  }

  /** The cipher agreed on, or `undefined` for one that is not ours. */
  get cipher(): RecordCipher | undefined {
    return CIPHERS.get(this.#library.cipher(this.#session));
  }

  /** The protocol chosen by ALPN. */
  get alpn(): string | undefined {
    const chosen = {} as Datum;
    if (this.#library.alpnGet(this.#session, chosen) < 0) return undefined;
    return Buffer.from(copyOf(chosen)).toString('latin1');
  }

  /** DTLS: how long until a flight is to be repeated by another `handshake`, in milliseconds. */
  get retransmitInMs(): number {
    return this.#library.dtlsTimeout(this.#session);
  }

  /** DTLS: the longest message that fits a datagram, in bytes; known after the handshake. */
  get longestMessage(): number {
    return this.#library.dtlsDataMtu(this.#session);
  }

  /** Bytes of the stream, or one datagram. */
  give(bytes: Uint8Array): void {
    this.#pipe.give(bytes);
  }

  /** The transport has ended. */
  end(): void {
    this.#pipe.end();
  }

  /** What is to be sent by now: pieces of the stream, or datagrams. */
  take(): Uint8Array[] {
    return this.#pipe.take();
  }

  /** Goes on with the handshake; whether it is done. Throws `TlsError`, with an alert to be sent. */
  handshake(): boolean {
    const result = this.#call(this.#library.handshake);
    if (result >= 0) return true;
    if (this.#library.isFatal(result) === 0) return false;
    const error = this.#error('the handshake failed', result);
    if (result !== E_FATAL_ALERT) this.#call(this.#library.alertFor, result);
    throw error;
  }

  /**
   * Lets GnuTLS read what was given: alerts, and what may follow a handshake. Data comes out, if any
   * was given. Throws `TlsError`.
   */
  read(): 'more' | 'closed' | 'again' {
    const room = new Uint8Array(1);
    const result = this.#call(this.#library.recordReceive, room, room.length);
    if (result === 0) return 'closed';
    if (result > 0) throw new TlsError('GNUTLS_E_UNEXPECTED_PACKET', 'data where none can be');
    if (result === E_AGAIN || result === E_INTERRUPTED) return this.starved ? 'again' : 'more';
    if (result === E_REHANDSHAKE) {
      this.#call(this.#library.alertSend, WARNING, NO_RENEGOTIATION);
      return 'more';
    }
    if (result === E_WARNING_ALERT || this.#library.isFatal(result) === 0) return 'more';
    const error = this.#error('the connection failed', result);
    if (result !== E_FATAL_ALERT) this.#call(this.#library.alertFor, result);
    throw error;
  }

  /** Seals data: all of it in TLS, one datagram of it in DTLS. Throws `TlsError`. */
  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const sent = this.#call(this.#library.recordSend, bytes.subarray(at), bytes.length - at);
      if (sent === E_AGAIN || sent === E_INTERRUPTED) continue;
      if (sent < 0) throw this.#error('cannot send', sent);
      at += sent;
    }
  }

  /** TLS 1.3: goes on with new keys, and asks the peer to do so. Throws `TlsError`. */
  updateKeys(): void {
    check('cannot update the keys', this.#call(this.#library.keyUpdate, 1));
  }

  /** Says goodbye (close_notify), where that is still possible. */
  bye(): void {
    this.#call(this.#library.bye, 1);
  }

  /** The secrets of a direction; copies. Wipe the key after use. */
  traffic(direction: Direction): Traffic {
    const iv = {} as Datum;
    const key = {} as Datum;
    const read = direction === 'read' ? 1 : 0;
    const result = this.#library.stateGet(this.#session, read, null, iv, key, null);
    check('cannot read the keys', result);
    return { iv: copyOf(iv), key: copyOf(key) };
  }

  /** The sequence number of a direction's next record; in DTLS with the epoch in its first 16 bits. */
  sequence(direction: Direction): bigint {
    const bytes = new Uint8Array(8);
    const read = direction === 'read' ? 1 : 0;
    const result = this.#library.stateGet(this.#session, read, null, null, null, bytes);
    check('cannot read the sequence number', result);
    return new DataView(bytes.buffer).getBigUint64(0);
  }

  /** The next record of a direction has this sequence number. */
  continueAt(direction: Direction, sequence: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, sequence);
    const read = direction === 'read' ? 1 : 0;
    const result = this.#library.stateSet(this.#session, read, bytes);
    check('cannot set the sequence number', result);
  }

  /** Frees everything. Nothing may follow. */
  close(): void {
    const session = this.#open;
    if (session === undefined) return;
    this.#open = undefined;
    this.#library.deinit(session);
    this.#pipe.close();
    if (this.#hostname !== undefined) this.#library.free(this.#hostname);
  }

  /** C would crash by a session that is freed. */
  get #session(): Pointer {
    if (this.#open === undefined) throw new Error('the session is closed');
    return this.#open;
  }

  #configure(): void {
    const { credentials, priority = DEFAULT_PRIORITY, server, datagram, heartbeat } = this.#options;
    const library = this.#library;
    const session = this.#session;
    const { pull, push, poll } = pipeCallbacks();
    library.transportSet(session, this.#pipe.id);
    library.pullSet(session, pull);
    library.pushSet(session, push);
    library.pollSet(session, poll);
    this.#pipe.attach(session);
    check('the priorities', library.prioritySet(session, readPriority(priority)));
    const who = library.credentialsSet(session, CERTIFICATE, credentials.pointer);
    check('the credentials', who);
    if (heartbeat) this.#allowHeartbeat();
    this.#configurePeer();
    if (server && this.#options.verify) library.requestCertificate(session, REQUIRE);
    if (!datagram) return;
    library.dtlsTimeouts(session, this.#options.retransmitMs ?? RETRANSMIT_MS, HANDSHAKE_MS);
    library.dtlsMtu(session, DTLS_MTU);
    const { prestate } = this.#options;
    if (prestate !== undefined) library.prestateSet(session, prestate);
  }

  #configurePeer(): void {
    const { serverName, alpn, verify, hostname } = this.#options;
    const library = this.#library;
    if (serverName !== undefined) {
      const name = Buffer.byteLength(serverName);
      check('the server name', library.serverNameSet(this.#session, DNS, serverName, name));
    }
    if (alpn !== undefined) {
      const offered = alpn.map((protocol) => datum(Buffer.from(protocol, 'latin1')));
      check('the protocols', library.alpnSet(this.#session, offered, offered.length, 0));
    }
    if (!verify) return;
    if (hostname !== undefined) this.#hostname = library.text(hostname);
    library.verify(this.#session, this.#hostname ?? null, 0);
  }

  /** Registers the extension, or turns on GnuTLS' own where there is one. */
  #allowHeartbeat(): void {
    const { extensionReceived, sendExtension } = pipeCallbacks();
    const functions = [extensionReceived, sendExtension, null, null, null, 0] as const;
    const result = this.#library.extensionSet(
      this.#session,
      'heartbeat',
      HEARTBEAT,
      PARSED_WITH_TLS,
      ...functions,
    );
    this.#builtIn = result === E_ALREADY_REGISTERED;
    if (this.#builtIn) this.#library.heartbeatEnable(this.#session, PEER_MAY_SEND);
    else check('cannot register the heartbeat extension', result);
  }

  /** Every call that reads or writes through the pipe. */
  #call(call: (...args: unknown[]) => number, ...args: unknown[]): number {
    const result = Number(call(this.#session, ...args));
    this.#pipe.rethrow();
    return result;
  }

  #error(what: string, result: number): TlsError {
    return new TlsError(codeOf(result), `${what}: ${wordsOf(result)}${this.#detail(result)}`);
  }

  /** Which alert it was, or what is wrong with the certificate. */
  #detail(result: number): string {
    if (result === E_FATAL_ALERT) {
      const alert = this.#library.alertGet(this.#session);
      return ` (${this.#library.alertName(alert) ?? 'alert'}, ${alert})`;
    }
    if (!E_CERTIFICATE.includes(result)) return '';
    const text = {} as Datum;
    const status = this.#library.verifyStatus(this.#session);
    if (this.#library.verifyText(status, X509, text, 0) < 0) return '';
    const words = Buffer.from(copyOf(text)).toString('utf8').trim();
    if (text.data !== null) this.#library.release(text.data);
    return ` (${words})`;
  }
}
