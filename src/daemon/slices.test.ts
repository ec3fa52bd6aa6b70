import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { inSlices } from './slices.ts';

suite('work in slices', () => {
  test('others have their turn after each 5 ms of it', async () => {
    const turns: number[] = [];
    let now = 0;
    let done = 0;
    let working = true;
    const count = () => {
      turns.push(done);
      if (working) setImmediate(count);
    };
    setImmediate(count);
    const work = () => {
      done += 1;
      now += 1;
    };
    await inSlices(Array.from({ length: 12 }), work, () => now);
    working = false;
    assert.equal(done, 12);
    assert.deepEqual(turns, [5, 10]);
  });

  test('what takes less is done at once, in order', () => {
    const done: number[] = [];
    void inSlices(
      [1, 2, 3],
      (item) => done.push(item),
      () => 0,
    );
    assert.deepEqual(done, [1, 2, 3]);
  });

  test('a failure of the work is told', async () => {
    const fail = () => {
      throw new Error('one of them is bad');
    };
    await assert.rejects(inSlices([1], fail), /one of them is bad/);
  });
});
