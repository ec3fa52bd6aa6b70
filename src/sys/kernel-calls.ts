/**
 * The system calls of a program that moves bytes without seeing them: typed, and cheap enough for one
 * call a message. Addresses are numbers, memory comes from mmap(2), so that it never moves; and each
 * call answers what the kernel itself answers: zero or more, or a negative errno. Linux only. It
 * decides nothing.
 * @module
 */
import os from 'node:os';
import { errnoName, errnoOfThread, ffi } from './libc.ts';
import { SystemError } from './system-error.ts';

/** Memory outside of JavaScript's heap. */
export interface Memory {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly ints: Int32Array;
  readonly doubles: Float64Array;
}

/** The calls. Whoever tests what happens between two of them may put others in their place. */
export interface KernelCalls {
  /** splice(2) between a socket and a pipe, never waiting (SPLICE_F_MOVE, SPLICE_F_NONBLOCK). */
  splice(from: number, to: number, length: number): number;
  epollCreate(): number;
  epollCtl(epoll: number, operation: number, fd: number, event: number): number;
  epollWait(epoll: number, events: number, most: number, timeoutMs: number): number;
  accept(fd: number, address: number, length: number): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: number, length: number): number;
  connect(fd: number, address: number, length: number): number;
  listen(fd: number, backlog: number): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  setsockopt(fd: number, level: number, name: number, value: number, length: number): number;
  getsockopt(fd: number, level: number, name: number, value: number, length: number): number;
  getsockname(fd: number, address: number, length: number): number;
  getpeername(fd: number, address: number, length: number): number;
  /** A pipe whose ends never wait: two descriptors at `ends`. */
  pipe(ends: number): number;
  fcntl(fd: number, command: number, value: number): number;
  ioctl(fd: number, request: number, value: number): number;
  /** Room on the disk for a file's first bytes, which read as zeros: fallocate(2). */
  reserve(fd: number, length: number): number;
  read(fd: number, into: number, length: number): number;
  write(fd: number, from: number, length: number): number;
  recvmmsg(fd: number, messages: number, count: number, flags: number): number;
  sendmmsg(fd: number, messages: number, count: number, flags: number): number;
  poll(entries: number, count: number, timeoutMs: number): number;
  kill(pid: number, signal: number): number;
  waitpid(pid: number, options: number): number;
  pidfdOpen(pid: number): number;
  pidfdGetfd(process: number, fd: number): number;
  /** Sets the thread's blocked signals from `mask` (8 bytes; 0: none is set), the old ones to `old`. */
  signalMask(mask: number, old: number): number;
  /**
   * A process that begins with a prepared chain of calls, or with the C library's pause(3p) for 0, on
   * `stackTop`, and whose id the kernel stores.
   */
  clone(chain: number, stackTop: number, flags: number, storePid: number): number;
  madvise(address: number, length: number, advice: number): number;
  /** Where a function of the C library is; 0: it has none of that name. */
  find(name: string): number;
  /** Where the C library keeps this thread's errno, and with it what each of its calls may touch. */
  errnoAddress(): number;
  /** Zeroed memory of our own, for ever. Throws `SystemError`. */
  allocate(length: number): Memory;
  /** A file's bytes, shared with everybody who maps it. Throws `SystemError`. */
  mapShared(fd: number, length: number): Memory;
}

export const O_NONBLOCK = 0x800;
export const O_CLOEXEC = 0x80000;

const SPLICE_MOVE_NONBLOCK = 3;
const SYS = { x64: { sigprocmask: 14 }, arm64: { sigprocmask: 135 } } as const;
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const SIG_SETMASK = 2;
const SIGNAL_SET_BYTES = 8;

/** `-EAGAIN` and its like, for comparing with what a call answered. */
export const ERRNO: Readonly<
  Record<
    'EAGAIN' | 'EINTR' | 'EINPROGRESS' | 'EBADF' | 'EPERM' | 'ENOSYS' | 'EMFILE' | 'ENFILE',
    number
  >
> = {
  EAGAIN: -os.constants.errno.EAGAIN,
  EINTR: -os.constants.errno.EINTR,
  EINPROGRESS: -os.constants.errno.EINPROGRESS,
  EBADF: -os.constants.errno.EBADF,
  EPERM: -os.constants.errno.EPERM,
  ENOSYS: -os.constants.errno.ENOSYS,
  EMFILE: -os.constants.errno.EMFILE,
  ENFILE: -os.constants.errno.ENFILE,
};

