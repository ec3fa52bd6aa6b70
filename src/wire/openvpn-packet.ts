/**
 * OpenVPN's packets as far as they are not encrypted: the byte of opcode and key id that all begin with,
 * the reliable layer's fields of control packets, the head of data packets, and the length before each
 * packet on TCP. Big endian:
 *
 *     control  0 opcode << 3 | key id   1 session id (8)   [wrapping]   body
 *     body     0 count of acks   1 acks (4 each)   [session id of the acked (8)]   [packet id (4)   payload]
 *     data     0 opcode << 3 | key id   [peer id (3), V2 only]   packet id (4)   tag (16)   ciphertext
 *
 * It knows neither keys nor sessions. The protocol has no RFC; its only reference is its source.
 * @module
 */
import { DecodeError } from './decode-error.ts';

export const SOFT_RESET = 3;
export const CONTROL = 4;
export const ACK = 5;
export const DATA_V1 = 6;
export const CLIENT_RESET = 7;
export const SERVER_RESET = 8;
export const DATA_V2 = 9;
/** A reset, and a control packet, that carry the client's own wrapped key behind them (tls-crypt-v2). */
export const CLIENT_RESET_WITH_KEY = 10;
export const CONTROL_WITH_KEY = 11;

export const SESSION_ID_LENGTH = 8;
/** The byte of opcode and key id, and the session id. */
export const CONTROL_HEAD_LENGTH = 9;
export const TAG_LENGTH = 16;
/** No peer acknowledges more than this at once. */
export const MOST_ACKS = 8;
/** Longer than any control packet: they fit in an Ethernet frame. */
const LONGEST_CONTROL = 2_048;
const LONGEST_TCP = 0xffff;

/** Opcode and key id, from a packet's first byte. */
export interface OpenvpnKind {
  readonly opcode: number;
  readonly keyId: number;
}

/** What a control packet says, unwrapped. */
export interface ControlBody {
  readonly acks: readonly number[];
  /** Whose packets are acknowledged; present where there are acks. */
  readonly ackedSession?: Uint8Array;
  /** Absent in packets that only acknowledge. */
  readonly packetId?: number;
  readonly payload: Uint8Array;
}

/** The head of an encrypted data packet. All are views of the packet. */
export interface DataHead {
  readonly keyId: number;
  readonly packetId: number;
  /** What is authenticated without being encrypted. */
  readonly header: Uint8Array;
  readonly tag: Uint8Array;
  readonly ciphertext: Uint8Array;
}

const EMPTY = new Uint8Array();

