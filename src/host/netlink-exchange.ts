/**
 * One question to the kernel by netlink and the whole of its answer.
 * @module
 */
import { errnoName } from '../sys/libc.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../sys/netlink-socket.ts';
import { SystemError } from '../sys/system-error.ts';
import {
  decodeNetlink,
  NETLINK_DONE,
  NETLINK_DUMP_INTERRUPTED,
  NETLINK_ERROR,
  type NetlinkMessage,
  netlinkErrno,
} from '../wire/netlink.ts';

/** A table that keeps changing is listed so often; then what it gave is taken. */
const MOST_LISTS = 3;

/** Sends a request and reads `each` message up to the kernel's last word. Throws `SystemError`. */
export function exchange<Item>(
  protocol: number,
  request: Uint8Array,
  each: (view: DataView, message: NetlinkMessage) => Item | undefined,
): Item[] {
  const netlink = new NetlinkSocket(protocol);
  try {
    if (protocol === NETLINK_ROUTE) netlink.beStrict();
    for (let round = 1; ; round += 1) {
      netlink.send(request);
      const { items, interrupted } = readAnswer(netlink, each);
      if (!interrupted || round === MOST_LISTS) return items;
    }
  } finally {
    netlink.close();
  }
}

function readAnswer<Item>(
  netlink: NetlinkSocket,
  each: (view: DataView, message: NetlinkMessage) => Item | undefined,
): { items: Item[]; interrupted: boolean } {
  const items: Item[] = [];
  let interrupted = false;
  for (;;) {
    const view = netlink.receive();
    for (const message of decodeNetlink(view)) {
      interrupted ||= (message.flags & NETLINK_DUMP_INTERRUPTED) !== 0;
      // The end of a list says too how it went.
      if (message.type === NETLINK_DONE || message.type === NETLINK_ERROR) {
        const errno = netlinkErrno(view, message);
        if (errno === 0) return { items, interrupted };
        const name = errnoName(errno);
        throw new SystemError(name, `the kernel answered ${name}`);
      }
      const item = each(view, message);
      if (item !== undefined) items.push(item);
    }
  }
}
