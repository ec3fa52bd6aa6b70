/**
 * Netlink's framing (netlink(7), linux/netlink.h): messages behind a 16-byte header, attributes
 * behind a 4-byte one, both padded to four bytes, in the machine's byte order, which is little-endian
 * wherever we run. It knows no subsystem: what a message carries is for others.
 * @module
 */
import { DecodeError } from './decode-error.ts';

export const NETLINK_HEADER_LENGTH = 16;
const ATTRIBUTE_HEADER_LENGTH = 4;

/** Message types below 16 are netlink's own. */
export const NETLINK_ERROR = 2;
export const NETLINK_DONE = 3;

/** Request flags: any request, with an acknowledgement, the whole table. */
export const NETLINK_REQUEST = 0x1;
export const NETLINK_ACK = 0x4;
export const NETLINK_DUMP = 0x300;
/** On an answer: the table changed while it was dumped. */
export const NETLINK_DUMP_INTERRUPTED = 0x10;

/** One message within a larger buffer; nothing is copied. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  /** Where its payload begins and ends. */
  readonly from: number;
  readonly to: number;
}

/** A message: the header and `payload`. */
export function encodeNetlink(type: number, flags: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(NETLINK_HEADER_LENGTH + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, 1, true);
  bytes.set(payload, NETLINK_HEADER_LENGTH);
  return bytes;
}

/** Attributes one behind the other, each padded: pairs of a type and its payload. */
export function encodeAttributes(
  attributes: readonly (readonly [number, Uint8Array])[],
): Uint8Array {
  const lengths = attributes.map(([, { length }]) => aligned(ATTRIBUTE_HEADER_LENGTH + length));
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [index, [type, payload]] of attributes.entries()) {
    view.setUint16(at, ATTRIBUTE_HEADER_LENGTH + payload.length, true);
    view.setUint16(at + 2, type, true);
    bytes.set(payload, at + ATTRIBUTE_HEADER_LENGTH);
    at += lengths[index] ?? 0;
  }
  return bytes;
}

/** The messages of a datagram. Throws `DecodeError` for one that does not fit. */
export function* decodeNetlink(view: DataView): Generator<NetlinkMessage> {
  const end = view.byteLength;
  for (let at = 0; at < end; ) {
    if (end - at < NETLINK_HEADER_LENGTH) throw new DecodeError('netlink', 'cut-short', end - at);
    const length = view.getUint32(at, true);
    if (length < NETLINK_HEADER_LENGTH || length > end - at) {
      throw new DecodeError('netlink', 'bad-length', length);
    }
    const type = view.getUint16(at + 4, true);
    const flags = view.getUint16(at + 6, true);
    yield { type, flags, from: at + NETLINK_HEADER_LENGTH, to: at + length };
    at += aligned(length);
  }
}

/**
 * The payload of the first attribute of `type` between `from` and `to`: where it begins and its
 * length, or `undefined`. Throws `DecodeError`.
 */
export function findAttribute(
  view: DataView,
  from: number,
  to: number,
  type: number,
): { readonly at: number; readonly length: number } | undefined {
  for (let at = from; to - at >= ATTRIBUTE_HEADER_LENGTH; ) {
    const length = view.getUint16(at, true);
    if (length < ATTRIBUTE_HEADER_LENGTH || length > to - at) {
      throw new DecodeError('netlink', 'bad-attribute', length);
    }
    if (view.getUint16(at + 2, true) === type) {
      return { at: at + ATTRIBUTE_HEADER_LENGTH, length: length - ATTRIBUTE_HEADER_LENGTH };
    }
    at += aligned(length);
  }
  return undefined;
}

/** The errno of an error message's payload, positive; 0 for an acknowledgement. */
export function netlinkErrno(view: DataView, message: NetlinkMessage): number {
  const length = message.to - message.from;
  if (length < 4) throw new DecodeError('netlink', 'cut-short', length);
  return 0 - view.getInt32(message.from, true);
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}
