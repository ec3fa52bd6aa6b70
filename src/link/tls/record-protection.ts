/**
 * Seals and opens single records with the keys of a connection that somebody else handshook: AEAD as
 * TLS 1.2 (RFC 5288, RFC 7905), TLS 1.3 (RFC 8446 section 5.2) and DTLS 1.2 (RFC 6347) have it. Node
 * does the cryptography. Both sides count by the same numbers: a sealed record's number is handed
 * back at once, for a cipher used twice with one number is broken.
 * @module
 */
import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
} from 'node:crypto';
import type { Direction, RecordCipher, TlsVersion, Traffic } from '../../sys/gnutls-session.ts';
import {
  DTLS_HEADER_LENGTH,
  dtlsSequence,
  recordType,
  TLS_APPLICATION_DATA,
  TLS_HEADER_LENGTH,
  TLS_LONGEST_CONTENT,
} from '../../wire/tls-record.ts';

/** Who knows the keys, and counts the records that it seals and opens itself. */
export interface Secrets {
  traffic(direction: Direction): Traffic;
  /** The number of the next record. */
  sequence(direction: Direction): bigint;
  /** The next record has this number: the one before it was sealed or opened elsewhere. */
  continueAt(direction: Direction, sequence: bigint): void;
}

/** What was in a record that is authentic. */
export interface OpenedRecord {
  readonly type: number;
  readonly content: Uint8Array;
  /** Its sequence number; in DTLS with the epoch before it. */
  readonly sequence: bigint;
}

const TAG_LENGTH = 16;
const EXPLICIT_LENGTH = 8;

/** The keys of one direction. */
interface Epoch {
  readonly raw: Uint8Array;
  readonly key: KeyObject;
  readonly iv: Uint8Array;
  /** The highest number that was sealed with them. */
  sealed: bigint;
  /** The number of the next record, if they are surely the keys still. */
  next: bigint | undefined;
}

function sequenceOf(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
}

function bytesOf(sequence: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, sequence);
  return bytes;
}

/** TLSInnerPlaintext, without padding. */
function withType(content: Uint8Array, type: number): Uint8Array {
  const inner = new Uint8Array(content.length + 1);
  inner.set(content);
  inner[content.length] = type;
  return inner;
}

export class RecordProtection {
  readonly #secrets: Secrets;
  readonly #cipher: RecordCipher;
  readonly #inner: boolean;
  readonly #headerLength: number;
  /** Bytes of the nonce that travel with each record. */
  readonly #explicit: number;
  #read: Epoch | undefined;
  #write: Epoch | undefined;
  #closed = false;

  constructor(version: TlsVersion, cipher: RecordCipher, secrets: Secrets) {
    this.#secrets = secrets;
    this.#cipher = cipher;
    this.#inner = version === 'TLSv1.3';
    this.#headerLength = version === 'DTLSv1.2' ? DTLS_HEADER_LENGTH : TLS_HEADER_LENGTH;
    this.#explicit = this.#inner || cipher === 'chacha20-poly1305' ? 0 : EXPLICIT_LENGTH;
  }

  /** How much longer a record is than its content. */
  get overhead(): number {
    return this.#headerLength + this.#explicit + TAG_LENGTH + (this.#inner ? 1 : 0);
  }

