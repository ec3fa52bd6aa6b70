import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { PathStatus } from '../daemon/group-runner.ts';
import { describePath } from './describe-path.ts';

const NOW = Date.parse('2026-01-02T12:00:00Z');
const at = (ms: number) => new Date(NOW + ms).toISOString();
const clock = (ms: number) => new Date(NOW + ms).toLocaleTimeString('en-GB');
const GOOD: PathStatus = {
  ...{ link: 'a', tier: 1, weight: 1, state: 'up', since: at(-9_000), standing: 'eligible' },
  ...{
    drained: false,
    heldUntil: null,
    failbackAt: null,
    flappingUntil: null,
    poor: null,
    silencedBy: null,
  },
  ...{ share: 0, active: false },
};

suite('a path in words', () => {
  const held = { heldUntil: at(30_000) };
  const flapping = { flappingUntil: at(1_800_000) };
  const flaps = `flapping until ${clock(1_800_000)} (30m), if it stays up`;
  for (const [what, path, state, why] of [
    ['one that is well', {}, 'up', ''],
    ['one in use', { active: true }, 'up', 'in use'],
    ['one of which nothing is known', { state: 'unknown', standing: 'unfit' }, 'unknown', ''],
    ['a dead one', { state: 'down', standing: 'unfit' }, 'down', ''],
    [
      'a dead one behind a dead uplink',
      { state: 'down', standing: 'unfit', silencedBy: 'wan' },
      'down',
      'lies behind wan, which is down',
    ],
    ['a drained one', { standing: 'drained', drained: true }, 'drained', ''],
    [
      'a poor one',
      { standing: 'poor', poor: 'loses 40 % of its probes' },
      'poor',
      'loses 40 % of its probes',
    ],
    [
      'one that fell twice',
      { standing: 'held', ...held },
      'held down',
      `held down until ${clock(30_000)} (30s)`,
    ],
    ['one that fell often', { standing: 'flapping', ...flapping }, 'flapping', flaps],
    [
      'one that fell often and is dead',
      { state: 'down', standing: 'unfit', active: true, ...flapping },
      'down',
      `in use; ${flaps}`,
    ],
  ] as const satisfies readonly (readonly [string, Partial<PathStatus>, string, string])[]) {
    test(`${what} is "${state}"${why === '' ? '' : `: ${why}`}`, () => {
      assert.deepEqual(describePath({ ...GOOD, ...path }, NOW), { state, why });
    });
  }
});
