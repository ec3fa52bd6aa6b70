/**
 * This machine's connections as a person reads them: who has them, whereto, and alike ones counted
 * rather than repeated.
 * @module
 */
import { isLoopback } from '../host/socket-report.ts';
import type { SocketRecord } from '../host/socket-table.ts';
import type { TcpOptions } from '../sys/tcp-socket.ts';
import { formatDuration } from '../time/duration.ts';
import { plain } from './output.ts';

/** Alike connections of one process. */
export interface ConnectionGroup<Item> {
  readonly process: string;
  /** For example `20 → 10.0.0.5:5432` or `153 ← :8080`. */
  readonly connections: string;
  /** One for all; what is told of it is true for each. */
  readonly items: readonly [Item, ...Item[]];
}

/** Groups items whose process, direction and `alike` text are the same, in their order. */
export function groupConnections<Item>(
  items: readonly Item[],
  recordOf: (item: Item) => SocketRecord,
  listening: ReadonlySet<number>,
  alike: (item: Item) => string,
): ConnectionGroup<Item>[] {
  const groups = new Map<string, [Item, ...Item[]]>();
  for (const item of items) {
    const { socket, owner } = recordOf(item);
    const near = listening.has(socket.localPort);
    const end = near ? socket.localPort : `${socket.remoteAddress} ${socket.remotePort}`;
    const key = `${owner?.pid ?? `user ${socket.uid} ${socket.inode === 0}`} ${near} ${end} ${alike(item)}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return Array.from(groups.values(), (group) => {
    const record = recordOf(group[0]);
    const connections = `${group.length} ${endOf(record, listening)}`;
    return { process: processOf(record), connections, items: group };
  });
}

/** Name and id of the process that has a connection. */
export function processOf({ owner, socket }: SocketRecord): string {
  if (owner !== undefined) return `${plain(owner.name)} ${owner.pid}`;
  return socket.inode === 0 ? 'nobody' : `a process of user ${socket.uid}`;
}

/** The far end of a connection that was made, the near one of one that was accepted. */
function endOf(record: SocketRecord, listening: ReadonlySet<number>): string {
  const { localPort, remoteAddress, remotePort, family } = record.socket;
  if (listening.has(localPort))
    return `← :${localPort}${isLoopback(record.socket) ? ' (loopback)' : ''}`;
  return `→ ${family === 'ipv6' ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
}

/** Options for people: `off`, or `60s/10s/3, user timeout 1m30s`. */
export function describeOptions(options: TcpOptions | undefined): string {
  if (options === undefined) return 'unknown';
  const { enabled, timeMs, intervalMs, probes, userTimeoutMs } = options;
  const limits = `${formatDuration(timeMs)}/${formatDuration(intervalMs)}/${probes}`;
  const user = userTimeoutMs === 0 ? '' : `, user timeout ${formatDuration(userTimeoutMs)}`;
  return `${enabled ? limits : 'off'}${user}`;
}
