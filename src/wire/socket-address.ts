/**
 * `struct sockaddr_in` and `sockaddr_in6` as the kernel takes them (ip(7), ipv6(7)): family in the
 * machine's byte order, which is little-endian here, port in the network's. Flow labels and zones are
 * left out.
 * @module
 */
import { formatIp, parseIp } from './ip-address.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const V4_LENGTH = 16;
const V6_LENGTH = 28;
const V4_IN_V6 = 12;
const V6_AT = 8;

/** Room for either family. */
export const SOCKET_ADDRESS_ROOM: number = V6_LENGTH;

export interface SocketAddress {
  /** As text, IPv4 in its own form also when it came in IPv6's clothes. */
  readonly address: string;
  readonly port: number;
}

/** The bytes of an address and a port, or `undefined` if the text is no address. */
export function encodeSocketAddress(address: string, port: number): Uint8Array | undefined {
  const ip = parseIp(address);
  if (ip === undefined) return undefined;
  const v4 = !address.includes(':');
  const bytes = new Uint8Array(v4 ? V4_LENGTH : V6_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, v4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  if (v4) bytes.set(ip.subarray(V4_IN_V6), 4);
  else bytes.set(ip, V6_AT);
  return bytes;
}

/** What the kernel wrote, or `undefined` for another family or too few bytes. */
export function decodeSocketAddress(bytes: Uint8Array): SocketAddress | undefined {
  if (bytes.length < V4_LENGTH) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const family = view.getUint16(0, true);
  const port = view.getUint16(2);
  if (family === AF_INET) {
    return { address: [...bytes.subarray(4, 8)].join('.'), port };
  }
  if (family !== AF_INET6 || bytes.length < V6_LENGTH) return undefined;
  return { address: formatIp(bytes, V6_AT), port };
}
