/**
 * `peer-relay-fault.ts CALL N WHEN`: a relay's process that ends at once, as by SIGKILL, before or after
 * the Nth time that it makes a system call.
 * @module
 */
import { runRelay } from '../../src/relay/relay-loop.ts';
import { type KernelCalls, kernelCalls } from '../../src/sys/kernel-calls.ts';

const [name = '', nth = '1', when = 'after'] = process.argv.slice(2);
const calls = { ...kernelCalls() };
const call = calls[name as keyof KernelCalls] as (...args: number[]) => number;
let left = Number(nth);

function end(): void {
  process.kill(process.pid, 'SIGKILL');
}

Object.assign(calls, {
  [name]: (...args: number[]) => {
    left -= 1;
    if (left === 0 && when === 'before') end();
    const result = call(...args);
    if (left === 0) end();
    return result;
  },
});
runRelay(calls);
process.exit();
