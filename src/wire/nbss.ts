/**
 * The NetBIOS session service (RFC 1001 section 16, RFC 1002 section 4.3) and the same four bytes before
 * SMB on port 445, "direct TCP" (MS-SMB2 section 2.1):
 *
 *     0  type      1  length, big endian: 24 bits on 445; on 139 seven zeros and 17 bits
 *
 * A reader takes a byte stream apart. What a packet announces is checked before any of it is kept,
 * memory grows with what arrived and never with what was announced, and each byte is copied a
 * constant number of times. This file knows neither sockets nor SMB.
 * @module
 */
import { DecodeError } from './decode-error.ts';

/** Which length the four bytes carry: `direct` TCP (port 445) or `netbios` (port 139). */
export type NbssFraming = 'direct' | 'netbios';

/** What a peer may send, decoded. The `body` of a message is what was kept of `length` bytes. */
export type NbssPacket =
  | { readonly type: 'message'; readonly length: number; readonly body: Uint8Array }
  | { readonly type: 'request'; readonly called: string; readonly calling: string }
  | { readonly type: 'positive' }
  | { readonly type: 'negative'; readonly code: number }
  | { readonly type: 'retarget'; readonly address: string; readonly port: number }
  | { readonly type: 'keepalive' };

export const NBSS_HEADER_LENGTH = 4;
/** The most that 17 bits can announce. Nothing that Linkhold asks for is longer, on 445 neither. */
export const NBSS_LONGEST = 0x1_ffff;

const MESSAGE = 0x00;
const REQUEST = 0x81;
const KEEPALIVE = 0x85;
/** A name without scope: its length, 32 letters, and the empty scope. */
const NAME_LENGTH = 34;

/** Type → least and most bytes of a body. What is not listed is no packet of this service. */
const LENGTHS: ReadonlyMap<number, readonly [number, number]> = new Map([
  [MESSAGE, [0, NBSS_LONGEST]],
  [REQUEST, [2 * NAME_LENGTH, 2 * NAME_LENGTH]],
  [0x82, [0, 0]],
  [0x83, [1, 1]],
  [0x84, [6, 6]],
  [KEEPALIVE, [0, 0]],
]);
const LONGEST_FIXED = 2 * NAME_LENGTH;
const EMPTY = new Uint8Array();

/** Error codes of a negative response (RFC 1002 section 4.3.4), in words. */
const NEGATIVE_WORDS: Readonly<Record<number, string>> = {
  128: 'not listening on the called name',
  129: 'not listening for the calling name',
  130: 'the called name is not present',
  131: 'the called name is present, but resources are insufficient',
  143: 'unspecified error',
};

/** What a negative response means, for example `0x82: the called name is not present`. */
export function negativeWords(code: number): string {
  return `0x${code.toString(16)}: ${NEGATIVE_WORDS[code] ?? 'a code that RFC 1002 does not have'}`;
}

/** A session message around `body`. Throws `RangeError` where the length does not fit. */
export function encodeNbssMessage(body: Uint8Array): Uint8Array {
  return packet(MESSAGE, body);
}

/** The one-way keepalive, `85 00 00 00`. Nobody answers it. */
export function encodeNbssKeepalive(): Uint8Array {
  return packet(KEEPALIVE, new Uint8Array());
}

/**
 * Asks for a session with a service (`called`, suffix 20) as a client (`calling`, suffix 00). Throws
 * `RangeError` for what is no NetBIOS name: 1 to 15 printable ASCII characters.
 */
export function encodeSessionRequest(called: string, calling: string): Uint8Array {
  const body = new Uint8Array(2 * NAME_LENGTH);
  writeName(body, 0, called, 0x20);
  writeName(body, NAME_LENGTH, calling, 0x00);
  return packet(REQUEST, body);
}

/** Whether a text can be a NetBIOS name here. */
export function isNetbiosName(text: string): boolean {
  return /^[!-~]([ -~]{0,13}[!-~])?$/.test(text);
}

function packet(type: number, body: Uint8Array): Uint8Array {
  if (body.length > NBSS_LONGEST) throw new RangeError(`${body.length} bytes are too long`);
  const bytes = new Uint8Array(NBSS_HEADER_LENGTH + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length);
  bytes[0] = type;
  bytes.set(body, NBSS_HEADER_LENGTH);
  return bytes;
}

/** Half-ASCII (RFC 1001 section 14.1): each half of a byte is a letter from A to P. */
function writeName(body: Uint8Array, at: number, name: string, suffix: number): void {
  if (!isNetbiosName(name)) throw new RangeError(`"${name}" is no NetBIOS name`);
  const padded = name.toUpperCase().padEnd(15);
  body[at] = 32;
  for (let index = 0; index < 16; index += 1) {
    const byte = index === 15 ? suffix : padded.charCodeAt(index);
    body[at + 1 + 2 * index] = 0x41 + (byte >> 4);
    body[at + 2 + 2 * index] = 0x41 + (byte & 0xf);
  }
}

