/**
 * bpf(2), the commands we need: maps, programs, links, iterators, pins and the lists of what the
 * kernel holds. Every function throws `SystemError`; descriptors are the caller's to close.
 * @module
 */
import { closeSync, readSync } from 'node:fs';
import { errnoName, libc, must, syscallNumber } from './libc.ts';
import { SystemError } from './system-error.ts';

const COMMANDS = {
  mapCreate: 0,
  mapLookup: 1,
  mapUpdate: 2,
  mapDelete: 3,
  mapNextKey: 4,
  programLoad: 5,
  pin: 6,
  get: 7,
  programById: 13,
  mapById: 14,
  info: 15,
  mapUpdateBatch: 26,
  linkCreate: 28,
  linkById: 30,
  linkNextId: 31,
  iteratorCreate: 33,
} as const;

/** Kinds of map (linux/bpf.h). */
export const BPF_MAP_HASH = 1;
export const BPF_MAP_LPM_TRIE = 11;
const BPF_MAP_ARRAY_OF_MAPS = 12;
const BPF_F_NO_PREALLOC = 1;
/** Kinds of program, with how they are attached. */
export const BPF_SOCK_OPS = { type: 13, attach: 3 } as const;
export const BPF_SETSOCKOPT = { type: 25, attach: 22 } as const;
export const BPF_ITERATOR = { type: 26, attach: 28 } as const;
export type BpfKind = typeof BPF_SOCK_OPS | typeof BPF_SETSOCKOPT | typeof BPF_ITERATOR;

const LOG_LENGTH = 256 * 1_024;
const MOST_DISTURBANCES = 20;
const LINK_CGROUP = 3;
const NAME_LENGTH = 15;
/** The kernel's iterators answer with at most 32 KiB a read. */
const CHUNK_LENGTH = 64 * 1_024;
/** A program of ours has one; others' are not looked into further. */
const MOST_MAPS = 16;

/** The kernel's request block, with the buffers it points to kept alive. */
class Attributes {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  readonly #kept: Uint8Array[] = [];

  constructor(length: number) {
    this.bytes = new Uint8Array(new ArrayBuffer(length));
    this.view = new DataView(this.bytes.buffer);
  }

  u32(at: number, value: number): this {
    this.view.setUint32(at, value, true);
    return this;
  }

  pointer(at: number, bytes: Uint8Array): this {
    this.#kept.push(bytes);
    this.view.setBigUint64(at, libc().address(bytes), true);
    return this;
  }

  text(at: number, text: string): this {
    new TextEncoder().encodeInto(text.slice(0, NAME_LENGTH), this.bytes.subarray(at));
    return this;
  }
}

function call(command: keyof typeof COMMANDS, attributes: Attributes): number {
  const { bytes } = attributes;
  const nr = syscallNumber('bpf');
  return libc().syscall(nr, COMMANDS[command], libc().address(bytes), bytes.length, 0);
}

function ask(command: keyof typeof COMMANDS, attributes: Attributes): number {
  return must(`bpf(${command})`, call(command, attributes));
}

/** The verifier gives up with EAGAIN where a signal arrives meanwhile: then it is asked again. */
function askUndisturbed(command: keyof typeof COMMANDS, attributes: Attributes): number {
  for (let left = MOST_DISTURBANCES; ; left -= 1) {
    try {
      return ask(command, attributes);
    } catch (error) {
      if ((error as SystemError).code !== 'EAGAIN' || left === 0) throw error;
    }
  }
}

/** `false` for ENOENT, else `true`. */
function found(command: keyof typeof COMMANDS, attributes: Attributes): boolean {
  try {
    ask(command, attributes);
    return true;
  } catch (error) {
    if ((error as SystemError).code === 'ENOENT') return false;
    throw error;
  }
}

export interface BpfMapShape {
  readonly type: typeof BPF_MAP_HASH | typeof BPF_MAP_LPM_TRIE;
  readonly name: string;
  readonly keyLength: number;
  readonly valueLength: number;
  readonly mostEntries: number;
}

