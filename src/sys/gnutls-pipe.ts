/**
 * What a session of GnuTLS reads from and writes to: queues in memory, no descriptor. C calls these
 * functions, so they only move bytes and never throw: GnuTLS would call again for ever.
 * @module
 */
import { type Gnutls, gnutls, type Pointer } from './gnutls-library.ts';

const EAGAIN = 11;
const EIO = 5;
const BAD_LENGTH = -9;
const ILLEGAL_PARAMETER = -55;
/** Modes of the heartbeat extension (RFC 6520 section 2). */
const MAY_SEND = 1;
const MUST_NOT_SEND = 2;

const pipes = new Map<number, Pipe>();
const bySession = new Map<Pointer, Pipe>();
let lastId = 0;
let callbacks: ReturnType<Gnutls['connect']> | undefined;

/** Registered once: koffi has room for a few thousand in a process. */
export function pipeCallbacks(): ReturnType<Gnutls['connect']> {
  callbacks ??= gnutls().connect({
    pull: (id, into, length) => pipes.get(Number(id))?.pull(into, Number(length)) ?? -1,
    push: (id, from, length) => pipes.get(Number(id))?.push(from, Number(length)) ?? -1,
    poll: (id) => pipes.get(Number(id))?.poll() ?? -1,
    extensionReceived: (session, from, length) =>
      bySession.get(session)?.extensionReceived(from, Number(length)) ?? 0,
    sendExtension: (session, buffer) => bySession.get(session)?.sendExtension(buffer) ?? 0,
  });
  return callbacks;
}

export class Pipe {
  /** What C is told to call with. */
  readonly id: number;
  readonly #library: Gnutls = gnutls();
  readonly #server: boolean;
  readonly #datagram: boolean;
  #session: Pointer | undefined;
  #incoming: Uint8Array[] = [];
  #outgoing: Uint8Array[] = [];
  #ended = false;
  #starved = false;
  #failure: unknown;
  /** What the peer says of heartbeats sent to it. */
  #peerMode = 0;

  constructor(server: boolean, datagram: boolean) {
    this.#server = server;
    this.#datagram = datagram;
    lastId += 1;
    this.id = lastId;
    pipes.set(this.id, this);
  }

  /** Whether GnuTLS asked for more than there was. */
  get starved(): boolean {
    return this.#starved && this.#incoming.length === 0;
  }

  /** Whether the peer lets us send heartbeat requests. */
  get peerAllows(): boolean {
    return this.#peerMode === MAY_SEND;
  }

  /** The session whose heartbeat extension this is, for callbacks that know nothing else. */
  attach(session: Pointer): void {
    this.#session = session;
    bySession.set(session, this);
  }

  /** Bytes of the stream, or one datagram. */
  give(bytes: Uint8Array): void {
    this.#incoming.push(bytes);
    this.#starved = false;
  }

  /** Nothing will follow. */
  end(): void {
    this.#ended = true;
    this.#starved = false;
  }

  /** What is to be sent: pieces of the stream, or datagrams. */
  take(): Uint8Array[] {
    const outgoing = this.#outgoing;
    if (outgoing.length > 0) this.#outgoing = [];
    return outgoing;
  }

  /** What went wrong in a callback, where nothing can be thrown. */
  rethrow(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  close(): void {
    pipes.delete(this.id);
    if (this.#session !== undefined) bySession.delete(this.#session);
    this.#incoming = [];
  }

  pull(into: Pointer, length: number): number {
    return this.#guarded(-1, () => {
      const first = this.#incoming[0];
      if (first === undefined) {
        this.#starved = true;
        if (this.#ended) return 0;
        this.#setErrno(EAGAIN);
        return -1;
      }
      const piece = first.length > length ? first.subarray(0, length) : first;
      this.#library.write(into, piece);
      // A datagram is taken whole, whatever the room.
      if (this.#datagram || piece.length === first.length) this.#incoming.shift();
      else this.#incoming[0] = first.subarray(length);
      return piece.length;
    });
  }

  /** Takes all: half a record sent would be a state that nobody wants. */
  push(from: Pointer, length: number): number {
    return this.#guarded(-1, () => {
      this.#outgoing.push(this.#library.read(from, length));
      return length;
    });
  }

  poll(): number {
    if (this.#incoming.length > 0 || this.#ended) return 1;
    this.#starved = true;
    return 0;
  }

  extensionReceived(from: Pointer, length: number): number {
    return this.#guarded(BAD_LENGTH, () => {
      if (length !== 1) return BAD_LENGTH;
      const mode = this.#library.read(from, 1)[0] ?? 0;
      if (mode !== MAY_SEND && mode !== MUST_NOT_SEND) return ILLEGAL_PARAMETER;
      this.#peerMode = mode;
      return 0;
    });
  }

  sendExtension(buffer: Pointer): number {
    // A server answers the extension, it does not begin with it.
    if (this.#server && this.#peerMode === 0) return 0;
    return this.#guarded(-1, () => {
      const result = this.#library.bufferAppend(buffer, Uint8Array.of(MAY_SEND), 1);
      return result < 0 ? result : 1;
    });
  }

  #guarded(failed: number, body: () => number): number {
    try {
      return body();
    } catch (error) {
      this.#failure = error;
      this.#setErrno(EIO);
      return failed;
    }
  }

  #setErrno(number: number): void {
    if (this.#session !== undefined) this.#library.setErrno(this.#session, number);
  }
}
