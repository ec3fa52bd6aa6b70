/**
 * Borrows a socket of another process (pidfd_open(2), pidfd_getfd(2)): needs the right to trace it,
 * which is the same user or CAP_SYS_PTRACE.
 * @module
 */
import { closeSync } from 'node:fs';
import { libc, must, syscallNumber } from './libc.ts';

/** A descriptor for the process. Close it. Throws `SystemError`: ESRCH where it is gone. */
export function openProcess(pid: number): number {
  const result = libc().syscall(syscallNumber('pidfdOpen'), pid, 0, 0, 0);
  return must(`pidfd_open(${pid})`, result);
}

/**
 * Runs `body` on a duplicate of a process's descriptor and closes it at once: while we have it the
 * owner's close() would end nothing. Throws `SystemError`: EPERM without the right, EBADF where it
 * is closed by now.
 */
export function withBorrowed<Result>(
  process: number,
  fd: number,
  body: (fd: number) => Result,
): Result {
  const result = libc().syscall(syscallNumber('pidfdGetfd'), process, fd, 0, 0);
  const borrowed = must(`pidfd_getfd(${fd})`, result);
  try {
    return body(borrowed);
  } finally {
    closeSync(borrowed);
  }
}
