/**
 * What this machine lets us do with the connections of its programs and with its routes. Each is tried
 * on a connection of our own, or asked of the kernel in a way that changes nothing.
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { unlinkSync } from 'node:fs';
import path from 'node:path';
import { BPF_MAP_HASH, cgroupLinks, closing, createMap, pin } from '../sys/bpf.ts';
import { openProcess, withBorrowed } from '../sys/pidfd.ts';
import { SystemError } from '../sys/system-error.ts';
import { readSocketCookie, type TcpOptions } from '../sys/tcp-socket.ts';
import type { Trial } from './ability.ts';
import { destroySocket, listSockets } from './diag.ts';
import { bpfMount, cgroupRoot } from './mounts.ts';
import { setOptions } from './option-iterator.ts';
import { withOwnConnection } from './own-connection.ts';
import { tryPolicy } from './policy.ts';
import { askTracking } from './route-flows.ts';
import { requireRouteRights } from './route-table.ts';

const FIRST_PROCESS = 1;
const NOBODY = 65_534;
/** Only while it is tried. */
const STRANGER_SECONDS = '5';
const SOME_OPTIONS: TcpOptions = {
  enabled: true,
  timeMs: 60_000,
  intervalMs: 10_000,
  probes: 3,
  userTimeoutMs: 90_000,
};

/** All of them, in the order in which they are told. */
export const HOST_TRIALS: readonly Trial[] = [
  {
    name: 'others-options',
    serves: "protect --existing, and others' options in sockets",
    needs: 'CAP_BPF and CAP_PERFMON',
    attempt: setByIterator,
  },
  {
    name: 'others-sockets',
    serves: 'the same where BPF is not to be had',
    needs: 'CAP_SYS_PTRACE',
    attempt: borrowOfStranger,
  },
  {
    name: 'policies',
    serves: 'protect --new and protect:',
    needs: 'CAP_BPF and CAP_NET_ADMIN',
    attempt: () => {
      tryPolicy();
      return `the kernel takes them, for control groups under ${cgroupRoot()}`;
    },
  },
  {
    name: 'pins',
    serves: 'protect --pin',
    needs: 'CAP_BPF, and the right to write in the bpf filesystem',
    attempt: pinAndRemove,
  },
  {
    name: 'list-policies',
    serves: 'protect --list',
    needs: 'CAP_SYS_ADMIN',
    attempt: () => `the kernel shows them; ${cgroupLinks().length} programs on control groups`,
  },
  {
    name: 'reset',
    serves: 'linkhold reset',
    needs: 'CAP_NET_ADMIN',
    attempt: destroyOwn,
  },
  {
    name: 'routes',
    serves: 'routes:',
    needs: 'CAP_NET_ADMIN',
    attempt: () => {
      requireRouteRights();
      return 'the kernel lets its tables be changed';
    },
  },
  {
    name: 'tracked-flows',
    serves: 'old flows of routes: behind a NAT on this machine',
    needs: 'CAP_NET_ADMIN',
    attempt: askForFlows,
  },
];

async function setByIterator(): Promise<string> {
  return await withOwnConnection((_, fd) => {
    const cookie = readSocketCookie(fd);
    const found = setOptions(new Map([[cookie, SOME_OPTIONS]])).get(cookie);
    if (found?.errno !== 0) throw new SystemError('not-set', 'a BPF iterator did not set them');
    return 'a BPF iterator sets and reads them';
  });
}

/** Of root's first process, or, for root itself, of one that it makes nobody's. */
async function borrowOfStranger(): Promise<string> {
  const stranger = process.getuid?.() === 0 ? await nobodysProcess() : undefined;
  try {
    const handle = openProcess(stranger?.pid ?? FIRST_PROCESS);
    closing(handle, () => withBorrowed(handle, 0, () => undefined));
    return "another user's can be borrowed";
  } finally {
    stranger?.kill('SIGKILL');
  }
}

async function nobodysProcess(): Promise<ChildProcess> {
  const child = spawn('sleep', [STRANGER_SECONDS], { uid: NOBODY, stdio: 'ignore' });
  await once(child, 'spawn');
  return child;
}

function pinAndRemove(): string {
  const directory = bpfMount();
  const file = path.join(directory, `linkhold-doctor-${process.pid}`);
  const shape = { type: BPF_MAP_HASH, keyLength: 4, valueLength: 4, mostEntries: 1 } as const;
  const map = createMap({ ...shape, name: 'linkhold_doctor' });
  closing(map, () => pin(map, file));
  unlinkSync(file);
  return `in ${directory}`;
}

async function destroyOwn(): Promise<string> {
  return await withOwnConnection((_, fd) => {
    const cookie = readSocketCookie(fd);
    const socket = listSockets(['established']).find((one) => one.cookie === cookie);
    if (socket === undefined) throw new SystemError('not-found', 'the kernel does not list it');
    try {
      destroySocket(socket);
    } catch (error) {
      const { code } = error as SystemError;
      if (code !== 'EOPNOTSUPP' && code !== 'ENOTSUP') throw error;
      throw new SystemError(code, 'this kernel was built without CONFIG_INET_DIAG_DESTROY');
    }
    return 'the kernel ended a connection of ours';
  });
}

function askForFlows(): string {
  try {
    askTracking();
    return 'connection tracking answers';
  } catch (error) {
    const { code } = error as SystemError;
    if (code !== 'EPROTONOSUPPORT' && code !== 'EINVAL') throw error;
    return 'nothing tracks connections here, so nothing holds them to an address';
  }
}
