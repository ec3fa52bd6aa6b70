import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type Contender, rendezvous } from './rendezvous.ts';

const FLOWS = 30_000;
const PATHS: readonly Contender[] = [
  { name: 'a', weight: 1 },
  { name: 'b', weight: 2 },
  { name: 'c', weight: 3 },
];

/** Where each flow goes. */
function spread(paths: readonly Contender[]): string[] {
  return Array.from({ length: FLOWS }, (_, flow) => rendezvous(`${flow}`, paths)?.name ?? '');
}

suite('rendezvous', () => {
  const before = spread(PATHS);

  test('honours weights within 1 % of all flows', () => {
    for (const { name, weight } of PATHS) {
      const share = before.filter((path) => path === name).length / FLOWS;
      assert(Math.abs(share - weight / 6) < 0.01, `${name}: ${share}`);
    }
  });

  test('a path that goes moves its own flows and no other, by weight', () => {
    const after = spread(PATHS.filter(({ name }) => name !== 'c'));
    const moved = after.filter((_, flow) => before[flow] === 'c');
    assert(before.every((path, flow) => path === 'c' || after[flow] === path));
    const toB = moved.filter((path) => path === 'b').length / moved.length;
    assert(Math.abs(toB - 2 / 3) < 0.02, `${toB} of them to b`);
  });

  test('a path that comes takes its share and moves nothing between the others', () => {
    const after = spread([...PATHS, { name: 'd', weight: 6 }]);
    assert(before.every((path, flow) => after[flow] === 'd' || after[flow] === path));
    const share = after.filter((path) => path === 'd').length / FLOWS;
    assert(Math.abs(share - 0.5) < 0.01, `${share}`);
  });

  test('a growing weight only draws flows to its path', () => {
    const after = spread(PATHS.map((path) => (path.name === 'a' ? { ...path, weight: 2 } : path)));
    assert(before.every((path, flow) => after[flow] === 'a' || after[flow] === path));
  });

  test('weight 0 gets nothing beside others, and all if all have it', () => {
    const [a, b] = [
      { name: 'a', weight: 0 },
      { name: 'b', weight: 1e-9 },
    ];
    assert(spread([a, b]).every((path) => path === 'b'));
    assert.equal(rendezvous('x', [a]), a);
    assert.equal(rendezvous('x', []), undefined);
  });

  test('order does not matter', () => {
    assert.deepEqual(spread(PATHS.toReversed()), before);
  });
});
