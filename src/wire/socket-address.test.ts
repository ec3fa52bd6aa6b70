import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../test/support/mutate.ts';
import { decodeSocketAddress, encodeSocketAddress } from './socket-address.ts';

const ROUNDS = 20_000;
const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex');

suite('socket addresses', () => {
  test('IPv4 is 16 bytes: family, port, address', () => {
    assert.equal(hex(encodeSocketAddress('10.0.0.5', 5_432)), '020015380a0000050000000000000000');
  });

  test('IPv6 is 28 bytes: family, port, flow, address, scope', () => {
    const bytes = `0a0001bb00000000fd00${'00'.repeat(13)}0100000000`;
    assert.equal(hex(encodeSocketAddress('fd00::1', 443)), bytes);
  });

  test('what is no address is none', () => {
    assert.equal(encodeSocketAddress('localhost', 1), undefined);
    assert.equal(encodeSocketAddress('fe80::1%eth0', 1), undefined);
  });

  test('there and back again', () => {
    for (const [address, port] of [
      ['127.0.0.1', 1],
      ['255.255.255.255', 65_535],
      ['::', 80],
      ['fd00::a:b', 7_117],
    ] as const) {
      const bytes = encodeSocketAddress(address, port) ?? assert.fail();
      assert.deepEqual(decodeSocketAddress(bytes), { address, port });
    }
  });

  test('IPv4 in the clothes of IPv6 is told as IPv4', () => {
    const bytes = encodeSocketAddress('::ffff:10.0.0.5', 80) ?? assert.fail();
    assert.deepEqual(decodeSocketAddress(bytes), { address: '10.0.0.5', port: 80 });
  });

  test('another family and too few bytes are nothing', () => {
    assert.equal(decodeSocketAddress(Uint8Array.of(1, 0, 47, 116)), undefined);
    assert.equal(decodeSocketAddress(new Uint8Array(16).fill(10, 0, 1)), undefined);
  });

  test('any bytes are an address or nothing', () => {
    fuzz([encodeSocketAddress('fd00::1', 443) ?? assert.fail()], ROUNDS, (bytes) => {
      const found = decodeSocketAddress(bytes);
      if (found === undefined) return;
      const again = encodeSocketAddress(found.address, found.port) ?? assert.fail();
      assert.deepEqual(decodeSocketAddress(again), found);
    });
  });
});
