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

/** What the kernel knows about a connection right now. */
export interface TcpInfo {
  /** TCP_ESTABLISHED is 1. */
  readonly state: number;
  /** Probes in flight or lost in a row (keepalive or zero window). */
  readonly probes: number;
  /** Retransmissions in a row of the oldest unacknowledged data. */
  readonly retransmits: number;
  readonly rtoMs: number;
  readonly rttMs: number;
  /** Milliseconds since anything arrived: data or a bare acknowledgement. */
  readonly silentMs: number;
}

const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_INFO = 11;
const TCP_USER_TIMEOUT = 18;

/** Up to `tcpi_rttvar`, which kernels have filled since 2.6. */
const TCP_INFO_LENGTH = 76;

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
  return new DataView(bytes.buffer);
}

function getInt(fd: number, level: number, name: number, label: string): number {
  return get(fd, level, name, 4, label).getInt32(0, true);
}

/** The options as the kernel holds them. Throws `SystemError`. */
export function readTcpOptions(fd: number): TcpOptions {
  return {
    enabled: getInt(fd, SOL_SOCKET, SO_KEEPALIVE, 'SO_KEEPALIVE') !== 0,
    timeMs: getInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, 'TCP_KEEPIDLE') * 1_000,
    intervalMs: getInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, 'TCP_KEEPINTVL') * 1_000,
    probes: getInt(fd, IPPROTO_TCP, TCP_KEEPCNT, 'TCP_KEEPCNT'),
    userTimeoutMs: getInt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 'TCP_USER_TIMEOUT'),
  };
}

/**
 * Sets all five options and reads them back. The clock is started last, with its values in place.
 * Throws `SystemError`: the errno of a refused value, or `option-mismatch` if the kernel kept others.
 */
export function writeTcpOptions(fd: number, options: TcpOptions): void {
  const seconds = (ms: number) => Math.round(ms / 1_000);
  setInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds(options.intervalMs), 'TCP_KEEPINTVL');
  setInt(fd, IPPROTO_TCP, TCP_KEEPCNT, options.probes, 'TCP_KEEPCNT');
  setInt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options.userTimeoutMs, 'TCP_USER_TIMEOUT');
  setInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds(options.timeMs), 'TCP_KEEPIDLE');
  setInt(fd, SOL_SOCKET, SO_KEEPALIVE, options.enabled ? 1 : 0, 'SO_KEEPALIVE');
  const kept = readTcpOptions(fd);
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

/** The connection's live state. Throws `SystemError`. */
export function readTcpInfo(fd: number): TcpInfo {
  const info = get(fd, IPPROTO_TCP, TCP_INFO, TCP_INFO_LENGTH, 'TCP_INFO');
  return {
    state: info.getUint8(0),
    retransmits: info.getUint8(2),
    probes: info.getUint8(3),
    rtoMs: info.getUint32(8, true) / 1_000,
    rttMs: info.getUint32(68, true) / 1_000,
    silentMs: Math.min(info.getUint32(52, true), info.getUint32(56, true)),
  };
}
