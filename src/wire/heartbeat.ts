/**
 * Heartbeat messages of TLS and DTLS (RFC 6520 section 4), as they are inside a record. Big endian:
 *
 *     type (1)   payload_length (2)   payload   padding (16 or more)
 *
 * The length that a message claims is held against the length it has; one that lies is refused, and
 * nothing but bytes of the message itself is ever taken from it (CVE-2014-0160). It knows nothing of
 * records, of what was asked, or of time.
 * @module
 */
import { DecodeError } from './decode-error.ts';

export const HEARTBEAT_LEAST_PADDING = 16;
/** The longest message (section 4): 2^14 bytes. */
export const HEARTBEAT_LONGEST = 16_384;

const HEAD_LENGTH = 3;
const REQUEST = 1;
const RESPONSE = 2;

/** What comes besides the payload, at least. */
export const HEARTBEAT_OVERHEAD: number = HEAD_LENGTH + HEARTBEAT_LEAST_PADDING;
export const HEARTBEAT_LONGEST_PAYLOAD: number = HEARTBEAT_LONGEST - HEARTBEAT_OVERHEAD;

/** One message. `payload` is a view of what it was read from. */
export interface Heartbeat {
  readonly type: 'request' | 'response';
  readonly payload: Uint8Array;
}

/**
 * A message to be sealed. `padding` is random, 16 bytes or more; more of it makes a request that
 * measures a path. Throws `RangeError` for an empty payload, which ends some peers, in a request, and
 * for what is too short or too long.
 */
export function encodeHeartbeat({ type, payload }: Heartbeat, padding: Uint8Array): Uint8Array {
  const length = HEAD_LENGTH + payload.length + padding.length;
  if (type === 'request' && payload.length === 0) throw new RangeError('a request needs a payload');
  if (padding.length < HEARTBEAT_LEAST_PADDING || length > HEARTBEAT_LONGEST) {
    throw new RangeError(`${payload.length} bytes and ${padding.length} of padding do not fit`);
  }
  const bytes = new Uint8Array(length);
  bytes[0] = type === 'request' ? REQUEST : RESPONSE;
  bytes[1] = payload.length >>> 8;
  bytes[2] = payload.length & 0xff;
  bytes.set(payload, HEAD_LENGTH);
  bytes.set(padding, HEAD_LENGTH + payload.length);
  return bytes;
}

/** Reads a message. Throws `DecodeError`: it must be discarded silently (section 4). */
export function decodeHeartbeat(bytes: Uint8Array): Heartbeat {
  if (bytes.length < HEARTBEAT_OVERHEAD) fail('too-short', bytes.length);
  if (bytes.length > HEARTBEAT_LONGEST) fail('too-long', bytes.length);
  const type = bytes[0] ?? 0;
  if (type !== REQUEST && type !== RESPONSE) fail('unknown-type', type);
  const length = ((bytes[1] ?? 0) << 8) | (bytes[2] ?? 0);
  if (length > bytes.length - HEARTBEAT_OVERHEAD) fail('lying-length', length);
  return {
    type: type === REQUEST ? 'request' : 'response',
    payload: bytes.subarray(HEAD_LENGTH, HEAD_LENGTH + length),
  };
}

function fail(code: string, value: number): never {
  throw new DecodeError('heartbeat', code, value);
}