function readName(body: Uint8Array, at: number): string {
  if (body[at] !== 32 || body[at + 33] !== 0) fail('bad-name', body[at] ?? 0);
  let name = '';
  for (let index = 0; index < 16; index += 1) {
    const high = (body[at + 1 + 2 * index] ?? 0) - 0x41;
    const low = (body[at + 2 + 2 * index] ?? 0) - 0x41;
    if (high < 0 || high > 15 || low < 0 || low > 15) fail('bad-name', at + 1 + 2 * index);
    if (index < 15) name += String.fromCharCode((high << 4) | low);
  }
  return name.trimEnd();
}

function fail(code: string, value: number): never {
  throw new DecodeError('nbss', code, value);
}

/** Takes a byte stream apart, in pieces of any size. One for each connection. */
export class NbssReader {
  readonly #framing: NbssFraming;
  readonly #keep: number;
  readonly #header = new Uint8Array(NBSS_HEADER_LENGTH);
  #headerFilled = 0;
  #type = 0;
  #length = 0;
  /** Holds what arrived of the body; grows by doubling, up to the body's own length. */
  #body: Uint8Array = EMPTY;
  #bodyFilled = 0;
  #failure: DecodeError | undefined;

  /**
   * Of each message at most `keep` bytes are kept; the rest is counted and dropped. Default: all,
   * which is up to 128 KiB.
   */
  constructor(framing: NbssFraming, keep: number = NBSS_LONGEST) {
    this.#framing = framing;
    this.#keep = keep;
  }

  /** Bytes that are set aside for a packet not yet complete. */
  get held(): number {
    return this.#body.length;
  }

  /** Whether the stream stands between two packets. */
  get betweenPackets(): boolean {
    return this.#headerFilled === 0;
  }

  /**
   * The packets that these bytes complete. All must be taken before more bytes are given. Throws
   * `DecodeError`; the stream is lost then, and every later call throws the same.
   */
  *read(bytes: Uint8Array): Generator<NbssPacket, void, undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      for (let at = 0; at < bytes.length; ) {
        at += this.#take(bytes, at);
        if (this.#headerFilled < NBSS_HEADER_LENGTH || this.#bodyFilled < this.#length) continue;
        yield this.#finish();
      }
    } catch (error) {
      if (error instanceof DecodeError) {
        this.#failure = error;
        this.#body = EMPTY;
      }
      throw error;
    }
  }

  /** Takes some bytes from `at` on; returns how many. */
  #take(bytes: Uint8Array, at: number): number {
    if (this.#headerFilled < NBSS_HEADER_LENGTH) {
      this.#header[this.#headerFilled] = bytes[at] ?? 0;
      this.#headerFilled += 1;
      if (this.#headerFilled === NBSS_HEADER_LENGTH) this.#readHeader();
      return 1;
    }
    const count = Math.min(bytes.length - at, this.#length - this.#bodyFilled);
    const kept = Math.min(count, this.#kept - this.#bodyFilled);
    if (kept > 0) {
      this.#makeRoom(this.#bodyFilled + kept);
      this.#body.set(bytes.subarray(at, at + kept), this.#bodyFilled);
    }
    this.#bodyFilled += count;
    return count;
  }

  /** How much of the present body is to be kept. */
  get #kept(): number {
    return this.#type === MESSAGE ? Math.min(this.#length, this.#keep) : this.#length;
  }

  #readHeader(): void {
    const word = new DataView(this.#header.buffer).getUint32(0);
    this.#type = word >>> 24;
    this.#length = word & 0xff_ffff;
    const [least, most] = LENGTHS.get(this.#type) ?? fail('bad-type', this.#type);
    if (this.#framing === 'netbios' && this.#length > NBSS_LONGEST) fail('bad-flags', word);
    if (this.#length > most) fail('too-long', this.#length);
    if (this.#length < least) fail('too-short', this.#length);
  }

  #makeRoom(needed: number): void {
    if (needed <= this.#body.length) return;
    const larger = Math.max(needed, 2 * this.#body.length, LONGEST_FIXED);
    const room = new Uint8Array(Math.min(larger, this.#kept));
    room.set(this.#body.subarray(0, this.#bodyFilled));
    this.#body = room;
  }

  #finish(): NbssPacket {
    const body = this.#body.subarray(0, this.#kept);
    const decoded = decode(this.#type, this.#length, body);
    this.#headerFilled = 0;
    this.#length = 0;
    this.#bodyFilled = 0;
    this.#body = EMPTY;
    return decoded;
  }
}

function decode(type: number, length: number, body: Uint8Array): NbssPacket {
  switch (type) {
    case MESSAGE:
      return { type: 'message', length, body };
    case REQUEST:
      return { type: 'request', called: readName(body, 0), calling: readName(body, NAME_LENGTH) };
    case 0x82:
      return { type: 'positive' };
    case 0x83:
      return { type: 'negative', code: body[0] ?? 0 };
    case 0x84:
      return {
        type: 'retarget',
        address: body.subarray(0, 4).join('.'),
        port: new DataView(body.buffer, body.byteOffset).getUint16(4),
      };
    default:
      return { type: 'keepalive' };
  }
}
