import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { ReplayWindow } from './replay-window.ts';

suite('replay window', () => {
  test('takes each id once, in any order within 64', () => {
    const window = new ReplayWindow();
    for (const id of [1, 3, 2, 64, 4]) assert.equal(window.accept(id), true, `${id}`);
    for (const id of [1, 2, 3, 4, 64, 0, -1]) assert.equal(window.accept(id), false, `${id}`);
  });

  test('id 100 leaves 37 in the window, and 36 out of it', () => {
    const window = new ReplayWindow();
    assert.equal(window.accept(100), true);
    assert.equal(window.accept(37), true);
    assert.equal(window.accept(36), false);
    assert.equal(window.accept(37), false);
  });

  test('a later time begins anew, an earlier one is over', () => {
    const window = new ReplayWindow();
    assert.equal(window.accept(9, 1_000), true);
    assert.equal(window.accept(1, 1_001), true);
    assert.equal(window.accept(9, 1_001), true);
    assert.equal(window.accept(10, 1_000), false);
  });

  test('does as a set would that forgets what is 64 behind, up to 2³² − 1', () => {
    const ids = fc.array(fc.integer({ min: 0, max: 200 }), { maxLength: 200 });
    fc.assert(
      fc.property(ids, fc.constantFrom(0, 0xffff_ff00), (steps, base) => {
        const window = new ReplayWindow();
        const seen = new Set<number>();
        let highest = 0;
        for (const step of steps) {
          const id = Math.min(base + step, 0xffff_ffff);
          const fresh = id > 0 && id > highest - 64 && !seen.has(id);
          assert.equal(window.accept(id), fresh, `${id}`);
          if (fresh) seen.add(id);
          highest = Math.max(highest, fresh ? id : 0);
        }
      }),
    );
  });
});
