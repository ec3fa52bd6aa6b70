/**
 * Datagrams of one turn, received and sent on with a call each way (recvmmsg(2), sendmmsg(2)).
 * @module
 */
import { type KernelCalls, type Memory, storeAddress } from '../sys/kernel-calls.ts';

/** Datagrams a call. */
export const BATCH = 16;
/** The largest datagram. */
const ROOM = 65_536;
const NAME_ROOM = 32;

/** `struct mmsghdr` of 64-bit machines, in words. */
const HEADER_WORDS = 16;
const NAME = 0;
const NAME_LENGTH = 2;
const VECTOR = 4;
const VECTORS = 6;
const LENGTH = 14;
/** Behind the headers: a `struct iovec` for each, a `sockaddr` for each, then the bytes. */
const VECTORS_AT = BATCH * HEADER_WORDS * 4;
const VECTOR_BYTES = 16;
const NAMES_AT = VECTORS_AT + BATCH * VECTOR_BYTES;
const DATA_AT = NAMES_AT + BATCH * NAME_ROOM;

export class DatagramBatch {
  readonly #calls: KernelCalls;
  readonly #memory: Memory;

  constructor(calls: KernelCalls) {
    this.#calls = calls;
    this.#memory = calls.allocate(DATA_AT + BATCH * ROOM);
    for (let index = 0; index < BATCH; index += 1) {
      const at = index * HEADER_WORDS;
      this.#point(at + NAME, NAMES_AT + index * NAME_ROOM);
      this.#point(at + VECTOR, VECTORS_AT + index * VECTOR_BYTES);
      this.#point((VECTORS_AT + index * VECTOR_BYTES) / 4, DATA_AT + index * ROOM);
      this.#memory.ints[at + VECTORS] = 1;
    }
  }

  /** What waits at a socket, at most `BATCH`: how many, or a negative errno. */
  receive(fd: number): number {
    for (let index = 0; index < BATCH; index += 1) {
      this.#memory.ints[index * HEADER_WORDS + NAME_LENGTH] = NAME_ROOM;
      this.#setRoom(index, ROOM);
    }
    return this.#calls.recvmmsg(fd, this.#memory.address, BATCH, 0);
  }

  /** Where a received datagram came from, as the kernel wrote it. */
  name(index: number): Uint8Array {
    const length = this.#memory.ints[index * HEADER_WORDS + NAME_LENGTH] as number;
    const at = NAMES_AT + index * NAME_ROOM;
    return this.#memory.bytes.subarray(at, at + Math.min(length, NAME_ROOM));
  }

  /**
   * Sends received datagrams on, to `name` or to whom the socket is connected with. Answers their
   * bytes. One that the kernel does not take now is lost.
   */
  send(fd: number, from: number, count: number, name?: Uint8Array): number {
    const { ints, bytes, address } = this.#memory;
    let sum = 0;
    for (let index = from; index < from + count; index += 1) {
      const at = index * HEADER_WORDS;
      const length = ints[at + LENGTH] as number;
      this.#setRoom(index, length);
      sum += length;
      ints[at + NAME_LENGTH] = name?.length ?? 0;
      if (name === undefined) this.#point(at + NAME, undefined);
      else bytes.set(name, NAMES_AT + index * NAME_ROOM);
    }
    this.#calls.sendmmsg(fd, address + from * HEADER_WORDS * 4, count, 0);
    if (name !== undefined) return sum;
    for (let index = from; index < from + count; index += 1) {
      this.#point(index * HEADER_WORDS + NAME, NAMES_AT + index * NAME_ROOM);
    }
    return sum;
  }

  #setRoom(index: number, bytes: number): void {
    this.#memory.ints[(VECTORS_AT + index * VECTOR_BYTES + 8) / 4] = bytes;
  }

  /** Stores the address of a place in the memory, or none. */
  #point(word: number, offset: number | undefined): void {
    const address = offset === undefined ? 0 : this.#memory.address + offset;
    storeAddress(this.#memory.ints, word, address);
  }
}
