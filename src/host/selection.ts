/**
 * Which of this machine's connections are meant: by process, port, remote prefix or control group.
 * @module
 */
import { existsSync } from 'node:fs';
import { netNamespaceFile } from '../sys/net-namespace.ts';
import { UsageError } from '../time/usage-error.ts';
import { inPrefix, type Prefix, parseIp } from '../wire/ip-address.ts';
import { cgroupIds } from './mounts.ts';
import { socketsOf } from './owners.ts';
import type { SocketRecord } from './socket-table.ts';

/** All that is given must hold. */
export interface Selection {
  readonly pid?: number | undefined;
  /** Of either end. */
  readonly port?: number | undefined;
  /** Of the remote end. */
  readonly to?: Prefix | undefined;
  /** A control group's directory: the sockets made in it or below it. */
  readonly cgroup?: string | undefined;
}

/** A test for one record. What has to be read for it is read once, now. */
export function selector({ pid, port, to, cgroup }: Selection): (record: SocketRecord) => boolean {
  const inodes = pid === undefined ? undefined : socketsOf(pid);
  const groups = cgroup === undefined ? undefined : cgroupIds(cgroup);
  return ({ socket }) => {
    const { localPort, remotePort, remoteAddress, inode, cgroupId } = socket;
    if (port !== undefined && port !== localPort && port !== remotePort) return false;
    if (to !== undefined && !inPrefix(parseIp(remoteAddress) ?? new Uint8Array(), to)) return false;
    if (inodes !== undefined && !inodes.has(inode)) return false;
    return groups === undefined || (cgroupId !== undefined && groups.has(cgroupId));
  };
}

/**
 * The file of the network namespace that is meant: `text` (a name, path or process id), or else the
 * one that process `pid` lives in. Throws `UsageError`.
 */
export function namespaceOf(text: string | undefined, pid: number | undefined): string | undefined {
  if (pid !== undefined && !existsSync(`/proc/${pid}`)) {
    throw new UsageError('no-process', `--pid: there is no process ${pid}`);
  }
  if (text === undefined) return pid === undefined ? undefined : `/proc/${pid}/ns/net`;
  const file = netNamespaceFile(text);
  if (file !== undefined) return file;
  const hint = 'name one of `ip netns list`, a process id, or a file such as /run/netns/NAME';
  throw new UsageError('no-namespace', `--netns: there is no network namespace "${text}"; ${hint}`);
}
