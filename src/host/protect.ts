/**
 * Gives connections that exist the keepalive of the rule that fits them, from outside: by BPF
 * iterator, or where that is not to be had by borrowing the socket. Each is named by its cookie, so
 * that no other one is ever touched; what was set is read back.
 * @module
 */
import { isDeepStrictEqual } from 'node:util';
import { errnoName } from '../sys/libc.ts';
import { inNetNamespace } from '../sys/net-namespace.ts';
import { SystemError } from '../sys/system-error.ts';
import { type TcpOptions, writeTcpOptions } from '../sys/tcp-socket.ts';
import { setOptions } from './option-iterator.ts';
import { matchRule, type Rule } from './rule.ts';
import {
  isUnaccepted,
  readSocketTable,
  type SocketRecord,
  UNACCEPTED,
  withSocketOf,
} from './socket-table.ts';

/** What became of one connection. */
export interface Treated {
  readonly record: SocketRecord;
  /** What the rule asks for. */
  readonly wanted: TcpOptions;
  /** What it holds now; `undefined` where that is not known. */
  readonly after: TcpOptions | undefined;
  /** Why it does not hold what was wanted, in one line. */
  readonly failure: string | undefined;
}

export interface Protected {
  readonly treated: readonly Treated[];
  /** Ports that somebody listens on. */
  readonly listening: ReadonlySet<number>;
}

export interface ProtectRequest {
  readonly rules: readonly Rule[];
  /** File of the network namespace; `undefined`: our own. */
  readonly namespace: string | undefined;
  /** Which connections may be touched at all. */
  readonly selects: (record: SocketRecord) => boolean;
  /** Only tell what would be done. */
  readonly dryRun: boolean;
}

/**
 * What sets options on this machine: `iterator` needs CAP_BPF and CAP_PERFMON, `borrow` the right
 * to trace the owner.
 */
type Setter = (targets: readonly Target[]) => Treated[];

interface Target {
  readonly record: SocketRecord;
  readonly wanted: TcpOptions;
}

/**
 * A table that changes while it is walked is walked again; connections that keep coming never end. One
 * more pass is only for those that failed: their program had them not yet, or no longer.
 */
const MOST_PASSES = 3;
const NEEDS =
  "setting options of other programs' sockets needs CAP_BPF and CAP_PERFMON, or CAP_SYS_PTRACE";

/**
 * Treats the connections that a rule fits. Those that are closed meanwhile are not told of. Throws
 * `SystemError` where no connection could be treated for want of a right.
 */
export function protectExisting(request: ProtectRequest): Protected {
  const treated = new Map<number, Treated>();
  let ports: ReadonlySet<number> = new Set();
  for (let pass = 1; pass <= MOST_PASSES + 1; pass += 1) {
    const { records, withoutBpf, listening } = readSocketTable(request.namespace);
    ports = listening;
    const failed = [...treated].filter(([, { failure }]) => failure !== undefined);
    const again = new Set(failed.map(([cookie]) => cookie));
    for (const cookie of again) treated.delete(cookie);
    const targets = records.flatMap((record) => targetOf(record, request));
    const waiting = targets.filter(({ record: { socket } }) => {
      return pass <= MOST_PASSES ? !treated.has(socket.cookie) : again.has(socket.cookie);
    });
    const [good, other] = partition(waiting, isGood);
    for (const target of good) treated.set(target.record.socket.cookie, untouched(target));
    if (other.length === 0) break;
    const set = request.dryRun ? planned : setterFor(withoutBpf, request.namespace);
    for (const one of set(other)) treated.set(one.record.socket.cookie, one);
    if (request.dryRun) break;
  }
  const all = [...treated.values()];
  if (all.length > 0 && all.every(({ failure }) => failure === NEEDS)) {
    throw new SystemError('EPERM', NEEDS);
  }
  return { treated: all, listening: ports };
}

function targetOf(record: SocketRecord, { rules, selects }: ProtectRequest): Target[] {
  const { socket } = record;
  if (socket.state !== 'established' && socket.state !== 'close-wait') return [];
  if (!selects(record)) return [];
  const rule = matchRule(rules, socket);
  return rule === undefined ? [] : [{ record, wanted: rule.options }];
}

function isGood({ record, wanted }: Target): boolean {
  return isDeepStrictEqual(record.options, wanted);
}

function untouched({ record, wanted }: Target): Treated {
  return { record, wanted, after: record.options, failure: undefined };
}

function planned(targets: readonly Target[]): Treated[] {
  return targets.map(({ record, wanted }) => ({
    record,
    wanted,
    after: wanted,
    failure: undefined,
  }));
}

function setterFor(withoutBpf: SystemError | undefined, namespace: string | undefined): Setter {
  if (withoutBpf !== undefined) return (targets) => targets.flatMap(setByBorrowing);
  return (targets) => setByIterator(targets, namespace);
}

function setByIterator(targets: readonly Target[], namespace: string | undefined): Treated[] {
  const wants = new Map(targets.map(({ record, wanted }) => [record.socket.cookie, wanted]));
  const found = inNetNamespace(namespace, () => setOptions(wants));
  return targets.flatMap(({ record, wanted }) => {
    const now = found.get(record.socket.cookie);
    if (now === undefined) return [];
    const refused = now.errno === 0 ? undefined : `the kernel answered ${errnoName(now.errno)}`;
    const kept = isDeepStrictEqual(now.options, wanted)
      ? undefined
      : 'the kernel kept other values';
    return [{ record, wanted, after: now.options, failure: refused ?? kept }];
  });
}

function setByBorrowing({ record, wanted }: Target): Treated[] {
  const { descriptor, socket, options } = record;
  if (descriptor === undefined) {
    const failure = isUnaccepted(socket) ? UNACCEPTED : NEEDS;
    return [{ record, wanted, after: options, failure }];
  }
  try {
    withSocketOf(descriptor, socket.cookie, (fd) => writeTcpOptions(fd, wanted));
    return [{ record, wanted, after: wanted, failure: undefined }];
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (['gone', 'EBADF', 'ESRCH'].includes(error.code)) return [];
    const failure = error.code === 'EPERM' ? NEEDS : error.message;
    return [{ record, wanted, after: options, failure }];
  }
}

function partition<Item>(
  items: readonly Item[],
  test: (item: Item) => boolean,
): readonly [Item[], Item[]] {
  const groups = Map.groupBy(items, test);
  return [groups.get(true) ?? [], groups.get(false) ?? []];
}
