import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { PathGroup, type PathGroupConfig, type QualityOptions } from './path-group.ts';

/** One path `a` with this quality. */
function quality(options: QualityOptions): PathGroupConfig {
  return { paths: [{ name: 'a' }], quality: options };
}

suite('group config', () => {
  const paths = [{ name: 'a' }];
  const refused: readonly (readonly [string, PathGroupConfig, string, RegExp])[] = [
    ['no paths', { paths: [] }, 'no-paths', /^paths: the list is empty; name at least one path$/],
    [
      'a name twice',
      { paths: [{ name: 'a' }, { name: 'b' }, { name: 'a' }] },
      'duplicate-path',
      /^paths\[2\]\.name: "a" is there twice; rename one or remove it$/,
    ],
    ['an empty name', { paths: [{ name: '' }] }, 'bad-path', /^paths\[0\]\.name: /],
    ['tier 1.5', { paths: [{ name: 'a', tier: 1.5 }] }, 'bad-path', /^paths\[0\]\.tier: 1\.5 /],
    ['tier -1', { paths: [{ name: 'a', tier: -1 }] }, 'bad-path', /^paths\[0\]\.tier: -1 /],
    ['weight -1', { paths: [{ name: 'a', weight: -1 }] }, 'bad-path', /^paths\[0\]\.weight: -1 /],
    ['weight NaN', { paths: [{ name: 'a', weight: Number.NaN }] }, 'bad-path', /NaN/],
    ['fall 0', { paths, fall: 0 }, 'bad-path-option', /^fall: 0 .*; leave it out for 1$/],
    ['fall 1.5', { paths, fall: 1.5 }, 'bad-path-option', /^fall: 1\.5 /],
    ['rise 0', { paths, rise: 0 }, 'bad-path-option', /^rise: 0 .*; leave it out for 2$/],
    ['rise NaN', { paths, rise: Number.NaN }, 'bad-path-option', /^rise: NaN /],
    ['holdDownMs -1', { paths, holdDownMs: -1 }, 'bad-path-option', /^holdDownMs: -1 .*30000$/],
    ['failbackAfterMs -1', { paths, failbackAfterMs: -1 }, 'bad-path-option', /^failbackAfterMs: /],
    [
      'failbackAfterMs Infinity',
      { paths, failbackAfterMs: Number.POSITIVE_INFINITY },
      'bad-path-option',
      /^failbackAfterMs: Infinity /,
    ],
    ['verifyWithinMs 0', { paths, verifyWithinMs: 0 }, 'bad-path-option', /^verifyWithinMs: 0 /],
    ['links of none', { paths: [{ name: 'a', links: [] }] }, 'bad-path', /^paths\[0\]\.links: /],
    [
      'a link twice',
      { paths: [{ name: 'a', links: ['x', 'x'] }] },
      'bad-path',
      /"x" is there twice/,
    ],
    [
      '2 of 1',
      { paths: [{ name: 'a', atLeast: 2 }] },
      'bad-path',
      /^paths\[0\]\.atLeast: 2 .* 1 to 1,/,
    ],
    ['0 of 1', { paths: [{ name: 'a', atLeast: 0 }] }, 'bad-path', /^paths\[0\]\.atLeast: 0 /],
    [
      'a path behind itself',
      { paths: [{ name: 'a', behind: 'a' }] },
      'bad-path',
      /^paths\[0\]\.behind: /,
    ],
    [
      'maintenance of all',
      { paths: [{ name: 'a', maintenance: true }] },
      'bad-path',
      /^paths: every/,
    ],
    [
      'slow start alone',
      { paths, slowStartMs: 5 },
      'bad-path-option',
      /^slowStartMs: without balance/,
    ],
    [
      'a window of 1',
      quality({ window: 1, lossBad: 9 }),
      'bad-path-option',
      /^quality\.window: 1 /,
    ],
    ['no limit', quality({}), 'bad-path-option', /^quality\.window: nothing is limited/],
    ['loss 101 %', quality({ lossBad: 101 }), 'bad-path-option', /^quality\.lossBad: 101 /],
    ['loss 0 %', quality({ lossBad: 0 }), 'bad-path-option', /^quality\.lossBad: 0 /],
    ['no band', quality({ lossBad: 9, lossGood: 9 }), 'bad-path-option', /^quality\.lossGood: 9 /],
    [
      'only a way back',
      quality({ latencyGoodMs: 9 }),
      'bad-path-option',
      /^quality\.latencyGoodMs: /,
    ],
    ['doubtIntervalMs 0', { paths, doubtIntervalMs: 0 }, 'bad-path-option', /^doubtIntervalMs: 0 /],
  ];
  for (const [what, config, code, message] of refused) {
    test(`refuses ${what} in one line that says how to mend it`, () => {
      assert.throws(
        () => new PathGroup(config, 0),
        (error: Error & { code?: string }) => {
          assert.deepEqual([error.name, error.code], ['UsageError', code]);
          assert.match(error.message, message);
          assert.match(error.message, /^[^\n]+; [^\n]+$/);
          return true;
        },
      );
    });
  }

  test('accepts 0 for failbackAfterMs, holdDownMs, tier and weight, and undefined everywhere', () => {
    new PathGroup(
      { paths: [{ name: 'a', tier: 0, weight: 0 }], failbackAfterMs: 0, holdDownMs: 0 },
      0,
    );
    new PathGroup({ paths, fall: undefined, rise: undefined, verifyWithinMs: undefined }, 0);
  });

  test('starts on the path that was in use, and on the best one if that is gone', () => {
    const two = [
      { name: 'a', tier: 1 },
      { name: 'b', tier: 2 },
    ];
    assert.equal(new PathGroup({ paths: two, inUse: 'b' }, 0).active, 'b');
    assert.equal(new PathGroup({ paths: two, inUse: 'c' }, 0).active, 'a');
  });

  test('goes on since when and why a path was in use, and begins anew where it is gone', () => {
    const before = { inUseSince: -5_000, inUseWhy: 'b is down' };
    const told = (inUse: string) => {
      const group = new PathGroup({ paths: [{ name: 'a' }], inUse, ...before }, 10);
      return [group.active, group.activeSince, group.activeWhy];
    };
    assert.deepEqual(told('a'), ['a', -5_000, 'b is down']);
    assert.deepEqual(told('c'), ['a', 10, 'start']);
  });
});
