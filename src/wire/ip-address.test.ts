import assert from 'node:assert/strict';
import net from 'node:net';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  formatIp,
  formatPrefix,
  formatV4,
  inPrefix,
  isMappedV4,
  type Prefix,
  parseIp,
  parsePrefix,
} from './ip-address.ts';

const hexOf = (bytes: Uint8Array | undefined) =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString('hex');
const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 });

/** Addresses as generators, people and mistakes write them. */
const ADDRESS = fc.oneof(fc.ipV4(), fc.ipV6());
const NEARLY = fc.oneof(
  ADDRESS,
  fc
    .tuple(ADDRESS, fc.nat(50), fc.constantFrom('', ':', '::', '.', '0', 'f', 'g', '1.2.3.4', ' '))
    .map(([text, at, more]) => text.slice(0, at) + more + text.slice(at)),
  fc
    .tuple(ADDRESS, fc.nat(50), fc.nat(3))
    .map(([text, at, less]) => text.slice(0, at) + text.slice(at + less)),
  fc
    .array(fc.constantFrom('', '0', '1', 'ffff', '0db8', '12345', '1.2.3.4'), { maxLength: 10 })
    .map((groups) => groups.join(':')),
  fc
    .array(fc.constantFrom('', '0', '1', '255', '256', '01', '0x7'), { maxLength: 5 })
    .map((parts) => parts.join('.')),
  fc.string({ unit: fc.constantFrom(...'0123456789abcdefABCDEF:.%/-'), maxLength: 45 }),
);

/** What Node holds for the canonical text of an IPv6 address (WHATWG URL, as RFC 5952). */
function canonicalV6(text: string): string {
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}

