/**
 * Bytes that are nearly right: what finds the check a decoder forgot. A run is a pure function of its
 * seed.
 * @module
 */
import assert from 'node:assert/strict';
import { Prng } from './prng.ts';

/** What lengths, counts and types are when they are meant to hurt. */
const NUMBERS = [
  0, 1, 3, 4, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_fffc, 0xffff_ffff,
];
/** Before and behind the input, so that whoever reads past it finds something there. */
const MARGIN = 72;

/** How many inputs were read, and how many refused with a `DecodeError`. */
export interface Fuzzed {
  readonly read: number;
  readonly refused: number;
}

/** At least so many inputs, where more than one is asked for: for a long run of the same tests. */
const LEAST_ROUNDS = Number(process.env['FUZZ_ROUNDS'] ?? 0);

/** Decodes so many mutants of valid inputs; anything thrown but a `DecodeError` fails, with its input. */
export function fuzz(
  valid: readonly Uint8Array[],
  asked: number,
  decode: (bytes: Uint8Array) => void,
  seed = 1,
): Fuzzed {
  const rounds = asked > 1 ? Math.max(asked, LEAST_ROUNDS) : asked;
  const prng = new Prng(seed);
  const longest = Math.max(0, ...valid.map(({ length }) => length));
  const buffer = new DataView(new ArrayBuffer(MARGIN + longest + MARGIN));
  let refused = 0;
  for (let round = 0; round < rounds; round += 1) {
    const bytes = mutated(valid[round % valid.length] ?? new Uint8Array(), buffer, prng);
    try {
      decode(bytes);
    } catch (error) {
      refused += 1;
      if ((error as Error).name === 'DecodeError') continue;
      const input = Buffer.from(bytes).toString('hex');
      assert.fail(`${(error as Error).stack}\nround ${round} of seed ${seed}: ${input}`);
    }
  }
  return { read: rounds - refused, refused };
}

/** A mutant at any place of a larger buffer: bytes and words changed or copied, cut short or longer. */
function mutated(valid: Uint8Array, buffer: DataView, prng: Prng): Uint8Array {
  const all = new Uint8Array(buffer.buffer);
  const from = prng.between(0, 8);
  all.fill(0xa5, from + valid.length);
  all.set(valid, from);
  const chance = prng.next();
  const longer = chance < 0.1 ? prng.between(1, 64) : 0;
  const length = chance > 0.8 ? prng.between(0, valid.length) : valid.length + longer;
  const to = from + length;
  for (let left = prng.between(0, 4); left > 0 && length > 0; left -= 1) {
    const at = prng.between(from, to - 1);
    const number = NUMBERS[prng.between(0, NUMBERS.length - 1)] ?? 0;
    const kind = prng.between(0, 4);
    if (kind === 0) all[at] = prng.between(0, 0xff);
    if (kind === 1) all[at] = (all[at] ?? 0) ^ (1 << prng.between(0, 7));
    if (kind === 2 && at + 2 <= to) buffer.setUint16(at, number & 0xffff, prng.chance(0.9));
    if (kind === 3 && at + 4 <= to) buffer.setUint32(at, number, prng.chance(0.9));
    if (kind === 4) copy(all, prng.between(from, to - 1), at, to);
  }
  return all.subarray(from, to);
}

/** Up to 16 bytes over others, all before `to`. */
function copy(all: Uint8Array, from: number, at: number, to: number): void {
  const length = Math.min(16, to - from, to - at);
  all.copyWithin(at, from, from + length);
}
