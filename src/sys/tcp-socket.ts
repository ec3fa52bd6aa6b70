/**
 * A TCP socket's keepalive options and live state, straight from the kernel (tcp(7), socket(7),
 * `struct tcp_info` of linux/tcp.h). Linux only. It knows no policy: what is set is what is asked.
 * @module
 */
import { libc, must } from './libc.ts';
import { SystemError } from './system-error.ts';

/** The five options that decide when the kernel gives a silent peer up. */
export interface TcpOptions {
  /** SO_KEEPALIVE: off by default (RFC 9293 MUST-25). */
  readonly enabled: boolean;
  /** TCP_KEEPIDLE. The kernel counts whole seconds, 1–32767. */
  readonly timeMs: number;
  /** TCP_KEEPINTVL, whole seconds, 1–32767. */
  readonly intervalMs: number;
  /** TCP_KEEPCNT, 1–127. */
  readonly probes: number;
  /** TCP_USER_TIMEOUT in milliseconds; 0: the kernel's own limit (tcp_retries2). */
  readonly userTimeoutMs: number;
}

const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_INFO = 11;
const TCP_USER_TIMEOUT = 18;

/** All that kernels know by now and some more; an older kernel fills less. */
const TCP_INFO_ROOM = 512;
const SO_COOKIE = 57;

function setInt(fd: number, level: number, name: number, value: number, label: string): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  must(`setsockopt(${label}, ${value})`, libc().setsockopt(fd, level, name, bytes, 4));
}

function get(fd: number, level: number, name: number, length: number, label: string): DataView {
  const bytes = new Uint8Array(length);
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, length, true);
  must(`getsockopt(${label})`, libc().getsockopt(fd, level, name, bytes, size));
  const filled = new DataView(size.buffer).getUint32(0, true);
  return new DataView(bytes.buffer, 0, Math.min(filled, length));
}

function getInt(fd: number, level: number, name: number, label: string): number {
  return get(fd, level, name, 4, label).getInt32(0, true);
}

/**
 * The options as the kernel holds them. Multipath TCP has no user timeout: it reads as 0. Throws
 * `SystemError`.
 */
export function readTcpOptions(fd: number, multipath = false): TcpOptions {
  return {
    enabled: getInt(fd, SOL_SOCKET, SO_KEEPALIVE, 'SO_KEEPALIVE') !== 0,
    timeMs: getInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, 'TCP_KEEPIDLE') * 1_000,
    intervalMs: getInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, 'TCP_KEEPINTVL') * 1_000,
    probes: getInt(fd, IPPROTO_TCP, TCP_KEEPCNT, 'TCP_KEEPCNT'),
    userTimeoutMs: multipath ? 0 : getInt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 'TCP_USER_TIMEOUT'),
  };
}

/**
 * Sets all five options and reads them back. The clock is started last, with its values in place.
 * Throws `SystemError`: the errno of a refused value, or `option-mismatch` if the kernel kept others.
 */
export function writeTcpOptions(fd: number, options: TcpOptions, multipath = false): void {
  const seconds = (ms: number) => Math.round(ms / 1_000);
  setInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds(options.intervalMs), 'TCP_KEEPINTVL');
  setInt(fd, IPPROTO_TCP, TCP_KEEPCNT, options.probes, 'TCP_KEEPCNT');
  if (!multipath)
    setInt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options.userTimeoutMs, 'TCP_USER_TIMEOUT');
  setInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds(options.timeMs), 'TCP_KEEPIDLE');
  setInt(fd, SOL_SOCKET, SO_KEEPALIVE, options.enabled ? 1 : 0, 'SO_KEEPALIVE');
  const kept = readTcpOptions(fd, multipath);
  for (const key of ['enabled', 'timeMs', 'intervalMs', 'probes', 'userTimeoutMs'] as const) {
    if (kept[key] === options[key]) continue;
    const text = `asked the kernel for ${key} ${options[key]}, it kept ${kept[key]}`;
    throw new SystemError('option-mismatch', `${text}; something on this machine overrides it`);
  }
}

/**
 * Has the kernel send a keepalive probe now rather than after `time`. It does so when TCP_KEEPIDLE
 * drops below the present silence, and only for whole seconds of it; the caller restores the value
 * with `writeTcpOptions` once the answer is in.
 */
export function hurryKeepalive(fd: number): void {
  setInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1, 'TCP_KEEPIDLE');
}

/** The connection's live state, `struct tcp_info` as it lies in memory. Throws `SystemError`. */
export function readTcpInfo(fd: number): DataView {
  return get(fd, IPPROTO_TCP, TCP_INFO, TCP_INFO_ROOM, 'TCP_INFO');
}

/** The kernel's own name for a socket, the same as sock_diag tells. Throws `SystemError`. */
export function readSocketCookie(fd: number): number {
  const cookie = get(fd, SOL_SOCKET, SO_COOKIE, 8, 'SO_COOKIE');
  return cookie.getUint32(0, true) + cookie.getUint32(4, true) * 2 ** 32;
}

/** The descriptor under a socket of Node's, or `undefined` for what has no kernel socket. */
export function descriptorOf(socket: object): number | undefined {
  const handle = (socket as { _handle?: { fd?: number } | null })._handle;
  const fd = handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
