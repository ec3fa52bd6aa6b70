/**
 * Where the kernel's own filesystems are mounted: control groups (cgroups(7), version 2) and BPF
 * objects.
 * @module
 */
import { type Dirent, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
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

/** Whether BPF objects can be pinned at all. */
export function hasBpfMount(): boolean {
  return mountOf('bpf') !== undefined;
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
  const place = path.isAbsolute(text) ? path.resolve(text) : path.join(cgroupRoot(), text);
  if (statSync(place, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UsageError('no-cgroup', `${where}: there is no control group ${place}`);
  }
  if (statfsSync(place).type === CGROUP2_MAGIC) return place;
  const otherwise = `${place} is no control group of version 2; those are under ${cgroupRoot()}`;
  throw new UsageError('no-cgroup', `${where}: ${otherwise}`);
}

/** The kernel's number for a control group. */
export function cgroupId(directory: string): number {
  return statSync(directory).ino;
}

/** The numbers of a control group and all below it. */
export function cgroupIds(directory: string): Set<number> {
  return new Set(cgroupsBelow(directory).map(({ id }) => id));
}

/** The directory of the control group with a number, or `undefined`. */
export function cgroupById(id: number): string | undefined {
  return cgroupsBelow(cgroupRoot()).find((group) => group.id === id)?.directory;
}

/** A control group and all below it, but for those that go meanwhile. */
function cgroupsBelow(directory: string): { readonly directory: string; readonly id: number }[] {
  const id = statSync(directory, { throwIfNoEntry: false })?.ino;
  if (id === undefined) return [];
  const below = entriesOf(directory).filter((entry) => entry.isDirectory());
  const groups = below.flatMap(({ name }) => cgroupsBelow(path.join(directory, name)));
  return [{ directory, id }, ...groups];
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENODEV') return [];
    throw error;
  }
}
