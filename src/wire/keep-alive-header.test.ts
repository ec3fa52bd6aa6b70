import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Prng } from '../../test/support/prng.ts';
import { isPersistent, parseKeepAlive } from './keep-alive-header.ts';

suite('the Keep-Alive header', () => {
  for (const [header, hint] of [
    ['timeout=5', { timeoutMs: 5_000 }],
    ['timeout=5, max=100', { timeoutMs: 5_000, max: 100 }],
    [' Max=3 ,TIMEOUT = 15', { timeoutMs: 15_000, max: 3 }],
    ['timeout="5"', { timeoutMs: 5_000 }],
    ['timeout=0', { timeoutMs: 0 }],
    ['timeout=5,timeout=60', { timeoutMs: 5_000 }],
    ['timeout=99999999', { timeoutMs: 86_400_000 }],
    [`timeout=${'9'.repeat(200)}`, { timeoutMs: 86_400_000 }],
    ['max=99999999999', { max: 1_000_000 }],
    ['timeout=-1', {}],
    ['timeout=1.5', {}],
    ['timeout=1e3', {}],
    ['timeout=', {}],
    ['timeout', {}],
    ['=5', {}],
    ['', {}],
    [undefined, {}],
    [`timeout=5,${'x'.repeat(300)}`, {}],
  ] as const) {
    test(`reads ${JSON.stringify(header?.slice(0, 30))} as ${JSON.stringify(hint)}`, () => {
      assert.deepEqual(parseKeepAlive(header), hint);
    });
  }

  test('never throws nor leaves its caps on a million random and mutated headers', () => {
    const prng = new Prng(0x4b41);
    const alphabet = 'timeoutax=," 0123456789-.eE\t\u0000é';
    const honest = ['timeout=5, max=100', 'max=3,timeout=15', 'timeout="60"'];
    for (let run = 0; run < 1_000_000; run += 1) {
      let text = '';
      if (run % 2 === 0) {
        const length = prng.between(0, 12);
        for (let at = 0; at < length; at += 1) text += alphabet[prng.between(0, 33)] ?? '';
      } else {
        text = honest[run % 3] ?? '';
        const at = prng.between(0, text.length);
        text = text.slice(0, at) + alphabet[prng.between(0, 33)] + text.slice(at + 1);
      }
      const { timeoutMs = 0, max = 0 } = parseKeepAlive(text);
      if (!(timeoutMs >= 0 && timeoutMs <= 86_400_000 && max >= 0 && max <= 1_000_000)) {
        assert.fail(JSON.stringify(text));
      }
    }
  });
});

suite('persistence by RFC 9112 section 9.3', () => {
  for (const [version, connection, persistent] of [
    ['1.1', undefined, true],
    ['1.1', 'keep-alive', true],
    ['1.1', 'close', false],
    ['1.1', 'Upgrade, CLOSE', false],
    ['1.1', 'closed', true],
    ['1.0', undefined, false],
    ['1.0', 'Keep-Alive', true],
    ['1.0', 'keep-alive, close', false],
    ['0.9', 'keep-alive', false],
  ] as const) {
    test(`${version} with ${connection ?? 'no'} connection option: ${persistent}`, () => {
      assert.equal(isPersistent(version, connection), persistent);
    });
  }
});