/** A new map, empty. */
export function createMap(shape: BpfMapShape): number {
  const { type, name, keyLength, valueLength, mostEntries } = shape;
  const attributes = new Attributes(128).u32(0, type).u32(4, keyLength).u32(8, valueLength);
  const flags = type === BPF_MAP_LPM_TRIE ? BPF_F_NO_PREALLOC : 0;
  return ask('mapCreate', attributes.u32(12, mostEntries).u32(16, flags).text(28, name));
}

function element(map: number, key: Uint8Array, value?: Uint8Array): Attributes {
  const attributes = new Attributes(32).u32(0, map).pointer(8, key);
  return value === undefined ? attributes : attributes.pointer(16, value);
}

/** Puts an entry, new or in place of the old, in one step for whoever reads it meanwhile. */
export function updateMap(map: number, key: Uint8Array, value: Uint8Array): void {
  ask('mapUpdate', element(map, key, value));
}

/** Puts many entries, keys and values one behind the other. */
export function updateMapBatch(
  map: number,
  keys: Uint8Array,
  values: Uint8Array,
  count: number,
): void {
  if (count === 0) return;
  const attributes = new Attributes(56).pointer(16, keys).pointer(24, values).u32(32, count);
  ask('mapUpdateBatch', attributes.u32(36, map));
}

/** Removes an entry; `false` if it was not there. */
export function deleteFromMap(map: number, key: Uint8Array): boolean {
  return found('mapDelete', element(map, key));
}

/**
 * Returns when every program that runs at the call has ended, within milliseconds: those that run
 * after it see all that was put into maps before it. `map` is any one at hand. The kernel waits so
 * wherever a map is put into a map (`maybe_wait_bpf_programs`, Linux 5.0), and only there.
 */
export function awaitPrograms(map: number): void {
  const attributes = new Attributes(128).u32(0, BPF_MAP_ARRAY_OF_MAPS).u32(4, 4).u32(8, 4);
  const outer = ask('mapCreate', attributes.u32(12, 1).u32(20, map));
  closing(outer, () =>
    updateMap(outer, new Uint8Array(4), new Uint8Array(Uint32Array.of(map).buffer)),
  );
}

/** Every entry of a map. */
export function* mapEntries(
  map: number,
  keyLength: number,
  valueLength: number,
): Generator<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
  let last: Uint8Array | undefined;
  for (;;) {
    const key = new Uint8Array(new ArrayBuffer(keyLength));
    const next = new Attributes(32).u32(0, map).pointer(16, key);
    if (!found('mapNextKey', last === undefined ? next : next.pointer(8, last))) return;
    const value = new Uint8Array(new ArrayBuffer(valueLength));
    if (found('mapLookup', element(map, key, value))) yield { key, value };
    last = key;
  }
}

/** Loads a program; what the verifier objects to is in the error. `btfId` names what is iterated. */
export function loadProgram(
  { type, attach }: BpfKind,
  name: string,
  instructions: Uint8Array,
  btfId = 0,
): number {
  const licence = new TextEncoder().encode('GPL\0');
  const attributes = new Attributes(144)
    .u32(0, type)
    .u32(4, instructions.length / 8)
    .pointer(8, instructions)
    .pointer(16, licence)
    .text(48, name)
    .u32(68, attach)
    .u32(108, btfId);
  try {
    return askUndisturbed('programLoad', attributes);
  } catch (error) {
    // EPERM and the like are no matter of the program; the rest is told by the verifier's log.
    if (!(error instanceof SystemError) || !['EACCES', 'EINVAL'].includes(error.code)) throw error;
    const log = new Uint8Array(LOG_LENGTH);
    if (call('programLoad', attributes.u32(24, 1).u32(28, LOG_LENGTH).pointer(32, log)) !== -1) {
      throw error;
    }
    const text = new TextDecoder().decode(log.subarray(0, Math.max(0, log.indexOf(0))));
    const last = text.trim().split('\n').slice(-3).join('; ');
    throw new SystemError(error.code, `${error.message} for the program ${name}: ${last}`);
  }
}

/** Attaches a program to a control group; it holds while the link, or a pin of it, is open. */
export function attachToCgroup(program: number, cgroup: number, { attach }: BpfKind): number {
  return ask('linkCreate', new Attributes(64).u32(0, program).u32(4, cgroup).u32(8, attach));
}

/**
 * All that an iterator program writes about the objects of the namespace this thread is in, one
 * record behind the other.
 */
