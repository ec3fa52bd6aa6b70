/**
 * Calls of the C library that a process made by clone(2) carries out one after the other, without a
 * line of our own code in it: contexts of makecontext(3), each linked to the next. A context serves
 * once, for its call overwrites the words on its stack that lead to the next one.
 * @module
 */
import type { KernelCalls } from './kernel-calls.ts';
import { ffi } from './libc.ts';

/** A function of the C library by its name, with up to four numbers or addresses. */
export type ChainedCall = readonly [name: string, ...args: readonly number[]];

/** A context and its stack. */
const ROOM = 16 * 1_024;
/** The largest `ucontext_t`, that of arm64, fits. */
const STACK_AT = 6 * 1_024;
/** `ucontext_t` of 64-bit machines: `uc_link`, then `uc_stack`. */
const LINK_AT = 8;
const STACK_START_AT = 16;
const STACK_LENGTH_AT = 32;

/**
 * Prepares the calls; answers what `clone` is to begin with. They are made with the signals blocked
 * that are blocked now, and with this thread's registers. The last one must not return. 0 where the C
 * library has no makecontext(3), as musl has none.
 */
export function prepareChain(calls: KernelCalls, chain: readonly ChainedCall[]): number {
  const functions = ['getcontext', 'makecontext', ...chain.map(([name]) => name)];
  if (functions.some((name) => calls.find(name) === 0)) return 0;
  const library = ffi().load(null);
  const getcontext = library.func('getcontext', 'int', ['int64']);
  const words = ['int64', 'int64', 'int', 'int64', 'int64', 'int64', 'int64'];
  const makecontext = library.func('makecontext', 'void', words);
  const { address, bytes } = calls.allocate(chain.length * ROOM);
  const view = new DataView(bytes.buffer);
  for (const [index, [name, a = 0, b = 0, c = 0, d = 0]] of chain.entries()) {
    const offset = index * ROOM;
    const next = index + 1 < chain.length ? address + offset + ROOM : 0;
    getcontext(address + offset);
    view.setBigUint64(offset + LINK_AT, BigInt(next), true);
    view.setBigUint64(offset + STACK_START_AT, BigInt(address + offset + STACK_AT), true);
    view.setBigUint64(offset + STACK_LENGTH_AT, BigInt(ROOM - STACK_AT), true);
    makecontext(address + offset, calls.find(name), 4, a, b, c, d);
  }
  return address;
}
