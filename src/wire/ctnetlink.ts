/**
 * Connection tracking in nfnetlink (linux/netfilter/nfnetlink_conntrack.h): the request for the table,
 * a flow of the answer, and the request that deletes one. A flow is read only as far as it must be to
 * say by which address of ours it goes, and to name it again.
 * @module
 */
import { DecodeError } from './decode-error.ts';
import {
  encodeAttributes,
  encodeNetlink,
  findAttribute,
  NETLINK_ACK,
  NETLINK_DUMP,
  NETLINK_REQUEST,
} from './netlink.ts';

/** A tracked flow that somebody here began, or that passes through. */
export interface TrackedFlow {
  readonly v4: boolean;
  /** Who answers: 16 bytes. */
  readonly remote: Uint8Array;
  /** Where the answers go: the address of ours that a NAT gave it, or its own. 16 bytes. */
  readonly source: Uint8Array;
  /** Its attributes that name it, as the kernel wrote them. */
  readonly name: Uint8Array;
}

/** A flow of the table. */
export const CT_NEW = 0x100;
const CT_GET = 0x101;
const CT_DELETE = 0x102;
const CT_STATISTICS = 0x105;

const AF_INET = 2;
const AF_INET6 = 10;
const HEADER_LENGTH = 4;
const NESTED = 0x8000;
const TUPLE_ORIG = 1 | NESTED;
const TUPLE_REPLY = 2 | NESTED;
const TUPLE_IP = 1 | NESTED;
const ID = 12;
const ZONE = 18;

/** Asks for every flow of a family. */
export function encodeListFlows(v4: boolean): Uint8Array {
  return encodeNetlink(CT_GET, NETLINK_REQUEST | NETLINK_DUMP, header(v4, new Uint8Array()));
}

/** Asks how many flows there are: refused as everything else is, and cheap where it is not. */
export function encodeFlowsQuestion(): Uint8Array {
  const flags = NETLINK_REQUEST | NETLINK_ACK;
  return encodeNetlink(CT_STATISTICS, flags, header(true, new Uint8Array()));
}

/** Asks to delete this very flow (CAP_NET_ADMIN). */
export function encodeDeleteFlow({ v4, name }: TrackedFlow): Uint8Array {
  return encodeNetlink(CT_DELETE, NETLINK_REQUEST | NETLINK_ACK, header(v4, name));
}

/** The flow of a message's payload. Throws `DecodeError`. */
export function decodeFlow(view: DataView, from: number, to: number): TrackedFlow {
  if (to - from < HEADER_LENGTH || to > view.byteLength) {
    throw new DecodeError('ctnetlink', 'cut-short', to - from);
  }
  const family = view.getUint8(from);
  if (family !== AF_INET && family !== AF_INET6) {
    throw new DecodeError('ctnetlink', 'bad-family', family);
  }
  const v4 = family === AF_INET;
  const reply = inside(view, from + HEADER_LENGTH, to, TUPLE_REPLY);
  const ip = inside(view, reply.at, reply.at + reply.length, TUPLE_IP);
  const address = (type: number) => {
    const { at, length } = inside(view, ip.at, ip.at + ip.length, type);
    if (length !== (v4 ? 4 : 16)) throw new DecodeError('ctnetlink', 'bad-address', length);
    const bytes = new Uint8Array(16);
    if (v4) bytes.fill(0xff, 10, 12);
    bytes.set(new Uint8Array(view.buffer, view.byteOffset + at, length), v4 ? 12 : 0);
    return bytes;
  };
  const [remote, source] = v4 ? [address(1), address(2)] : [address(3), address(4)];
  return { v4, remote, source, name: nameOf(view, from + HEADER_LENGTH, to) };
}

/** What tells it from every other: its first tuple, its zone, and its number. */
function nameOf(view: DataView, from: number, to: number): Uint8Array {
  const attributes: [number, Uint8Array][] = [];
  for (const type of [TUPLE_ORIG, ID, ZONE]) {
    const found = findAttribute(view, from, to, type);
    if (found === undefined) continue;
    const { at, length } = found;
    attributes.push([type, new Uint8Array(view.buffer, view.byteOffset + at, length)]);
  }
  // The kernel's buffer is used again for its next answer; this copies.
  return encodeAttributes(attributes);
}

function inside(view: DataView, from: number, to: number, type: number) {
  const found = findAttribute(view, from, to, type);
  if (found === undefined) throw new DecodeError('ctnetlink', 'incomplete', type);
  return found;
}

function header(v4: boolean, attributes: Uint8Array): Uint8Array {
  const payload = new Uint8Array(HEADER_LENGTH + attributes.length);
  payload[0] = v4 ? AF_INET : AF_INET6;
  payload.set(attributes, HEADER_LENGTH);
  return payload;
}
