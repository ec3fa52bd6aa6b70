/**
 * Takes over what a relay before carried, whether it still runs, was killed, or died half-way through a
 * takeover of its own. Until the last step the old record stays whole, so one that is killed here
 * leaves nothing worse than it found. Nothing is sent or closed before the old keeper is gone: while
 * both have a socket, closing it would tell the peer nothing.
 * @module
 */
import { readdirSync, realpathSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { type KernelCalls, mustCall } from '../sys/kernel-calls.ts';
import { SystemError } from '../sys/system-error.ts';
import { endProcess, FoundKeeper, hasMapped } from './keeper.ts';
import { FLOW, FLOW_STATE, LISTENER, PIPE, RelayTable, SESSION } from './relay-table.ts';

/** The table in force, by a link that is replaced in one step. */
const CURRENT = 'current';
const TABLE = /^table\.\d+$/;
const FIONREAD = 0x541b;

/** What a relay before left. Rows have their numbers in the new table. */
export interface Inheritance {
  readonly flows: readonly number[];
  readonly sessions: readonly number[];
  /** Rows of listening sockets. */
  readonly listeners: readonly number[];
  readonly pipes: readonly {
    readonly direction: number;
    readonly read: number;
    readonly write: number;
    readonly bytes: number;
  }[];
  /** Sockets that belong to nothing in the table: accepted, or made, in the last instant. */
  readonly strays: readonly number[];
  /** The relay before, or 0. */
  readonly replaced: number;
  /** Why the connections of the relay before are lost, if they are. */
  readonly lost?: string;
  /** Publishes the new table, which must have its keeper by now, and ends the old one. */
  readonly seal: () => void;
}

/** Makes a table in `directory` and fills it with what the one before has. */
export function takeOver(
  calls: KernelCalls,
  directory: string,
): { readonly table: RelayTable; readonly inheritance: Inheritance } {
  const table = RelayTable.create(calls, path.join(directory, `table.${process.pid}`));
  table.relay = process.pid;
  const current = path.join(directory, CURRENT);
  const old = openTable(calls, current);
  const [known, lost] = old instanceof RelayTable ? [old, undefined] : [undefined, old];
  removeUnfinished(calls, directory, [table.file, known?.file]);
  if (known !== undefined) endProcess(calls, known.relay, known);
  const seal = () => {
    const next = `${current}.${process.pid}`;
    symlinkSync(table.file, next);
    renameSync(next, current);
    if (known === undefined) return;
    endProcess(calls, known.keeper, known);
    unlinkSync(known.file);
  };
  if (known === undefined || !hasMapped(known.keeper, known)) {
    const nothing = { ...NOTHING, replaced: 0, ...(lost === undefined ? {} : { lost }) };
    return { table, inheritance: { ...nothing, seal } };
  }
  const keeper = new FoundKeeper(calls, known);
  try {
    const copied = new Copier(calls, keeper, known, table).all();
    return { table, inheritance: { ...copied, replaced: known.relay, seal } };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return { table, inheritance: { ...NOTHING, replaced: known.relay, lost: error.message, seal } };
  } finally {
    keeper.close();
  }
}

/** Nothing is carried any more: no relay is to find the table. */
export function withdraw(directory: string, table: RelayTable): void {
  rmSync(path.join(directory, CURRENT), { force: true });
  rmSync(table.file, { force: true });
}

/** A table, why it is none, or nothing where there is no file. */
function openTable(calls: KernelCalls, link: string): RelayTable | string | undefined {
  try {
    return RelayTable.open(calls, realpathSync(link));
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return isMissing ? undefined : (error as Error).message;
  }
}

/** Ends relays that were to take over and did not come to it, with their keepers. */
function removeUnfinished(
  calls: KernelCalls,
  directory: string,
  known: readonly (string | undefined)[],
): void {
  for (const name of readdirSync(directory)) {
    const file = path.join(realpathSync(directory), name);
    if (!TABLE.test(name) || known.includes(file)) continue;
    // It may have been killed before its table was written.
    const table = openTable(calls, file);
    if (table instanceof RelayTable) {
      endProcess(calls, table.relay, table);
      endProcess(calls, table.keeper, table);
    }
    unlinkSync(file);
  }
}

const NOTHING = { flows: [], sessions: [], listeners: [], pipes: [], strays: [] };

class Copier {
  readonly #calls: KernelCalls;
  readonly #keeper: FoundKeeper;
  readonly #old: RelayTable;
  readonly #table: RelayTable;
  readonly #known = new Set<number>();

  constructor(calls: KernelCalls, keeper: FoundKeeper, old: RelayTable, table: RelayTable) {
    this.#calls = calls;
    this.#keeper = keeper;
    this.#old = old;
    this.#table = table;
  }

  all(): Omit<Inheritance, 'seal' | 'replaced'> {
    for (let row = 0; row < this.#old.names.used; row += 1) {
      this.#table.nameRow(this.#old.name(row));
    }
    const listeners = this.#rows('listeners', [LISTENER.fd]);
    const flows = this.#rows('flows', [FLOW.client, FLOW.upstream], FLOW.state);
    const sessions = this.#rows('sessions', [SESSION.upstream], SESSION.state);
    const pipes = this.#pipes();
    const strays = this.#keeper
      .otherSockets(this.#known)
      .map((fd) => this.#keeper.copy(fd))
      .filter((fd) => fd >= 0);
    return { listeners, flows, sessions, pipes, strays };
  }

  /** Copies rows field by field, as far as both tables have them, with their descriptors. */
  #rows(
    name: 'flows' | 'sessions' | 'listeners',
    descriptors: readonly number[],
    stateField?: number,
  ): number[] {
    const [from, to] = [this.#old[name], this.#table[name]];
    const { free, live, closing } = FLOW_STATE;
    const rows: number[] = [];
    for (let row = 0; row < Math.min(from.used, to.capacity); row += 1) {
      const [source, target] = [from.at(row), to.use(row)];
      const state = stateField === undefined ? live : this.#old.ints[source + stateField];
      // Its numbers are old ones, which may be those of newer sockets by now.
      if (state === free) continue;
      for (const field of descriptors) this.#known.add(this.#old.ints[source + field] ?? -1);
      if (state === closing) continue;
      const fields = Math.min(from.stride, to.stride);
      for (let field = 0; field < fields; field += 1) {
        const value = this.#old.ints[source + field] ?? 0;
        const isDescriptor = descriptors.includes(field);
        this.#table.ints[target + field] = isDescriptor ? this.#keeper.copy(value) : value;
      }
      rows.push(row);
    }
    return rows;
  }

  /** Only pipes that hold bytes: the owner of an empty one means nothing. */
  #pipes(): { direction: number; read: number; write: number; bytes: number }[] {
    const found = [];
    const { ints, pipes } = this.#old;
    const count = this.#calls.allocate(4_096);
    for (let row = 0; row < pipes.used; row += 1) {
      const at = pipes.at(row);
      const read = this.#keeper.copy(ints[at + PIPE.read] ?? -1);
      if (read < 0) continue;
      mustCall('ioctl(FIONREAD)', this.#calls.ioctl(read, FIONREAD, count.address));
      const bytes = count.ints[0] ?? 0;
      const direction = (ints[at + PIPE.owner] ?? 0) - 1;
      if (bytes === 0 || direction < 0) {
        this.#calls.close(read);
        continue;
      }
      const write = this.#keeper.copy(ints[at + PIPE.write] ?? -1);
      found.push({ direction, read, write, bytes });
    }
    return found;
  }
}
