/**
 * Pipes, lent to a direction of a flow only while its bytes wait in one: a pipe costs two descriptors
 * and, without privileges, a share of `pipe-user-pages-soft` (pipe(7)).
 * @module
 */
import type { KernelCalls, Memory } from '../sys/kernel-calls.ts';
import { PIPE, type RelayTable } from './relay-table.ts';

const F_SETPIPE_SZ = 1_031;
const PIPE_BYTES = 256 * 1_024;

export class PipePool {
  readonly #calls: KernelCalls;
  readonly #table: RelayTable;
  readonly #scratch: Memory;
  readonly #devNull: number;
  readonly #free: number[] = [];
  readonly #reads: number[] = [];
  readonly #writes: number[] = [];

  /** `devNull` is open for writing. */
  constructor(calls: KernelCalls, table: RelayTable, devNull: number) {
    this.#calls = calls;
    this.#table = table;
    this.#devNull = devNull;
    this.#scratch = calls.allocate(4_096);
  }

  /** An empty pipe for a direction's bytes, or -1 if there is none to be had now. */
  lend(direction: number): number {
    const pipe = this.#free.pop() ?? this.#make();
    // Stored before bytes enter: whoever finds bytes in it knows whose they are.
    if (pipe >= 0) this.#setOwner(pipe, direction);
    return pipe;
  }

  /** Gives a pipe back, in which are `bytes` that nobody wants any more. */
  giveBack(pipe: number, bytes: number): void {
    for (let left = bytes; left > 0; ) {
      const gone = this.#calls.splice(this.readEnd(pipe), this.#devNull, left);
      // One that cannot be emptied is not lent again.
      if (gone <= 0) return;
      left -= gone;
    }
    this.#free.push(pipe);
  }

  /** Takes over a pipe that holds bytes. */
  adopt(read: number, write: number, direction: number): number {
    const pipe = this.#add(read, write);
    this.#setOwner(pipe, direction);
    return pipe;
  }

  readEnd(pipe: number): number {
    return this.#reads[pipe] as number;
  }

  writeEnd(pipe: number): number {
    return this.#writes[pipe] as number;
  }

  #make(): number {
    if (this.#reads.length >= this.#table.pipes.capacity) return -1;
    if (this.#calls.pipe(this.#scratch.address) < 0) return -1;
    const [read = -1, write = -1] = this.#scratch.ints;
    // Refused to the unprivileged beyond their share: the pipe is a small one then.
    this.#calls.fcntl(write, F_SETPIPE_SZ, PIPE_BYTES);
    return this.#add(read, write);
  }

  #add(read: number, write: number): number {
    const { ints, pipes } = this.#table;
    const pipe = this.#reads.push(read) - 1;
    this.#writes.push(write);
    const at = pipes.at(pipe);
    ints[at + PIPE.owner] = 0;
    ints[at + PIPE.read] = read;
    ints[at + PIPE.write] = write;
    pipes.use(pipe);
    return pipe;
  }

  #setOwner(pipe: number, direction: number): void {
    this.#table.ints[this.#table.pipes.at(pipe) + PIPE.owner] = direction + 1;
  }
}
