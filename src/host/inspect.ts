/**
 * `inspect(socket)`: what the kernel holds for a connection of this program, how it is, and what
 * would become of it if its peer died.
 * @module
 */
import type { Socket } from 'node:net';
import { ffiMissing } from '../sys/libc.ts';
import { descriptorOf, readTcpInfo, readTcpOptions, type TcpOptions } from '../sys/tcp-socket.ts';
import { UsageError } from '../time/usage-error.ts';
import { decodeTcpInfo, type TcpInfo } from '../wire/tcp-info.ts';
import { readRetries2 } from './retries.ts';
import { type Detection, judge, type Risk } from './risk.ts';

/** A connection as the kernel sees it. Everything is `null` where it cannot be read. */
export interface Inspection {
  readonly keepalive: TcpOptions | null;
  readonly info: TcpInfo | null;
  /** When a dead peer is known, in the worst case; `idleMs` is `null` for never. */
  readonly detection: Detection | null;
  readonly risks: readonly Risk[];
  /** What mends it, in one line; `null` where nothing is to be mended. */
  readonly advice: string | null;
  /** What is missing on this machine, where something is. */
  readonly unreadable?: string;
}

/**
 * Looks at a connected `net.Socket` or `tls.TLSSocket`. Linux with the package koffi; elsewhere all is
 * `null` and `unreadable` says what is missing, for Node can set options but not read them. Throws
 * `UsageError` (`not-a-socket`) for what has no open socket under it, and `SystemError`.
 */
export function inspect(socket: Socket): Inspection {
  const unreadable = ffiMissing();
  if (unreadable !== undefined) {
    const nothing = { keepalive: null, info: null, detection: null, risks: [], advice: null };
    return { ...nothing, unreadable };
  }
  const fd = descriptorOf(socket);
  if (fd === undefined) {
    const mend = 'pass a connected net.Socket or tls.TLSSocket';
    throw new UsageError('not-a-socket', `inspect: no open TCP socket is under this; ${mend}`);
  }
  const keepalive = readTcpOptions(fd);
  const info = decodeTcpInfo(readTcpInfo(fd));
  const retries2 = readRetries2();
  return { keepalive, info, ...judge({ ...keepalive, retries2, unanswered: info }) };
}