function fail(code: string, value: number): never {
  throw new DecodeError('openvpn', code, value);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The first byte of a packet. Throws `DecodeError` for opcodes that are not in use. */
export function decodeKind(bytes: Uint8Array): OpenvpnKind {
  const first = bytes[0] ?? fail('too-short', 0);
  const opcode = first >> 3;
  if (opcode < SOFT_RESET || opcode > CONTROL_WITH_KEY) fail('bad-opcode', opcode);
  return { opcode, keyId: first & 7 };
}

/** Whether a packet is of the data channel. */
export function isData({ opcode }: OpenvpnKind): boolean {
  return opcode === DATA_V1 || opcode === DATA_V2;
}

/** The nine bytes before the wrapping of a control packet. */
export function encodeControlHead(kind: OpenvpnKind, sessionId: Uint8Array): Uint8Array {
  const head = new Uint8Array(CONTROL_HEAD_LENGTH);
  head[0] = (kind.opcode << 3) | kind.keyId;
  head.set(sessionId, 1);
  return head;
}

/** The sender's session id, a view of the packet. Throws `DecodeError`. */
export function decodeSessionId(bytes: Uint8Array): Uint8Array {
  if (bytes.length < CONTROL_HEAD_LENGTH) fail('too-short', bytes.length);
  if (bytes.length > LONGEST_CONTROL) fail('too-long', bytes.length);
  const sessionId = bytes.subarray(1, CONTROL_HEAD_LENGTH);
  if (sessionId.every((byte) => byte === 0)) fail('no-session', 0);
  return sessionId;
}

/** What stands behind the wrapping. Throws `RangeError` for acks without a session, or too many. */
export function encodeControlBody(body: ControlBody): Uint8Array {
  const { acks, ackedSession, packetId, payload } = body;
  if (acks.length > MOST_ACKS || (acks.length > 0 && ackedSession === undefined)) {
    throw new RangeError(`${acks.length} packets cannot be acknowledged`);
  }
  const acked = acks.length === 0 ? 0 : 4 * acks.length + SESSION_ID_LENGTH;
  const numbered = packetId === undefined ? 0 : 4;
  const bytes = new Uint8Array(1 + acked + numbered + payload.length);
  const view = viewOf(bytes);
  bytes[0] = acks.length;
  for (const [index, id] of acks.entries()) view.setUint32(1 + 4 * index, id);
  if (ackedSession !== undefined && acks.length > 0) bytes.set(ackedSession, 1 + 4 * acks.length);
  if (packetId !== undefined) view.setUint32(1 + acked, packetId);
  bytes.set(payload, 1 + acked + numbered);
  return bytes;
}

/** What a control packet of this opcode says. `payload` is a view. Throws `DecodeError`. */
export function decodeControlBody(bytes: Uint8Array, opcode: number): ControlBody {
  const count = bytes[0] ?? fail('too-short', 0);
  if (count > MOST_ACKS) fail('too-many-acks', count);
  const sessionAt = 1 + 4 * count;
  const end = count === 0 ? 1 : sessionAt + SESSION_ID_LENGTH;
  const numbered = opcode === ACK ? 0 : 4;
  if (bytes.length < end + numbered) fail('too-short', bytes.length);
  const view = viewOf(bytes);
  const acks = Array.from({ length: count }, (_, index) => view.getUint32(1 + 4 * index));
  return {
    acks,
    ...(count === 0 ? {} : { ackedSession: bytes.subarray(sessionAt, end) }),
    ...(numbered === 0 ? {} : { packetId: view.getUint32(end) }),
    payload: bytes.subarray(end + numbered),
  };
}

/** Whether a server's reset asks for the client's wrapped key again; unknown fields are passed over. */
export function asksForKey(payload: Uint8Array): boolean {
  const view = viewOf(payload);
  for (let at = 0; at + 4 <= payload.length; at += 4 + view.getUint16(at + 2)) {
    const isFlags = view.getUint16(at) === 1 && view.getUint16(at + 2) === 2;
    if (isFlags && at + 6 <= payload.length) return (view.getUint16(at + 4) & 1) !== 0;
  }
  return false;
}

/** The head of a data packet: V2 where there is a peer id, else V1. */
export function encodeDataHead(
  keyId: number,
  peerId: number | undefined,
  packetId: number,
): Uint8Array {
  const bytes = new Uint8Array(peerId === undefined ? 5 : 8);
  const view = viewOf(bytes);
  if (peerId !== undefined) view.setUint32(0, peerId);
  bytes[0] = ((peerId === undefined ? DATA_V1 : DATA_V2) << 3) | keyId;
  view.setUint32(bytes.length - 4, packetId);
  return bytes;
}

/** Takes a data packet of an AEAD cipher apart. Throws `DecodeError`. */
export function decodeData(bytes: Uint8Array): DataHead {
  const { opcode, keyId } = decodeKind(bytes);
  if (opcode !== DATA_V1 && opcode !== DATA_V2) fail('not-data', opcode);
  const tagAt = opcode === DATA_V2 ? 8 : 5;
  const textAt = tagAt + TAG_LENGTH;
  if (bytes.length <= textAt) fail('too-short', bytes.length);
  return {
    keyId,
    packetId: viewOf(bytes).getUint32(tagAt - 4),
    header: bytes.subarray(opcode === DATA_V2 ? 0 : 1, tagAt),
    tag: bytes.subarray(tagAt, textAt),
    ciphertext: bytes.subarray(textAt),
  };
}

/** A packet as it stands in a TCP stream: its length first. */
export function encodeTcpPacket(packet: Uint8Array): Uint8Array {
  if (packet.length === 0 || packet.length > LONGEST_TCP) {
    throw new RangeError(`a packet has 1 to ${LONGEST_TCP} bytes, got ${packet.length}`);
  }
  const bytes = new Uint8Array(2 + packet.length);
  viewOf(bytes).setUint16(0, packet.length);
  bytes.set(packet, 2);
  return bytes;
}

/** Finds the packets of a TCP stream. Memory follows what came, not what was announced. */
export class TcpPacketReader {
  #held: Uint8Array = EMPTY;

  /** Bytes that are set aside for a packet not yet complete. */
  get held(): number {
    return this.#held.length;
  }

  /** The packets that these bytes complete. Throws `DecodeError` for an empty one. */
  read(bytes: Uint8Array): Uint8Array[] {
    const all = this.#held.length === 0 ? bytes : joined(this.#held, bytes);
    const view = viewOf(all);
    const packets: Uint8Array[] = [];
    let at = 0;
    while (all.length - at >= 2) {
      const length = view.getUint16(at);
      if (length === 0) fail('empty', 0);
      if (all.length - at < 2 + length) break;
      packets.push(all.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
    this.#held = all.slice(at);
    return packets;
  }
}

/** Two byte strings as one. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
