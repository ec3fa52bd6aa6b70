/**
 * This machine's connections as a person reads them: who has them, whereto, and alike ones counted
 * rather than repeated.
 * @module
 */
import { isLoopback } from '../host/socket-report.ts';
import { isUnaccepted, type SocketRecord } from '../host/socket-table.ts';
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

/** Groups items whose process, direction and `alike` values are the same, in their order. */
export function groupConnections<Item>(
  items: readonly Item[],
  recordOf: (item: Item) => SocketRecord,
  listening: ReadonlySet<number>,
  alike: (item: Item) => readonly unknown[],
): ConnectionGroup<Item>[] {
  const groups: Item[][] = [];
  const tree: Branch<Item> = { items: [], below: new Map() };
  for (const item of items) {
    const { socket, owner } = recordOf(item);
    const { localPort, remoteAddress, remotePort, uid, inode, state } = socket;
    const near = listening.has(localPort);
    const leaf = [
      owner?.pid ?? (inode === 0 ? state : uid),
      near ? localPort : -remotePort,
      near ? isLoopback(socket) : remoteAddress,
      ...alike(item),
    ].reduce(branchOf<Item>, tree);
    leaf.items.push(item);
    if (leaf.items.length === 1) groups.push(leaf.items);
  }
  return groups.flatMap(([first, ...others]) => {
    if (first === undefined) return [];
    const record = recordOf(first);
    const connections = `${others.length + 1} ${endOf(record, listening)}`;
    return [{ process: processOf(record), connections, items: [first, ...others] }];
  });
}

/** Items by one key after another, without making a text of the keys: there are many items. */
interface Branch<Item> {
  readonly items: Item[];
  readonly below: Map<unknown, Branch<Item>>;
}

function branchOf<Item>(branch: Branch<Item>, key: unknown): Branch<Item> {
  let next = branch.below.get(key);
  if (next === undefined) {
    next = { items: [], below: new Map() };
    branch.below.set(key, next);
  }
  return next;
}

/** Name and id of the process that has a connection. */
export function processOf({ owner, socket }: SocketRecord): string {
  if (owner !== undefined) return `${plain(owner.name)} ${owner.pid}`;
  if (isUnaccepted(socket)) return 'not accepted yet';
  return socket.inode === 0 ? 'no process' : `a process of user ${socket.uid}`;
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
