/**
 * How a keeper hands descriptors over itself, as SCM_RIGHTS (unix(7)), to a relay that may not copy them
 * (pidfd_getfd(2) is refused by yama, by a container's seccomp filter, by an old kernel). The keeper is
 * no program but a chain of calls: it waits for a signal, sends the messages that the asker has
 * written into the table which both have mapped, and waits again.
 * @module
 */
import { type ChainedCall, prepareChain } from '../sys/call-chain.ts';
import {
  type KernelCalls,
  type Memory,
  mustCall,
  O_CLOEXEC,
  O_NONBLOCK,
  storeAddress,
} from '../sys/kernel-calls.ts';
import type { RelayTable } from './relay-table.ts';

/** Each serves a takeover of so many descriptors, finished or not. */
const ROUNDS = 16;
/** Descriptors of one message: the most that the kernel takes. */
const PARCEL = 253;
/** A keeper has nothing else to do. */
const ANSWER_MS = 1_000;
const SIGUSR2 = 12;
const SIGNAL_SET_BYTES = 128;
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const POLLIN = 1;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
/** A `sockaddr` with the name that the kernel gives to a socket which is bound to none. */
const NAME_BYTES = 8;
/** A row of `exchange`, in words: the names of both sides. */
const EXCHANGE = { keeper: 0, asker: 2 } as const;
/** `struct mmsghdr` of 64-bit machines, in words. */
const MESSAGE = { name: 0, nameLength: 2, control: 8, controlLength: 10, words: 16 } as const;
/** `struct cmsghdr`, in words. */
const CONTROL = { length: 0, level: 2, type: 3, descriptors: 4 } as const;

/** Prepares what a keeper of this process is to do. 0: only to sleep, see `prepareChain`. */
export function prepareHandover(calls: KernelCalls, table: RelayTable): number {
  const socket = mustCall('socket', calls.socket(AF_UNIX, SOCK_DGRAM | O_CLOEXEC, 0));
  const { messages, parcels } = table;
  for (let row = 0; row < messages.capacity; row += 1) {
    const control = table.address + 4 * parcels.at(row);
    storeAddress(table.ints, messages.at(row) + MESSAGE.control, control);
  }
  const signals = calls.allocate(SIGNAL_SET_BYTES + 8);
  signals.ints[0] = 1 << (SIGUSR2 - 1);
  const first = table.address + 4 * messages.at(0);
  const round: readonly ChainedCall[] = [
    ['sigwait', signals.address, signals.address + SIGNAL_SET_BYTES],
    ['sendmmsg', socket, first, messages.capacity, 0],
  ];
  const rounds = Array<typeof round>(ROUNDS).fill(round).flat();
  const chain = prepareChain(calls, [...rounds, ['pause']]);
  // Its name in the table says that it can be asked.
  const name = table.exchange.at(0) + EXCHANGE.keeper;
  if (chain !== 0) table.bytesAt(name, NAME_BYTES).set(autobind(calls, socket));
  return chain;
}

/** Copies of a keeper's descriptors by their numbers there; without those that did not come. */
export function askKeeper(
  calls: KernelCalls,
  table: RelayTable,
  descriptors: readonly number[],
): Map<number, number> {
  const copies = new Map<number, number>();
  const keeper = table.exchange.at(0) + EXCHANGE.keeper;
  // A table of an earlier version has none, a keeper that only sleeps has no name.
  if (table.exchange.capacity === 0 || table.ints[keeper] === 0) return copies;
  const socket = mustCall('socket', calls.socket(AF_UNIX, SOCK_DGRAM | O_NONBLOCK | O_CLOEXEC, 0));
  try {
    const name = autobind(calls, socket);
    table.bytesAt(table.exchange.at(0) + EXCHANGE.asker, NAME_BYTES).set(name);
    // From here on nobody else can send to it.
    mustCall('connect', calls.connect(socket, table.address + 4 * keeper, NAME_BYTES));
    const inbox = new Inbox(calls, socket);
    const most = table.messages.capacity * PARCEL;
    for (let from = 0; from < descriptors.length; from += most) {
      const wanted = descriptors.slice(from, from + most);
      writeMessages(table, wanted);
      mustCall('kill', calls.kill(table.keeper, SIGUSR2));
      const received = inbox.take(wanted.length);
      for (const [index, fd] of received.entries()) copies.set(wanted[index] ?? -1, fd);
      if (received.length < wanted.length) break;
    }
    return copies;
  } finally {
    calls.close(socket);
  }
}

