import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Damping } from './damping.ts';

const MINUTE = 60_000;

/** A path that fell at these minutes. */
function fallen(...minutes: readonly number[]): Damping {
  const damping = new Damping(30_000);
  for (const minute of minutes) damping.handleFlap(minute * MINUTE);
  return damping;
}

/** So many falls at instant 0. */
function falls(count: number, holdDownMs = 30_000): Damping {
  const damping = new Damping(holdDownMs);
  for (let n = 0; n < count; n += 1) damping.handleFlap(0);
  return damping;
}

suite('Damping: penalty', () => {
  for (const [minutes, at, penalty] of [
    [[0], 0, 1_000],
    [[0], 15, 500],
    [[0], 30, 250],
    [[0, 15], 15, 1_500],
    [[0, 0], 0, 2_000],
    [[0, 15, 30], 30, 1_750],
  ] as const) {
    test(`falls at minutes ${minutes} leave ${penalty} at minute ${at}`, () => {
      assert.equal(fallen(...minutes).penalty(at * MINUTE), penalty);
    });
  }

  test('never exceeds 12 000, so that an hour of calm is enough after 100 falls', () => {
    const damping = falls(100);
    assert.equal(damping.penalty(0), 12_000);
    assert.equal(damping.flappingUntil(0), 60 * MINUTE);
  });
});

suite('Damping: flapping', () => {
  for (const [minutes, flaps] of [
    [[0], false],
    [[0, 0], false],
    [[0, 0, 0], true],
    [[0, 1], false],
    [[0, 1, 2], true],
    [[0, 16, 32, 48, 64, 80, 96], false],
    [[0, 14, 28, 42, 56, 70, 84, 98], true],
  ] as const) {
    test(`falls at minutes ${minutes} are ${flaps ? '' : 'not '}flapping`, () => {
      const end = (minutes.at(-1) ?? 0) * MINUTE;
      assert.equal(fallen(...minutes).flappingUntil(end) !== undefined, flaps);
    });
  }

  test('lasts until 750 is left: 30 min after 3 000', () => {
    const damping = falls(3);
    assert.equal(damping.flappingUntil(0), 30 * MINUTE);
    assert.equal(damping.flappingUntil(30 * MINUTE - 1), 30 * MINUTE);
    assert.equal(damping.flappingUntil(30 * MINUTE), undefined);
    assert.equal(damping.penalty(30 * MINUTE), 750);
  });

  test('a fall while it still flaps goes on with it, though 2 000 is not reached', () => {
    const damping = falls(3);
    damping.handleFlap(29 * MINUTE);
    assert(damping.penalty(29 * MINUTE) < 2_000);
    const until = damping.flappingUntil(29 * MINUTE) ?? 0;
    assert.equal(Math.round(damping.penalty(until)), 750);
  });
});

suite('Damping: hold-down', () => {
  for (const [count, heldMs] of [
    [1, undefined],
    [2, 30_000],
    [3, 60_000],
    [10, 270_000],
    [11, 300_000],
    [50, 300_000],
  ] as const) {
    test(`fall number ${count} holds for ${heldMs ?? 0} ms from that moment`, () => {
      assert.equal(falls(count).heldUntil(0), heldMs);
    });
  }

  for (const [minute, heldMs] of [
    [14.9, 30_000],
    [15.1, undefined],
  ] as const) {
    test(`a second fall ${minute} min after the first holds for ${heldMs ?? 0} ms`, () => {
      const held = fallen(0, minute).heldUntil(minute * MINUTE);
      const ms = held === undefined ? undefined : Math.round(held - minute * MINUTE);
      assert.equal(ms, heldMs);
    });
  }

  test('ends at its instant, not before', () => {
    assert.equal(falls(2).heldUntil(29_999), 30_000);
    assert.equal(falls(2).heldUntil(30_000), undefined);
  });

  test('scales with holdDownMs and never exceeds 300 s', () => {
    assert.equal(falls(2, 5_000).heldUntil(0), 5_000);
    assert.equal(falls(2, 400_000).heldUntil(0), 300_000);
  });

  test('holdDownMs 0 turns all of it off', () => {
    const damping = falls(20, 0);
    assert.deepEqual([damping.penalty(0), damping.freeAt], [0, -Infinity]);
  });
});

test('Damping: an excused fall leaves what the earlier ones left', () => {
  const damping = fallen(0, 1);
  const before = [damping.penalty(2 * MINUTE), damping.freeAt];
  damping.handleFlap(2 * MINUTE);
  assert.notEqual(damping.flappingUntil(2 * MINUTE), undefined);
  damping.handleExcuse();
  damping.handleExcuse();
  assert.deepEqual([damping.penalty(2 * MINUTE), damping.freeAt], before);
});
