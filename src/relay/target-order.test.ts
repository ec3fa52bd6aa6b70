import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { nextTarget, targetKey } from './target-order.ts';

const target = (path: string, share: number, address = '10.0.0.1') => ({
  path,
  address,
  port: 1,
  share,
});
const unasked = () => assert.fail('the client matters only where there are shares');

suite('the order of targets', () => {
  test('one that has all comes first, whoever asks', () => {
    const targets = [target('a', 1), target('b', 0)];
    assert.equal(nextTarget(targets, unasked, [])?.path, 'a');
  });

  test('then those without a share, in their order, each once', () => {
    const targets = [target('a', 1), target('c', 0), target('b', 0)];
    const tried: string[] = [];
    const seen: string[] = [];
    for (;;) {
      const next = nextTarget(targets, unasked, tried);
      if (next === undefined) break;
      seen.push(next.path);
      tried.push(targetKey(next));
    }
    assert.deepEqual(seen, ['a', 'c', 'b']);
  });

  test('every address of a path is tried', () => {
    const targets = [target('a', 1, '::1'), target('a', 1, '127.0.0.1')];
    const first = nextTarget(targets, unasked, []) ?? assert.fail();
    assert.equal(first.address, '::1');
    assert.equal(nextTarget(targets, unasked, [targetKey(first)])?.address, '127.0.0.1');
  });

  test('shares part 10,000 clients as they say, and each client always goes the same way', () => {
    const targets = [target('a', 0.75), target('b', 0.25), target('c', 0)];
    const clients = Array.from(
      { length: 10_000 },
      (_, index) => `10.${index >> 8}.${index & 255}.9`,
    );
    const way = (client: string) => nextTarget(targets, () => client, [])?.path;
    const onA = clients.filter((client) => way(client) === 'a').length;
    assert(onA > 7_300 && onA < 7_700, `${onA} of 10,000`);
    for (const client of clients.slice(0, 100)) assert.equal(way(client), way(client));
    assert(!clients.some((client) => way(client) === 'c'));
  });

  test('a path that is gone moves only the clients it had', () => {
    const [a, b, c] = [target('a', 0.4), target('b', 0.3), target('c', 0.3)];
    for (let index = 0; index < 1_000; index += 1) {
      const client = () => `192.0.2.${index}`;
      const before = nextTarget([a, b, c], client, [])?.path;
      const after = nextTarget([a, b], client, [])?.path;
      if (before !== 'c') assert.equal(after, before);
    }
  });
});
