/**
 * One at a time: an advisory lock on an open file (flock(2)), freed when it is closed.
 * @module
 */
import { errnoName, libc, must } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Waits until nobody else has the lock, and takes it. Throws `SystemError`. */
export function lockFile(fd: number): void {
  must('flock', libc().flock(fd, LOCK_EX));
}

/** Takes the lock if nobody else has it, and returns whether it did. Throws `SystemError`. */
export function tryLockFile(fd: number): boolean {
  const result = libc().flock(fd, LOCK_EX | LOCK_NB);
  if (result === -1 && errnoName(libc().errno()) === 'EAGAIN') return false;
  must('flock', result);
  return true;
}
