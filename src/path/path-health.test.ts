import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { PathHealth, type PathHealthConfig, type PathState } from './path-health.ts';

/** Feeds `+` and `-` one second apart, starting at 1 000. */
function fed(results: string, config: PathHealthConfig = {}): PathHealth {
  const health = new PathHealth(config, 0);
  for (const [index, sign] of [...results].entries()) {
    health.handleResult(sign === '+', sign === '+' ? 'heard' : 'no-answer', (index + 1) * 1_000);
  }
  return health;
}

/** Takes an up path down and up again (`rise` 2) `times` times, one second a result, from `at`. */
function flap(health: PathHealth, times: number, at: number): number {
  let now = at;
  for (let round = 0; round < times; round += 1) {
    for (const good of [false, true, true]) {
      now += 1_000;
      health.handleResult(good, 'no-answer', now);
    }
  }
  return now;
}

suite('PathHealth: hysteresis on both sides', () => {
  const rows: readonly (readonly [string, PathHealthConfig, PathState, boolean])[] = [
    ['', {}, 'unknown', false],
    ['+', {}, 'up', false],
    ['+', { rise: 5 }, 'up', false],
    ['-', {}, 'down', false],
    ['--', { fall: 3 }, 'unknown', true],
    ['---', { fall: 3 }, 'down', false],
    ['--+', { fall: 3 }, 'up', false],
    ['+-', {}, 'down', false],
    ['+--', { fall: 3 }, 'up', true],
    ['+---', { fall: 3 }, 'down', false],
    ['+--+', { fall: 3 }, 'up', false],
    ['+--+--', { fall: 3 }, 'up', true],
    ['-+', {}, 'down', true],
    ['-++', {}, 'up', false],
    ['-+-', {}, 'down', false],
    ['-+-+', {}, 'down', true],
    ['-++', { rise: 3 }, 'down', true],
    ['-+++', { rise: 3 }, 'up', false],
  ];
  for (const [results, config, state, inDoubt] of rows) {
    const { fall = 1, rise = 2 } = config;
    const doubt = inDoubt ? 'in doubt' : 'beyond doubt';
    test(`"${results}" with fall ${fall} and rise ${rise} is ${state}, ${doubt}`, () => {
      const health = fed(results, config);
      assert.equal(health.state, state);
      assert.equal(health.inDoubt, inDoubt);
    });
  }

  test('tells since when, the last good result and what the last bad one said', () => {
    const health = fed('++-');
    assert.deepEqual(
      [health.state, health.since, health.lastGoodAt, health.lastBadReason],
      ['down', 3_000, 2_000, 'no-answer'],
    );
    assert.equal(fed('').since, 0);
    assert.equal(fed('').lastGoodAt, undefined);
    assert.equal(fed('+').lastBadReason, undefined);
    assert.equal(fed('++++').since, 1_000);
  });
});

suite('PathHealth: hold-down', () => {
  for (const [downs, heldMs] of [
    [1, undefined],
    [3, undefined],
    [4, 30_000],
    [5, 60_000],
    [12, 270_000],
    [13, 300_000],
    [14, 300_000],
  ] as const) {
    test(`down number ${downs} holds for ${heldMs ?? 0} ms from the moment of going down`, () => {
      const health = fed('+');
      const end = flap(health, downs, 1_000);
      const downAt = end - 2_000;
      assert.equal(health.state, 'up');
      assert.equal(health.heldUntil(end), heldMs === undefined ? undefined : downAt + heldMs);
      assert.equal(health.freeSince, heldMs === undefined ? end : downAt + heldMs);
    });
  }

  test('ends at its instant, not before', () => {
    const health = fed('+');
    const downAt = flap(health, 4, 1_000) - 2_000;
    assert.equal(health.heldUntil(downAt + 29_999), downAt + 30_000);
    assert.equal(health.heldUntil(downAt + 30_000), undefined);
  });

  test('scales with holdDownMs and never exceeds 300 s', () => {
    for (const [holdDownMs, heldMs] of [
      [5_000, 5_000],
      [400_000, 300_000],
    ] as const) {
      const health = fed('+', { holdDownMs });
      const end = flap(health, 4, 1_000);
      assert.equal(health.heldUntil(end), end - 2_000 + heldMs);
    }
  });

  test('holdDownMs 0 turns it off', () => {
    const health = fed('+', { holdDownMs: 0 });
    assert.equal(health.heldUntil(flap(health, 20, 1_000)), undefined);
  });

  for (const [upMs, heldMs] of [
    [299_999, 60_000],
    [300_000, 30_000],
    [599_999, 30_000],
    [600_000, undefined],
  ] as const) {
    test(`after 4 downs and ${upMs} ms up, the next down holds ${heldMs ?? 0} ms`, () => {
      const health = fed('+');
      const upAt = flap(health, 4, 1_000);
      health.handleResult(false, 'no-answer', upAt + upMs);
      const held = health.heldUntil(upAt + upMs);
      assert.equal(held, heldMs === undefined ? undefined : upAt + upMs + heldMs);
    });
  }

  test('time spent down forgives nothing', () => {
    const health = fed('+');
    const upAt = flap(health, 3, 1_000);
    health.handleResult(false, 'no-answer', upAt + 1_000);
    const backAt = upAt + 3_600_000;
    health.handleResult(true, '', backAt);
    health.handleResult(true, '', backAt + 1);
    health.handleResult(false, 'no-answer', backAt + 2);
    assert.equal(health.heldUntil(backAt + 2), backAt + 2 + 60_000);
  });

  test('an hour spent up earns no credit: the 4th down in a row is still held', () => {
    const health = fed('+');
    const now = flap(health, 4, 3_600_000);
    assert.equal(health.heldUntil(now), now - 2_000 + 30_000);
  });

  test('forgiveness is for each stretch: twice 299 s up forgive nothing', () => {
    const health = fed('+');
    let now = flap(health, 3, 1_000);
    for (let round = 0; round < 2; round += 1) now = flap(health, 1, now + 298_000);
    assert.equal(health.heldUntil(now), now - 2_000 + 60_000);
  });
});