  /** A record to be sent next. Throws if its number was used before. */
  seal(type: number, content: Uint8Array): Uint8Array {
    if (content.length > TLS_LONGEST_CONTENT) throw new RangeError(`${content.length} bytes`);
    const { epoch } = this.#current('write');
    // Asked for each time: a number that is used twice would be the end of the cipher.
    const number = this.#secrets.sequence('write');
    const sequence = bytesOf(number);
    if (number <= epoch.sealed) throw new Error(`record ${number} would be sealed twice`);
    epoch.sealed = number;
    const plain = this.#inner ? withType(content, type) : content;
    const record = new Uint8Array(this.#headerLength + this.#explicit + plain.length + TAG_LENGTH);
    this.#writeHeader(record, type, sequence);
    if (this.#explicit > 0) record.set(sequence, this.#headerLength);
    const options = { authTagLength: TAG_LENGTH };
    const nonce = this.#nonce(epoch.iv, sequence);
    const cipher = createCipheriv(this.#cipher as CipherGCMTypes, epoch.key, nonce, options);
    cipher.setAAD(this.#authenticated(record, sequence, plain.length));
    record.set(cipher.update(plain), this.#headerLength + this.#explicit);
    cipher.final();
    record.set(cipher.getAuthTag(), record.length - TAG_LENGTH);
    this.#continueAt('write', epoch, number + 1n);
    return record;
  }

  /** What is in a record, or `undefined` if it is not authentic. Nothing is counted: see `count`. */
  open(record: Uint8Array): OpenedRecord | undefined {
    const { epoch, number: next } = this.#current('read');
    const datagram = this.#headerLength === DTLS_HEADER_LENGTH;
    const from = this.#headerLength + this.#explicit;
    const to = record.length - TAG_LENGTH;
    if (to < from) return undefined;
    const sequence = datagram ? dtlsSequence(record) : bytesOf(next);
    const number = sequenceOf(sequence);
    // In DTLS the first two bytes are the epoch, which has keys of its own.
    if (number >> 48n !== next >> 48n) return undefined;
    const explicit = record.subarray(this.#headerLength, from);
    const nonce = this.#nonce(epoch.iv, this.#explicit > 0 ? explicit : sequence);
    const options = { authTagLength: TAG_LENGTH };
    const cipher = createDecipheriv(this.#cipher as CipherGCMTypes, epoch.key, nonce, options);
    cipher.setAAD(this.#authenticated(record, sequence, to - from));
    cipher.setAuthTag(record.subarray(to));
    const plain = cipher.update(record.subarray(from, to));
    try {
      cipher.final();
    } catch {
      return undefined;
    }
    if (!this.#inner) return { type: recordType(record), content: plain, sequence: number };
    const end = plain.findLastIndex((byte) => byte !== 0);
    if (end < 0) return undefined;
    return { type: plain[end] ?? 0, content: plain.subarray(0, end), sequence: number };
  }

  /** A TLS record was taken here: the next one to be read has the number after it. */
  count({ sequence }: OpenedRecord): void {
    const { epoch } = this.#current('read');
    this.#continueAt('read', epoch, sequence + 1n);
  }

  /** The other side may have opened records, or have new keys: it is asked before the next. */
  refresh(): void {
    if (this.#read !== undefined) this.#read.next = undefined;
    if (this.#write !== undefined) this.#write.next = undefined;
  }

  /** Wipes the keys. Nothing can be sealed or opened any more. */
  close(): void {
    this.#closed = true;
    this.#read?.raw.fill(0);
    this.#write?.raw.fill(0);
  }

  #current(direction: Direction): { epoch: Epoch; number: bigint } {
    if (this.#closed) throw new Error('the keys are wiped');
    const known = direction === 'read' ? this.#read : this.#write;
    if (known?.next !== undefined) return { epoch: known, number: known.next };
    const { key, iv } = this.#secrets.traffic(direction);
    const number = this.#secrets.sequence(direction);
    if (known !== undefined && Buffer.compare(known.raw, key) === 0) {
      key.fill(0);
      known.next = number;
      return { epoch: known, number };
    }
    known?.raw.fill(0);
    const epoch = { raw: key, key: createSecretKey(key), iv, sealed: -1n, next: number };
    if (direction === 'read') this.#read = epoch;
    else this.#write = epoch;
    return { epoch, number };
  }

  #continueAt(direction: Direction, epoch: Epoch, number: bigint): void {
    this.#secrets.continueAt(direction, number);
    epoch.next = number;
  }

  #writeHeader(record: Uint8Array, type: number, sequence: Uint8Array): void {
    const view = new DataView(record.buffer);
    record[0] = this.#inner ? TLS_APPLICATION_DATA : type;
    view.setUint16(1, this.#headerLength === DTLS_HEADER_LENGTH ? 0xfefd : 0x0303);
    if (this.#headerLength === DTLS_HEADER_LENGTH) record.set(sequence, 3);
    view.setUint16(this.#headerLength - 2, record.length - this.#headerLength);
  }

  /** What is authenticated besides the content. */
  #authenticated(record: Uint8Array, sequence: Uint8Array, length: number): Uint8Array {
    if (this.#inner) return record.subarray(0, TLS_HEADER_LENGTH);
    const bytes = new Uint8Array(13);
    bytes.set(sequence);
    bytes.set(record.subarray(0, 3), 8);
    bytes[11] = length >>> 8;
    bytes[12] = length & 0xff;
    return bytes;
  }

  #nonce(iv: Uint8Array, number: Uint8Array): Uint8Array {
    const nonce = new Uint8Array(12);
    nonce.set(iv.subarray(0, 12));
    if (this.#explicit > 0) nonce.set(number, 4);
    else for (let at = 0; at < 8; at += 1) nonce[4 + at] = (nonce[4 + at] ?? 0) ^ (number[at] ?? 0);
    return nonce;
  }
}
