/**
 * What happened on a link within a stretch of time, and its bytes in the database: how long it was
 * in each state, probes, losses, round trips. Time that nobody watched is simply not in it.
 *
 * The bytes: one byte that says which parts follow (bits 0 to 3: a state; 4: probes and losses;
 * 5: round trips), then each part. Whole numbers are little-endian groups of 7 bits, the top bit
 * says that more follow; the longest round trip is an IEEE 754 single; buckets are pairs of *steps
 * since the bucket before* and *count*. A quiet minute of a link that is up takes about 15 bytes.
 * @module
 */
import { DecodeError } from '../../wire/decode-error.ts';
import { Histogram, LAST_BUCKET } from './histogram.ts';

/** The states whose time is counted. `unknown` is not observed. */
export const COUNTED_STATES = ['up', 'suspect', 'down', 'drained'] as const;
export type CountedState = (typeof COUNTED_STATES)[number];
export type StateMs = { [state in CountedState]: number };

export interface LinkStats {
  /** Milliseconds in each state, by the monotonic clock. */
  readonly stateMs: StateMs;
  probes: number;
  /** Probes that had no answer when the next one left. */
  losses: number;
  readonly roundTrips: Histogram;
}

const HAS_PROBES = 1 << COUNTED_STATES.length;
const HAS_ROUND_TRIPS = HAS_PROBES << 1;
const GROUP = 128;
/** Groups of a number below 2^53. */
const MOST_GROUPS = 8;
const SINGLE_BYTES = 4;

export function emptyStats(): LinkStats {
  const stateMs = { up: 0, suspect: 0, down: 0, drained: 0 };
  return { stateMs, probes: 0, losses: 0, roundTrips: new Histogram() };
}

export function mergeStats(into: LinkStats, from: LinkStats): void {
  for (const state of COUNTED_STATES) into.stateMs[state] += from.stateMs[state];
  into.probes += from.probes;
  into.losses += from.losses;
  into.roundTrips.merge(from.roundTrips);
}

/** Whether there is nothing to keep. */
export function isEmpty({ stateMs, probes, roundTrips }: LinkStats): boolean {
  return probes === 0 && roundTrips.total === 0 && COUNTED_STATES.every((s) => stateMs[s] < 1);
}

export function encodeStats({ stateMs, probes, losses, roundTrips }: LinkStats): Uint8Array {
  const bytes: number[] = [0];
  let parts = 0;
  for (const [bit, state] of COUNTED_STATES.entries()) {
    const ms = Math.round(stateMs[state]);
    if (ms <= 0) continue;
    parts |= 1 << bit;
    putNumber(bytes, ms);
  }
  if (probes > 0 || losses > 0) {
    parts |= HAS_PROBES;
    putNumber(bytes, probes);
    putNumber(bytes, losses);
  }
  if (roundTrips.total > 0) {
    parts |= HAS_ROUND_TRIPS;
    bytes.push(...new Uint8Array(new Float32Array([roundTrips.maxMs]).buffer));
    let last = 0;
    for (const [bucket, count] of roundTrips.entries()) {
      putNumber(bytes, bucket - last);
      putNumber(bytes, count);
      last = bucket;
    }
  }
  bytes[0] = parts;
  return Uint8Array.from(bytes);
}

/** Throws `DecodeError` for bytes that are none of ours. */
export function decodeStats(bytes: Uint8Array): LinkStats {
  const reader = new Reader(bytes);
  const parts = reader.byte();
  const stats = emptyStats();
  readStates(reader, parts, stats.stateMs);
  if ((parts & HAS_PROBES) !== 0) {
    stats.probes = reader.number();
    stats.losses = reader.number();
  }
  if ((parts & HAS_ROUND_TRIPS) === 0) return stats;
  stats.roundTrips.raiseMax(reader.single());
  let bucket = 0;
  while (!reader.atEnd) {
    bucket += reader.number();
    if (bucket > LAST_BUCKET) throw new DecodeError('roll-up', 'bad-bucket', bucket);
    stats.roundTrips.addBucket(bucket, reader.number());
  }
  return stats;
}

/** Only the time in each state, which lies in front. Throws `DecodeError`. */
export function decodeStates(bytes: Uint8Array): StateMs {
  const reader = new Reader(bytes);
  const stateMs = { up: 0, suspect: 0, down: 0, drained: 0 };
  readStates(reader, reader.byte(), stateMs);
  return stateMs;
}

function readStates(reader: Reader, parts: number, into: StateMs): void {
  for (const [bit, state] of COUNTED_STATES.entries()) {
    if ((parts & (1 << bit)) !== 0) into[state] = reader.number();
  }
}

function putNumber(bytes: number[], value: number): void {
  let rest = value;
  while (rest >= GROUP) {
    bytes.push((rest % GROUP) + GROUP);
    rest = Math.floor(rest / GROUP);
  }
  bytes.push(rest);
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new DecodeError('roll-up', 'too-short', this.#bytes.length);
    this.#at += 1;
    return byte;
  }

  number(): number {
    let value = 0;
    let scale = 1;
    for (let group = 0; group < MOST_GROUPS; group += 1) {
      const byte = this.byte();
      value += (byte % GROUP) * scale;
      scale *= GROUP;
      if (byte < GROUP && value <= Number.MAX_SAFE_INTEGER) return value;
    }
    throw new DecodeError('roll-up', 'bad-number', value);
  }

  single(): number {
    const four = Uint8Array.from({ length: SINGLE_BYTES }, () => this.byte());
    const value = new Float32Array(four.buffer)[0] ?? Number.NaN;
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) {
      throw new DecodeError('roll-up', 'bad-maximum', value);
    }
    return value;
  }
}
