/**
 * A connection of this machine as programs read it: addresses, process, options, and what would
 * become of it if its peer died.
 * @module
 */
import type { TcpOptions } from '../sys/tcp-socket.ts';
import type { DiagSocket, TcpState, TcpTimer } from '../wire/inet-diag.ts';
import { type Detection, type Judgement, judge, type Risk } from './risk.ts';
import { isUnaccepted, type SocketRecord } from './socket-table.ts';

/** One element of `linkhold sockets --json`. */
export interface SocketReport {
  readonly family: 'ipv4' | 'ipv6';
  readonly local: string;
  readonly remote: string;
  readonly state: TcpState;
  readonly pid: number | null;
  readonly process: string | null;
  /** Hexadecimal: the kernel's own name for the socket. */
  readonly cookie: string;
  /** `null` where it cannot be read; then `unreadable` says why. */
  readonly keepalive: TcpOptions | null;
  readonly unreadable?: string;
  readonly timer: { readonly kind: TcpTimer; readonly expiresMs: number } | null;
  /** Since anything was heard; `null` where the kernel does not tell. */
  readonly idleMs: number | null;
  /** `null` where options are unknown, or where the kernel ends the connection by itself soon. */
  readonly detection: Detection | null;
  readonly risks: readonly Risk[];
  readonly advice: string | null;
}

/** A connection before it is made, or after its program is done with it: the kernel limits those. */
const LIMITED: readonly TcpState[] = ['syn-sent', 'last-ack', 'closing'];

/** Judges the connections of a table; `undefined` where options are unknown or the kernel ends it. */
export function judgeOf(retries2: number): (record: SocketRecord) => Judgement | undefined {
  const known = new Map<TcpOptions, Judgement>();
  return ({ socket, options }) => {
    const { inode, state, info } = socket;
    const orphaned = inode === 0 && !isUnaccepted(socket);
    if (options === undefined || orphaned || LIMITED.includes(state)) return undefined;
    if (info !== undefined && info.probes + info.retransmits > 0) {
      return judge({ ...options, retries2, unanswered: info });
    }
    const judgement = known.get(options) ?? judge({ ...options, retries2 });
    known.set(options, judgement);
    return judgement;
  };
}

export function reportSocket(record: SocketRecord, judgement: Judgement | undefined): SocketReport {
  const { socket, options, owner, unreadable } = record;
  return {
    family: socket.family,
    local: localOf(socket),
    remote: remoteOf(socket),
    state: socket.state,
    pid: owner?.pid ?? null,
    process: owner?.name ?? null,
    cookie: socket.cookie.toString(16),
    keepalive: options ?? null,
    ...(unreadable === undefined ? {} : { unreadable }),
    timer: socket.timer === 'off' ? null : { kind: socket.timer, expiresMs: socket.timerMs },
    // Nothing was heard yet of one being made: the kernel would count from when it started itself.
    idleMs: socket.state === 'syn-sent' ? null : (socket.info?.silentMs ?? null),
    detection: judgement?.detection ?? null,
    risks: judgement?.risks ?? [],
    advice: judgement?.advice ?? null,
  };
}

export function localOf({ localAddress, localPort }: DiagSocket): string {
  return addressAndPort(localAddress, localPort);
}

export function remoteOf({ remoteAddress, remotePort }: DiagSocket): string {
  return addressAndPort(remoteAddress, remotePort);
}

function addressAndPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Whether both ends are this machine's, by their addresses. */
export function isLoopback({ localAddress, remoteAddress }: DiagSocket): boolean {
  return (
    localAddress === remoteAddress || remoteAddress.startsWith('127.') || remoteAddress === '::1'
  );
}
