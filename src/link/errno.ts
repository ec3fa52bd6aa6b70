/**
 * From the kernel's errno to a link's reason. A dead peer has no fixed errno: the same silence is
 * ETIMEDOUT or EHOSTUNREACH, depending on what was in flight.
 * @module
 */
import type { Reason } from '../keepalive/keepalive.ts';

const REASON_OF: Readonly<Record<string, Reason>> = {
  ETIMEDOUT: 'no-answer',
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  ECONNABORTED: 'reset',
  EPIPE: 'reset',
  ENOTFOUND: 'name-not-found',
  EAI_AGAIN: 'name-not-found',
};

/** The reason for an errno name; everything unlisted is a path that cannot be used. */
export function reasonOf(errno: string): Reason {
  return REASON_OF[errno] ?? 'unreachable';
}

/** The errno name of an error from Node, or its message where it has none. */
export function errnoOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.message;
}
