/**
 * What a process and the kernel's counters say of a stretch of time, from /proc alone.
 * @module
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** What processes used over a stretch of time, all together. */
export interface Cost {
  /** Processor time by wall time, user and system together. */
  readonly cores: number;
  readonly rssMb: number;
  /** The most memory it ever had. */
  readonly peakMb: number;
  /** The counted thing, by second. */
  readonly perSecond: number;
}

/** USER_HZ, which is 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Processor seconds of all threads so far, and of children that have ended and were waited for. */
export function cpuSeconds(pid: number): { readonly own: number; readonly reaped: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user = 0, system = 0, reapedUser = 0, reapedSystem = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15)
    .map(Number);
  return {
    own: (user + system) / TICKS_PER_SECOND,
    reaped: (reapedUser + reapedSystem) / TICKS_PER_SECOND,
  };
}

export function memoryMb(pid: number, key: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1_024;
}

/** A counter of this network namespace, for example `Udp` `InDatagrams`. */
export function kernelCounter(protocol: string, name: string): number {
  const lines = readFileSync('/proc/net/snmp', 'utf8').split('\n');
  const [head = [], row = []] = lines
    .filter((line) => line.startsWith(`${protocol}: `))
    .map((line) => line.split(' '));
  return Number(row[head.indexOf(name)]);
}

/** Watches processes for some seconds while `count` rises. */
export async function costOf(
  pids: readonly number[],
  seconds: number,
  count: () => number | Promise<number>,
): Promise<Cost> {
  const sum = (read: (pid: number) => number) => pids.reduce((total, pid) => total + read(pid), 0);
  const startedAt = performance.now();
  const cpuSoFar = () => sum((pid) => cpuSeconds(pid).own);
  const [cpu, counted] = [cpuSoFar(), await count()];
  await sleep(seconds * 1_000);
  const elapsed = (performance.now() - startedAt) / 1_000;
  const [cpuAfter, countedAfter] = [cpuSoFar(), await count()];
  return {
    cores: (cpuAfter - cpu) / elapsed,
    perSecond: (countedAfter - counted) / elapsed,
    rssMb: sum((pid) => memoryMb(pid, 'VmRSS')),
    peakMb: sum((pid) => memoryMb(pid, 'VmHWM')),
  };
}
