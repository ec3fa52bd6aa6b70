/**
 * The keeper: a child made by clone(2) with CLONE_FILES, which shares the relay's descriptor table and
 * sleeps. Whatever the relay accepts, opens or closes is so in the keeper at the same instant, at
 * no cost; when the relay is killed the descriptors live on in it, and the next relay copies those it
 * needs (pidfd_getfd(2)), or has the keeper send them. It runs no code but calls of the C library, with
 * all signals blocked.
 * @module
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { ERRNO, type KernelCalls, mustCall } from '../sys/kernel-calls.ts';
import { SystemError } from '../sys/system-error.ts';
import { askKeeper, prepareHandover } from './handover.ts';
import { KEEPER_AT, type RelayTable } from './relay-table.ts';

const CLONE_FILES = 0x400;
const CLONE_PARENT_SETTID = 0x100000;
const STACK_BYTES = 64 * 1_024;
const SIGKILL = 9;
const WNOHANG_WALL = 0x4000_0001;
const POLLIN = 1;
const MADV_DONTFORK = 10;
/** Smaller pieces, as that of the C library's own, are not worth a call. */
const LEAST_LEFT_BYTES = 1 << 20;

/**
 * Has those who are made by clone(2) after this leave most of this process's memory: they need none of
 * it, and copying its page tables and freeing them again takes longer than all the rest.
 */
export function leaveMemory(calls: KernelCalls): void {
  const needed = calls.errnoAddress();
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const [range = '', , , , inode, name = ''] = line.split(/\s+/);
    const [start = 0, end = 0] = range.split('-').map((hex) => Number.parseInt(hex, 16));
    const isOurs = inode === '0' && (name === '' || name === '[heap]' || name.startsWith('[anon'));
    if (!isOurs || end - start < LEAST_LEFT_BYTES || (needed >= start && needed < end)) continue;
    // Where it is refused the copy is only slower.
    calls.madvise(start, end - start, MADV_DONTFORK);
  }
}

/** What the caller has mapped for it once: a stack and two signal sets. */
export class KeeperMaker {
  readonly #calls: KernelCalls;
  readonly #stack: number;
  readonly #masks: number;
  #chain: number | undefined;

  constructor(calls: KernelCalls) {
    this.#calls = calls;
    this.#stack = calls.allocate(STACK_BYTES).address + STACK_BYTES - 64;
    const masks = calls.allocate(4_096);
    masks.ints.fill(-1, 0, 2);
    this.#masks = masks.address;
  }

  /**
   * Makes one that keeps what this process has open, and answers a descriptor that becomes readable
   * with its end. Its id is in the table before it runs. Throws `SystemError`.
   */
  make(table: RelayTable): number {
    const old = this.#masks + 8;
    // It inherits the mask: Node's own handlers must never run there, on descriptors that we share.
    mustCall('sigprocmask', this.#calls.signalMask(this.#masks, old));
    this.#chain ??= prepareHandover(this.#calls, table);
    const flags = CLONE_FILES | CLONE_PARENT_SETTID;
    const storePid = table.address + 4 * KEEPER_AT;
    const pid = this.#calls.clone(this.#chain, this.#stack, flags, storePid);
    mustCall('sigprocmask', this.#calls.signalMask(old, 0));
    mustCall('clone', pid);
    return mustCall('pidfd_open', this.#calls.pidfdOpen(pid));
  }

  /** Takes note of a keeper's end, so that it leaves no entry in the process table. */
  bury(pid: number): void {
    this.#calls.waitpid(pid, WNOHANG_WALL);
  }
}

/** Whether a process has this table mapped, and so is its relay or its keeper: ids are used again. */
export function hasMapped(pid: number, table: RelayTable): boolean {
  if (pid <= 0) return false;
  try {
    return readFileSync(`/proc/${pid}/maps`, 'latin1').includes(table.file);
  } catch {
    return false;
  }
}

/** Ends a relay or keeper of this table and waits until all of its threads are gone. */
export function endProcess(calls: KernelCalls, pid: number, table: RelayTable): void {
  if (!hasMapped(pid, table)) return;
  const process = calls.pidfdOpen(pid);
  if (process < 0) return;
  calls.kill(pid, SIGKILL);
  const entry = calls.allocate(4_096);
  entry.ints[0] = process;
  entry.ints[1] = POLLIN;
  // A thread that is dying may still be within splice(2).
  calls.poll(entry.address, 1, -1);
  calls.close(process);
  // It may be a child of ours, from before an upgrade in place.
  calls.waitpid(pid, WNOHANG_WALL);
}

/** A keeper whose relay is dead. */
export class FoundKeeper {
  readonly #calls: KernelCalls;
  readonly #table: RelayTable;
  readonly #process: number;
  /** What it sent, where copying is refused; without those that were asked for. */
  #sent: Map<number, number> | undefined;

  /** `table` is the one that it keeps. Throws `SystemError`. */
  constructor(calls: KernelCalls, table: RelayTable) {
    this.#calls = calls;
    this.#table = table;
    this.#process = mustCall('pidfd_open', calls.pidfdOpen(table.keeper));
  }

  /** A copy of a descriptor, or -1 if it has none of that number. Throws `SystemError`. */
  copy(fd: number): number {
    if (fd < 0) return -1;
    if (this.#sent !== undefined) return this.#takeSent(fd);
    const copy = this.#calls.pidfdGetfd(this.#process, fd);
    if (copy === ERRNO.EBADF) return -1;
    if (copy !== ERRNO.EPERM && copy !== ERRNO.ENOSYS) return mustCall('pidfd_getfd', copy);
    this.#sent = this.#receive();
    return this.#takeSent(fd);
  }

  /** The sockets it keeps besides those of `known`. */
  otherSockets(known: ReadonlySet<number>): number[] {
    return this.#descriptors(['socket:']).filter((fd) => !known.has(fd));
  }

  close(): void {
    this.#calls.close(this.#process);
    for (const fd of this.#sent?.values() ?? []) this.#calls.close(fd);
  }

  #takeSent(fd: number): number {
    const copy = this.#sent?.get(fd) ?? -1;
    this.#sent?.delete(fd);
    return copy;
  }

  #receive(): Map<number, number> {
    const wanted = this.#descriptors(['socket:', 'pipe:']);
    const sent = askKeeper(this.#calls, this.#table, wanted);
    if (sent.size === wanted.length) return sent;
    for (const fd of sent.values()) this.#calls.close(fd);
    const mend = 'grant CAP_SYS_PTRACE (see kernel.yama.ptrace_scope, and seccomp in a container)';
    const what = `the keeper sent ${sent.size} of ${wanted.length} descriptors`;
    throw new SystemError(
      'EPERM',
      `the connections of the relay before are lost: pidfd_getfd is refused, and ${what}; ${mend}`,
    );
  }

  /** Its descriptors of these kinds, as /proc tells. */
  #descriptors(kinds: readonly string[]): number[] {
    const directory = `/proc/${this.#table.keeper}/fd`;
    return readdirSync(directory)
      .map(Number)
      .filter((fd) => {
        try {
          const link = readlinkSync(`${directory}/${fd}`);
          return kinds.some((kind) => link.startsWith(kind));
        } catch {
          return false;
        }
      });
  }
}