/** Turns a negative errno into a `SystemError` that names the call. */
export function mustCall(call: string, result: number): number {
  if (result >= 0) return result;
  const name = errnoName(-result);
  throw new SystemError(name, `${call}: the kernel answered ${name}`);
}

/** Stores an address in two words, as structures of 64-bit machines have it. */
export function storeAddress(ints: Int32Array, word: number, address: number): void {
  ints[word] = address | 0;
  ints[word + 1] = Math.floor(address / 2 ** 32);
}

let made: KernelCalls | undefined;

/** The calls of this machine. Throws `SystemError` (`ffi-missing`, `bad-architecture`). */
export function kernelCalls(): KernelCalls {
  made ??= load();
  return made;
}

type Koffi = ReturnType<typeof ffi>;
type Call = (...args: number[]) => number;
type Declare = (name: string, args: readonly string[], result?: string) => Call;

const [INT, LONG] = ['int', 'int64'];

/**
 * Declares calls that answer a negative errno (see `errnoOfThread`), which is looked at only after a
 * failure. Written out by length, for a spread would cost more than the call itself.
 */
function declarer(koffi: Koffi): Declare {
  const library = koffi.load(null);
  const errno = errnoOfThread(koffi);
  return (name, args, result = INT) => {
    const bare = library.func(name, result, [...args]) as Call;
    switch (args.length) {
      case 1:
        return (a) => {
          const r = bare(a as number);
          return r < 0 ? -(errno[0] as number) : r;
        };
      case 2:
        return (a, b) => {
          const r = bare(a as number, b as number);
          return r < 0 ? -(errno[0] as number) : r;
        };
      case 3:
        return (a, b, c) => {
          const r = bare(a as number, b as number, c as number);
          return r < 0 ? -(errno[0] as number) : r;
        };
      case 4:
        return (a, b, c, d) => {
          const r = bare(a as number, b as number, c as number, d as number);
          return r < 0 ? -(errno[0] as number) : r;
        };
      case 5:
        return (a, b, c, d, e) => {
          const r = bare(a as number, b as number, c as number, d as number, e as number);
          return r < 0 ? -(errno[0] as number) : r;
        };
      case 6:
        return (a, b, c, d, e, f) => {
          const r = bare(
            a as number,
            b as number,
            c as number,
            d as number,
            e as number,
            f as number,
          );
          return r < 0 ? -(errno[0] as number) : r;
        };
      default:
        return (...values) => {
          const r = bare(...values);
          return r < 0 ? -(errno[0] as number) : r;
        };
    }
  };
}

function load(): KernelCalls {
  const koffi = ffi();
  const arch = process.arch as keyof typeof SYS;
  if (!Object.hasOwn(SYS, arch)) {
    const known = Object.keys(SYS).join(' and ');
    throw new SystemError('bad-architecture', `this needs Linux on ${known}, not ${process.arch}`);
  }
  const call = declarer(koffi);
  return { ...socketCalls(call), ...pipeCalls(call), ...processCalls(koffi, call, arch) };
}

type Part<Names extends keyof KernelCalls> = Pick<KernelCalls, Names>;

function socketCalls(
  call: Declare,
): Part<
  | 'accept'
  | 'socket'
  | 'bind'
  | 'connect'
  | 'listen'
  | 'shutdown'
  | 'setsockopt'
  | 'getsockopt'
  | 'getsockname'
  | 'getpeername'
  | 'recvmmsg'
  | 'sendmmsg'
> {
  const accept4 = call('accept4', [INT, LONG, LONG, INT]);
  const recvmmsg = call('recvmmsg', [INT, LONG, INT, INT, LONG]);
  return {
    accept: (fd, address, length) => accept4(fd, address, length, O_NONBLOCK | O_CLOEXEC),
    socket: call('socket', [INT, INT, INT]),
    bind: call('bind', [INT, LONG, INT]),
    connect: call('connect', [INT, LONG, INT]),
    listen: call('listen', [INT, INT]),
    shutdown: call('shutdown', [INT, INT]),
    setsockopt: call('setsockopt', [INT, INT, INT, LONG, INT]),
    getsockopt: call('getsockopt', [INT, INT, INT, LONG, LONG]),
    getsockname: call('getsockname', [INT, LONG, LONG]),
    getpeername: call('getpeername', [INT, LONG, LONG]),
    recvmmsg: (fd, messages, count, flags) => recvmmsg(fd, messages, count, flags, 0),
    sendmmsg: call('sendmmsg', [INT, LONG, INT, INT]),
  };
}

