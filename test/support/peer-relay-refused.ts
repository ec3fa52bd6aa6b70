/**
 * A relay's process to which the kernel refuses pidfd_getfd(2), by a seccomp filter as containers have
 * one.
 * @module
 */
import { runRelay } from '../../src/relay/relay-loop.ts';
import { kernelCalls, mustCall } from '../../src/sys/kernel-calls.ts';
import { ffi } from '../../src/sys/libc.ts';

const PR_SET_SECCOMP = 22;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
/** Load the call's number; is it pidfd_getfd (438)? Then EPERM; else it is allowed. */
const FILTER = [
  [0x20, 0, 0],
  [0x15, 1 << 8, 438],
  [0x06, 0, 0x0005_0001],
  [0x06, 0, 0x7fff_0000],
] as const;

const calls = kernelCalls();
const { address, ints } = calls.allocate(4_096);
const at = 4;
// Not 438: one further than the next.
for (const [index, [code, jumps, value]] of FILTER.entries()) {
  ints[at + 2 * index] = code | (jumps << 16);
  ints[at + 2 * index + 1] = value;
}
ints[0] = FILTER.length;
ints[2] = (address + 4 * at) | 0;
ints[3] = Math.floor((address + 4 * at) / 2 ** 32);
const prctl = ffi().load(null).func('prctl', 'int', ['int', 'int64', 'int64', 'int64', 'int64']);
mustCall('prctl(PR_SET_NO_NEW_PRIVS)', prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
mustCall('prctl(PR_SET_SECCOMP)', prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, address, 0, 0));
runRelay(calls);
process.exit();
