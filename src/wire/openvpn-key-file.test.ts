import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../test/support/mutate.ts';
import { decodeClientKey, decodeStaticKey, keyParts } from './openvpn-key-file.ts';

const KEYS = Uint8Array.from({ length: 256 }, (_, index) => index);
const HEX = Buffer.from(KEYS)
  .toString('hex')
  .replaceAll(/(.{32})/g, '$1\n');
const STATIC = `# 2048 bit
-----BEGIN OpenVPN Static key V1-----
${HEX}-----END OpenVPN Static key V1-----
`;
/** 300 bytes, whose last two say so. */
const WRAPPED = Buffer.concat([Buffer.alloc(298, 7), Buffer.from([1, 44])]);
const pem = (bytes: Uint8Array) => `-----BEGIN OpenVPN tls-crypt-v2 client key-----
${Buffer.from(bytes)
  .toString('base64')
  .replaceAll(/(.{64})/g, '$1\n')}
-----END OpenVPN tls-crypt-v2 client key-----
`;
const CLIENT = pem(Buffer.concat([KEYS, WRAPPED]));

suite('OpenVPN key files', () => {
  test('a static key is 256 bytes; each direction has a cipher’s and an HMAC’s of 64', () => {
    const keys = decodeStaticKey(STATIC);
    assert.deepEqual(keys, KEYS);
    const first = (direction: 0 | 1 | undefined) => {
      const { send, receive } = keyParts(keys, direction);
      return [send.cipher[0], send.hmac[0], receive.cipher[0], receive.hmac[0]];
    };
    assert.deepEqual(first(undefined), [0, 64, 0, 64]);
    assert.deepEqual(first(0), [0, 64, 128, 192]);
    assert.deepEqual(first(1), [128, 192, 0, 64]);
  });

  test('a client’s key is 256 bytes, and behind it what only its server can read', () => {
    const { key, wrapped } = decodeClientKey(CLIENT);
    assert.deepEqual([key.length, wrapped.length], [256, 300]);
    assert.deepEqual(key, KEYS);
  });

  for (const [code, text] of [
    ['no-key', ''],
    ['no-key', STATIC.replace('END', 'AND')],
    ['bad-digits', STATIC.replace('0001', 'zz01')],
    ['bad-length', STATIC.replace('0001', '01')],
    ['bad-length', STATIC.replace('0001', '000100')],
  ] as const) {
    test(`refuses a static key: ${code}, ${text.length} characters`, () => {
      assert.throws(() => decodeStaticKey(text), { name: 'DecodeError', code });
    });
  }

  for (const [code, text] of [
    ['no-key', STATIC],
    ['bad-base64', CLIENT.replace('AAEC', 'A*EC')],
    ['bad-length', pem(KEYS)],
    ['bad-length', pem(Buffer.concat([KEYS, Buffer.alloc(1_025)]))],
    ['bad-wrapped-length', pem(Buffer.concat([KEYS, WRAPPED, WRAPPED]))],
  ] as const) {
    test(`refuses a client's key: ${code}, ${text.length} characters`, () => {
      assert.throws(() => decodeClientKey(text), { name: 'DecodeError', code });
    });
  }

  test('any text is a key or a DecodeError (10,000 mutated)', () => {
    const read = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
    fuzz([Buffer.from(STATIC)], 5_000, (bytes) => void decodeStaticKey(read(bytes)));
    fuzz([Buffer.from(CLIENT)], 5_000, (bytes) => void decodeClientKey(read(bytes)));
  });
});
