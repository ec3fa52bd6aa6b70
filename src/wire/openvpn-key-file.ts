/**
 * The files that OpenVPN keeps shared keys in: a static key of 2048 bits in hexadecimal, and a client's
 * key for tls-crypt-v2 in base64, behind which is what only its server can read.
 * @module
 */
import { DecodeError } from './decode-error.ts';

/** Two keys for each direction: of the cipher, and of the HMAC. */
export const KEY_FILE_LENGTH = 256;
const PART_LENGTH = 64;
const TAG_LENGTH = 32;
const LONGEST_WRAPPED = 1_024;

/** A client's key, and the same wrapped for its server. */
export interface ClientKey {
  readonly key: Uint8Array;
  readonly wrapped: Uint8Array;
}

/** One direction's keys, 64 bytes each, of which ciphers use as many as they need. */
export interface KeyPart {
  readonly cipher: Uint8Array;
  readonly hmac: Uint8Array;
}

function fail(code: string, value: number): never {
  throw new DecodeError('openvpn-key', code, value);
}

function between(text: string, label: string): string {
  const pattern = new RegExp(`-----BEGIN ${label}-----([\\s\\S]*?)-----END ${label}-----`);
  return pattern.exec(text)?.[1] ?? fail('no-key', text.length);
}

/** The 256 bytes of a static key. Throws `DecodeError`. */
export function decodeStaticKey(text: string): Uint8Array {
  const digits = between(text, 'OpenVPN Static key V1').replaceAll(/\s/g, '');
  if (!/^[\da-f]*$/i.test(digits)) fail('bad-digits', digits.length);
  if (digits.length !== 2 * KEY_FILE_LENGTH) fail('bad-length', digits.length / 2);
  return Uint8Array.from({ length: KEY_FILE_LENGTH }, (_, index) =>
    Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16),
  );
}

/** A client's key for tls-crypt-v2. Throws `DecodeError`. */
export function decodeClientKey(text: string): ClientKey {
  const base64 = between(text, 'OpenVPN tls-crypt-v2 client key').replaceAll(/\s/g, '');
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return fail('bad-base64', base64.length);
  }
  const wrapped = bytes.subarray(KEY_FILE_LENGTH);
  if (wrapped.length < TAG_LENGTH + 2 || wrapped.length > LONGEST_WRAPPED) {
    fail('bad-length', bytes.length);
  }
  const written = ((wrapped.at(-2) ?? 0) << 8) | (wrapped.at(-1) ?? 0);
  if (written !== wrapped.length) fail('bad-wrapped-length', written);
  return { key: bytes.subarray(0, KEY_FILE_LENGTH), wrapped };
}

/** The first or second half of 256 bytes of keys. */
export function keyPart(keys: Uint8Array, index: 0 | 1): KeyPart {
  const at = index * 2 * PART_LENGTH;
  return {
    cipher: keys.subarray(at, at + PART_LENGTH),
    hmac: keys.subarray(at + PART_LENGTH, at + 2 * PART_LENGTH),
  };
}

/**
 * Which half a peer sends and receives with. Two peers have opposite directions, or none at all, and
 * then share the first half.
 */
export function keyParts(
  keys: Uint8Array,
  direction: 0 | 1 | undefined,
): { readonly send: KeyPart; readonly receive: KeyPart } {
  const other = direction === 0 ? 1 : 0;
  return { send: keyPart(keys, direction ?? 0), receive: keyPart(keys, other) };
}
