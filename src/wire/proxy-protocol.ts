/**
 * The PROXY protocol's header, versions 1 and 2 (HAProxy's proxy-protocol.txt): what a relay says
 * first on a connection, so that the server knows whose it is. Encoding only; nothing is read here.
 * @module
 */
import { isMappedV4, parseIp } from './ip-address.ts';
import type { SocketAddress } from './socket-address.ts';

export const PROXY_VERSIONS = ['v1', 'v2'] as const;
export type ProxyVersion = (typeof PROXY_VERSIONS)[number];

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const VERSION_2_PROXY = 0x21;
const STREAM = 1;
const DATAGRAM = 2;
const V4 = 0x10;
const V6 = 0x20;
const V4_IN_V6 = 12;
const HEADER = 16;

/** A connection as its client sees it. */
export interface ProxiedConnection {
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
  /** UDP rather than TCP; version 1 knows only TCP. Default: no. */
  readonly datagram?: boolean;
}

/**
 * The header's bytes. If the ends are of different families, IPv4 is written as IPv6 (`::ffff:…`).
 * An address that is none becomes UNKNOWN (version 1) or UNSPEC (version 2), as the text asks.
 */
export function encodeProxyHeader(
  version: ProxyVersion,
  connection: ProxiedConnection,
): Uint8Array {
  const source = parseIp(connection.source.address);
  const destination = parseIp(connection.destination.address);
  if (source === undefined || destination === undefined) return unknown(version);
  const v4 = isMappedV4(source) && isMappedV4(destination);
  if (version === 'v1') return encodeText(connection, v4);
  const length = v4 ? 12 : 36;
  const bytes = new Uint8Array(HEADER + length);
  bytes.set(SIGNATURE);
  bytes[12] = VERSION_2_PROXY;
  bytes[13] = (v4 ? V4 : V6) | (connection.datagram === true ? DATAGRAM : STREAM);
  const view = new DataView(bytes.buffer);
  view.setUint16(14, length);
  const from = v4 ? V4_IN_V6 : 0;
  const size = 16 - from;
  bytes.set(source.subarray(from), HEADER);
  bytes.set(destination.subarray(from), HEADER + size);
  view.setUint16(HEADER + 2 * size, connection.source.port);
  view.setUint16(HEADER + 2 * size + 2, connection.destination.port);
  return bytes;
}

function encodeText({ source, destination }: ProxiedConnection, v4: boolean): Uint8Array {
  const write = ({ address }: SocketAddress) =>
    v4 || address.includes(':') ? address : `::ffff:${address}`;
  const words = ['PROXY', v4 ? 'TCP4' : 'TCP6', write(source), write(destination)];
  return ascii(`${[...words, source.port, destination.port].join(' ')}\r\n`);
}

function unknown(version: ProxyVersion): Uint8Array {
  if (version === 'v1') return ascii('PROXY UNKNOWN\r\n');
  return Uint8Array.from([...SIGNATURE, VERSION_2_PROXY, 0, 0, 0]);
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
