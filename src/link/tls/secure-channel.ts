/**
 * A TLS or DTLS connection with heartbeats, over any transport. GnuTLS does the handshake, alerts,
 * new keys, and what we send; data and heartbeats that come are opened here, so that no heartbeat ever
 * reaches GnuTLS (why: see `sys/gnutls-session.ts`). It knows no socket, and of heartbeats nothing but
 * how they travel: what to ask and to answer is for `heartbeat-exchange.ts`.
 * @module
 */
import { GnutlsSession, type SessionOptions, type TlsVersion } from '../../sys/gnutls-session.ts';
import { TlsError } from '../../sys/tls-error.ts';
import { DecodeError } from '../../wire/decode-error.ts';
import {
  decodeDtlsDatagram,
  recordType,
  TLS_ALERT,
  TLS_APPLICATION_DATA,
  TLS_CHANGE_CIPHER_SPEC,
  TLS_HANDSHAKE,
  TLS_HEARTBEAT,
  TLS_LONGEST_CONTENT,
  TlsRecordReader,
} from '../../wire/tls-record.ts';
import { ReplayWindow } from '../replay-window.ts';
import { dropStep, queueStep } from './handshake-queue.ts';
import { type OpenedRecord, RecordProtection } from './record-protection.ts';

/** What becomes of a channel. Nothing is told of one that was closed. */
export interface ChannelOutcome {
  /** To the transport: a piece of the stream, or a datagram. */
  send(bytes: Uint8Array): void;
  /** The handshake is done, and the peer is who it should be. */
  secured(): void;
  /** An authentic record came. Told before what was in it. */
  heard(): void;
  data(bytes: Uint8Array): void;
  /** The content of an authentic heartbeat record; it may still be anything. */
  heartbeat(content: Uint8Array): void;
  /** It is over; without an error the peer said goodbye. Told once. */
  ended(error: Error | undefined): void;
}

/** What may wait for a handshake to take its turn: no handshake is longer. */
const MOST_WAITING = 262_144;
/** Timers of Node are to be no longer than this. */
const LONGEST_RETRANSMIT_MS = 60_000;
/** How often GnuTLS may be asked about one record without asking for more. */
const MOST_CALLS = 64;

export class SecureChannel {
  readonly #options: SessionOptions;
  readonly #datagram: boolean;
  readonly #outcome: ChannelOutcome;
  readonly #reader = new TlsRecordReader();
  readonly #window = new ReplayWindow();
  /** Made when its turn comes: that, too, is work. */
  #made: GnutlsSession | undefined;
  #protection: RecordProtection | undefined;
  #version: TlsVersion | undefined;
  /** What came before its turn. */
  #waiting: Uint8Array[] = [];
  #waitingLength = 0;
  #transportEnded = false;
  #retransmit: NodeJS.Timeout | undefined;
  #closed = false;
  #allowed = false;
  #longest = 0;
  #saidBye = false;

  constructor(options: SessionOptions, outcome: ChannelOutcome) {
    this.#options = options;
    this.#datagram = options.datagram;
    this.#outcome = outcome;
  }

  /** Whether the handshake is done. */
  get secure(): boolean {
    return this.#protection !== undefined;
  }

  get version(): TlsVersion | undefined {
    return this.#version;
  }

  /** Whether the peer lets us send heartbeat requests. */
  get heartbeatAllowed(): boolean {
    return this.#allowed;
  }

  /** The protocol chosen by ALPN, once secure. */
  get alpn(): string | undefined {
    return this.#closed ? undefined : this.#session.alpn;
  }

  /** How much longer a record is than its content. */
  get overhead(): number {
    return this.#protection?.overhead ?? 0;
  }

  /** DTLS: the longest message that a datagram has room for, in bytes; 0 until secure. */
  get longestMessage(): number {
    return this.#longest;
  }

