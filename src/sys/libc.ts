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
  errno(): number;
}

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

/** Turns a result of -1 into a `SystemError` that names the call and the errno. */
export function must(call: string, result: number): number {
  if (result !== -1) return result;
  const number = libc().errno();
  const errno = Object.entries(os.constants.errno).find(([, value]) => value === number);
  const name = errno?.[0] ?? `errno ${number}`;
  throw new SystemError(name, `${call}: the kernel answered ${name}`);
}

function load(): Libc | SystemError {
  if (process.platform !== 'linux') {
    return new SystemError(
      'ffi-missing',
      `system calls by FFI need Linux, not ${process.platform}`,
    );
  }
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const library = koffi.load(null);
    const name = 'int fd, int level, int name, ';
    return {
      setsockopt: library.func(`int setsockopt(${name}void *value, uint32_t length)`),
      getsockopt: library.func(`int getsockopt(${name}void *value, void *length)`),
      errno: () => koffi.errno(),
    };
  } catch (error) {
    const cause = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    const mend = 'install it beside linkhold: npm install koffi';
    return new SystemError('ffi-missing', `the koffi package cannot be loaded (${cause}); ${mend}`);
  }
}
