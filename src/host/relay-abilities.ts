/**
 * What this machine gives a relay: descriptors, pipes, low ports, bytes moved without being copied, and
 * the right to take connections over from a relay that is gone. Each is done once, in small.
 * @module
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { type KernelCalls, kernelCalls, mustCall } from '../sys/kernel-calls.ts';
import { openProcess, withBorrowed } from '../sys/pidfd.ts';
import { SystemError } from '../sys/system-error.ts';
import type { Trial } from './ability.ts';

const F_SETPIPE_SZ = 1_031;
const PIPE_BYTES = 256 * 1_024;
const PAGE_BYTES = 4_096;
/** Two sockets a connection, and a pipe each way while its bytes wait. */
const MOST_DESCRIPTORS_A_FLOW = 6;
const FEW_DESCRIPTORS = 4_096;
/** Only while it is tried. */
const ORPHAN_SECONDS = 5;
const ORPHAN = `sleep ${ORPHAN_SECONDS} >/dev/null 2>&1 & echo $!`;
const LAST_LOW_PORT = 1_023;
const MOST_PORTS_TRIED = 20;

/** All of them, in the order in which they are told. */
export const RELAY_TRIALS: readonly Trial[] = [
  { name: 'splice', serves: 'relays: bytes that never leave the kernel', attempt: spliceOnce },
  {
    name: 'takeover',
    serves: 'relays: connections outlive their process',
    needs: 'the GNU C library, or CAP_SYS_PTRACE, or kernel.yama.ptrace_scope=0',
    attempt: borrowOfOrphan,
  },
  {
    name: 'pipes',
    serves: 'relays: room for bytes on their way',
    needs: 'a higher fs.pipe-user-pages-soft or fs.pipe-max-size, or CAP_SYS_RESOURCE',
    attempt: growPipe,
  },
  { name: 'descriptors', serves: 'relays: how many connections', attempt: countDescriptors },
  {
    name: 'low-ports',
    serves: 'listening on ports below 1024',
    needs: 'CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start',
    attempt: listenLow,
  },
];

/** A pipe, closed afterwards. */
function withPipe<Result>(body: (calls: KernelCalls, read: number, write: number) => Result) {
  const calls = kernelCalls();
  const ends = calls.allocate(4_096);
  mustCall('pipe2', calls.pipe(ends.address));
  const [read = -1, write = -1] = ends.ints;
  try {
    return body(calls, read, write);
  } finally {
    calls.close(read);
    calls.close(write);
  }
}

function spliceOnce(): string {
  const sink = openSync('/dev/null', 'w');
  try {
    return withPipe((calls, read, write) => {
      const byte = calls.allocate(4_096).address;
      mustCall('write', calls.write(write, byte, 1));
      mustCall('splice', calls.splice(read, sink, 1));
      calls.close(mustCall('epoll_create1', calls.epollCreate()));
      return 'splice(2) and epoll(7) answer';
    });
  } finally {
    closeSync(sink);
  }
}

/** A process that is no child of ours any more, as the keeper of a relay that was killed is none. */
async function borrowOfOrphan(): Promise<string> {
  const parent = spawn('sh', ['-c', ORPHAN], { stdio: ['ignore', 'pipe', 'ignore'] });
  const failed = once(parent, 'error').then(([error]) => Promise.reject(error as Error));
  const said = once(parent.stdout, 'data').then(([chunk]) => Number(String(chunk)));
  const exited = once(parent, 'exit');
  const orphan = await Promise.race([said, failed]);
  try {
    await exited;
    const handle = openProcess(orphan);
    try {
      withBorrowed(handle, 0, () => undefined);
    } finally {
      closeSync(handle);
    }
    return 'pidfd_getfd(2) copies from a process that is not our child';
  } catch (error) {
    // Where makecontext(3) is, keepers send what they keep themselves.
    if (!(error instanceof SystemError) || kernelCalls().find('makecontext') === 0) throw error;
    return `keepers send their connections (SCM_RIGHTS), for pidfd_getfd(2) is refused: ${error.code}`;
  } finally {
    process.kill(orphan);
  }
}

function growPipe(): string {
  withPipe((calls, _, write) => {
    mustCall('fcntl(F_SETPIPE_SZ)', calls.fcntl(write, F_SETPIPE_SZ, PIPE_BYTES));
  });
  const pages = Number(readFileSync('/proc/sys/fs/pipe-user-pages-soft', 'utf8'));
  const most = pages === 0 ? 'any number' : Math.floor((pages * PAGE_BYTES) / PIPE_BYTES);
  const limit = `${most} of them a user without CAP_SYS_RESOURCE (fs.pipe-user-pages-soft)`;
  return `${PIPE_BYTES / 1_024} KiB each; ${limit}`;
}

function countDescriptors(): string {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const [, text = ''] = /^Max open files\s+(\d+|unlimited)/m.exec(limits) ?? [];
  const most = text === 'unlimited' ? Infinity : Number(text);
  const flows = Math.floor(most / MOST_DESCRIPTORS_A_FLOW);
  const room = `${text} descriptors: at least ${flows.toLocaleString('en')} connections`;
  if (most >= FEW_DESCRIPTORS) return room;
  const mend = 'raise it: ulimit -n, or LimitNOFILE= of the service';
  throw new SystemError('few-descriptors', `${room}; ${mend}`);
}

async function listenLow(): Promise<string> {
  for (let port = LAST_LOW_PORT; port > LAST_LOW_PORT - MOST_PORTS_TRIED; port -= 1) {
    const server = net.createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
      return `port ${port} can be listened on`;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    } finally {
      server.close();
    }
  }
  throw new SystemError('EADDRINUSE', 'every port that was tried is in use');
}
