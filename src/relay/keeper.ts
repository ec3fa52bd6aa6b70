/**
 * The keeper: a child made by clone(2) with CLONE_FILES, which shares the relay's descriptor table and
 * only sleeps. Whatever the relay accepts, opens or closes is so in the keeper at the same instant, at
 * no cost; when the relay is killed the descriptors live on in it, and the next relay copies those it
 * needs (pidfd_getfd(2)). It runs no code but pause(3p), with all signals blocked.
 * @module
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { ERRNO, type KernelCalls, mustCall } from '../sys/kernel-calls.ts';
import { SystemError } from '../sys/system-error.ts';
import { KEEPER_AT, type RelayTable } from './relay-table.ts';

const CLONE_FILES = 0x400;
const CLONE_PARENT_SETTID = 0x100000;
const STACK_BYTES = 64 * 1_024;
const SIGKILL = 9;
const WNOHANG_WALL = 0x4000_0001;
const POLLIN = 1;

/** What the caller has mapped for it once: a stack, two signal sets, a `struct pollfd`. */
export class KeeperMaker {
  readonly #calls: KernelCalls;
  readonly #stack: number;
  readonly #masks: number;

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
    const flags = CLONE_FILES | CLONE_PARENT_SETTID;
    const pid = this.#calls.clonePause(this.#stack, flags, table.address + 4 * KEEPER_AT);
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
  readonly #pid: number;
  readonly #process: number;

  /** Throws `SystemError`: EPERM without the right to trace it. */
  constructor(calls: KernelCalls, pid: number) {
    this.#calls = calls;
    this.#pid = pid;
    this.#process = mustCall('pidfd_open', calls.pidfdOpen(pid));
  }

  /** A copy of a descriptor, or -1 if it has none of that number. Throws `SystemError`. */
  copy(fd: number): number {
    if (fd < 0) return -1;
    const copy = this.#calls.pidfdGetfd(this.#process, fd);
    if (copy >= 0) return copy;
    if (copy === ERRNO.EBADF) return -1;
    if (copy === ERRNO.EPERM) {
      throw new SystemError(
        'EPERM',
        'the connections of the relay before cannot be taken over: this needs CAP_SYS_PTRACE here (kernel.yama.ptrace_scope)',
      );
    }
    return mustCall('pidfd_getfd', copy);
  }

  /** The sockets it keeps besides those of `known`. */
  otherSockets(known: ReadonlySet<number>): number[] {
    const directory = `/proc/${this.#pid}/fd`;
    return readdirSync(directory)
      .map(Number)
      .filter((fd) => {
        if (known.has(fd)) return false;
        try {
          return readlinkSync(`${directory}/${fd}`).startsWith('socket:');
        } catch {
          return false;
        }
      });
  }

  close(): void {
    this.#calls.close(this.#process);
  }
}
