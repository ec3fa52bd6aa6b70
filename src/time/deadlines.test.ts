import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { Deadlines, type Waiter } from './deadlines.ts';

suite('deadlines', () => {
  test('the earliest comes first, whatever was put, moved and removed before', () => {
    const step = fc.record({ who: fc.nat(20), at: fc.nat(50), gone: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queue = new Deadlines<Waiter>();
        const waiters = Array.from({ length: 21 }, () => ({ deadline: 0, slot: -1 }));
        const model = new Map<Waiter, number>();
        for (const { who, at, gone } of steps) {
          const waiter = waiters[who] as Waiter;
          if (gone) queue.remove(waiter);
          else queue.put(waiter, at);
          if (gone) model.delete(waiter);
          else model.set(waiter, at);
          const least = model.size === 0 ? undefined : Math.min(...model.values());
          assert.equal(queue.first()?.deadline, least);
        }
        const order: number[] = [];
        for (let next = queue.first(); next !== undefined; next = queue.first()) {
          order.push(next.deadline);
          queue.remove(next);
        }
        assert.deepEqual(
          order,
          [...model.values()].toSorted((a, b) => a - b),
        );
      }),
    );
  });
});
