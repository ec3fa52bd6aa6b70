/**
 * What our BPF programs need to know of this very kernel, from its own description of its types.
 * Read once; it cannot change while the machine runs.
 * @module
 */
import { mapFile } from '../sys/mapped-file.ts';
import { SystemError } from '../sys/system-error.ts';
import { Btf } from '../wire/btf.ts';

export interface KernelTypes {
  /** Function ids of the iterators over TCP sockets and over the open files of all processes. */
  readonly iterateTcp: number;
  readonly iterateFiles: number;
  /** Offsets: from a file to its inode, from that to its number, from a task to its process id. */
  readonly fileInode: number;
  readonly inodeNumber: number;
  readonly taskProcess: number;
}

const FILE = '/sys/kernel/btf/vmlinux';

let known: KernelTypes | undefined;

/** Throws `SystemError` (`no-btf`) where the kernel does not describe itself or lacks an iterator. */
export function kernelTypes(): KernelTypes {
  known ??= read();
  return known;
}

function read(): KernelTypes {
  let btf: Btf;
  try {
    btf = new Btf(mapFile(FILE));
  } catch (error) {
    const cause = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw missing(`${FILE} cannot be read (${cause})`);
  }
  const need = (what: string, found: number | undefined): number => {
    if (found === undefined) throw missing(`it has no ${what}`);
    return found;
  };
  return {
    iterateTcp: need('bpf_iter_tcp', btf.functionId('bpf_iter_tcp')),
    iterateFiles: need('bpf_iter_task_file', btf.functionId('bpf_iter_task_file')),
    fileInode: need('file.f_inode', btf.memberOffset('file', 'f_inode')),
    inodeNumber: need('inode.i_ino', btf.memberOffset('inode', 'i_ino')),
    taskProcess: need('task_struct.tgid', btf.memberOffset('task_struct', 'tgid')),
  };
}

function missing(text: string): SystemError {
  return new SystemError('no-btf', `this kernel cannot iterate sockets by BPF: ${text}`);
}
