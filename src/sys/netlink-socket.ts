/**
 * A netlink socket (netlink(7)): sends a request and hands on the datagrams of the answer. It
 * belongs to the network namespace it was opened in, and knows nothing of what they say.
 * @module
 */
import { closeSync } from 'node:fs';
import { errnoName, libc, must } from './libc.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2_000_000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
/** The kernel answers at once; one that does not must not hang us. */
const PATIENCE_S = 10;
/** The kernel fills datagrams up to 32 KiB; a larger buffer takes no more a call. */
const LARGEST_DATAGRAM = 64 * 1_024;

const SOL_NETLINK = 270;
const MSG_DONTWAIT = 0x40;

/** The kernel's subsystems: routes and devices, sockets, the packet filter. */
export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;
export const NETLINK_NETFILTER = 12;

const NETLINK_GET_STRICT_CHK = 12;

export class NetlinkSocket {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(LARGEST_DATAGRAM);

  /** Throws `SystemError`. */
  constructor(protocol: number) {
    this.#fd = must('socket(AF_NETLINK)', libc().socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol));
    const timeout = new Uint8Array(16);
    new DataView(timeout.buffer).setUint32(0, PATIENCE_S, true);
    libc().setsockopt(this.#fd, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.length);
  }

  /**
   * Has the kernel list only what is asked for. One before 4.20 cannot, and lists more.
   */
  beStrict(): void {
    const on = Uint8Array.of(1, 0, 0, 0);
    libc().setsockopt(this.#fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, on, on.length);
  }

  /** Wants the news of these groups from now on, numbered from 1 to 32. Throws `SystemError`. */
  follow(groups: readonly number[]): void {
    const address = new Uint8Array(12);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, true);
    view.setUint32(
      8,
      groups.reduce((mask, group) => mask | (1 << (group - 1)), 0),
      true,
    );
    must('bind(netlink)', libc().bind(this.#fd, address, address.length));
  }

  send(request: Uint8Array): void {
    must('send(netlink)', libc().send(this.#fd, request, request.length, 0));
  }

  /** The next datagram of the answer, valid until the next call. */
  receive(): DataView {
    const { buffer } = this.#buffer;
    const length = must('recv(netlink)', libc().recv(this.#fd, this.#buffer, buffer.byteLength, 0));
    return new DataView(buffer, 0, length);
  }

  /** The same if one is there by now, else `undefined`. Throws `SystemError`: ENOBUFS if some were lost. */
  receiveNow(): DataView | undefined {
    const { buffer } = this.#buffer;
    const { recv, errno } = libc();
    const length = recv(this.#fd, this.#buffer, buffer.byteLength, MSG_DONTWAIT);
    if (length === -1 && errnoName(errno()) === 'EAGAIN') return undefined;
    return new DataView(buffer, 0, must('recv(netlink)', length));
  }

  close(): void {
    closeSync(this.#fd);
  }
}
