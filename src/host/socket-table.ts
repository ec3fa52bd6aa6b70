/**
 * This machine's TCP connections with their options and processes: sock_diag for the sockets, BPF
 * iterators for what it does not tell. Without the right to those, what is left: the options of
 * sockets that we may borrow, the processes that we may look into, and why the rest is missing.
 * @module
 */
import { closing } from '../sys/bpf.ts';
import { inNetNamespace } from '../sys/net-namespace.ts';
import { openProcess, withBorrowed } from '../sys/pidfd.ts';
import { SystemError } from '../sys/system-error.ts';
import { readSocketCookie, readTcpOptions, type TcpOptions } from '../sys/tcp-socket.ts';
import type { DiagSocket, TcpState } from '../wire/inet-diag.ts';
import { listSockets } from './diag.ts';
import { type FoundOptions, readAllOptions } from './option-iterator.ts';
import {
  type Descriptor,
  descriptorsFromProc,
  knowsProcessIds,
  type Owner,
  ownersByIterator,
  processName,
} from './owners.ts';
import { readRetries2 } from './retries.ts';

/** A connection of this machine. */
export interface SocketRecord {
  readonly socket: DiagSocket;
  /** `undefined` where they cannot be read; then `unreadable` says why. */
  readonly options: TcpOptions | undefined;
  readonly unreadable: string | undefined;
  /** `undefined` where no process has it, or none that we may look into. */
  readonly owner: Owner | undefined;
  /** Where `owner` has it, if that was looked for. */
  readonly descriptor: Descriptor | undefined;
}

export interface SocketTable {
  readonly records: readonly SocketRecord[];
  /** Ports that somebody listens on: a connection from there was accepted. */
  readonly listening: ReadonlySet<number>;
  /** net.ipv4.tcp_retries2 of the namespace. */
  readonly retries2: number;
  /** Why BPF iterators are not to be had, or `undefined` if they were used. */
  readonly withoutBpf: SystemError | undefined;
}

/** States of a connection that somebody may still believe in. */
const STATES: readonly TcpState[] = [
  'established',
  'syn-sent',
  'fin-wait-1',
  'fin-wait-2',
  'close-wait',
  'last-ack',
  'closing',
];

/** A connection in one of these that no process has waits in a listener's queue to be accepted. */
const OPEN: readonly TcpState[] = ['established', 'close-wait'];

const ITERATOR_NEEDS = 'iterating sockets by BPF needs CAP_BPF and CAP_PERFMON';
const NOT_OURS =
  "another user's: its options need CAP_BPF and CAP_PERFMON (or CAP_SYS_PTRACE) to be seen";

/**
 * The connections of a network namespace, named by its file; `undefined` is our own. Throws
 * `SystemError` where even listing is impossible.
 */
export function readSocketTable(namespace?: string): SocketTable {
  const { all, found, retries2 } = inNetNamespace(namespace, () => ({
    all: listSockets([...STATES, 'listen']),
    found: orReason(readAllOptions, ITERATOR_NEEDS),
    retries2: readRetries2(),
  }));
  const listeners = all.filter(({ state }) => state === 'listen');
  const sockets = all.filter(({ state }) => state !== 'listen');
  const listening = new Set(listeners.map(({ localPort }) => localPort));
  if (found instanceof SystemError) {
    const borrowed = borrowedRecords(sockets);
    const records = inNetNamespace(namespace, () => withoutClosed(borrowed));
    return { records, listening, retries2, withoutBpf: found };
  }
  return { records: iteratedRecords(sockets, found), listening, retries2, withoutBpf: undefined };
}

function iteratedRecords(
  sockets: readonly DiagSocket[],
  found: ReadonlyMap<number, FoundOptions>,
): SocketRecord[] {
  const owners = ownersOf();
  const records: SocketRecord[] = [];
  for (const socket of sockets) {
    const options = found.get(socket.cookie)?.options;
    // It was closed in between.
    if (options === undefined) continue;
    const owner = owners(socket.inode);
    records.push({ socket, options, unreadable: undefined, owner, descriptor: undefined });
  }
  return records;
}

