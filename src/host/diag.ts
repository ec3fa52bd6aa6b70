/**
 * Asks the kernel for its TCP sockets, and to destroy one (sock_diag(7)). Listing needs no privilege.
 * @module
 */
import { errnoName } from '../sys/libc.ts';
import { NETLINK_SOCK_DIAG, NetlinkSocket } from '../sys/netlink-socket.ts';
import { SystemError } from '../sys/system-error.ts';
import {
  AF_INET,
  AF_INET6,
  type DiagSocket,
  decodeDiagSocket,
  encodeDestroyRequest,
  encodeDumpRequest,
  type KnownAddresses,
  SOCK_DIAG_BY_FAMILY,
  type TcpState,
} from '../wire/inet-diag.ts';
import {
  decodeNetlink,
  NETLINK_DONE,
  NETLINK_DUMP_INTERRUPTED,
  NETLINK_ERROR,
  netlinkErrno,
} from '../wire/netlink.ts';

/** A table that keeps changing is dumped so often; then what it gave is taken. */
const MOST_DUMPS = 3;

/** Every TCP socket in one of `states` of the namespace this thread is in. Throws `SystemError`. */
export function listSockets(states: readonly TcpState[]): DiagSocket[] {
  return withSocket((netlink) =>
    dump(netlink, AF_INET, states).concat(dump(netlink, AF_INET6, states)),
  );
}

/**
 * Destroys the socket: its owner sees ECONNABORTED and its peer a RST. Throws `SystemError`: ENOENT
 * where the socket is gone, EPERM without CAP_NET_ADMIN.
 */
export function destroySocket(socket: DiagSocket): void {
  withSocket((netlink) => {
    netlink.send(encodeDestroyRequest(socket));
    const view = netlink.receive();
    for (const message of decodeNetlink(view)) {
      if (message.type === NETLINK_ERROR) refuse('SOCK_DESTROY', netlinkErrno(view, message));
    }
  });
}

function withSocket<Result>(body: (netlink: NetlinkSocket) => Result): Result {
  const netlink = new NetlinkSocket(NETLINK_SOCK_DIAG);
  try {
    return body(netlink);
  } finally {
    netlink.close();
  }
}

function dump(netlink: NetlinkSocket, family: number, states: readonly TcpState[]): DiagSocket[] {
  const first = dumpOnce(netlink, family, states);
  if (!first.interrupted) return first.sockets;
  const byCookie = new Map(first.sockets.map((socket) => [socket.cookie, socket]));
  for (let round = 2; round <= MOST_DUMPS; round += 1) {
    const { sockets, interrupted } = dumpOnce(netlink, family, states);
    for (const socket of sockets) byCookie.set(socket.cookie, socket);
    if (!interrupted) break;
  }
  return [...byCookie.values()];
}

function dumpOnce(netlink: NetlinkSocket, family: number, states: readonly TcpState[]) {
  const sockets: DiagSocket[] = [];
  const known: KnownAddresses = new Map();
  let interrupted = false;
  netlink.send(encodeDumpRequest(family, states));
  for (;;) {
    const view = netlink.receive();
    for (const message of decodeNetlink(view)) {
      interrupted ||= (message.flags & NETLINK_DUMP_INTERRUPTED) !== 0;
      if (message.type === SOCK_DIAG_BY_FAMILY) {
        sockets.push(decodeDiagSocket(view, message.from, message.to, known));
      } else if (message.type === NETLINK_DONE) {
        return { sockets, interrupted };
      } else if (message.type === NETLINK_ERROR) {
        refuse('SOCK_DIAG_BY_FAMILY', netlinkErrno(view, message));
        return { sockets, interrupted };
      }
    }
  }
}

/** A family that this kernel does not have holds no sockets. */
function refuse(call: string, errno: number): void {
  const name = errnoName(errno);
  if (errno === 0 || (call === 'SOCK_DIAG_BY_FAMILY' && name === 'ENOENT')) return;
  throw new SystemError(name, `${call}: the kernel answered ${name}`);
}
