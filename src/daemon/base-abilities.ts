/**
 * What the daemon itself and its links need of this machine. Each is done once, in small.
 * @module
 */
import {
  accessSync,
  constants,
  existsSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Trial } from '../host/ability.ts';
import { withOwnConnection } from '../host/own-connection.ts';
import { keepAlive } from '../link/keep-alive.ts';
import { gnutls } from '../sys/gnutls-library.ts';
import { ffiMissing, libc, syscallNumber } from '../sys/libc.ts';
import { requireMptcp } from '../sys/mptcp.ts';
import { SystemError } from '../sys/system-error.ts';
import { stateHolder } from './store/state-lock.ts';

const OLDEST_NODE = 24;
const MIB = 1_024 * 1_024;
/** What events may take, and room for a copy of it. */
const LITTLE_SPACE = 512 * MIB;
/** Clocks that are read a moment apart. */
const CLOCK_TOLERANCE_MS = 1_000;

/** All of them, in the order in which they are told. */
export function baseTrials(stateDir: string): readonly Trial[] {
  return [
    { name: 'node', serves: 'everything', essential: true, attempt: nodeVersion },
    {
      name: 'state-directory',
      serves: 'what outlives the daemon',
      essential: true,
      needs: 'a directory that this user may write; choose one with --state-dir',
      attempt: () => writeState(stateDir),
    },
    { name: 'tcp-keepalive', serves: 'tcp://, keepAlive()', essential: true, attempt: holdOwn },
    { name: 'system-calls', serves: 'everything below, but for the clock', attempt: callKernel },
    { name: 'suspension', serves: 'no peer blamed for our own sleep', attempt: readClocks },
    { name: 'multipath-tcp', serves: '?mptcp=true, mptcp: of a relay', attempt: openMultipath },
    { name: 'gnutls', serves: 'tls+heartbeat://, dtls+heartbeat://', attempt: loadGnutls },
  ];
}

function nodeVersion(): string {
  const { node } = process.versions;
  if (Number.parseInt(node, 10) >= OLDEST_NODE) return node;
  throw new SystemError('old-node', `${node}; install Node ${OLDEST_NODE} or newer`);
}

function writeState(directory: string): string {
  let place = path.resolve(directory);
  while (!existsSync(place)) place = path.dirname(place);
  if (!statSync(place).isDirectory()) {
    throw new SystemError('ENOTDIR', `${place} is not a directory; choose one with --state-dir`);
  }
  const made = place === path.resolve(directory);
  if (made) {
    const file = path.join(place, `doctor-${process.pid}`);
    writeFileSync(file, 'linkhold', { flag: 'wx', mode: 0o600 });
    unlinkSync(file);
  } else {
    accessSync(place, constants.W_OK | constants.X_OK);
  }
  const { bavail, bsize } = statfsSync(place);
  const free = bavail * bsize;
  const space = `${Math.floor(free / MIB).toLocaleString('en')} MiB free`;
  const short = free < LITTLE_SPACE ? `, little: it may grow to ${LITTLE_SPACE / MIB} MiB` : '';
  const state = made ? `can be written, ${holder(directory)}` : `can be made in ${place}`;
  return `${directory}: ${state}; ${space}${short}`;
}

function holder(directory: string): string {
  try {
    const who = stateHolder(directory);
    return who === undefined ? 'no daemon runs with it' : `the daemon of ${who} runs with it`;
  } catch (error) {
    return `whether a daemon runs with it cannot be told (${(error as Error).message})`;
  }
}

async function holdOwn(): Promise<string> {
  return await withOwnConnection((socket) => {
    keepAlive(socket).close();
    const unread = 'it is set, but cannot be read back without system calls';
    return ffiMissing() === undefined ? 'the kernel holds what is set' : unread;
  });
}

function callKernel(): string {
  libc();
  syscallNumber('pidfdOpen');
  const report = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const { glibcVersionRuntime: glibc } = report.header;
  return `koffi on ${process.arch}, ${glibc === undefined ? 'musl' : `glibc ${glibc}`}`;
}

/** CLOCK_BOOTTIME goes on while the machine sleeps, CLOCK_MONOTONIC does not. */
function readClocks(): string {
  const monotonicMs = Number(process.hrtime.bigint() / 1_000_000n);
  const asleepMs = os.uptime() * 1_000 - monotonicMs;
  if (asleepMs < -CLOCK_TOLERANCE_MS) {
    throw new SystemError('no-boottime', 'the uptime shown here is not that of the machine');
  }
  return `CLOCK_BOOTTIME is ${Math.max(0, Math.round(asleepMs / 1_000))} s ahead: asleep since boot`;
}

function openMultipath(): string {
  requireMptcp();
  return 'the kernel opens such sockets';
}

function loadGnutls(): string {
  return `libgnutls.so.30 is ${gnutls().version(null) ?? 'of no version'}`;
}
