/**
 * The record layer's outside: TLS 1.2 (RFC 5246 section 6.2), TLS 1.3 (RFC 8446 section 5), DTLS 1.2
 * (RFC 6347 section 4.1). Big endian:
 *
 *     TLS    type (1)  version (2)                            length (2)  fragment
 *     DTLS   type (1)  version (2)  epoch (2)  sequence (6)   length (2)  fragment
 *
 * It takes a stream or a datagram apart and knows nothing of what is in a fragment.
 * @module
 */
import { DecodeError } from './decode-error.ts';

/** Content types (RFC 8446 section 5.1, RFC 6520 section 3). */
export const TLS_CHANGE_CIPHER_SPEC = 20;
export const TLS_ALERT = 21;
export const TLS_HANDSHAKE = 22;
export const TLS_APPLICATION_DATA = 23;
export const TLS_HEARTBEAT = 24;

export const TLS_HEADER_LENGTH = 5;
export const DTLS_HEADER_LENGTH = 13;

/** The longest content of a record (RFC 8446 section 5.1). */
export const TLS_LONGEST_CONTENT = 16_384;
/** What sealing may add (RFC 5246 section 6.2.3); TLS 1.3 adds less. */
const LONGEST_FRAGMENT = TLS_LONGEST_CONTENT + 2_048;

const EMPTY = new Uint8Array();
/** Set aside first for a record that comes in pieces; doubled as it comes. */
const FIRST_ROOM = 512;

function fail(code: string, value: number): never {
  throw new DecodeError('tls-record', code, value);
}

/** The type of a whole record, before anything is believed of it. */
export function recordType(record: Uint8Array): number {
  return record[0] ?? 0;
}

/** Epoch and sequence number of a DTLS record, as 8 bytes; a view. */
export function dtlsSequence(record: Uint8Array): Uint8Array {
  return record.subarray(3, 11);
}

/** Takes a TLS stream apart, in pieces of any size. One for each direction of a connection. */
export class TlsRecordReader {
  /** The beginning of a record that is not complete; its bytes, and what is set aside. */
  #room: Uint8Array = EMPTY;
  #filled = 0;
  #failure: DecodeError | undefined;

  /** Bytes that are set aside for a record not yet complete. */
  get held(): number {
    return this.#room.length;
  }

  /**
   * The records that these bytes complete, with their headers. Views of `bytes` where they can be.
   * Throws `DecodeError` for a length that no record has; the stream is lost then, and every later
   * call throws the same.
   */
  *read(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      yield* this.#takeApart(bytes);
    } catch (error) {
      if (error instanceof DecodeError) {
        this.#failure = error;
        this.#room = EMPTY;
      }
      throw error;
    }
  }

  *#takeApart(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
    let at = 0;
    while (at < bytes.length) {
      if (this.#filled === 0) {
        const length = lengthOf(bytes.subarray(at));
        if (length !== undefined && at + length <= bytes.length) {
          yield bytes.subarray(at, at + length);
          at += length;
          continue;
        }
      }
      at += this.#keep(bytes, at);
      if (this.#filled < TLS_HEADER_LENGTH || this.#filled < (lengthOf(this.#room) ?? 0)) continue;
      const record = this.#room.subarray(0, this.#filled);
      this.#room = EMPTY;
      this.#filled = 0;
      yield record;
    }
  }

  /** Keeps what belongs to the present record; returns how much that was. */
  #keep(bytes: Uint8Array, at: number): number {
    const known = this.#filled < TLS_HEADER_LENGTH ? undefined : lengthOf(this.#room);
    const length = known ?? TLS_HEADER_LENGTH;
    const count = Math.min(length - this.#filled, bytes.length - at);
    const needed = this.#filled + count;
    if (needed > this.#room.length) {
      const larger = Math.max(needed, 2 * this.#room.length, FIRST_ROOM);
      const room = new Uint8Array(known === undefined ? larger : Math.min(larger, length));
      room.set(this.#room.subarray(0, this.#filled));
      this.#room = room;
    }
    this.#room.set(bytes.subarray(at, at + count), this.#filled);
    this.#filled = needed;
    return count;
  }
}

/** The length of the record that begins here, with its header, if that much has come. */
function lengthOf(bytes: Uint8Array): number | undefined {
  if (bytes.length < TLS_HEADER_LENGTH) return undefined;
  const length = ((bytes[3] ?? 0) << 8) | (bytes[4] ?? 0);
  if (length > LONGEST_FRAGMENT) fail('too-long', length);
  return TLS_HEADER_LENGTH + length;
}

/**
 * The DTLS records of a datagram, with their headers; views. Throws `DecodeError` where one is cut
 * short; those before it are good.
 */
export function* decodeDtlsDatagram(datagram: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < datagram.length; ) {
    const left = datagram.length - at;
    if (left < DTLS_HEADER_LENGTH) fail('too-short', left);
    const length = ((datagram[at + 11] ?? 0) << 8) | (datagram[at + 12] ?? 0);
    if (length > LONGEST_FRAGMENT) fail('too-long', length);
    if (DTLS_HEADER_LENGTH + length > left) fail('cut-short', left);
    const to = at + DTLS_HEADER_LENGTH + length;
    yield datagram.subarray(at, to);
    at = to;
  }
}
