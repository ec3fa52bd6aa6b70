/**
 * Options and state of sockets, for the relay: without exceptions, for a socket may be gone by now.
 * @module
 */
import type { KernelCalls, Memory } from '../sys/kernel-calls.ts';
import {
  decodeSocketAddress,
  SOCKET_ADDRESS_ROOM,
  type SocketAddress,
} from '../wire/socket-address.ts';
import type { FlowPolicy } from './relay-plan.ts';

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_KEEPALIVE = 9;
const SO_LINGER = 13;
const SO_ACCEPTCONN = 30;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_INFO = 11;
const TCP_USER_TIMEOUT = 18;
const SOL_MPTCP = 284;
const MPTCP_INFO = 1;

/** States of `tcp_info` (linux/tcp_states.h). */
export const TCP_STATE = { established: 1, synSent: 2, closed: 7 } as const;

/** `tcpi_bytes_received` (RFC 4898 tcpEStatsAppHCThruOctetsReceived). */
const BYTES_RECEIVED_AT = 128;
const FIONREAD = 0x541b;

const LENGTH_AT = 512;

export class SocketOptions {
  readonly #calls: KernelCalls;
  readonly #scratch: Memory;

  constructor(calls: KernelCalls) {
    this.#calls = calls;
    this.#scratch = calls.allocate(4_096);
  }

  /** Small writes are passed on as they come. Sockets that a listener accepts inherit it. */
  sendAtOnce(fd: number): void {
    this.#setInt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  }

  reuseAddress(fd: number): void {
    this.#setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  }

  /** close(2) sends a reset. */
  resetOnClose(fd: number): void {
    const { ints, address } = this.#scratch;
    ints[0] = 1;
    ints[1] = 0;
    this.#calls.setsockopt(fd, SOL_SOCKET, SO_LINGER, address, 8);
  }

  /** Keepalive and user timeout. Sockets that a listener accepts inherit them. */
  applyPolicy(fd: number, { timeMs, intervalMs, probes, userTimeoutMs }: FlowPolicy): void {
    this.#setInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, Math.round(timeMs / 1_000));
    this.#setInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, Math.round(intervalMs / 1_000));
    this.#setInt(fd, IPPROTO_TCP, TCP_KEEPCNT, probes);
    // Multipath TCP has none, and says so; its subflows have the kernel's limit.
    this.#setInt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, userTimeoutMs);
    this.#setInt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  }

  /** One of `TCP_STATE`, or -1 for what is no TCP socket. */
  tcpState(fd: number): number {
    const length = this.#get(fd, IPPROTO_TCP, TCP_INFO, 8);
    return length < 1 ? -1 : (this.#scratch.bytes[0] ?? -1);
  }

  /** Bytes in its receive queue. */
  unreadBytes(fd: number): number {
    const { address, ints } = this.#scratch;
    return this.#calls.ioctl(fd, FIONREAD, address) < 0 ? 0 : (ints[0] ?? 0);
  }

  /** Bytes that its peer has sent and the kernel acknowledged; an orderly end counts as one. */
  bytesReceived(fd: number): number {
    const length = this.#get(fd, IPPROTO_TCP, TCP_INFO, 256);
    if (length < BYTES_RECEIVED_AT + 8) return 0;
    const { ints } = this.#scratch;
    const low = (ints[BYTES_RECEIVED_AT / 4] ?? 0) >>> 0;
    return low + ((ints[BYTES_RECEIVED_AT / 4 + 1] ?? 0) >>> 0) * 2 ** 32;
  }

  isListening(fd: number): boolean {
    return this.#get(fd, SOL_SOCKET, SO_ACCEPTCONN, 4) === 4 && this.#scratch.ints[0] === 1;
  }

  usesMultipath(fd: number): boolean {
    return this.#get(fd, SOL_MPTCP, MPTCP_INFO, 4) >= 0;
  }

  localAddress(fd: number): SocketAddress | undefined {
    return this.#address((address, length) => this.#calls.getsockname(fd, address, length));
  }

  remoteAddress(fd: number): SocketAddress | undefined {
    return this.#address((address, length) => this.#calls.getpeername(fd, address, length));
  }

  #address(ask: (address: number, length: number) => number): SocketAddress | undefined {
    const { address, ints, bytes } = this.#scratch;
    ints[LENGTH_AT / 4] = SOCKET_ADDRESS_ROOM;
    if (ask(address, address + LENGTH_AT) < 0) return undefined;
    return decodeSocketAddress(bytes.subarray(0, ints[LENGTH_AT / 4]));
  }

  #setInt(fd: number, level: number, name: number, value: number): void {
    this.#scratch.ints[0] = value;
    this.#calls.setsockopt(fd, level, name, this.#scratch.address, 4);
  }

  /** The option's length, or a negative errno. */
  #get(fd: number, level: number, name: number, room: number): number {
    const { address, ints } = this.#scratch;
    ints[LENGTH_AT / 4] = room;
    const result = this.#calls.getsockopt(fd, level, name, address, address + LENGTH_AT);
    return result < 0 ? result : (ints[LENGTH_AT / 4] ?? 0);
  }
}
