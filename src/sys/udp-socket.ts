/**
 * What Node does not tell a UDP socket: not to fragment (ip(7), ipv6(7), IP_MTU_DISCOVER). Linux only.
 * @module
 */
import type { Socket } from 'node:dgram';
import { libc, must } from './libc.ts';
import { SystemError } from './system-error.ts';

const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IPPROTO_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
/** Fragments by itself what the path is known not to carry: the default. */
const PMTUDISC_WANT = 1;
/** Sets DF and sends whatever the interface takes, whatever is known of the path. */
const PMTUDISC_PROBE = 3;

/** Node hides the descriptor of its datagram sockets better than of its TCP sockets. */
function descriptorOf(socket: Socket): number {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state = symbol === undefined ? undefined : Reflect.get(socket, symbol);
  const fd = (state as { handle?: { fd?: number } } | undefined)?.handle?.fd;
  if (fd !== undefined && fd >= 0) return fd;
  throw new SystemError('no-descriptor', 'this version of Node does not show a datagram socket');
}

/**
 * Whether datagrams that are too long for the path are lost there, as a measurement of it needs, or
 * fragmented. One too long for the interface is refused with EMSGSIZE. Throws `SystemError`.
 */
export function setProbing(socket: Socket, probing: boolean): void {
  const value = new Uint8Array(4);
  new DataView(value.buffer).setInt32(0, probing ? PMTUDISC_PROBE : PMTUDISC_WANT, true);
  const ipv6 = socket.address().family === 'IPv6';
  const level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;
  const name = ipv6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER;
  const result = libc().setsockopt(descriptorOf(socket), level, name, value, value.length);
  must(`setsockopt(MTU_DISCOVER, ${probing ? 'probe' : 'want'})`, result);
}
