/**
 * Opens sockets: to listen, and towards a target. Both never wait.
 * @module
 */
import {
  ERRNO,
  type KernelCalls,
  type Memory,
  mustCall,
  O_CLOEXEC,
  O_NONBLOCK,
} from '../sys/kernel-calls.ts';
import { encodeSocketAddress } from '../wire/socket-address.ts';
import type { PlannedRelay, PlannedTarget } from './relay-plan.ts';
import type { SocketOptions } from './socket-options.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const IPPROTO_MPTCP = 262;
const BACKLOG = 4_096;
const NO_ADDRESS = new Uint8Array(0);

export class Dialer {
  readonly #calls: KernelCalls;
  readonly #options: SocketOptions;
  readonly #scratch: Memory;
  /** Text is turned into bytes once a target, not once a flow. */
  readonly #encoded = new WeakMap<PlannedTarget, Uint8Array>();

  constructor(calls: KernelCalls, options: SocketOptions) {
    this.#calls = calls;
    this.#options = options;
    this.#scratch = calls.allocate(4_096);
  }

  /** A listening socket. Throws `SystemError`. */
  listen({ address, port, protocol, policy }: PlannedRelay): number {
    const type = protocol === 'udp' ? SOCK_DGRAM : SOCK_STREAM;
    const fd = mustCall('socket', this.#socket(address, type, 0));
    try {
      if (protocol === 'tcp') {
        this.#options.reuseAddress(fd);
        this.#options.sendAtOnce(fd);
        this.#options.applyPolicy(fd, policy);
      }
      mustCall('bind', this.#put('bind', fd, encodeSocketAddress(address, port)));
      if (protocol === 'tcp') mustCall('listen', this.#calls.listen(fd, BACKLOG));
      return fd;
    } catch (error) {
      this.#calls.close(fd);
      throw error;
    }
  }

  /** A socket that is on its way to the target, or a negative errno. It has no policy yet. */
  connect(target: PlannedTarget, mptcp: boolean): number {
    const fd = this.#socket(target.address, SOCK_STREAM, mptcp ? IPPROTO_MPTCP : 0);
    if (fd < 0) return fd;
    this.#options.sendAtOnce(fd);
    return this.#reach(fd, target);
  }

  /** A UDP socket that speaks with the target alone, or a negative errno. */
  associate(target: PlannedTarget): number {
    const fd = this.#socket(target.address, SOCK_DGRAM, 0);
    return fd < 0 ? fd : this.#reach(fd, target);
  }

  #reach(fd: number, target: PlannedTarget): number {
    const { address, port, source } = target;
    let to = this.#encoded.get(target);
    if (to === undefined) {
      to = encodeSocketAddress(address, port) ?? NO_ADDRESS;
      this.#encoded.set(target, to);
    }
    let result = 0;
    if (source !== undefined) result = this.#put('bind', fd, encodeSocketAddress(source, 0));
    if (result >= 0) result = this.#put('connect', fd, to);
    if (result >= 0 || result === ERRNO.EINPROGRESS) return fd;
    this.#calls.close(fd);
    return result;
  }

  #socket(address: string, type: number, protocol: number): number {
    const domain = address.includes(':') ? AF_INET6 : AF_INET;
    return this.#calls.socket(domain, type | O_NONBLOCK | O_CLOEXEC, protocol);
  }

  /** The kernel refuses what is no address with EINVAL. */
  #put(call: 'bind' | 'connect', fd: number, bytes: Uint8Array = NO_ADDRESS): number {
    this.#scratch.bytes.set(bytes);
    return this.#calls[call](fd, this.#scratch.address, bytes.length);
  }
}
