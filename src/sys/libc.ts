/**
 * The C library by FFI: the only file that loads koffi. Loaded on first use, so that everything
 * that needs no system call works where koffi is missing.
 * @module
 */
import { createRequire } from 'node:module';
import os from 'node:os';
import { SystemError } from './system-error.ts';

/** The calls we make, with the kernel's own argument order. They answer -1 on failure. */
interface Libc {
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, length: number): number;
  getsockopt(
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: Uint8Array,
  ): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, length: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  recv(fd: number, into: Uint8Array, length: number, flags: number): number;
  setns(fd: number, type: number): number;
  flock(fd: number, operation: number): number;
  /** syscall(2), for what has no wrapper: up to four numbers or addresses. */
  syscall(number: number, a: number, b: number | bigint, c: number, d: number): number;
  /** mmap(2) of a whole file to read, private; its address, or all ones. */
  mmap(address: number, length: number, protection: number, flags: number, fd: number): bigint;
  /** The bytes at an address; nothing frees them. */
  view(address: bigint, length: number): ArrayBuffer;
  /** Where bytes lie. Whoever passes it on must keep them referenced until the call is over. */
  address(bytes: Uint8Array): bigint;
  /** Of the last of these calls that failed. */
  errno(): number;
}

/** System calls without a wrapper in every C library, where the architectures differ or not. */
const SYSCALLS = {
  x64: { bpf: 321, pidfdOpen: 434, pidfdGetfd: 438 },
  arm64: { bpf: 280, pidfdOpen: 434, pidfdGetfd: 438 },
} as const;

type Koffi = typeof import('koffi');

let loaded: Libc | SystemError | undefined;

/** Why system calls are not to be had here, in one line, or `undefined` if they are. */
export function ffiMissing(): string | undefined {
  loaded ??= load();
  return loaded instanceof SystemError ? loaded.message : undefined;
}

/** The C library. Throws `SystemError` (`ffi-missing`). */
export function libc(): Libc {
  loaded ??= load();
  if (loaded instanceof SystemError) throw loaded;
  return loaded;
}

/** A system call's number on this machine. Throws `SystemError` (`bad-architecture`). */
export function syscallNumber(name: keyof (typeof SYSCALLS)['x64']): number {
  const arch = process.arch as keyof typeof SYSCALLS;
  if (Object.hasOwn(SYSCALLS, arch)) return SYSCALLS[arch][name];
  const known = Object.keys(SYSCALLS).join(' and ');
  throw new SystemError('bad-architecture', `this needs Linux on ${known}, not ${process.arch}`);
}

/** Turns a result of -1 into a `SystemError` that names the call and the errno. */
export function must(call: string, result: number): number {
  if (result !== -1) return result;
  const name = errnoName(libc().errno());
  throw new SystemError(name, `${call}: the kernel answered ${name}`);
}

/** `EPERM` for 1, and so on. */
export function errnoName(number: number): string {
  const found = Object.entries(os.constants.errno).find(([, value]) => value === number);
  return found?.[0] ?? `errno ${number}`;
}

/** Calls into C libraries, for what is none of the C library's own. Throws `SystemError`. */
export function ffi(): Koffi {
  if (process.platform !== 'linux') {
    const text = `calls into C libraries need Linux, not ${process.platform}`;
    throw new SystemError('ffi-missing', text);
  }
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (error) {
    const cause = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    const mend = 'install it beside linkhold: npm install koffi';
    throw new SystemError('ffi-missing', `the koffi package cannot be loaded (${cause}); ${mend}`);
  }
}

/**
 * The calling thread's errno itself, as the one element of an array. It is to be read right after a call:
 * the JavaScript engine makes system calls of its own between two of ours, and some of them fail.
 */
export function errnoOfThread(koffi: Koffi): Int32Array {
  const location = koffi.load(null).func('int64 __errno_location()');
  return new Int32Array(koffi.view(BigInt(location()), 4));
}

function load(): Libc | SystemError {
  try {
    const koffi = ffi();
    const library = koffi.load(null);
    const errno = errnoOfThread(koffi);
    let last = 0;
    const declare = (prototype: string) => {
      const call = library.func(prototype);
      return (...values: unknown[]): number => {
        const result = call(...values);
        if (result === -1) last = errno[0] as number;
        return result;
      };
    };
    const name = 'int fd, int level, int name, ';
    const mmap = library.func(
      'uintptr_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, int64 offset)',
    );
    return {
      setsockopt: declare(`int setsockopt(${name}void *value, uint32_t length)`),
      getsockopt: declare(`int getsockopt(${name}void *value, void *length)`),
      socket: declare('int socket(int domain, int type, int protocol)'),
      bind: declare('int bind(int fd, void *address, uint32_t length)'),
      connect: declare('int connect(int fd, void *address, uint32_t length)'),
      send: declare('intptr_t send(int fd, void *bytes, size_t length, int flags)'),
      recv: declare('intptr_t recv(int fd, void *into, size_t length, int flags)'),
      setns: declare('int setns(int fd, int type)'),
      flock: declare('int flock(int fd, int operation)'),
      syscall: declare('intptr_t syscall(int64 nr, int64 a, int64 b, int64 c, int64 d)'),
      mmap: (...args) => BigInt(mmap(...args, 0)),
      view: (address, length) => koffi.view(address, length),
      address: (bytes) => BigInt(koffi.address(bytes)),
      errno: () => last,
    };
  } catch (error) {
    if (error instanceof SystemError) return error;
    const text = `the C library cannot be loaded: ${(error as Error).message}`;
    return new SystemError('ffi-missing', text);
  }
}
