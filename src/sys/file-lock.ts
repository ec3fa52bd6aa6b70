/**
 * One at a time: an advisory lock on an open file (flock(2)), freed when it is closed.
 * @module
 */
import { libc, must } from './libc.ts';

const LOCK_EX = 2;

/** Waits until nobody else has the lock, and takes it. Throws `SystemError`. */
export function lockFile(fd: number): void {
  must('flock', libc().flock(fd, LOCK_EX));
}
