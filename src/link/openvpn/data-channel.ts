/**
 * OpenVPN's data channel: what it takes to seal and open packets by one set of keys. `AeadChannel` is
 * that of sessions with TLS, `StaticChannel` that of two peers with a secret, which have no sessions. The
 * ciphers are `node:crypto`'s.
 *
 *     AEAD     head and packet id authenticated   tag 16   ciphertext; nonce: packet id 4, implicit 8
 *     static   HMAC   IV 16   AES-CBC(packet id 4   time 4   payload)
 * @module
 */
import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { DecodeError } from '../../wire/decode-error.ts';
import { type KeyPart, keyPart, keyParts } from '../../wire/openvpn-key-file.ts';
import { decodeData, encodeDataHead, joined, TAG_LENGTH } from '../../wire/openvpn-packet.ts';
import { ReplayWindow } from '../replay-window.ts';

/** Seals what is sent and opens what is heard. */
export interface DataChannel {
  /** A packet for the wire, or `undefined` where the keys have sealed as much as they may. */
  seal(payload: Uint8Array): Uint8Array | undefined;
  /** The payload, or `undefined` where the packet is not authentic, or came before. */
  open(packet: Uint8Array): Uint8Array | undefined;
}

/** Ciphers that a session may agree on, in the order of preference, as OpenVPN spells them. */
export const AEAD_CIPHERS = ['AES-256-GCM', 'AES-128-GCM', 'CHACHA20-POLY1305'] as const;
export type AeadCipher = (typeof AEAD_CIPHERS)[number];

const AEAD_KEY_LENGTH: Readonly<Record<AeadCipher, number>> = {
  'AES-256-GCM': 32,
  'AES-128-GCM': 16,
  'CHACHA20-POLY1305': 32,
};
const IMPLICIT_IV_LENGTH = 8;
const OPTIONS = { authTagLength: TAG_LENGTH };
const HIGHEST_ID = 0xffff_ffff;

/** A cipher by its name in any case, or `undefined`. */
export function aeadCipher(name: string): AeadCipher | undefined {
  return AEAD_CIPHERS.find((cipher) => cipher === name.toUpperCase());
}

export class AeadChannel implements DataChannel {
  readonly #cipher: CipherGCMTypes;
  readonly #keyId: number;
  readonly #peerId: number | undefined;
  readonly #send: Uint8Array;
  readonly #sendIv: Uint8Array;
  readonly #receive: Uint8Array;
  readonly #receiveIv: Uint8Array;
  readonly #window = new ReplayWindow();
  #id = 0;

  /** `keys` are 256 bytes, the client's half first; we are the client. */
  constructor(cipher: AeadCipher, keys: Uint8Array, keyId: number, peerId: number | undefined) {
    // Node's types know the tag only of GCM; ChaCha20-Poly1305 has the same calls.
    this.#cipher = cipher.toLowerCase() as CipherGCMTypes;
    this.#keyId = keyId;
    this.#peerId = peerId;
    const [send, receive] = [keyPart(keys, 0), keyPart(keys, 1)];
    this.#send = send.cipher.subarray(0, AEAD_KEY_LENGTH[cipher]);
    this.#sendIv = send.hmac.subarray(0, IMPLICIT_IV_LENGTH);
    this.#receive = receive.cipher.subarray(0, AEAD_KEY_LENGTH[cipher]);
    this.#receiveIv = receive.hmac.subarray(0, IMPLICIT_IV_LENGTH);
  }