/** One message after the other to the asker; the first without a name ends the sending. */
function writeMessages(table: RelayTable, descriptors: readonly number[]): void {
  const { ints, messages, parcels } = table;
  // Addresses are those of the relay before, where the keeper has the table.
  const base = readAddress(ints, messages.at(0) + MESSAGE.control) - 4 * parcels.at(0);
  const asker = base + 4 * (table.exchange.at(0) + EXCHANGE.asker);
  for (let row = 0; row < messages.capacity; row += 1) {
    const some = descriptors.slice(row * PARCEL, (row + 1) * PARCEL);
    const [message, control] = [messages.at(row), parcels.at(row)];
    const isLast = some.length === 0;
    storeAddress(ints, message + MESSAGE.name, isLast ? 0 : asker);
    ints[message + MESSAGE.nameLength] = isLast ? 0 : NAME_BYTES;
    const length = 4 * (CONTROL.descriptors + some.length);
    ints[message + MESSAGE.controlLength] = length;
    ints[control + CONTROL.length] = length;
    ints[control + CONTROL.level] = SOL_SOCKET;
    ints[control + CONTROL.type] = SCM_RIGHTS;
    ints.set(some, control + CONTROL.descriptors);
  }
}

/** Receives descriptors. */
class Inbox {
  readonly #calls: KernelCalls;
  readonly #socket: number;
  readonly #memory: Memory;

  constructor(calls: KernelCalls, socket: number) {
    this.#calls = calls;
    this.#socket = socket;
    this.#memory = calls.allocate(4_096);
  }

  /** So many; fewer if the keeper is silent, or if this process may have no more open. */
  take(count: number): number[] {
    const received: number[] = [];
    while (received.length < count) {
      const some = this.#receive();
      if (some.length === 0) break;
      received.push(...some);
    }
    return received;
  }

  #receive(): Int32Array {
    const { address, ints } = this.#memory;
    const control = MESSAGE.words;
    ints[control] = this.#socket;
    ints[control + 1] = POLLIN;
    this.#calls.poll(address + 4 * control, 1, ANSWER_MS);
    ints.fill(0);
    storeAddress(ints, MESSAGE.control, address + 4 * control);
    ints[MESSAGE.controlLength] = 4 * (CONTROL.descriptors + PARCEL);
    const messages = this.#calls.recvmmsg(this.#socket, address, 1, MSG_CMSG_CLOEXEC);
    const length = messages === 1 ? (ints[control + CONTROL.length] ?? 0) / 4 : 0;
    return ints.slice(
      control + CONTROL.descriptors,
      control + Math.max(length, CONTROL.descriptors),
    );
  }
}

/** Has the kernel give a socket a name of its own, as a `sockaddr`. */
function autobind(calls: KernelCalls, socket: number): Uint8Array {
  const { address, bytes, ints } = calls.allocate(64);
  ints[0] = AF_UNIX;
  mustCall('bind', calls.bind(socket, address, 2));
  const lengthAt = 8;
  ints[lengthAt] = 4 * lengthAt;
  mustCall('getsockname', calls.getsockname(socket, address, address + 4 * lengthAt));
  return bytes.slice(0, NAME_BYTES);
}

function readAddress(ints: Int32Array, word: number): number {
  return (ints[word + 1] ?? 0) * 2 ** 32 + ((ints[word] ?? 0) >>> 0);
}