/** The result, or why this machine will not give it; EPERM in words that say what is missing. */
function orReason<Result>(attempt: () => Result, needs: string): Result | SystemError {
  try {
    return attempt();
  } catch (error) {
    if (!(error instanceof SystemError) || error.code === 'ffi-missing') throw error;
    return error.code === 'EPERM' ? new SystemError('EPERM', needs) : error;
  }
}

/** Finds a socket's process by its inode. */
function ownersOf(): (inode: number) => Owner | undefined {
  const pids = knowsProcessIds() ? orReason(ownersByIterator, ITERATOR_NEEDS) : undefined;
  if (pids instanceof Map) return named((inode) => pids.get(inode));
  const descriptors = descriptorsFromProc();
  return named((inode) => descriptors.get(inode)?.pid);
}

function named(pidOf: (inode: number) => number | undefined): (inode: number) => Owner | undefined {
  const known = new Map<number, Owner>();
  return (inode) => {
    const pid = inode === 0 ? undefined : pidOf(inode);
    if (pid === undefined) return undefined;
    const owner = known.get(pid) ?? { pid, name: processName(pid) };
    known.set(pid, owner);
    return owner;
  };
}

/** Reads what can be read of sockets of processes that we may trace. */
function borrowedRecords(sockets: readonly DiagSocket[]): SocketRecord[] {
  const descriptors = descriptorsFromProc();
  const owners = named((inode) => descriptors.get(inode)?.pid);
  return sockets.map((socket) => {
    const descriptor = descriptors.get(socket.inode);
    const owner = owners(socket.inode);
    if (descriptor === undefined) {
      return {
        socket,
        options: undefined,
        unreadable: withoutDescriptor(socket),
        owner,
        descriptor,
      };
    }
    const options = orReason(
      () => withSocketOf(descriptor, socket.cookie, readTcpOptions),
      NOT_OURS,
    );
    if (options instanceof SystemError) {
      return { socket, options: undefined, unreadable: options.message, owner, descriptor };
    }
    return { socket, options, unreadable: undefined, owner, descriptor };
  });
}

/** Why one that waits in a listener's queue cannot be borrowed. */
export const UNACCEPTED =
  'its program has not accepted it yet; only CAP_BPF and CAP_PERFMON reach it so long';

/** Whether it waits in a listener's queue: its program has not taken it yet. */
export function isUnaccepted({ inode, state }: DiagSocket): boolean {
  return inode === 0 && OPEN.includes(state);
}

function withoutDescriptor(socket: DiagSocket): string {
  if (isUnaccepted(socket)) return UNACCEPTED;
  return socket.inode === 0 ? 'no process has it any more' : NOT_OURS;
}

/** Without those that were closed while we looked for their descriptors: nothing was hidden from us. */
function withoutClosed(records: readonly SocketRecord[]): readonly SocketRecord[] {
  const isDoubtful = ({ socket, options }: SocketRecord) =>
    options === undefined && socket.inode !== 0;
  if (!records.some(isDoubtful)) return records;
  const held = listSockets(STATES).filter(({ inode }) => inode !== 0);
  const present = new Set(held.map(({ cookie }) => cookie));
  return records.filter((record) => !isDoubtful(record) || present.has(record.socket.cookie));
}

/**
 * Runs `body` on a process's socket, borrowed for so long, if it still is the socket with that
 * cookie. Throws `SystemError`: `gone` if it is another one by now.
 */
export function withSocketOf<Result>(
  { pid, fd }: Descriptor,
  cookie: number,
  body: (fd: number) => Result,
): Result {
  const process = openProcess(pid);
  return closing(process, () =>
    withBorrowed(process, fd, (borrowed) => {
      if (cookieOf(borrowed) === cookie) return body(borrowed);
      throw new SystemError('gone', `descriptor ${fd} of process ${pid} is another socket by now`);
    }),
  );
}

/** `undefined` for a file that is no socket. */
function cookieOf(fd: number): number | undefined {
  try {
    return readSocketCookie(fd);
  } catch (error) {
    if ((error as SystemError).code === 'ENOTSOCK') return undefined;
    throw error;
  }
}