  seal(payload: Uint8Array): Uint8Array | undefined {
    if (this.#id === HIGHEST_ID) return undefined;
    this.#id += 1;
    const head = encodeDataHead(this.#keyId, this.#peerId, this.#id);
    // V2 authenticates its first byte and the peer id, V1 the packet id alone.
    const header = this.#peerId === undefined ? head.subarray(1) : head;
    const nonce = joined(head.subarray(-4), this.#sendIv);
    const cipher = createCipheriv(this.#cipher, this.#send, nonce, OPTIONS);
    cipher.setAAD(header);
    const text = joined(cipher.update(payload), cipher.final());
    return joined(head, cipher.getAuthTag(), text);
  }

  open(packet: Uint8Array): Uint8Array | undefined {
    try {
      const { header, packetId, tag, ciphertext } = decodeData(packet);
      const nonce = joined(header.subarray(-4), this.#receiveIv);
      const decipher = createDecipheriv(this.#cipher, this.#receive, nonce, OPTIONS);
      decipher.setAAD(header);
      decipher.setAuthTag(tag);
      const payload = joined(decipher.update(ciphertext), decipher.final());
      return this.#window.accept(packetId) ? payload : undefined;
    } catch (error) {
      if (error instanceof DecodeError || isUnauthentic(error as Error)) return undefined;
      throw error;
    }
  }
}

/** What OpenSSL says of a tag or a padding that is wrong. */
function isUnauthentic({ message }: Error): boolean {
  return /unable to authenticate|bad decrypt|wrong final block length/.test(message);
}

const CBC_KEY_LENGTH: Readonly<Record<string, number>> = {
  'AES-256-CBC': 32,
  'AES-192-CBC': 24,
  'AES-128-CBC': 16,
};
const IV_LENGTH = 16;
const STAMP_LENGTH = 8;

/** How two peers use their secret. */
export interface StaticKey {
  readonly keys: Uint8Array;
  readonly direction: 0 | 1 | undefined;
  /** One of `STATIC_CIPHERS`. */
  readonly cipher: string;
  /** A name that `node:crypto` knows. */
  readonly digest: string;
}

export const STATIC_CIPHERS: readonly string[] = Object.keys(CBC_KEY_LENGTH);

/**
 * There is no session, so what keeps old packets out is memory: ids and times must go on for as long
 * as the peer remembers them. One channel serves a link for its whole life.
 */
export class StaticChannel implements DataChannel {
  readonly #cipher: string;
  readonly #digest: string;
  readonly #tagLength: number;
  readonly #send: KeyPart;
  readonly #receive: KeyPart;
  readonly #time: number;
  readonly #window = new ReplayWindow();
  #id = 0;

  constructor(key: StaticKey, wallSeconds: number) {
    const { send, receive } = keyParts(key.keys, key.direction);
    const length = CBC_KEY_LENGTH[key.cipher] ?? 0;
    this.#cipher = key.cipher.toLowerCase();
    this.#digest = key.digest;
    this.#tagLength = createHmac(key.digest, '').digest().length;
    const cut = (part: KeyPart) => ({
      cipher: part.cipher.subarray(0, length),
      hmac: part.hmac.subarray(0, this.#tagLength),
    });
    this.#send = cut(send);
    this.#receive = cut(receive);
    this.#time = wallSeconds;
  }

  seal(payload: Uint8Array): Uint8Array | undefined {
    if (this.#id === HIGHEST_ID) return undefined;
    this.#id += 1;
    const stamp = new Uint8Array(STAMP_LENGTH);
    const view = new DataView(stamp.buffer);
    view.setUint32(0, this.#id);
    view.setUint32(4, this.#time);
    const iv = randomBytes(IV_LENGTH);
    const cipher = createCipheriv(this.#cipher, this.#send.cipher, iv);
    const text = joined(iv, cipher.update(joined(stamp, payload)), cipher.final());
    return joined(this.#tag(this.#send, text), text);
  }

  open(packet: Uint8Array): Uint8Array | undefined {
    const textAt = this.#tagLength + IV_LENGTH;
    if (packet.length <= textAt) return undefined;
    const tag = packet.subarray(0, this.#tagLength);
    const signed = packet.subarray(this.#tagLength);
    if (!timingSafeEqual(tag, this.#tag(this.#receive, signed))) return undefined;
    const iv = signed.subarray(0, IV_LENGTH);
    const decipher = createDecipheriv(this.#cipher, this.#receive.cipher, iv);
    let plain: Uint8Array;
    try {
      plain = joined(decipher.update(packet.subarray(textAt)), decipher.final());
    } catch (error) {
      if (isUnauthentic(error as Error)) return undefined;
      throw error;
    }
    if (plain.length < STAMP_LENGTH) return undefined;
    const view = new DataView(plain.buffer, plain.byteOffset, STAMP_LENGTH);
    if (!this.#window.accept(view.getUint32(0), view.getUint32(4))) return undefined;
    return plain.subarray(STAMP_LENGTH);
  }

  #tag({ hmac }: KeyPart, bytes: Uint8Array): Uint8Array {
    return createHmac(this.#digest, hmac).update(bytes).digest();
  }
}