  /** Begins the handshake, when its turn comes. */
  start(): void {
    queueStep(this.#step);
  }

  /** Bytes of the stream, or one datagram. They belong to the channel from now on. */
  receive(bytes: Uint8Array): void {
    if (this.#closed) return;
    if (this.secure) {
      this.#guarded(() => this.#takeApart(bytes));
      return;
    }
    if (this.#waitingLength + bytes.length > MOST_WAITING) {
      // A datagram may be lost at any time.
      if (!this.#datagram)
        this.#fail(new TlsError('LINKHOLD_TOO_LONG', 'the handshake is endless'));
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingLength += bytes.length;
    queueStep(this.#step);
  }

  /** The transport has come to its end. */
  end(): void {
    if (this.#closed) return;
    this.#transportEnded = true;
    // What came before it is read first.
    if (this.secure && this.#waiting.length === 0) this.#endTransport();
    else queueStep(this.#step);
  }

  /** Sends data: a stream in TLS, one message in DTLS. Throws `TlsError`. */
  write(bytes: Uint8Array): void {
    this.#session.write(bytes);
    this.#secured.refresh();
    this.#flush();
  }

  /** Sends a heartbeat message in a record of its own; nothing follows a goodbye. */
  sendHeartbeat(message: Uint8Array): void {
    if (this.#saidBye) return;
    this.#outcome.send(this.#secured.seal(TLS_HEARTBEAT, message));
  }

  /** TLS 1.3: goes on with new keys. Throws `TlsError`. */
  updateKeys(): void {
    this.#session.updateKeys();
    this.#secured.refresh();
    this.#flush();
  }

  /** Says goodbye, where there is somebody to say it to. */
  bye(): void {
    if (this.#closed || this.#saidBye || !this.secure) return;
    this.#saidBye = true;
    this.#session.bye();
    this.#flush();
  }

  /** Ends it and frees what it holds. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    dropStep(this.#step);
    clearTimeout(this.#retransmit);
    this.#waiting = [];
    this.#protection?.close();
    this.#made?.close();
  }

  get #session(): GnutlsSession {
    this.#made ??= new GnutlsSession(this.#options);
    return this.#made;
  }

  get #secured(): RecordProtection {
    if (this.#protection === undefined) throw new Error('the handshake is not done');
    return this.#protection;
  }

  /** One turn of the handshake, or of what came behind it. */
  readonly #step = (): void => {
    this.#guarded(() => {
      clearTimeout(this.#retransmit);
      if (!this.secure && this.#waiting.length === 0 && !this.#transportEnded) this.#handshake();
      const waiting = this.#waiting;
      this.#waiting = [];
      this.#waitingLength = 0;
      for (const bytes of waiting) {
        if (this.#closed) return;
        this.#takeApart(bytes);
      }
      if (this.#transportEnded && !this.#closed) this.#endTransport();
      else if (!this.#closed && !this.secure && this.#datagram) this.#armRetransmission();
    });
  };

  #takeApart(bytes: Uint8Array): void {
    const records = this.#datagram ? decodeDtlsDatagram(bytes) : this.#reader.read(bytes);
    for (const record of records) {
      if (this.#closed) return;
      if (this.secure) this.#receiveRecord(record);
      else this.#handshakeRecord(record);
    }
  }

  #handshakeRecord(record: Uint8Array): void {
    const type = recordType(record);
    // Discarded during a handshake (RFC 6520 section 3), and data overtook the end of one.
    if (type === TLS_HEARTBEAT || (this.#datagram && type === TLS_APPLICATION_DATA)) return;
    this.#session.give(record);
    this.#handshake();
  }

  #handshake(): void {
    for (let calls = 0; ; calls += 1) {
      if (calls === MOST_CALLS)
        throw new TlsError('LINKHOLD_STUCK', 'the handshake does not go on');
      const done = this.#session.handshake();
      this.#flush();
      if (done) break;
      if (this.#session.starved) return;
    }
    const { version, cipher } = this.#session;
    if (version === undefined || cipher === undefined) {
      throw new TlsError('LINKHOLD_BAD_PRIORITY', 'the version or cipher agreed on cannot be held');
    }
    this.#version = version;
    this.#protection = new RecordProtection(version, cipher, this.#session);
    this.#allowed = this.#session.heartbeatAllowed;
    if (this.#datagram) this.#longest = this.#session.longestMessage;
    this.#outcome.secured();
  }

  #receiveRecord(record: Uint8Array): void {
    const type = recordType(record);
    if (this.#datagram) this.#receiveDatagramRecord(record, type);
    else if (type === TLS_APPLICATION_DATA || type === TLS_HEARTBEAT) {
      const opened = this.#secured.open(record);
      // Whatever is not ours GnuTLS judges: a record that is not authentic by an alert.
      if (opened === undefined) this.#giveToGnutls(record);
      else if (opened.type === TLS_APPLICATION_DATA || opened.type === TLS_HEARTBEAT) {
        this.#secured.count(opened);
        this.#deliver(opened);
      } else {
        this.#giveToGnutls(record);
        if (!this.#closed) this.#outcome.heard();
      }
    } else this.#giveToGnutls(record);
  }

  /** GnuTLS forgets what it has seen when a number is set, so the window is ours. */
  #receiveDatagramRecord(record: Uint8Array, type: number): void {
    if (type === TLS_HANDSHAKE || type === TLS_CHANGE_CIPHER_SPEC) {
      this.#giveToGnutls(record);
      return;
    }
    const opened = this.#secured.open(record);
    if (opened === undefined) return;
    // Of the present epoch, as all that opens; numbers begin with 0.
    if (!this.#window.accept(Number(opened.sequence & 0xffff_ffff_ffffn) + 1)) return;
    if (type === TLS_ALERT) this.#giveToGnutls(record);
    else this.#deliver(opened);
  }

  #deliver({ type, content }: OpenedRecord): void {
    if (content.length > TLS_LONGEST_CONTENT) return;
    this.#outcome.heard();
    if (this.#closed) return;
    if (type === TLS_HEARTBEAT) this.#outcome.heartbeat(content);
    else if (type === TLS_APPLICATION_DATA && content.length > 0) this.#outcome.data(content);
  }

  #giveToGnutls(record: Uint8Array): void {
    this.#session.give(record);
    this.#protection?.refresh();
    this.#read();
  }

  #read(): void {
    for (let calls = 0; ; calls += 1) {
      if (calls === MOST_CALLS) throw new TlsError('LINKHOLD_STUCK', 'a record is never read');
      const outcome = this.#session.read();
      this.#flush();
      if (outcome === 'again' || this.#closed) return;
      if (outcome === 'closed') {
        this.bye();
        this.#over(undefined);
        return;
      }
    }
  }

  #endTransport(): void {
    const text = 'the connection ended without a goodbye (close_notify)';
    const error = new TlsError('GNUTLS_E_PREMATURE_TERMINATION', text);
    // Many close at once when they are told goodbye.
    this.#over(this.#saidBye ? undefined : error);
  }

  /** A flight of ours may be lost: GnuTLS says when to send it again. */
  #armRetransmission(): void {
    const inMs = Math.min(Math.max(this.#session.retransmitInMs, 1), LONGEST_RETRANSMIT_MS);
    this.#retransmit = setTimeout(() => queueStep(this.#step), inMs);
  }

  #flush(): void {
    for (const bytes of this.#session.take()) this.#outcome.send(bytes);
  }

  #guarded(body: () => void): void {
    try {
      body();
    } catch (error) {
      if (this.#closed) return;
      if (error instanceof DecodeError && this.#datagram) return;
      if (!(error instanceof TlsError || error instanceof DecodeError)) throw error;
      this.#fail(error);
    }
  }

  #fail(error: Error): void {
    // What goes with the failure: the alert that tells the peer.
    if (!this.#closed) this.#flush();
    this.#over(error);
  }

  #over(error: Error | undefined): void {
    if (this.#closed) return;
    this.close();
    this.#outcome.ended(error);
  }
}
