/**
 * Reads the keepalive options of every TCP socket of a network namespace, and sets those of chosen
 * ones, by a BPF iterator: no process is touched and no descriptor borrowed. A socket is chosen by
 * its cookie, so that another one in its place is never meant. Needs CAP_BPF, CAP_PERFMON and BTF.
 * @module
 */
import {
  BPF_ITERATOR,
  BPF_MAP_HASH,
  closing,
  createMap,
  iterate,
  loadProgram,
  updateMapBatch,
} from '../sys/bpf.ts';
import type { TcpOptions } from '../sys/tcp-socket.ts';
import { BpfProgram } from '../wire/bpf-program.ts';
import { decodeCookie } from '../wire/inet-diag.ts';
import { kernelTypes } from './kernel-types.ts';

/** What a socket holds, and the errno of what it refused. */
export interface FoundOptions {
  readonly options: TcpOptions;
  /** 0 if everything asked for was set. */
  readonly errno: number;
}

const HELPER = {
  mapLookup: 1,
  socketCookie: 46,
  setsockopt: 49,
  getsockopt: 57,
  write: 127,
  toTcpSocket: 137,
} as const;

/** Level, name, and where the value lies in a record and in a target. The clock is started last. */
const OPTIONS = [
  { level: 6, name: 5, record: 16, target: 4 },
  { level: 6, name: 6, record: 20, target: 8 },
  { level: 6, name: 18, record: 24, target: 12 },
  { level: 6, name: 4, record: 12, target: 0 },
  { level: 1, name: 9, record: 8, target: 16 },
] as const;
/** Cookie, then SO_KEEPALIVE, time, interval, probes, user timeout, error: 4 bytes each. */
const RECORD_LENGTH = 32;
const ERROR_AT = 28;
const TARGET_LENGTH = 20;
const COOKIE_LENGTH = 8;
const MOST_KNOWN = 16;
const [STACK, CONTEXT, SOCKET, TARGET, ERRORS] = [10, 6, 7, 8, 9] as const;

/** Where a record's byte lies on the program's stack. */
const onStack = (at: number) => at - RECORD_LENGTH;
const SCRATCH = onStack(0) - 8;

/** The options of every socket of the namespace this thread is in, by cookie. */
export function readAllOptions(): ReadonlyMap<number, FoundOptions> {
  return run(undefined);
}

/** Sets the options of the sockets with these cookies; answers what each of those still there holds. */
export function setOptions(targets: ReadonlyMap<number, TcpOptions>): Map<number, FoundOptions> {
  if (targets.size === 0) return new Map();
  const map = createMap({
    type: BPF_MAP_HASH,
    name: 'linkhold_set',
    keyLength: COOKIE_LENGTH,
    valueLength: TARGET_LENGTH,
    mostEntries: targets.size,
  });
  return closing(map, () => {
    const keys = new DataView(new ArrayBuffer(COOKIE_LENGTH * targets.size));
    const values = new DataView(new ArrayBuffer(TARGET_LENGTH * targets.size));
    let index = 0;
    for (const [cookie, options] of targets) {
      keys.setBigUint64(COOKIE_LENGTH * index, BigInt(cookie), true);
      encodeTarget(values, TARGET_LENGTH * index, options);
      index += 1;
    }
    const bytes = (view: DataView) => new Uint8Array(view.buffer);
    updateMapBatch(map, bytes(keys), bytes(values), targets.size);
    return run(map);
  });
}

function encodeTarget(view: DataView, at: number, options: TcpOptions): void {
  view.setUint32(at, options.timeMs / 1_000, true);
  view.setUint32(at + 4, options.intervalMs / 1_000, true);
  view.setUint32(at + 8, options.probes, true);
  view.setUint32(at + 12, options.userTimeoutMs, true);
  view.setUint32(at + 16, options.enabled ? 1 : 0, true);
}

function run(targets: number | undefined): Map<number, FoundOptions> {
  const instructions = iteratorProgram(targets).encode();
  const { iterateTcp } = kernelTypes();
  const program = loadProgram(BPF_ITERATOR, 'linkhold_tcp', instructions, iterateTcp);
  const records = closing(program, () => iterate(program));
  const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
  const found = new Map<number, FoundOptions>();
  // Most connections of a machine are alike: what is the same is the same object.
  const known: { readonly at: number; readonly held: FoundOptions }[] = [];
  for (let at = 0; at + RECORD_LENGTH <= records.length; at += RECORD_LENGTH) {
    let held = known.find((one) => isAlike(view, at, one.at))?.held;
    if (held === undefined) {
      held = decodeFound(view, at);
      if (known.length < MOST_KNOWN) known.push({ at, held });
    }
    found.set(decodeCookie(view, at), held);
  }
  return found;
}

/** Whether two records hold the same but for the cookie. */
function isAlike(view: DataView, one: number, other: number): boolean {
  for (let at = COOKIE_LENGTH; at < RECORD_LENGTH; at += 4) {
    if (view.getUint32(one + at) !== view.getUint32(other + at)) return false;
  }
  return true;
}

function decodeFound(view: DataView, at: number): FoundOptions {
  const word = (offset: number) => view.getUint32(at + offset, true);
  const options = {
    enabled: word(8) !== 0,
    timeMs: word(12) * 1_000,
    intervalMs: word(16) * 1_000,
    probes: word(20),
    userTimeoutMs: word(24),
  };
  return { options, errno: Math.abs(view.getInt32(at + ERROR_AT, true)) };
}

/** Called by the kernel for each socket in turn, with the socket locked. */
function iteratorProgram(targets: number | undefined): BpfProgram {
  const program = new BpfProgram()
    .copy(CONTEXT, 1)
    .load(8, 1, CONTEXT, 8)
    .jumpIf(1, '==', 0, 'skip')
    .call(HELPER.toTcpSocket)
    .jumpIf(0, '==', 0, 'skip')
    .copy(SOCKET, 0)
    .copy(1, SOCKET)
    .call(HELPER.socketCookie)
    .store(8, STACK, onStack(0), 0)
    .set(ERRORS, 0);
  if (targets !== undefined) setFrom(program, targets);
  for (const { level, name, record } of OPTIONS) {
    program.storeNumber(4, STACK, onStack(record), 0);
    callOption(program, HELPER.getsockopt, level, name, onStack(record));
  }
  return program
    .store(4, STACK, onStack(ERROR_AT), ERRORS)
    .load(8, 1, CONTEXT, 0)
    .load(8, 1, 1, 0)
    .copy(2, STACK)
    .add(2, onStack(0))
    .set(3, RECORD_LENGTH)
    .call(HELPER.write)
    .label('skip')
    .exit(0);
}

/** Skips sockets whose cookie is not among the targets, and sets the options of the others. */
function setFrom(program: BpfProgram, targets: number): void {
  program
    .map(1, targets)
    .copy(2, STACK)
    .add(2, onStack(0))
    .call(HELPER.mapLookup)
    .jumpIf(0, '==', 0, 'skip')
    .copy(TARGET, 0);
  for (const { level, name, target } of OPTIONS) {
    program.load(4, 1, TARGET, target).store(4, STACK, SCRATCH, 1);
    callOption(program, HELPER.setsockopt, level, name, SCRATCH);
    program.or(ERRORS, 0);
  }
}

function callOption(
  program: BpfProgram,
  helper: number,
  level: number,
  name: number,
  value: number,
): void {
  program.copy(1, SOCKET).set(2, level).set(3, name).copy(4, STACK).add(4, value).set(5, 4);
  program.call(helper);
}
