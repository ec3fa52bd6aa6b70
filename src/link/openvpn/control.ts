/**
 * The control packets of one OpenVPN session: whose they are, and how they are wrapped. The client picks
 * a random session id; the server is whoever acknowledges it, and from then on has one of its own. What
 * is of no such session, or not authentic, is nothing. It knows no order of packets and no TLS.
 * @module
 */
import { randomBytes } from 'node:crypto';
import {
  ACK,
  asksForKey,
  CLIENT_RESET,
  CLIENT_RESET_WITH_KEY,
  CONTROL,
  CONTROL_WITH_KEY,
  type ControlBody,
  decodeControlBody,
  decodeSessionId,
  encodeControlBody,
  encodeControlHead,
  joined,
  type OpenvpnKind,
  SERVER_RESET,
  SESSION_ID_LENGTH,
} from '../../wire/openvpn-packet.ts';
import type { ReliableOutput } from './reliable.ts';
import { type ControlWrap, createWrap, type WrapKey } from './wrap.ts';

export class OpenvpnControl {
  readonly id: Uint8Array = randomBytes(SESSION_ID_LENGTH);
  readonly #wrap: ControlWrap;
  /** Our own key, wrapped for the server (tls-crypt-v2). */
  readonly #wrapped: Uint8Array | undefined;
  #peer: Uint8Array | undefined;
  #keyAgain = false;

  /** `wallSeconds` marks the session in packets that are wrapped. */
  constructor(key: WrapKey, wallSeconds: number) {
    this.#wrap = createWrap(key, wallSeconds);
    this.#wrapped = key.type === 'tls-crypt' ? key.wrapped : undefined;
  }

  /** The opcode that begins a session. */
  get reset(): number {
    return this.#wrapped === undefined ? CLIENT_RESET : CLIENT_RESET_WITH_KEY;
  }

  /** The server's session id, once it has acknowledged ours. */
  get peer(): Uint8Array | undefined {
    return this.#peer;
  }

  /**
   * What a server's reset carries may ask for our key once more. Answers how many bytes must be left
   * free for it in the first packet after the reset.
   */
  handleReset(payload: Uint8Array): number {
    this.#keyAgain = asksForKey(payload);
    return this.#keyAgain ? (this.#wrapped?.length ?? 0) : 0;
  }

  /** What a packet of our session says, or `undefined` for any other. Throws `DecodeError`. */
  open(bytes: Uint8Array, { opcode, keyId }: OpenvpnKind): ControlBody | undefined {
    const sessionId = decodeSessionId(bytes);
    const first = this.#peer === undefined;
    if (first ? opcode !== SERVER_RESET || keyId !== 0 : !same(sessionId, this.#peer)) return;
    const opened = this.#wrap.open(bytes);
    if (opened === undefined) return undefined;
    const body = decodeControlBody(opened, opcode);
    if (body.ackedSession !== undefined && !same(body.ackedSession, this.id)) return undefined;
    if (!first) return body;
    // Only who has seen our session id can acknowledge it.
    if (body.packetId !== 0 || !body.acks.includes(0)) return undefined;
    this.#peer = sessionId.slice();
    return body;
  }

  /** A packet for the wire. */
  seal(keyId: number, output: Extract<ReliableOutput, { type: 'send' }>): Uint8Array {
    const { opcode: plain = ACK, acks, packetId, payload } = output;
    const again = this.#keyAgain && keyId === 0 && plain === CONTROL && packetId === 1;
    const opcode = again ? CONTROL_WITH_KEY : plain;
    const body = encodeControlBody({
      acks,
      ...(this.#peer === undefined ? {} : { ackedSession: this.#peer }),
      ...(packetId === undefined ? {} : { packetId }),
      payload,
    });
    const bytes = this.#wrap.seal(encodeControlHead({ opcode, keyId }, this.id), body);
    const carries = opcode === CLIENT_RESET_WITH_KEY || opcode === CONTROL_WITH_KEY;
    return carries && this.#wrapped !== undefined ? joined(bytes, this.#wrapped) : bytes;
  }
}

function same(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return a.length === b?.length && a.every((byte, index) => byte === b[index]);
}