suite('IP addresses', () => {
  for (const [text, hex, again] of [
    ['10.0.0.5', '00000000000000000000ffff0a000005', '10.0.0.5'],
    ['0.0.0.0', '00000000000000000000ffff00000000', '0.0.0.0'],
    ['255.255.255.255', '00000000000000000000ffffffffffff', '255.255.255.255'],
    ['::ffff:10.0.0.5', '00000000000000000000ffff0a000005', '10.0.0.5'],
    ['::FFFF:a00:5', '00000000000000000000ffff0a000005', '10.0.0.5'],
    ['0:0:0:0:0:ffff:10.0.0.5', '00000000000000000000ffff0a000005', '10.0.0.5'],
    ['::', '00000000000000000000000000000000', '::'],
    ['::1', '00000000000000000000000000000001', '::1'],
    ['1::', '00010000000000000000000000000000', '1::'],
    ['::1.2.3.4', '00000000000000000000000001020304', '::102:304'],
    ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221', '64:ff9b::c000:221'],
    // RFC 5952, sections 4.1 to 4.3.
    ['2001:0db8::0001', '20010db8000000000000000000000001', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '20010db8000000000000000000020001', '2001:db8::2:1'],
    ['2001:db8::1:1:1:1:1', '20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '20010000000000010000000000000001', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['2001:DB8::AbCd', '20010db800000000000000000000abcd', '2001:db8::abcd'],
    ['1:2:3:4:5:6:7::', '00010002000300040005000600070000', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '00000002000300040005000600070008', '0:2:3:4:5:6:7:8'],
  ] as const) {
    test(`reads ${text} and writes ${again}`, () => {
      assert.equal(hexOf(parseIp(text)), hex);
      assert.equal(formatIp(Buffer.from(hex, 'hex')), again);
    });
  }

  for (const text of [
    ...['', ' ', '1', '1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', '1.2.3.4 ', '-1.2.3.4'],
    ...['1.2.3.', '.1.2.3', '1..2.3', '0x7f.0.0.1', '1e1.2.3.4', '１.2.3.4', ':', ':::', '1:::2'],
    ...['1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1:2:3:4:5:6:7:8::', '::1:2:3:4:5:6:7:8'],
    ...[
      '12345::',
      'g::',
      ':1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:',
      '::1 ',
      '[::1]',
      '::1%eth0',
      'fe80::%1',
    ],
    ...['1.2.3.4::', '::1.2.3.4:5', '::1.2.3', '::1.2.3.256', '1:2:3:4:5:6:7:1.2.3.4', '::1/128'],
    // The dotted end may stand at the end only.
    ...['1.2.3.4::1.2.3.4', '1.2.3.4:1.2.3.4:1.2.3.4:1.2.3.4', '::1.2.3.4:1.2.3.4', '::1.2.3.4::'],
  ]) {
    test(`"${text}" is none`, () => {
      assert.equal(parseIp(text), undefined);
      assert(text.includes('%') || net.isIP(text) === 0, 'and Node agrees');
    });
  }

  test('agrees with net.isIP about 20,000 texts that are addresses or nearly so', () => {
    let good = 0;
    let bad = 0;
    fc.assert(
      fc.property(NEARLY, (text) => {
        const expected = text.includes('%') ? 0 : net.isIP(text);
        const bytes = parseIp(text);
        assert.equal(bytes === undefined, expected === 0, `net.isIP says ${expected}`);
        if (bytes === undefined) bad += 1;
        else good += 1;
        assert(bytes === undefined || bytes.length === 16);
      }),
      { numRuns: 20_000 },
    );
    assert(good > 4_000 && bad > 4_000, `${good} good, ${bad} bad`);
  });

  test('writes any 16 bytes as Node does, and reads them back', () => {
    const sparse = fc
      .array(fc.constantFrom(0, 0, 0, 1, 0xff, 0x10), { minLength: 16, maxLength: 16 })
      .map((bytes) => Uint8Array.from(bytes));
    fc.assert(
      fc.property(fc.oneof(bytes16, sparse), fc.nat(7), (bytes, offset) => {
        const larger = Buffer.concat([new Uint8Array(offset).fill(7), bytes, Buffer.of(7)]);
        const text = formatIp(larger, offset);
        assert.deepEqual(parseIp(text), bytes);
        const groups = Array.from({ length: 8 }, (_, index) => {
          return larger.readUInt16BE(offset + 2 * index).toString(16);
        });
        if (isMappedV4(bytes)) assert.equal(text, formatV4(bytes, 12));
        else assert.equal(text, canonicalV6(groups.join(':')));
      }),
      { numRuns: 2_000 },
    );
  });

  test('reads what Node holds for the same address', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const bytes = parseIp(text);
        assert(bytes !== undefined);
        if (isMappedV4(bytes)) return;
        assert.equal(formatIp(bytes), canonicalV6(text));
        // inet_ntop(3) keeps a dotted end; it is the same address for all that.
        const { address } = new net.SocketAddress({ address: text, family: 'ipv6' });
        assert.deepEqual(parseIp(address), bytes);
      }),
      { numRuns: 1_000 },
    );
    fc.assert(fc.property(fc.ipV4(), (text) => formatIp(parseIp(text) as Uint8Array) === text));
  });

  test('both families of one address are the same 16 bytes', () => {
    fc.assert(
      fc.property(fc.ipV4(), (text) => {
        const bytes = parseIp(text) as Uint8Array;
        assert.deepEqual(parseIp(`::ffff:${text}`), bytes);
        assert(isMappedV4(bytes));
      }),
    );
    assert(!isMappedV4(parseIp('::1.2.3.4') as Uint8Array), 'IPv4-compatible is not mapped');
    assert(!isMappedV4(parseIp('1::ffff:1.2.3.4') as Uint8Array));
    assert(!isMappedV4(parseIp('::fffe:1.2.3.4') as Uint8Array));
  });

  test('a text of 100,000 colons or digits is answered at once', () => {
    for (const part of [':', '0', '::', '1:', '.', '1.', 'f:1.2.3.4:']) {
      assert.equal(parseIp(part.repeat(100_000)), undefined);
    }
  });
});