function pipeCalls(
  call: Declare,
): Part<
  | 'splice'
  | 'epollCreate'
  | 'epollCtl'
  | 'epollWait'
  | 'close'
  | 'pipe'
  | 'fcntl'
  | 'ioctl'
  | 'reserve'
  | 'read'
  | 'write'
  | 'poll'
> {
  const splice = call('splice', [INT, LONG, INT, LONG, LONG, INT]);
  const epollCreate1 = call('epoll_create1', [INT]);
  const pipe2 = call('pipe2', [LONG, INT]);
  const fallocate = call('fallocate', [INT, INT, LONG, LONG]);
  return {
    splice: (from, to, length) => splice(from, 0, to, 0, length, SPLICE_MOVE_NONBLOCK),
    epollCreate: () => epollCreate1(O_CLOEXEC),
    epollCtl: call('epoll_ctl', [INT, INT, INT, LONG]),
    epollWait: call('epoll_wait', [INT, LONG, INT, INT]),
    close: call('close', [INT]),
    pipe: (ends) => pipe2(ends, O_NONBLOCK | O_CLOEXEC),
    fcntl: call('fcntl', [INT, INT, INT]),
    ioctl: call('ioctl', [INT, LONG, LONG]),
    reserve: (fd, length) => fallocate(fd, 0, 0, length),
    read: call('read', [INT, LONG, LONG], LONG),
    write: call('write', [INT, LONG, LONG], LONG),
    poll: call('poll', [LONG, LONG, INT]),
  };
}

function processCalls(
  koffi: Koffi,
  call: Declare,
  arch: keyof typeof SYS,
): Part<
  | 'kill'
  | 'waitpid'
  | 'pidfdOpen'
  | 'pidfdGetfd'
  | 'signalMask'
  | 'clone'
  | 'madvise'
  | 'find'
  | 'errnoAddress'
  | 'allocate'
  | 'mapShared'
> {
  const syscall = call('syscall', [LONG, LONG, LONG, LONG, LONG], LONG);
  const waitpid = call('waitpid', [INT, LONG, INT]);
  const mmap = call('mmap', [LONG, LONG, INT, INT, INT, LONG], LONG);
  const clone = call('clone', [LONG, LONG, INT, LONG, LONG, LONG, LONG]);
  const dlsym = koffi.load(null).func('dlsym', LONG, [LONG, 'str']) as (
    handle: number,
    name: string,
  ) => number;
  const find = (name: string) => dlsym(0, name);
  const memory = (address: number, length: number): Memory => {
    const buffer = koffi.view(BigInt(mustCall('mmap', address)), length) as ArrayBuffer;
    return {
      address,
      bytes: new Uint8Array(buffer),
      ints: new Int32Array(buffer),
      doubles: new Float64Array(buffer),
    };
  };
  return {
    kill: call('kill', [INT, INT]),
    waitpid: (pid, options) => waitpid(pid, 0, options),
    pidfdOpen: (pid) => syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0),
    pidfdGetfd: (process, fd) => syscall(SYS_PIDFD_GETFD, process, fd, 0, 0),
    signalMask: (mask, old) =>
      syscall(SYS[arch].sigprocmask, SIG_SETMASK, mask, old, SIGNAL_SET_BYTES),
    clone: (chain, stackTop, flags, storePid) => {
      const first = find(chain === 0 ? 'pause' : 'setcontext');
      return clone(first, stackTop, flags, chain, storePid, 0, 0);
    },
    madvise: call('madvise', [LONG, LONG, INT]),
    find,
    errnoAddress: call('__errno_location', [], LONG),
    allocate: (length) =>
      memory(mmap(0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0), length),
    mapShared: (fd, length) => memory(mmap(0, length, PROT_READ_WRITE, MAP_SHARED, fd, 0), length),
  };
}
