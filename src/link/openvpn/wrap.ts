/**
 * How OpenVPN protects control packets below TLS: not at all, by an HMAC (tls-auth), or encrypted
 * (tls-crypt, and tls-crypt-v2 whose key is the client's own). Without the key no server answers; with
 * it, nobody else's packets are looked at. The ciphers are `node:crypto`'s.
 *
 *     tls-auth    head 9   HMAC            packet id 4   time 4   body
 *     tls-crypt   head 9   packet id 4     time 4        HMAC-SHA-256 32   AES-256-CTR(body)
 * @module
 */
import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import { type KeyPart, keyParts } from '../../wire/openvpn-key-file.ts';
import { CONTROL_HEAD_LENGTH, joined } from '../../wire/openvpn-packet.ts';
import { ReplayWindow } from '../replay-window.ts';

const STAMP_LENGTH = 8;
const CRYPT_TAG_LENGTH = 32;
const CRYPT_KEY_LENGTH = 32;
const IV_LENGTH = 16;
/** Where a tls-crypt-v2 client begins to count, to say that it can be asked for its key again. */
const EARLY_NEGOTIATION = 0x0f00_0000;

/** The protection of one session's control packets. */
export interface ControlWrap {
  /** A packet for the wire. `head` is its first nine bytes. */
  seal(head: Uint8Array, body: Uint8Array): Uint8Array;
  /** The body of a packet, or `undefined` where it is not authentic, or came before. */
  open(packet: Uint8Array): Uint8Array | undefined;
}

/** What protects the control packets: a key, and how it is used. */
export type WrapKey =
  | { readonly type: 'none' }
  | {
      readonly type: 'tls-auth';
      readonly keys: Uint8Array;
      readonly direction: 0 | 1 | undefined;
      readonly digest: string;
    }
  | { readonly type: 'tls-crypt'; readonly keys: Uint8Array; readonly wrapped?: Uint8Array };

/** For one session of ours, which begins now. */
export function createWrap(key: WrapKey, wallSeconds: number): ControlWrap {
  if (key.type === 'tls-auth') return new TlsAuth(key, wallSeconds);
  if (key.type === 'tls-crypt') {
    return new TlsCrypt(key.keys, wallSeconds, key.wrapped === undefined ? 0 : EARLY_NEGOTIATION);
  }
  return {
    seal: (head, body) => joined(head, body),
    open: (packet) => packet.subarray(CONTROL_HEAD_LENGTH),
  };
}

/** Packet id and time. */
function stamp(id: number, time: number): Uint8Array {
  const bytes = new Uint8Array(STAMP_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id);
  view.setUint32(4, time);
  return bytes;
}

function isFresh(window: ReplayWindow, bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, STAMP_LENGTH);
  return window.accept(view.getUint32(0), view.getUint32(4));
}

class TlsAuth implements ControlWrap {
  readonly #digest: string;
  readonly #length: number;
  readonly #send: KeyPart;
  readonly #receive: KeyPart;
  readonly #time: number;
  readonly #window = new ReplayWindow();
  #id = 0;

  constructor(key: Extract<WrapKey, { type: 'tls-auth' }>, wallSeconds: number) {
    this.#digest = key.digest;
    this.#length = createHmac(key.digest, '').digest().length;
    const { send, receive } = keyParts(key.keys, key.direction);
    this.#send = send;
    this.#receive = receive;
    this.#time = wallSeconds;
  }

  seal(head: Uint8Array, body: Uint8Array): Uint8Array {
    this.#id += 1;
    const stamped = stamp(this.#id, this.#time);
    return joined(head, this.#tag(this.#send, stamped, head, body), stamped, body);
  }

  open(packet: Uint8Array): Uint8Array | undefined {
    const stampAt = CONTROL_HEAD_LENGTH + this.#length;
    const bodyAt = stampAt + STAMP_LENGTH;
    if (packet.length < bodyAt) return undefined;
    const head = packet.subarray(0, CONTROL_HEAD_LENGTH);
    const stamped = packet.subarray(stampAt, bodyAt);
    const body = packet.subarray(bodyAt);
    const tag = this.#tag(this.#receive, stamped, head, body);
    if (!timingSafeEqual(tag, packet.subarray(CONTROL_HEAD_LENGTH, stampAt))) return undefined;
    return isFresh(this.#window, stamped) ? body : undefined;
  }

  #tag({ hmac }: KeyPart, ...parts: readonly Uint8Array[]): Uint8Array {
    const sum = createHmac(this.#digest, hmac.subarray(0, this.#length));
    for (const part of parts) sum.update(part);
    return sum.digest();
  }
}

class TlsCrypt implements ControlWrap {
  readonly #send: KeyPart;
  readonly #receive: KeyPart;
  readonly #time: number;
  readonly #window = new ReplayWindow();
  #id: number;

  constructor(keys: Uint8Array, wallSeconds: number, firstId: number) {
    // A client sends with the second half, always.
    const { send, receive } = keyParts(keys, 1);
    this.#send = send;
    this.#receive = receive;
    this.#time = wallSeconds;
    this.#id = firstId;
  }

  seal(head: Uint8Array, body: Uint8Array): Uint8Array {
    this.#id += 1;
    const open = joined(head, stamp(this.#id, this.#time));
    const tag = this.#tag(this.#send, open, body);
    const key = this.#send.cipher.subarray(0, CRYPT_KEY_LENGTH);
    const cipher = createCipheriv('aes-256-ctr', key, tag.subarray(0, IV_LENGTH));
    return joined(open, tag, cipher.update(body));
  }

  open(packet: Uint8Array): Uint8Array | undefined {
    const tagAt = CONTROL_HEAD_LENGTH + STAMP_LENGTH;
    const textAt = tagAt + CRYPT_TAG_LENGTH;
    if (packet.length <= textAt) return undefined;
    const open = packet.subarray(0, tagAt);
    const tag = packet.subarray(tagAt, textAt);
    const key = this.#receive.cipher.subarray(0, CRYPT_KEY_LENGTH);
    const decipher = createDecipheriv('aes-256-ctr', key, tag.subarray(0, IV_LENGTH));
    const body = decipher.update(packet.subarray(textAt));
    if (!timingSafeEqual(tag, this.#tag(this.#receive, open, body))) return undefined;
    return isFresh(this.#window, open.subarray(CONTROL_HEAD_LENGTH)) ? body : undefined;
  }

  #tag({ hmac }: KeyPart, ...parts: readonly Uint8Array[]): Uint8Array {
    const sum = createHmac('sha256', hmac.subarray(0, CRYPT_TAG_LENGTH));
    for (const part of parts) sum.update(part);
    return sum.digest();
  }
}