suite('prefixes', () => {
  for (const [text, length, again] of [
    ['10.0.0.0/8', 104, '10.0.0.0/8'],
    ['10.1.2.3/8', 104, '10.0.0.0/8'],
    ['10.1.2.255/25', 121, '10.1.2.128/25'],
    ['10.1.2.3', 128, '10.1.2.3'],
    ['10.1.2.3/32', 128, '10.1.2.3'],
    ['0.0.0.0/0', 96, '0.0.0.0/0'],
    ['fd00::/8', 8, 'fd00::/8'],
    ['fdff:1::1/8', 8, 'fd00::/8'],
    ['2001:db8::ff/121', 121, '2001:db8::80/121'],
    ['::1', 128, '::1'],
    ['::1/128', 128, '::1'],
    ['::/0', 0, '::/0'],
    ['::ffff:10.1.2.3/104', 104, '10.0.0.0/8'],
    ['::ffff:0:0/96', 96, '0.0.0.0/0'],
    ['::ffff:0:0/95', 95, '::fffe:0:0/95'],
  ] as const) {
    test(`reads ${text} and writes ${again}, ${length} of 128 bits`, () => {
      const prefix = parsePrefix(text);
      assert.equal(prefix?.length, length);
      assert.equal(formatPrefix(prefix as Prefix), again);
      assert.deepEqual(parsePrefix(again), prefix);
    });
  }

  for (const text of [
    ...['', '/8', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/8/8', '10.0.0.0/1e1'],
    ...['10.0.0.0/ 8', '10.0.0.0/8 ', '10.0.0.0/0x8', '10/8', '10.0.0.0/0008', '::/129', '::/999'],
    ...['::/', 'fe80::%eth0/64', 'host/8', '10.0.0.0/255.0.0.0'],
  ]) {
    test(`"${text}" is none`, () => assert.equal(parsePrefix(text), undefined));
  }

  test('what is written is read as the same prefix', () => {
    fc.assert(
      fc.property(ADDRESS, fc.nat(128), (address, bits) => {
        const prefix = parsePrefix(`${address}/${bits}`);
        if (prefix === undefined) {
          assert(net.isIPv4(address) && bits > 32);
          return;
        }
        const text = formatPrefix(prefix);
        assert.deepEqual(parsePrefix(text), prefix, text);
      }),
      { numRuns: 1_000 },
    );
  });

  test('agrees with net.BlockList about 4,000 addresses and prefixes of their family', () => {
    const near = (address: fc.Arbitrary<string>, most: number) =>
      fc.tuple(address, fc.nat(most), fc.nat(127), fc.boolean());
    const cases = fc.oneof(near(fc.ipV4(), 32), near(fc.ipV6(), 128));
    const seen = [0, 0];
    fc.assert(
      fc.property(cases, ([address, bits, flipped, flips]) => {
        const family = net.isIPv4(address) ? 'ipv4' : 'ipv6';
        const bytes = parseIp(address) as Uint8Array;
        if (family === 'ipv6' && isMappedV4(bytes)) return;
        const prefix = parsePrefix(`${address}/${bits}`) as Prefix;
        // The same address, or one that differs in a bit before, at or behind the end of the prefix.
        const bit = family === 'ipv4' ? 96 + (flipped % 32) : flipped;
        const other = bytes.slice();
        if (flips) other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
        if (family === 'ipv6' && isMappedV4(other)) return;
        const list = new net.BlockList();
        list.addSubnet(address, bits, family);
        const expected = list.check(formatIp(other), family);
        assert.equal(inPrefix(other, prefix), expected, `${formatIp(other)} in ${address}/${bits}`);
        seen[expected ? 1 : 0] = (seen[expected ? 1 : 0] ?? 0) + 1;
      }),
      { numRuns: 4_000 },
    );
    assert(
      seen.every((count) => count > 800),
      `${seen}`,
    );
  });

  test('an IPv4 prefix holds both clothes of an address; one of IPv6 holds IPv4 only from ::/0 on', () => {
    const holds = (prefix: string, address: string) =>
      inPrefix(parseIp(address) as Uint8Array, parsePrefix(prefix) as Prefix);
    assert(holds('10.0.0.0/8', '::ffff:10.9.9.9'));
    assert(holds('::/0', '10.9.9.9'));
    assert(holds('0.0.0.0/0', '10.9.9.9'));
    assert(!holds('0.0.0.0/0', '::1'));
    assert(!holds('2000::/3', '10.9.9.9'));
  });

  test('never throws, whatever the text', () => {
    fc.assert(
      fc.property(fc.oneof(NEARLY, fc.string()), fc.string({ maxLength: 4 }), (text, more) => {
        for (const given of [text, `${text}/${more}`]) {
          const prefix = parsePrefix(given);
          if (prefix === undefined) continue;
          assert(prefix.length <= 128);
          assert(inPrefix(prefix.bytes, prefix));
        }
      }),
      { numRuns: 5_000 },
    );
  });
});
