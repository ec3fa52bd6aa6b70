/**
 * A netlink socket (netlink(7)): sends a request and hands on the datagrams of the answer. It
 * belongs to the network namespace it was opened in, and knows nothing of what they say.
 * @module
 */
import { closeSync } from 'node:fs';
import { libc, must } from './libc.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2_000_000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
/** The kernel answers at once; one that does not must not hang us. */
const PATIENCE_S = 10;
/** The kernel fills datagrams up to 32 KiB; a larger buffer takes no more a call. */
const LARGEST_DATAGRAM = 64 * 1_024;

/** NETLINK_SOCK_DIAG. */
export const NETLINK_SOCK_DIAG = 4;

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

  send(request: Uint8Array): void {
    must('send(netlink)', libc().send(this.#fd, request, request.length, 0));
  }

  /** The next datagram of the answer, valid until the next call. */
  receive(): DataView {
    const { buffer } = this.#buffer;
    const length = must('recv(netlink)', libc().recv(this.#fd, this.#buffer, buffer.byteLength, 0));
    return new DataView(buffer, 0, length);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
