/**
 * What this machine lets a test do: the reason for its `skip`, or `false`.
 * @module
 */
import { closeSync, existsSync } from 'node:fs';
import { BPF_MAP_HASH, createMap } from '../../src/sys/bpf.ts';
import { ffiMissing } from '../../src/sys/libc.ts';

/** Whether BPF maps can be made: the CAP_BPF of everything else. */
export function bpfMissing(): string | false {
  const missing = ffiMissing();
  if (missing !== undefined) return missing;
  try {
    const shape = { type: BPF_MAP_HASH, keyLength: 4, valueLength: 4, mostEntries: 1 } as const;
    closeSync(createMap({ ...shape, name: 'linkhold_probe' }));
    return false;
  } catch (error) {
    return `needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: ${(error as Error).message}`;
  }
}

/** Whether sockets can be iterated too: the kernel must describe itself. */
export function iteratorMissing(): string | false {
  const file = '/sys/kernel/btf/vmlinux';
  return bpfMissing() || (existsSync(file) ? false : `needs a kernel with ${file}`);
}
