/**
 * Which process has which socket. A BPF iterator over all open files tells it in one pass
 * (CAP_BPF, CAP_PERFMON); without it /proc does, descriptor by descriptor, for the processes that
 * the caller may look into (the same user, or CAP_SYS_PTRACE).
 * @module
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import path from 'node:path';
import { BPF_ITERATOR, closing, iterate, loadProgram } from '../sys/bpf.ts';
import { BpfProgram } from '../wire/bpf-program.ts';
import { kernelTypes } from './kernel-types.ts';

export interface Owner {
  readonly pid: number;
  readonly name: string;
}

/** A socket's descriptor in a process. */
export interface Descriptor {
  readonly pid: number;
  readonly fd: number;
}

const HELPER = { write: 127, socketOfFile: 162 } as const;
/** Process id (8 bytes), inode (8 bytes). */
const RECORD_LENGTH = 16;
const [STACK, CONTEXT, FILE] = [10, 6, 7] as const;
/** Inode of the first process namespace (PROC_PID_INIT_INO): there, process ids are the kernel's. */
const FIRST_PID_NAMESPACE = 0xeffffffc;
const SOCKET_LINK = /^socket:\[(\d+)\]$/;

/** The process of each socket, by the socket's inode: of several, the one with the lowest id. */
export function ownersByIterator(): Map<number, number> {
  const { iterateFiles } = kernelTypes();
  const instructions = filesProgram().encode();
  const program = loadProgram(BPF_ITERATOR, 'linkhold_files', instructions, iterateFiles);
  const records = closing(program, () => iterate(program));
  const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
  const owners = new Map<number, number>();
  for (let at = 0; at + RECORD_LENGTH <= records.length; at += RECORD_LENGTH) {
    const inode = view.getUint32(at + 8, true);
    // Tasks come in the order of their ids.
    if (!owners.has(inode)) owners.set(inode, view.getUint32(at, true));
  }
  return owners;
}

/** Whether the iterator would tell the process ids that we know processes by. */
export function knowsProcessIds(): boolean {
  return statSync('/proc/self/ns/pid').ino === FIRST_PID_NAMESPACE;
}

function filesProgram(): BpfProgram {
  const { fileInode, inodeNumber, taskProcess } = kernelTypes();
  return new BpfProgram()
    .copy(CONTEXT, 1)
    .load(8, FILE, CONTEXT, 24)
    .jumpIf(FILE, '==', 0, 'skip')
    .copy(1, FILE)
    .call(HELPER.socketOfFile)
    .jumpIf(0, '==', 0, 'skip')
    .load(8, 1, CONTEXT, 8)
    .jumpIf(1, '==', 0, 'skip')
    .load(4, 1, 1, taskProcess)
    .store(8, STACK, -16, 1)
    .load(8, 1, FILE, fileInode)
    .load(8, 1, 1, inodeNumber)
    .store(8, STACK, -8, 1)
    .load(8, 1, CONTEXT, 0)
    .load(8, 1, 1, 0)
    .copy(2, STACK)
    .add(2, -RECORD_LENGTH)
    .set(3, RECORD_LENGTH)
    .call(HELPER.write)
    .label('skip')
    .exit(0);
}

/** Each socket's first descriptor, by inode, among the processes that we may look into. */
export function descriptorsFromProc(): Map<number, Descriptor> {
  const found = new Map<number, Descriptor>();
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  for (const pid of pids.map(Number).toSorted((a, b) => a - b)) {
    for (const fd of descriptorsOf(pid)) {
      const inode = socketInode(pid, fd);
      if (inode !== undefined && !found.has(inode)) found.set(inode, { pid, fd: Number(fd) });
    }
  }
  return found;
}

/** Inodes of a process's sockets. Empty where it is gone or not ours to see. */
export function socketsOf(pid: number): Set<number> {
  return new Set(descriptorsOf(pid).flatMap((fd) => socketInode(pid, fd) ?? []));
}

function descriptorsOf(pid: number): string[] {
  return quietly(() => readdirSync(`/proc/${pid}/fd`)) ?? [];
}

function socketInode(pid: number, fd: string): number | undefined {
  const target = quietly(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? '';
  const inode = target.startsWith('s') ? SOCKET_LINK.exec(target)?.[1] : undefined;
  return inode === undefined ? undefined : Number(inode);
}

/**
 * A process's name, or `?` if it is gone by now. Of a runtime that named its main thread after a role
 * (`node-MainThread`) it is the name of the program.
 */
export function processName(pid: number): string {
  const name = quietly(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd()) ?? '?';
  if (!name.includes('-')) return name;
  const [command = ''] = (quietly(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? '').split(
    '\0',
  );
  const program = path.basename(command);
  return program !== '' && name.startsWith(`${program}-`) ? program : name;
}

/** What /proc says of processes may be gone or forbidden at any moment: then it says nothing. */
function quietly<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(code)) return undefined;
    throw error;
  }
}
