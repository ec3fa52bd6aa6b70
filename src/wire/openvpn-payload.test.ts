import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../test/support/mutate.ts';
import { decodePayload, encodeOcc, encodePing } from './openvpn-payload.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));

suite('OpenVPN payloads', () => {
  test('a ping is 16 bytes that are no IP packet', () => {
    assert.equal(Buffer.from(encodePing()).toString('hex'), '2a187bf3641eb4cb07ed2d0a981fc748');
    assert.equal(decodePayload(encodePing()), 'ping');
    assert.equal(decodePayload(Uint8Array.of(...encodePing(), 0)), 'traffic');
  });

  test('OCC is 16 bytes and an opcode: 0 asks, 1 answers, 6 says goodbye', () => {
    const magic = '287f346bd4ef7a812d56b8d3afc5459c';
    for (const [name, opcode] of [
      ['request', '00'],
      ['reply', '01'],
      ['exit', '06'],
    ] as const) {
      assert.equal(Buffer.from(encodeOcc(name)).toString('hex'), magic + opcode);
      assert.equal(decodePayload(hex(magic + opcode)), name);
    }
    // An answer brings its options along.
    assert.equal(decodePayload(hex(`${magic}0156342c00`)), 'reply');
    for (const other of [magic, `${magic}02`, `${magic}ff`, '', '45']) {
      assert.equal(decodePayload(hex(other)), 'traffic');
    }
  });

  test('any bytes are something (20,000 mutated)', () => {
    const { refused } = fuzz([encodePing(), encodeOcc('exit')], 20_000, decodePayload);
    assert.equal(refused, 0);
  });
});
