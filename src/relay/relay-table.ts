/**
 * What must outlive a relay that is killed and the kernel cannot tell: which descriptors belong
 * together. It lies in a mapped file, so that a plain store is there for the next relay however this
 * one ends. Everything else is asked of the kernel anew. The header says where each region lies and how
 * wide its rows are: a later version adds regions and fields at the end, and reads an older table.
 * @module
 */
import { closeSync, fstatSync, openSync, realpathSync, writeSync } from 'node:fs';
import type { KernelCalls } from '../sys/kernel-calls.ts';
import { SystemError } from '../sys/system-error.ts';

/** Header fields, in 32-bit words. */
const MAGIC_AT = 0;
const VERSION_AT = 1;
/** The kernel itself stores it, before the keeper runs. */
export const KEEPER_AT = 2;
export const RELAY_AT = 3;
const REGIONS_AT = 4;
const REGION_WORDS = 4;
const HEADER_WORDS = 64;

const MAGIC = 0x4c4b4852;
const VERSION = 1;

/** A connection of two sockets. Bytes are counted in doubles, so their place is even. */
export const FLOW = {
  client: 0,
  upstream: 1,
  state: 2,
  /** See `FLOW_BITS`. */
  bits: 3,
  listener: 4,
  /** A row of `names`. */
  path: 5,
  bytesUp: 6,
  bytesDown: 8,
} as const;

export const FLOW_STATE = { free: 0, live: 1, closing: 2, aborted: 3 } as const;
export const FLOW_BITS = {
  /** The client has said all, and the upstream was told. */
  clientDone: 1,
  upstreamDone: 2,
  /** Bytes may have passed from here on. */
  connected: 4,
  /** A PROXY header is still to go first. */
  headerDue: 8,
  /** The upstream has no keepalive and user timeout yet. */
  policyDue: 16,
} as const;

/** A pipe; whose bytes wait in it, plus one. The owner of an empty pipe means nothing. */
export const PIPE = { read: 0, write: 1, owner: 2 } as const;

export const LISTENER = {
  fd: 0,
  /** A row of `names`. */
  name: 1,
  /** IPPROTO_TCP or IPPROTO_UDP. */
  protocol: 2,
  accepted: 3,
  refused: 4,
  multipath: 5,
  fellBack: 6,
  /** Of flows that have ended. */
  bytesUp: 8,
  bytesDown: 10,
} as const;

/** One UDP flow: the client's `sockaddr` from `address` on. */
export const SESSION = {
  upstream: 0,
  state: 1,
  listener: 2,
  path: 3,
  addressLength: 4,
  address: 5,
  bytesUp: 12,
  bytesDown: 14,
} as const;

/** A name: its length, then a byte a character. */
const NAME_CHARACTERS = 64;

const REGION_NAMES = [
  'flows',
  'pipes',
  'listeners',
  'sessions',
  'names',
  'exchange',
  'messages',
  'parcels',
] as const;
export type RegionName = (typeof REGION_NAMES)[number];

interface Shape {
  readonly stride: number;
  readonly capacity: number;
}

const SHAPES: Readonly<Record<RegionName, Shape>> = {
  flows: { stride: 12, capacity: 65_536 },
  pipes: { stride: 4, capacity: 16_384 },
  listeners: { stride: 12, capacity: 256 },
  sessions: { stride: 16, capacity: 16_384 },
  names: { stride: 1 + NAME_CHARACTERS / 4, capacity: 1_024 },
  exchange: { stride: 4, capacity: 1 },
  messages: { stride: 16, capacity: 64 },
  parcels: { stride: 258, capacity: 64 },
};

/** Rows of one kind, as words of `ints`. */
export class Region {
  readonly offset: number;
  readonly stride: number;
  readonly capacity: number;
  readonly #ints: Int32Array;
  readonly #usedAt: number;

  constructor(ints: Int32Array, headerAt: number) {
    this.#ints = ints;
    this.offset = ints[headerAt] ?? 0;
    this.stride = ints[headerAt + 1] ?? 0;
    this.capacity = ints[headerAt + 2] ?? 0;
    this.#usedAt = headerAt + 3;
  }

  /** Rows that were ever in use: those from here on are empty. */
  get used(): number {
    return this.#ints[this.#usedAt] ?? 0;
  }

  /** The first word of a row, which is in use from now on. */
  use(row: number): number {
    if (row >= this.used) this.#ints[this.#usedAt] = row + 1;
    return this.at(row);
  }

  at(row: number): number {
    return this.offset + row * this.stride;
  }
}

export class RelayTable {
  /** Without links in it, as /proc/PID/maps tells it. */
  readonly file: string;
  readonly address: number;
  readonly ints: Int32Array;
  readonly doubles: Float64Array;
  readonly flows: Region;
  readonly pipes: Region;
  readonly listeners: Region;
  readonly sessions: Region;
  readonly names: Region;
  readonly exchange: Region;
  readonly messages: Region;
  readonly parcels: Region;
  readonly #bytes: Uint8Array;
  readonly #nameRows = new Map<string, number>();

