/**
 * Connections as the socket table tells them, for what judges, chooses and reports them.
 * @module
 */
import type { SocketRecord } from '../../src/host/socket-table.ts';
import type { TcpOptions } from '../../src/sys/tcp-socket.ts';
import type { DiagSocket } from '../../src/wire/inet-diag.ts';
import type { TcpInfo } from '../../src/wire/tcp-info.ts';

/** 60 s / 10 s / 3 without a user timeout. */
export const OPTIONS: TcpOptions = {
  enabled: true,
  timeMs: 60_000,
  intervalMs: 10_000,
  probes: 3,
  userTimeoutMs: 0,
};

export const INFO: TcpInfo = {
  state: 1,
  probes: 0,
  retransmits: 0,
  rtoMs: 204,
  rttMs: 0.1,
  unacked: 0,
  silentMs: 28_800,
};

/** A PostgreSQL client's connection, but for what is said otherwise. */
export function recordOf(
  socket: Partial<DiagSocket> = {},
  record: Partial<Omit<SocketRecord, 'socket'>> = {},
): SocketRecord {
  return {
    socket: {
      family: 'ipv4',
      state: 'established',
      timer: 'keepalive',
      timerMs: 31_200,
      localAddress: '10.0.0.2',
      localPort: 41_844,
      remoteAddress: '10.0.0.5',
      remotePort: 5_432,
      cookie: 0x4f21,
      uid: 1_000,
      inode: 4_711,
      cgroupId: 77,
      info: INFO,
      socketFamily: 2,
      interfaceIndex: 0,
      ...socket,
    },
    options: OPTIONS,
    unreadable: undefined,
    owner: { pid: 812, name: 'node' },
    descriptor: undefined,
    ...record,
  };
}
