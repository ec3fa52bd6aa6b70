import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../../test/support/mutate.ts';
import { encodePing } from '../../wire/openvpn-payload.ts';
import { AEAD_CIPHERS, AeadChannel, aeadCipher, StaticChannel } from './data-channel.ts';

const KEYS = Uint8Array.from({ length: 256 }, (_, index) => (index * 11) & 0xff);
const SWAPPED = Uint8Array.of(...KEYS.subarray(128), ...KEYS.subarray(0, 128));
const PING = encodePing();

const plain = (bytes: Uint8Array | undefined) => (bytes === undefined ? bytes : Buffer.from(bytes));

suite('OpenVPN data channel', () => {
  for (const cipher of AEAD_CIPHERS) {
    for (const [version, peerId, length] of [
      ['V2', 7, 40],
      ['V1', undefined, 37],
    ] as const) {
      test(`${cipher}, ${version}: a ping is ${length} bytes, opened once by the other end`, () => {
        const ours = new AeadChannel(cipher, KEYS, 3, peerId);
        const theirs = new AeadChannel(cipher, SWAPPED, 3, peerId);
        for (let id = 1; id <= 3; id += 1) {
          const sealed = ours.seal(PING);
          assert(sealed !== undefined);
          assert.equal(sealed.length, length);
          assert.deepEqual(plain(theirs.open(sealed)), Buffer.from(PING));
          assert.equal(theirs.open(sealed), undefined, 'a replay');
          assert.equal(ours.open(sealed), undefined, 'each direction has its key');
        }
      });

      test(`${cipher}, ${version}: one bit turned, and it is nobody's`, () => {
        const sealed = new AeadChannel(cipher, KEYS, 0, peerId).seal(PING) ?? new Uint8Array();
        for (let bit = 0; bit < 8 * sealed.length; bit += 1) {
          const turned = Uint8Array.from(sealed);
          turned[bit >> 3] = (turned[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          // V1 does not authenticate its first byte: there the key id is all it says, and picks the key.
          if (peerId === undefined && bit < 8) continue;
          const theirs = new AeadChannel(cipher, SWAPPED, 0, peerId);
          assert.equal(theirs.open(turned), undefined, `bit ${bit}`);
        }
      });
    }
  }

  test('ciphers are known by their names in any case', () => {
    assert.equal(aeadCipher('aes-256-gcm'), 'AES-256-GCM');
    for (const other of ['AES-256-CBC', 'BF-CBC', '', 'toString']) {
      assert.equal(aeadCipher(other), undefined);
    }
  });

  for (const [cipher, digest, length] of [
    ['AES-256-CBC', 'sha256', 80],
    ['AES-128-CBC', 'sha512', 112],
    ['AES-192-CBC', 'sha1', 68],
  ] as const) {
    test(`a secret, ${cipher} and ${digest}: a ping is ${length} bytes`, () => {
      const key = { keys: KEYS, cipher, digest };
      const ours = new StaticChannel({ ...key, direction: 0 }, 1_000);
      const theirs = new StaticChannel({ ...key, direction: 1 }, 1_000);
      const sealed = ours.seal(PING) ?? new Uint8Array();
      assert.equal(sealed.length, length);
      assert.deepEqual(plain(theirs.open(sealed)), Buffer.from(PING));
      assert.equal(theirs.open(sealed), undefined, 'a replay');
      for (let at = 0; at < sealed.length; at += 1) {
        const turned = Uint8Array.from(ours.seal(PING) ?? []);
        turned[at] = (turned[at] ?? 0) ^ 1;
        assert.equal(theirs.open(turned), undefined, `byte ${at}`);
      }
    });
  }

  test('a secret: a peer that began later is new, what came of it before is not', () => {
    const key = { keys: KEYS, direction: undefined, cipher: 'AES-256-CBC', digest: 'sha256' };
    const theirs = new StaticChannel(key, 1_000);
    const old = new StaticChannel(key, 1_000).seal(PING) ?? new Uint8Array();
    const next = new StaticChannel(key, 1_001).seal(PING) ?? new Uint8Array();
    assert.notEqual(theirs.open(old), undefined);
    assert.notEqual(theirs.open(next), undefined);
    assert.equal(theirs.open(old), undefined);
  });

  test('any bytes but its own are nobody’s (6,000 mutated)', () => {
    const aead = new AeadChannel('AES-256-GCM', KEYS, 0, 7).seal(PING) ?? new Uint8Array();
    const key = { keys: KEYS, direction: undefined, cipher: 'AES-256-CBC', digest: 'sha256' };
    const secret = new StaticChannel(key, 1_000).seal(PING) ?? new Uint8Array();
    for (const [sealed, make] of [
      [aead, () => new AeadChannel('AES-256-GCM', SWAPPED, 0, 7)],
      [secret, () => new StaticChannel(key, 1_000)],
    ] as const) {
      const same = Buffer.from(sealed).toString('hex');
      fuzz([sealed], 3_000, (bytes) => {
        const opened = make().open(bytes);
        if (Buffer.from(bytes).toString('hex') !== same) assert.equal(opened, undefined);
      });
    }
  });
});
