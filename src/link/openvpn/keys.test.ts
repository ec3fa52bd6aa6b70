import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { deriveKeys } from './keys.ts';

const filled = (length: number, byte: number) => new Uint8Array(length).fill(byte);

suite('OpenVPN keys', () => {
  test('by the PRF: the 256 bytes that openssl kdf TLS1-PRF gives, twice', () => {
    const keys = deriveKeys({
      preMaster: Uint8Array.from({ length: 48 }, (_, index) => index),
      client: { random1: filled(32, 1), random2: filled(32, 3) },
      server: { random1: filled(32, 2), random2: filled(32, 4) },
      clientSession: filled(8, 5),
      serverSession: filled(8, 6),
    });
    const expected = `
      3d2dfe5efd4d35d2d8f55b0d3c0caea77d4782e4ab543ea6853bb143d8606dd3
      763337ccc5bd72ab7cda3b70df2b9ca5a93a61dd7b531bb703ed772f9f431928
      500746e4332703b01c4c08dccd45a3600ffa434a014710c9ccf02d9bc53e0d26
      8b0891f734d8ad37f168b1aa88748f03c38a320401d1813bfb17b93c910d2740
      1bff27f050bd389819508dd20ad3be165210f61a09f03c945c441de236c12fdf
      71ac7beb98d33dc27c52b3548bcc3d42048a2e7ff91a4e1fbd98b1930a08fe7f
      45462b408adaedb52f6f9c5e346f2444f97eef2299617f78c6321a15c87d0432
      7aab709e27ee279249a6d5ec155dd96642b24cf9b700da111e6b82f86a1698d3`;
    assert.equal(Buffer.from(keys).toString('hex'), expected.replaceAll(/\s/g, ''));
  });
});
