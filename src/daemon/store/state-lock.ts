/**
 * One daemon a state directory: a lock on a file in it, which the kernel frees however the daemon
 * ends. The file holds the process id of who has it, for people.
 * @module
 */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { tryLockFile } from '../../sys/file-lock.ts';
import { SystemError } from '../../sys/system-error.ts';

const LOCK_NAME = 'daemon.lock';

/** A lock that is held, or why there is none. */
export interface StateLock {
  /** Why two daemons would not notice each other here, or `undefined`. */
  readonly trouble: string | undefined;
  release(): void;
}

/**
 * Takes the directory for this process. Throws `SystemError` (`already-running`) if another one
 * has it. Where no file can be locked the daemon must run all the same: see `trouble`.
 */
export function lockState(directory: string): StateLock {
  const file = path.join(directory, LOCK_NAME);
  let fd: number | undefined;
  try {
    fd = openSync(file, 'a+', 0o600);
    if (!tryLockFile(fd)) throw alreadyRunning(directory, file);
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`);
    const held = fd;
    return { trouble: undefined, release: () => closeSync(held) };
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'already-running') throw error;
    const text = `${file} cannot be locked (${message}): a second daemon here would not be refused`;
    return { trouble: text, release: () => undefined };
  }
}

/** Who has the directory, in words, or `undefined`. Throws `SystemError` where no file can be locked. */
export function stateHolder(directory: string): string | undefined {
  const file = path.join(directory, LOCK_NAME);
  if (!existsSync(file)) return undefined;
  const fd = openSync(file, 'r');
  try {
    return tryLockFile(fd) ? undefined : holderIn(file);
  } finally {
    closeSync(fd);
  }
}

function holderIn(file: string): string {
  const pid = readFileSync(file, 'utf8').trim();
  return /^\d+$/.test(pid) ? `process ${pid}` : 'another process';
}

function alreadyRunning(directory: string, file: string): SystemError {
  const who = holderIn(file);
  return new SystemError(
    'already-running',
    `a daemon (${who}) runs with ${directory}; stop it, or choose another with --state-dir`,
  );
}
