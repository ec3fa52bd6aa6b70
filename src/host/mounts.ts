/**
 * Where the kernel's own filesystems are mounted: control groups (cgroups(7), version 2) and BPF
 * objects.
 * @module
 */
import { readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';

const CGROUP2_MAGIC = 0x63677270;
const USUAL = { cgroup2: '/sys/fs/cgroup', bpf: '/sys/fs/bpf' } as const;

/** The mount point of a kind of filesystem, the usual one if there are several. */
function mountOf(kind: keyof typeof USUAL): string | undefined {
  const places = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === kind)
    .flatMap(([, place]) => place ?? []);
  return places.includes(USUAL[kind]) ? USUAL[kind] : places[0];
}

/** Where BPF objects can be pinned. Throws `SystemError` (`no-bpffs`). */
export function bpfMount(): string {
  const place = mountOf('bpf');
  if (place !== undefined) return place;
  const mend = `mount -t bpf bpf ${USUAL.bpf} (CAP_SYS_ADMIN)`;
  throw new SystemError(
    'no-bpffs',
    `no bpf filesystem is mounted to pin in; mend it with: ${mend}`,
  );
}

/** The root of control groups: every process of the machine. Throws `SystemError` (`no-cgroup2`). */
export function cgroupRoot(): string {
  const place = mountOf('cgroup2');
  if (place !== undefined) return place;
  throw new SystemError(
    'no-cgroup2',
    'no cgroup2 filesystem is mounted; it is what policies hang on',
  );
}

/**
 * The directory of a control group, named by its path or by its name under the root. Throws
 * `UsageError` (`no-cgroup`).
 */
export function cgroupDirectory(text: string, where: string): string {
  const place = path.isAbsolute(text) ? text : path.join(cgroupRoot(), text);
  if (statSync(place, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UsageError('no-cgroup', `${where}: there is no control group ${place}`);
  }
  if (statfsSync(place).type === CGROUP2_MAGIC) return place;
  const text2 = `${place} is no control group of version 2; those are under ${cgroupRoot()}`;
  throw new UsageError('no-cgroup', `${where}: ${text2}`);
}

/** The kernel's number for a control group. */
export function cgroupId(directory: string): number {
  return statSync(directory).ino;
}

/** The numbers of a control group and all below it. */
export function cgroupIds(directory: string): Set<number> {
  return new Set(cgroupsBelow(directory).map(cgroupId));
}

/** The directory of the control group with a number, or `undefined`. */
export function cgroupById(id: number): string | undefined {
  return cgroupsBelow(cgroupRoot()).find((directory) => cgroupId(directory) === id);
}

function cgroupsBelow(directory: string): string[] {
  const below = readdirSync(directory, { withFileTypes: true, recursive: true });
  const names = below.filter((entry) => entry.isDirectory());
  return [directory, ...names.map(({ parentPath, name }) => path.join(parentPath, name))];
}
