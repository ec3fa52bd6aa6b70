/**
 * Linkhold's own small UDP probe, `beat://`. 44 bytes, the same in every direction, so that a
 * responder never sends more than it received:
 *
 *     0  magic "LHB1"     4  type      5  zero (3)     8  sequence (u32, big endian)
 *     12 nonce (16)       28 tag (16): HMAC-SHA-256 of bytes 0–27, truncated (RFC 2104 section 5)
 *
 * An answer repeats sequence and nonce. This file places the fields; it knows neither keys nor how
 * a tag is made.
 * @module
 */
import { DecodeError } from './decode-error.ts';

/** What a packet asks for; the index is the code point. `beat` asks for nothing. */
export const BEAT_TYPES = [undefined, 'probe', 'answer', 'beat'] as const;
export type BeatType = 'probe' | 'answer' | 'beat';

/** A decoded packet. `nonce` and `tag` are views of the bytes they were read from. */
export interface BeatPacket {
  readonly type: BeatType;
  readonly sequence: number;
  readonly nonce: Uint8Array;
  readonly tag: Uint8Array;
}

export const BEAT_LENGTH = 44;
export const BEAT_NONCE_LENGTH = 16;
/** The tag covers everything before it. */
export const BEAT_TAG_OFFSET = 28;

const MAGIC = 0x4c_48_42_31;
const NONCE_OFFSET = 12;

/** Bytes with the tag still zero. Throws `RangeError` for fields that do not fit. */
export function encodeBeat(type: BeatType, sequence: number, nonce: Uint8Array): Uint8Array {
  if (!Number.isInteger(sequence) || sequence < 0 || sequence > 0xffff_ffff) {
    throw new RangeError(`sequence ${sequence} is no unsigned 32-bit number`);
  }
  if (nonce.length !== BEAT_NONCE_LENGTH) {
    throw new RangeError(`a nonce has ${BEAT_NONCE_LENGTH} bytes, got ${nonce.length}`);
  }
  const bytes = new Uint8Array(BEAT_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint8(4, BEAT_TYPES.indexOf(type));
  view.setUint32(8, sequence);
  bytes.set(nonce, NONCE_OFFSET);
  return bytes;
}

/** Fields of a packet, not yet authenticated. Throws `DecodeError`. */
export function decodeBeat(bytes: Uint8Array): BeatPacket {
  if (bytes.length !== BEAT_LENGTH) throw new DecodeError('beat', 'bad-length', bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, BEAT_LENGTH);
  if (view.getUint32(0) !== MAGIC) throw new DecodeError('beat', 'bad-magic', view.getUint32(0));
  const header = view.getUint32(4);
  const type = (header & 0xff_ffff) === 0 ? BEAT_TYPES[header >>> 24] : undefined;
  if (type === undefined) throw new DecodeError('beat', 'bad-type', header);
  return {
    type,
    sequence: view.getUint32(8),
    nonce: bytes.subarray(NONCE_OFFSET, BEAT_TAG_OFFSET),
    tag: bytes.subarray(BEAT_TAG_OFFSET),
  };
}
