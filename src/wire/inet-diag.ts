/**
 * sock_diag for TCP (sock_diag(7), linux/inet_diag.h): the request for a dump, a socket of the
 * answer, and the request that destroys one.
 * @module
 */
import { DecodeError } from './decode-error.ts';
import { formatIp, formatV4, isMappedV4, parseIp } from './ip-address.ts';
import {
  encodeNetlink,
  findAttribute,
  NETLINK_ACK,
  NETLINK_DUMP,
  NETLINK_REQUEST,
} from './netlink.ts';
import { decodeTcpInfo, TCP_INFO_LENGTH, type TcpInfo } from './tcp-info.ts';

/** States in the kernel's order (net/tcp_states.h), in the words of RFC 9293. */
export const TCP_STATES = [
  'unknown',
  'established',
  'syn-sent',
  'syn-received',
  'fin-wait-1',
  'fin-wait-2',
  'time-wait',
  'closed',
  'close-wait',
  'last-ack',
  'listen',
  'closing',
  'new-syn-received',
] as const;
export type TcpState = (typeof TCP_STATES)[number];

/** Which of its timers runs: retransmission, keepalive, zero window probe. */
export const TCP_TIMERS = ['off', 'retransmit', 'keepalive', 'time-wait', 'persist'] as const;
export type TcpTimer = (typeof TCP_TIMERS)[number];

/** A socket as the kernel lists it. */
export interface DiagSocket {
  /** `ipv4` also for an IPv6 socket that talks IPv4. */
  readonly family: 'ipv4' | 'ipv6';
  readonly state: TcpState;
  readonly timer: TcpTimer;
  readonly timerMs: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** The kernel's own name for the socket: never given twice while the machine runs. */
  readonly cookie: number;
  readonly uid: number;
  /** Of its file; 0 if no process has it. */
  readonly inode: number;
  /** The control group it was made in, where the kernel tells. */
  readonly cgroupId: number | undefined;
  readonly info: TcpInfo | undefined;
  /** AF_INET or AF_INET6, whatever it talks. */
  readonly socketFamily: number;
  /** The device it is bound to; 0: none. */
  readonly interfaceIndex: number;
}

export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const IPPROTO_TCP = 6;
const INET_DIAG_INFO = 2;
const INET_DIAG_CGROUP_ID = 21;
const REQUEST_LENGTH = 56;
const MESSAGE_LENGTH = 72;
const ID_AT = 4;
const ID_LENGTH = 48;
/** Within the id: addresses of 16 bytes, of which IPv4 fills the first 4. */
const LOCAL_AT = 4;
const REMOTE_AT = 20;
const EVERY_STATE = 0xffff_ffff;

/** Asks for every TCP socket of a family in one of `states`, with TCP_INFO. */
export function encodeDumpRequest(family: number, states: readonly TcpState[]): Uint8Array {
  const mask = states.reduce((bits, state) => bits | (1 << TCP_STATES.indexOf(state)), 0);
  const flags = NETLINK_REQUEST | NETLINK_DUMP;
  return encodeNetlink(
    SOCK_DIAG_BY_FAMILY,
    flags,
    request(family, 1 << (INET_DIAG_INFO - 1), mask),
  );
}

/** Asks to destroy one socket (CAP_NET_ADMIN): its owner sees ECONNABORTED, its peer a RST. */
export function encodeDestroyRequest(socket: DiagSocket): Uint8Array {
  const payload = request(socket.socketFamily, 0, EVERY_STATE);
  const id = REQUEST_LENGTH - ID_LENGTH;
  const view = new DataView(payload.buffer);
  view.setUint16(id, socket.localPort);
  view.setUint16(id + 2, socket.remotePort);
  payload.set(addressBytes(socket.localAddress, socket.socketFamily), id + LOCAL_AT);
  payload.set(addressBytes(socket.remoteAddress, socket.socketFamily), id + REMOTE_AT);
  view.setUint32(id + 36, socket.interfaceIndex, true);
  view.setBigUint64(id + 40, BigInt(socket.cookie), true);
  return encodeNetlink(SOCK_DESTROY, NETLINK_REQUEST | NETLINK_ACK, payload);
}

/** An address as the kernel has it in a socket of that family: 4 bytes, or 16. */
function addressBytes(text: string, family: number): Uint8Array {
  const bytes = parseIp(text) ?? new Uint8Array(16);
  return family === AF_INET ? bytes.subarray(12) : bytes;
}

function request(family: number, extensions: number, states: number): Uint8Array {
  const payload = new Uint8Array(REQUEST_LENGTH);
  payload.set([family, IPPROTO_TCP, extensions]);
  new DataView(payload.buffer).setUint32(4, states, true);
  return payload;
}

/** Addresses already written as text: most sockets of a machine share theirs with others. */
export type KnownAddresses = Map<number, string>;

/** The socket of a message's payload. Throws `DecodeError`. */
export function decodeDiagSocket(
  view: DataView,
  from: number,
  to: number,
  known: KnownAddresses = new Map(),
): DiagSocket {
  if (to - from < MESSAGE_LENGTH || to > view.byteLength) {
    throw new DecodeError('inet-diag', 'cut-short', to - from);
  }
  const family = view.getUint8(from);
  if (family !== AF_INET && family !== AF_INET6) {
    throw new DecodeError('inet-diag', 'bad-family', family);
  }
  const id = from + ID_AT;
  const v4 = family === AF_INET;
  const info = findAttribute(view, from + MESSAGE_LENGTH, to, INET_DIAG_INFO);
  const cgroup = findAttribute(view, from + MESSAGE_LENGTH, to, INET_DIAG_CGROUP_ID);
  return {
    family: v4 || isMappedV4(bytesAt(view, id + REMOTE_AT)) ? 'ipv4' : 'ipv6',
    state: TCP_STATES[view.getUint8(from + 1)] ?? 'unknown',
    timer: TCP_TIMERS[view.getUint8(from + 2)] ?? 'off',
    timerMs: view.getUint32(from + 52, true),
    localAddress: addressAt(view, id + LOCAL_AT, v4, known),
    localPort: view.getUint16(id),
    remoteAddress: addressAt(view, id + REMOTE_AT, v4, known),
    remotePort: view.getUint16(id + 2),
    cookie: decodeCookie(view, id + 40),
    uid: view.getUint32(from + 64, true),
    inode: view.getUint32(from + 68, true),
    cgroupId: cgroup?.length === 8 ? decodeCookie(view, cgroup.at) : undefined,
    info:
      info !== undefined && info.length >= TCP_INFO_LENGTH
        ? decodeTcpInfo(view, info.at)
        : undefined,
    socketFamily: family,
    interfaceIndex: view.getUint32(id + 36, true),
  };
}

function addressAt(view: DataView, at: number, v4: boolean, known: KnownAddresses): string {
  if (!v4) return formatIp(bytesAt(view, at));
  const word = view.getUint32(at);
  let text = known.get(word);
  if (text === undefined) {
    text = formatV4(bytesAt(view, at), 0);
    known.set(word, text);
  }
  return text;
}

function bytesAt(view: DataView, at: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, 16);
}

/** A 64-bit number that counts up from 1, and so is exact as a JavaScript number. */
export function decodeCookie(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}
