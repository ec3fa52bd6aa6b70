import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { LinkHealth, type LinkHealthOptions, type PathState } from './link-health.ts';

type Config = Partial<LinkHealthOptions>;

const DEFAULTS = { fall: 1, rise: 2, doubtIntervalMs: 1_000, quality: undefined };

/** Feeds `+` and `-` one second apart, starting at 1 000. */
function fed(results: string, config: Config = {}): LinkHealth {
  const health = new LinkHealth('a', { ...DEFAULTS, ...config });
  for (const [index, sign] of [...results].entries()) {
    health.handleResult(sign === '+', sign === '+' ? 'heard' : 'no-answer', (index + 1) * 1_000);
  }
  return health;
}

suite('LinkHealth: hysteresis on both sides', () => {
  const rows: readonly (readonly [string, Config, PathState, boolean])[] = [
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

  test('tells the last good result and what the last bad one said', () => {
    const health = fed('++-');
    assert.deepEqual(
      [health.state, health.lastGoodAt, health.lastBadReason],
      ['down', 2_000, 'no-answer'],
    );
    assert.equal(fed('').lastGoodAt, undefined);
    assert.equal(fed('+').lastBadReason, '');
  });
});