export function iterate(program: number): Uint8Array {
  const { attach } = BPF_ITERATOR;
  const link = ask('linkCreate', new Attributes(64).u32(0, program).u32(8, attach));
  const iterator = closing(link, () => ask('iteratorCreate', new Attributes(8).u32(0, link)));
  return closing(iterator, () => {
    const chunks: Uint8Array[] = [];
    for (;;) {
      const chunk = new Uint8Array(CHUNK_LENGTH);
      const length = readSync(iterator, chunk);
      if (length === 0) return Buffer.concat(chunks);
      chunks.push(chunk.subarray(0, length));
    }
  });
}

/** Runs `body` and closes the descriptor, whatever comes of it. */
export function closing<Result>(fd: number, body: () => Result): Result {
  try {
    return body();
  } finally {
    closeSync(fd);
  }
}

/** Gives a map or link a name in the bpf filesystem, under which it outlives us. */
export function pin(fd: number, file: string): void {
  ask('pin', new Attributes(24).pointer(0, Buffer.from(`${file}\0`)).u32(8, fd));
}

/** Opens what is pinned under a name; `undefined` if nothing is. */
export function openPinned(file: string): number | undefined {
  const attributes = new Attributes(24).pointer(0, Buffer.from(`${file}\0`));
  const fd = call('get', attributes);
  if (fd !== -1) return fd;
  try {
    return must(`bpf(get ${file})`, fd);
  } catch (error) {
    if ((error as SystemError).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A program that is attached to a control group, whoever holds it. */
export interface CgroupLink {
  readonly cgroupId: number;
  readonly program: string;
  readonly mapIds: readonly number[];
}

/** Every link of a program to a control group in this kernel (CAP_SYS_ADMIN). */
export function cgroupLinks(): CgroupLink[] {
  const links: CgroupLink[] = [];
  const next = new Attributes(12);
  while (found('linkNextId', next)) {
    const id = next.view.getUint32(4, true);
    next.u32(0, id);
    const link = openById('linkById', id);
    if (link === undefined) continue;
    const about = closing(link, () => infoOf(link, 40));
    if (about.getUint32(0, true) !== LINK_CGROUP) continue;
    const program = openById('programById', about.getUint32(8, true));
    if (program === undefined) continue;
    const cgroupId = Number(about.getBigUint64(16, true));
    links.push({ cgroupId, ...closing(program, () => programInfo(program)) });
  }
  return links;
}

/** Opens a map by its id; `undefined` if it is gone (CAP_SYS_ADMIN). */
export function openMapById(id: number): number | undefined {
  return openById('mapById', id);
}

/** A map as the kernel tells of it. */
export interface BpfMapInfo {
  readonly id: number;
  readonly keyLength: number;
  readonly valueLength: number;
}

export function mapInfo(map: number): BpfMapInfo {
  const about = infoOf(map, 24);
  const word = (at: number) => about.getUint32(at, true);
  return { id: word(4), keyLength: word(8), valueLength: word(12) };
}

function openById(command: 'linkById' | 'programById' | 'mapById', id: number): number | undefined {
  const attributes = new Attributes(12).u32(0, id);
  const fd = call(command, attributes);
  if (fd !== -1) return fd;
  return errnoName(libc().errno()) === 'ENOENT' ? undefined : must(`bpf(${command})`, fd);
}

function infoOf(
  fd: number,
  length: number,
  fill: (about: Attributes) => void = () => {},
): DataView {
  const about = new Attributes(length);
  fill(about);
  ask('info', new Attributes(16).u32(0, fd).u32(4, length).pointer(8, about.bytes));
  return about.view;
}

function programInfo(program: number): { readonly program: string; readonly mapIds: number[] } {
  const ids = new Uint8Array(new ArrayBuffer(4 * MOST_MAPS));
  const about = infoOf(program, 80, (block) => block.u32(52, MOST_MAPS).pointer(56, ids));
  const count = Math.min(about.getUint32(52, true), MOST_MAPS);
  const view = new DataView(ids.buffer);
  const name = new Uint8Array(about.buffer, 64, 16);
  return {
    program: new TextDecoder().decode(name).replace(/\0.*$/s, ''),
    mapIds: Array.from({ length: count }, (_, index) => view.getUint32(4 * index, true)),
  };
}