  private constructor(calls: KernelCalls, file: string, fd: number, length: number) {
    this.file = realpathSync(file);
    const memory = calls.mapShared(fd, length);
    this.address = memory.address;
    this.ints = memory.ints;
    this.doubles = memory.doubles;
    this.#bytes = memory.bytes;
    const region = (name: RegionName) =>
      new Region(this.ints, REGIONS_AT + REGION_NAMES.indexOf(name) * REGION_WORDS);
    this.flows = region('flows');
    this.pipes = region('pipes');
    this.listeners = region('listeners');
    this.sessions = region('sessions');
    this.names = region('names');
    this.exchange = region('exchange');
    this.messages = region('messages');
    this.parcels = region('parcels');
  }

  /** A new one. Its room is reserved: a disk that is full later must not end a relay (SIGBUS). */
  static create(
    calls: KernelCalls,
    file: string,
    other: Partial<Readonly<Record<RegionName, Shape>>> = {},
  ): RelayTable {
    const shapes = { ...SHAPES, ...other };
    const header = new Int32Array(HEADER_WORDS);
    header.set([MAGIC, VERSION]);
    let offset = HEADER_WORDS;
    for (const [index, name] of REGION_NAMES.entries()) {
      const { stride, capacity } = shapes[name];
      header.set([offset, stride, capacity, 0], REGIONS_AT + index * REGION_WORDS);
      offset += stride * capacity;
      offset += offset % 2;
    }
    const length = offset * 4;
    const fd = openSync(file, 'w+', 0o600);
    try {
      if (calls.reserve(fd, length) < 0) {
        // A filesystem that cannot reserve room can still be written to.
        const zeros = new Uint8Array(length);
        for (let at = 0; at < length; ) at += writeSync(fd, zeros, at, length - at, at);
      }
      writeSync(fd, new Uint8Array(header.buffer), 0, HEADER_WORDS * 4, 0);
      return new RelayTable(calls, file, fd, length);
    } finally {
      closeSync(fd);
    }
  }

  /** One that another relay made. Throws `SystemError` (`foreign-table`) for what is none. */
  static open(calls: KernelCalls, file: string): RelayTable {
    const fd = openSync(file, 'r+');
    try {
      const { size } = fstatSync(fd);
      const foreign = (what: string) =>
        new SystemError('foreign-table', `${file} is not a table of relayed connections: ${what}`);
      if (size < HEADER_WORDS * 4) throw foreign(`it has ${size} bytes`);
      const table = new RelayTable(calls, file, fd, size);
      if (table.ints[MAGIC_AT] !== MAGIC) throw foreign('it does not begin like one');
      for (const name of REGION_NAMES) {
        const { offset, stride, capacity, used } = table[name];
        const least = SHAPES[name].stride;
        const fits = offset >= HEADER_WORDS && offset % 2 === 0 && used >= 0 && used <= capacity;
        if (capacity === 0) continue;
        if (!fits || stride < least || (offset + stride * capacity) * 4 > size) {
          throw foreign(`its ${name} do not fit`);
        }
      }
      return table;
    } finally {
      closeSync(fd);
    }
  }

  get keeper(): number {
    return this.ints[KEEPER_AT] ?? 0;
  }

  get relay(): number {
    return this.ints[RELAY_AT] ?? 0;
  }

  set relay(pid: number) {
    this.ints[RELAY_AT] = pid;
  }

  get version(): number {
    return this.ints[VERSION_AT] ?? 0;
  }

  /** The row of a name, new if need be; -1 if there is no room for one more. */
  nameRow(name: string): number {
    const known = this.#nameRows.get(name);
    if (known !== undefined) return known;
    const row = this.names.used;
    if (row >= this.names.capacity || name.length > NAME_CHARACTERS) return -1;
    const at = this.names.at(row);
    for (let index = 0; index < name.length; index += 1) {
      this.#bytes[(at + 1) * 4 + index] = name.charCodeAt(index);
    }
    this.ints[at] = name.length;
    this.names.use(row);
    this.#nameRows.set(name, row);
    return row;
  }

  name(row: number): string {
    if (row < 0 || row >= this.names.used) return '';
    const at = this.names.at(row);
    const length = Math.min(this.ints[at] ?? 0, NAME_CHARACTERS);
    return String.fromCharCode(...this.#bytes.subarray((at + 1) * 4, (at + 1) * 4 + length));
  }

  /** The bytes of words from `at` on, as they lie in the file. */
  bytesAt(at: number, length: number): Uint8Array {
    return this.#bytes.subarray(at * 4, at * 4 + length);
  }
}
