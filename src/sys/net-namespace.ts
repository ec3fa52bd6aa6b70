/**
 * Network namespaces (namespaces(7), setns(2)): runs a function inside another one. Only this thread
 * enters it, and only until the function returns, so it must be synchronous; sockets it opens stay
 * there.
 * @module
 */
import { closeSync, openSync, statSync } from 'node:fs';
import { libc, must } from './libc.ts';
import { SystemError } from './system-error.ts';

const CLONE_NEWNET = 0x4000_0000;
const OWN = '/proc/thread-self/ns/net';

/** Where `ip netns` and container engines keep names for namespaces. */
const NAMED = ['/run/netns', '/var/run/netns', '/run/docker/netns'];

/**
 * The file of a namespace: a path, a name of `ip netns`, or the id of a process in it; `undefined` if
 * there is none. Throws `SystemError` where that may not be looked at.
 */
export function netNamespaceFile(text: string): string | undefined {
  if (/^\d+$/.test(text)) return existing(`/proc/${text}/ns/net`);
  if (text.includes('/')) return existing(text);
  return NAMED.map((place) => existing(`${place}/${text}`)).find((file) => file !== undefined);
}

function existing(file: string): string | undefined {
  const stats = asked(file, () => statSync(file, { throwIfNoEntry: false }));
  return stats?.isFile() === true ? file : undefined;
}

/** Runs `body` in the namespace of `file`; `undefined` is our own. Throws `SystemError`. */
export function inNetNamespace<Result>(file: string | undefined, body: () => Result): Result {
  if (file === undefined || isOwn(file)) return body();
  const home = openSync(OWN, 'r');
  try {
    const fd = asked(file, () => openSync(file, 'r'));
    try {
      enter(fd, file);
    } finally {
      closeSync(fd);
    }
    try {
      return body();
    } finally {
      enter(home, OWN);
    }
  } finally {
    closeSync(home);
  }
}

function isOwn(file: string): boolean {
  const [one, own] = [asked(file, () => statSync(file)), statSync(OWN)];
  return one.dev === own.dev && one.ino === own.ino;
}

/** Says what is missing where a namespace's file is gone, or another user's. */
function asked<Result>(file: string, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    const mend = code === 'EACCES' ? "; another user's process needs CAP_SYS_PTRACE" : '';
    throw new SystemError(code, `${file}: the kernel answered ${code}${mend}`);
  }
}

function enter(fd: number, file: string): void {
  const result = libc().setns(fd, CLONE_NEWNET);
  try {
    must(`setns(${file})`, result);
  } catch (error) {
    const { code, message } = error as SystemError;
    if (code === 'EINVAL') throw new SystemError(code, `${file} is no network namespace`);
    if (code !== 'EPERM') throw error;
    throw new SystemError(code, `${message}; entering a network namespace needs CAP_SYS_ADMIN`);
  }
}
