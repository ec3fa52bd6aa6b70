import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { PathMtuSearch } from './path-mtu.ts';

/** Searches a path that carries `longest`; the sizes that were tried. */
function search(least: number, most: number, longest: number): { found: number; tried: number[] } {
  const subject = new PathMtuSearch(least, most);
  const tried: number[] = [];
  for (let size = subject.next(); size !== undefined; size = subject.next()) {
    tried.push(size);
    subject.handleResult(size <= longest);
  }
  return { found: subject.largest, tried };
}

suite('the search for the largest datagram', () => {
  test('begins with 1,200 bytes and finds 1,472 after 15 sizes of up to 16,421', () => {
    const { found, tried } = search(72, 16_421, 1_472);
    assert.equal(found, 1_472);
    assert.equal(tried[0], 1_200);
    assert(tried.length <= 15, `${tried}`);
  });

  test('finds whatever the path carries, within the bounds, and tries no size twice', () => {
    fc.assert(
      fc.property(fc.nat(20_000), fc.nat(20_000), fc.nat(20_000), (a, b, longest) => {
        const [least, most] = [Math.min(a, b), Math.max(a, b)];
        const { found, tried } = search(least, most, longest);
        assert.equal(found, Math.min(most, Math.max(least, longest)));
        assert.equal(new Set(tried).size, tried.length);
        assert(tried.length <= 17);
        assert(tried.every((size) => size > least && size <= most));
      }),
    );
  });

  test('asks the same size again until it has a result', () => {
    const subject = new PathMtuSearch(100, 2_000);
    assert.equal(subject.next(), 1_200);
    subject.handleResult(false);
    assert.equal(subject.largest, 100);
    assert.equal(subject.next(), subject.next());
  });

  test('has nothing to ask where only one size is possible', () => {
    const { found, tried } = search(500, 500, 10);
    assert.equal(found, 500);
    assert.deepEqual(tried, []);
  });
});
