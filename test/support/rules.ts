/**
 * Rules and connections that are near each other, so that several rules fit one connection, and the
 * kernel's longest-prefix trie in its plainest form: every entry is looked at, bit by bit.
 * @module
 */
import fc from 'fast-check';
import type { Ends, Rule } from '../../src/host/rule.ts';
import { formatIp, parsePrefix } from '../../src/wire/ip-address.ts';

const PORTS = [1, 22, 5_432, 65_535] as const;
const STEMS = [
  '10.1.2.3',
  '10.1.2.200',
  '192.0.2.7',
  '::1',
  '2001:db8::7',
  '2001:db8:1::7',
] as const;

/** Addresses of two families in few networks. */
export const nearAddress: fc.Arbitrary<string> = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...STEMS) },
  { weight: 1, arbitrary: fc.ipV4() },
  { weight: 1, arbitrary: fc.ipV6() },
);

const prefix = fc
  .tuple(nearAddress, fc.nat(128))
  .map(([address, bits]) => parsePrefix(`${address}/${address.includes(':') ? bits : bits % 33}`));
const options = fc.record(
  {
    enabled: fc.constant(true),
    timeMs: fc.integer({ min: 1, max: 32_767 }).map((seconds) => seconds * 1_000),
    intervalMs: fc.integer({ min: 1, max: 32_767 }).map((seconds) => seconds * 1_000),
    probes: fc.integer({ min: 1, max: 127 }),
    userTimeoutMs: fc.nat(2_147_483_647),
  },
  { noNullPrototype: true },
);

export const nearRule: fc.Arbitrary<Rule> = fc.record(
  {
    port: fc.constantFrom(0, ...PORTS),
    to: fc.option(prefix, { nil: undefined }),
    options,
    lock: fc.boolean(),
  },
  { noNullPrototype: true },
);

export const nearEnds: fc.Arbitrary<Ends> = fc.record(
  {
    localPort: fc.constantFrom(...PORTS, 40_000),
    remotePort: fc.constantFrom(...PORTS, 40_000),
    remoteAddress: fc
      .tuple(nearAddress, fc.nat(127), fc.boolean())
      .map(([address, bit, changed]) => (changed ? flipped(address, bit) : address)),
  },
  { noNullPrototype: true },
);

/** An address that differs in one bit, of the same family. */
function flipped(address: string, bit: number): string {
  const bytes = parsePrefix(address)?.bytes ?? new Uint8Array(16);
  const at = address.includes(':') ? bit : 96 + (bit % 32);
  bytes[at >> 3] = (bytes[at >> 3] ?? 0) ^ (0x80 >> (at & 7));
  return formatIp(bytes);
}

/**
 * What a trie of `struct { u32 bits; u8 data[] }` answers for a key: the value of the longest prefix
 * that its data begins with. Of two equal keys the later one is held.
 */
export function trieLookup<Value>(
  entries: readonly (readonly [key: Uint8Array, value: Value])[],
  key: Uint8Array,
): Value | undefined {
  const bitsOf = (bytes: Uint8Array) =>
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const bitOf = (bytes: Uint8Array, bit: number) =>
    ((bytes[4 + (bit >> 3)] ?? 0) >> (7 - (bit & 7))) & 1;
  let best: readonly [number, Value] | undefined;
  for (const [entry, value] of entries) {
    const bits = bitsOf(entry);
    if (bits > bitsOf(key) || bits < (best?.[0] ?? 0)) continue;
    let bit = 0;
    while (bit < bits && bitOf(entry, bit) === bitOf(key, bit)) bit += 1;
    if (bit === bits) best = [bits, value];
  }
  return best?.[1];
}
