/**
 * Level-triggered epoll(7) over descriptors that each have a kind and a number.
 * @module
 */
import { ERRNO, type KernelCalls, type Memory, mustCall } from '../sys/kernel-calls.ts';

export const READABLE = 1;
export const WRITABLE = 4;
export const FAILED = 8;
export const HUNG_UP = 16;
export const READ_HUNG_UP = 0x2000;

const ADD = 1;
const REMOVE = 2;
const CHANGE = 3;
const BATCH = 256;
/** `struct epoll_event` in words: packed on x86-64 and nowhere else. */
const LAYOUT =
  process.arch === 'x64' ? { stride: 3, number: 1, kind: 2 } : { stride: 4, number: 2, kind: 3 };

export class EventPoll {
  readonly #calls: KernelCalls;
  readonly #fd: number;
  readonly #events: Memory;
  readonly #one: Memory;

  constructor(calls: KernelCalls) {
    this.#calls = calls;
    this.#fd = mustCall('epoll_create', calls.epollCreate());
    this.#events = calls.allocate(BATCH * 16);
    this.#one = calls.allocate(4_096);
  }

  add(fd: number, events: number, kind: number, number: number): void {
    mustCall('epoll_ctl', this.#control(ADD, fd, events, kind, number));
  }

  change(fd: number, events: number, kind: number, number: number): void {
    mustCall('epoll_ctl', this.#control(CHANGE, fd, events, kind, number));
  }

  remove(fd: number): void {
    this.#control(REMOVE, fd, 0, 0, 0);
  }

  /** Waits at most `timeoutMs` (-1: for ever) and hands each event on. */
  wait(timeoutMs: number, handle: (kind: number, number: number, events: number) => void): void {
    const { address, ints } = this.#events;
    const count = this.#calls.epollWait(this.#fd, address, BATCH, timeoutMs);
    if (count < 0 && count !== ERRNO.EINTR) mustCall('epoll_wait', count);
    for (let index = 0, at = 0; index < count; index += 1, at += LAYOUT.stride) {
      handle(
        ints[at + LAYOUT.kind] as number,
        ints[at + LAYOUT.number] as number,
        ints[at] as number,
      );
    }
  }

  #control(operation: number, fd: number, events: number, kind: number, number: number): number {
    const { ints, address } = this.#one;
    ints[0] = events;
    ints[LAYOUT.number] = number;
    ints[LAYOUT.kind] = kind;
    return this.#calls.epollCtl(this.#fd, operation, fd, address);
  }
}
