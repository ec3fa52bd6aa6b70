import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isLoopback, parseAddress } from './address.ts';

suite('addresses with a port', () => {
  for (const [text, host, port] of [
    ['127.0.0.1:7117', '127.0.0.1', 7_117],
    ['0.0.0.0:1', '0.0.0.0', 1],
    ['localhost:65535', 'localhost', 65_535],
    ['[::1]:7117', '::1', 7_117],
    ['[2001:db8::5]:80', '2001:db8::5', 80],
  ] as const) {
    test(`reads ${text}`, () => assert.deepEqual(parseAddress(text, '--listen'), { host, port }));
  }

  for (const text of [
    '',
    '7117',
    ':7117',
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '127.0.0.1:123456',
    '127.0.0.1:-1',
    '127.0.0.1:80 ',
    ' 127.0.0.1:80',
    '127.0.0.1:8O',
    '::1:7117',
    '[::1]',
    '[::1',
    '[127.0.0.1]:80',
    '[localhost]:80',
    'http://127.0.0.1:80',
    'a b:80',
    'host:80:80',
    'host\n:80',
  ]) {
    test(`refuses ${JSON.stringify(text)}, names the place and shows two examples`, () => {
      assert.throws(() => parseAddress(text, '--listen'), {
        name: 'UsageError',
        code: 'bad-address',
        message:
          `--listen: "${text}" is no address with a port; ` +
          'write ADDRESS:PORT, for example 127.0.0.1:7117 or [::1]:7117',
      });
    });
  }

  test('answers any text with an address or a UsageError', () => {
    const piece = fc.oneof(fc.string(), fc.constantFrom('[', ']', ':', '::1', '127.0.0.1', '80'));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        try {
          const { host, port } = parseAddress(pieces.join(''), 'x');
          assert(host.length > 0 && port >= 1 && port <= 65_535);
        } catch (error) {
          assert.equal((error as Error).name, 'UsageError');
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

suite('loopback', () => {
  for (const host of ['localhost', '::1', '127.0.0.1', '127.1.2.3', '127.255.255.254']) {
    test(`${host} is this machine only`, () => assert.equal(isLoopback(host), true));
  }
  for (const host of [
    '',
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '128.0.0.1',
    '127.0.0.1.evil.example',
    'x127.0.0.1',
    'localhost.evil.example',
    'evil-localhost',
    '::ffff:10.0.0.1',
    '127.0.0.1\nx',
  ]) {
    test(`${JSON.stringify(host)} is not`, () => assert.equal(isLoopback(host), false));
  }
});
