/**
 * The rights of this process that Linkhold has a use for, by the names of capabilities(7).
 * @module
 */
import { readFileSync } from 'node:fs';

const BITS = {
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_ADMIN: 12,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_RESOURCE: 24,
  CAP_PERFMON: 38,
  CAP_BPF: 39,
} as const;

/** Those in force, of the ones that are of use. None where this is not Linux. */
export function capabilities(): string[] {
  if (process.platform !== 'linux') return [];
  const status = readFileSync('/proc/self/status', 'utf8');
  const mask = BigInt(`0x${/^CapEff:\s*([\da-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const names = Object.entries(BITS).filter(([, bit]) => ((mask >> BigInt(bit)) & 1n) === 1n);
  return names.map(([name]) => name);
}
