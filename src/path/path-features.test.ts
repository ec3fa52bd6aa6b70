import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { GroupRig } from '../../test/support/group-rig.ts';
import type { PathConfig, PathGroupConfig } from './path-group.ts';

const MINUTE = 60_000;
const LOST = Array.from({ length: 10 }, () => undefined);
const PROMPT = Array.from({ length: 10 }, () => 20);

/** The state of a path, and what is told about it. */
function row(rig: GroupRig, name: string) {
  const found = rig.group.rows(rig.now).find((one) => one.name === name);
  assert(found !== undefined);
  return found;
}

suite('PathGroup: several links a path', () => {
  const rows: readonly (readonly [number, string, string])[] = [
    [1, '', 'unknown'],
    [1, '+x', 'up'],
    [1, '-x -y', 'unknown'],
    [1, '-x -y -z', 'down'],
    [1, '+x -y -z', 'up'],
    [2, '+x', 'unknown'],
    [2, '+x +y', 'up'],
    [2, '+x +y -z', 'up'],
    [2, '+x +y -z -y', 'down'],
    [2, '-x -y', 'down'],
    [3, '+x +y', 'unknown'],
    [3, '+x +y +z', 'up'],
    [3, '+x +y +z -z', 'down'],
    [3, '+x +y +z -z +z', 'down'],
    [3, '+x +y +z -z +z +z', 'up'],
  ];
  for (const [atLeast, results, state] of rows) {
    test(`${atLeast} of 3: "${results}" is ${state}`, () => {
      const rig = new GroupRig([{ name: 'a', links: ['x', 'y', 'z'], atLeast }]);
      for (const result of results.split(' ').filter(Boolean)) {
        if (result.startsWith('+')) rig.good(result.slice(1));
        else rig.bad(result.slice(1));
      }
      assert.equal(row(rig, 'a').state, state);
    });
  }

  test('verification asks every link and is done when 2 of 3 answered', () => {
    const b = { name: 'b', links: ['x', 'y', 'z'], atLeast: 2 };
    const rig = new GroupRig([{ name: 'a' }, b]).good('a', 'x', 'y', 'z').to(5_000).bad('a');
    rig.to(5_010).good('x').to(5_020).good('z');
    assert.deepEqual(rig.log, [
      '5000 probe x',
      '5000 probe y',
      '5000 probe z',
      '5020 switch a > b: a is down: no-answer',
    ]);
  });

  test('one bad answer of three does not reject a candidate that needs two', () => {
    const b = { name: 'b', links: ['x', 'y', 'z'], atLeast: 2 };
    const rig = new GroupRig([{ name: 'a' }, b]).good('a', 'x', 'y', 'z').to(5_000).bad('a');
    rig.bad('x').to(5_020).good('y', 'z');
    assert.equal(rig.log.at(-1), '5020 switch a > b: a is down: no-answer');
  });

  test('one link may judge two paths', () => {
    const rig = new GroupRig([
      { name: 'a', links: ['x', 'y'], atLeast: 2 },
      { name: 'b', links: ['y'] },
    ]).good('x', 'y');
    rig.bad('y');
    assert.deepEqual([row(rig, 'a').state, row(rig, 'b').state], ['down', 'down']);
  });

  test('is drained once too few of its links are left in', () => {
    const rig = new GroupRig([{ name: 'a', links: ['x', 'y', 'z'], atLeast: 2 }]).drain('x');
    assert.equal(row(rig, 'a').drained, false);
    rig.drain('y');
    assert.equal(row(rig, 'a').drained, true);
    rig.resume('x');
    assert.equal(row(rig, 'a').drained, false);
  });
});

suite('PathGroup: quality', () => {
  const quality = { window: 10, lossBad: 30, lossGood: 10 };

  test('a poor path in use is left for a good one, verified, and returned to when it is good', () => {
    const rig = new GroupRig('a:1 b:2', { quality })
      .good('a', 'b')
      .to(5_000)
      .samples('a', ...LOST);
    rig.to(5_040).good('b');
    assert.deepEqual(rig.log, [
      '5000 probe b',
      '5040 switch a > b: a is poor: it loses 100 % of its probes',
    ]);
    rig.samples('a', ...PROMPT).to(65_039);
    assert(!rig.log.includes('65040 probe a'));
    rig.to(65_040).good('a');
    assert.match(rig.log.at(-1) ?? '', /^65040 switch b > a: a is back/);
  });

  test('it is kept while no other is good, and is better than a dead one', () => {
    const rig = new GroupRig('a b', { quality }).good('a', 'b').samples('b', ...LOST);
    rig.samples('a', ...LOST);
    assert.equal(
      rig.log.at(-1),
      '0 note a is poor: it loses 100 % of its probes but stays in use: no good path is up',
    );
    rig.good('b').bad('a');
    assert.match(rig.log.at(-1) ?? '', /^0 switch a > b: .*b is poor but nothing better answered/);
  });

  test('a poor link is asked every 1 000 ms, so that it is soon good again', () => {
    const rig = new GroupRig('a', { quality })
      .good('a')
      .samples('a', ...LOST)
      .to(3_500);
    assert.deepEqual(rig.log.slice(1), ['1000 probe a', '2000 probe a', '3000 probe a']);
  });

  test('becoming poor is a flap: the third within a minute is flapping', () => {
    const rig = new GroupRig('a', { quality }).good('a');
    for (let round = 0; round < 3; round += 1) rig.samples('a', ...LOST, ...PROMPT);
    assert(rig.log.includes('0 note a is flapping'));
  });

  test('without quality nothing is judged', () => {
    const rig = new GroupRig('a b').good('a', 'b').samples('a', ...LOST, ...LOST, ...LOST);
    assert.deepEqual([rig.log, row(rig, 'a').poor], [[], undefined]);
  });
});

suite('PathGroup: flapping', () => {
  const flap = (rig: GroupRig, path: string) => rig.bad(path).good(path, path);

  test('three falls make it flapping for 30 min, told when it begins and ends', () => {
    const rig = new GroupRig('a').good('a');
    for (let round = 0; round < 3; round += 1) flap(rig, 'a');
    assert.equal(row(rig, 'a').flappingUntil, 30 * MINUTE);
    rig.to(40 * MINUTE);
    const told = rig.log.filter((line) => line.includes('flapping'));
    assert.deepEqual(told, ['0 note a is flapping', '1800000 note a is not flapping any more']);
    assert.equal(row(rig, 'a').flappingUntil, undefined);
  });

  test('no failback to it before it is calm and 60 s have passed', () => {
    const rig = new GroupRig('a:1 b:2').good('a', 'b').bad('a').good('a', 'a');
    for (let round = 0; round < 2; round += 1) flap(rig, 'a');
    rig.to(31 * MINUTE - 1);
    assert(!rig.log.some((line) => line.includes('probe a')));
    rig.to(31 * MINUTE);
    assert.deepEqual(rig.log, [`${31 * MINUTE} probe a`]);
  });

  test('failover prefers a calm path, then a flapping one, then one in hold-down', () => {
    const rig = new GroupRig('x:1:9 a:1:8 b:1:7 c:1:6').good('x', 'a', 'b', 'c');
    for (let round = 0; round < 3; round += 1) flap(rig, 'b');
    rig.to(100_000);
    for (let round = 0; round < 2; round += 1) flap(rig, 'a');
    rig.good('x', 'a', 'b', 'c').bad('x').bad('c');
    assert.equal(rig.group.active, 'b');
    assert.match(rig.group.activeWhy, /b is flapping but nothing calmer answered/);
    rig.bad('b');
    assert.equal(rig.group.active, 'a');
  });

  test('holdDownMs 0 turns it off', () => {
    const rig = new GroupRig('a', { holdDownMs: 0 }).good('a');
    for (let round = 0; round < 9; round += 1) flap(rig, 'a');
    assert.equal(row(rig, 'a').flappingUntil, undefined);
  });
});

suite('PathGroup: a path behind an uplink', () => {
  const paths = [
    { name: 'a', tier: 1, behind: 'wan' },
    { name: 'b', tier: 2 },
  ];
  const rig = () => new GroupRig(paths).good('wan', 'a', 'b');

  for (const [order, first, second] of [
    ['the uplink first', 'wan', 'a'],
    ['the path first', 'a', 'wan'],
  ] as const) {
    test(`its downs are no flaps, ${order}: ten outages leave it eligible`, () => {
      const group = rig();
      for (let round = 1; round <= 10; round += 1) {
        group
          .to(round * 1_000)
          .bad(first)
          .bad(second);
        group.to(round * 1_000 + 500).good('wan', 'wan', 'a', 'a');
      }
      const { heldUntil, flappingUntil } = row(group, 'a');
      assert.deepEqual([heldUntil, flappingUntil], [undefined, undefined]);
      assert(!group.log.some((line) => line.includes('flapping')));
    });
  }

  test('a down while the uplink is heard is its own, though the uplink falls later', () => {
    const group = rig();
    for (let round = 1; round <= 3; round += 1) {
      group
        .to(round * 1_000)
        .bad('a')
        .to(round * 1_000 + 10)
        .good('wan')
        .bad('wan');
      group.good('wan', 'wan', 'a', 'a');
    }
    assert.notEqual(row(group, 'a').flappingUntil, undefined);
  });

  test('says whose fault it is, and moves traffic all the same', () => {
    const group = rig().bad('wan').bad('a');
    assert.deepEqual(group.log, ['0 switch a > b: a is down: it lies behind wan, which is down']);
    assert.equal(row(group, 'a').silencedBy, 'wan');
    group.good('wan', 'wan');
    assert.equal(row(group, 'a').silencedBy, undefined);
  });

  test('with everything behind it, one note names the uplink', () => {
    const both = paths.map((path) => ({ ...path, behind: 'wan' }));
    const group = new GroupRig(both).good('wan', 'a', 'b').bad('wan').bad('b').bad('a');
    assert.deepEqual(group.log, ['0 note wan is down, no path is up; staying on a']);
  });
});

suite('PathGroup: maintenance', () => {
  const out = (maintenance: boolean): PathConfig[] => [{ name: 'a', maintenance }, { name: 'b' }];

  test('a path in maintenance is not the first one in use', () => {
    assert.deepEqual(
      [false, true].map((on) => new GroupRig(out(on)).group.active),
      ['a', 'b'],
    );
  });

  test('one that was in use is left like a drained one, and is the last resort', () => {
    const rig = new GroupRig(out(true), { inUse: 'a' }).good('b', 'a');
    assert.deepEqual(rig.log, ['0 switch a > b: a is drained']);
    rig.bad('b');
    assert.match(rig.log.at(-1) ?? '', /^0 switch b > a: .*a is drained but nothing else is up/);
  });
});

suite('PathGroup: audit after failback', () => {
  test('asks every 10 s until no flow is left, and tells people twice', () => {
    const rig = new GroupRig('a:1 b:2').good('a', 'b').drain('a').resume('a').to(60_000);
    rig.left = 2;
    rig.good('a').to(89_000);
    rig.left = 0;
    rig.to(600_000);
    assert.deepEqual(rig.log.slice(2), [
      '60000 switch b > a: a is back: preferred tier 1, good for 1m',
      '70000 audit b',
      '70000 note 2 flows are still on b, 10s after failback from it',
      '80000 audit b',
      '90000 audit b',
      '90000 note no flow is left on b',
    ]);
  });

  test('ends when the path is in use again', () => {
    const rig = new GroupRig('a:1 b:2').good('a', 'b').drain('a').resume('a').to(60_000);
    rig.left = 2;
    rig.good('a', 'b').bad('a').to(600_000);
    assert(!rig.log.some((line) => line.includes('audit')));
  });

  test('there is none after failover: what is on the dead path is dealt with once', () => {
    const rig = new GroupRig('a b').good('a', 'b').bad('a').to(600_000);
    assert.deepEqual(rig.log, ['0 switch a > b: a is down: no-answer']);
  });
});

suite('PathGroup: balance', () => {
  const balance: Omit<PathGroupConfig, 'paths'> = { balance: true };
  const spread = ({ group, now }: GroupRig, flows = 3_000): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (let flow = 0; flow < flows; flow += 1) {
      const path = group.pathFor(`${flow}`, now);
      counts[path] = (counts[path] ?? 0) + 1;
    }
    return counts;
  };
  const near = (share: number | undefined, expected: number) =>
    assert(Math.abs((share ?? 0) / 3_000 - expected) < 0.03, `${share} of 3000, not ${expected}`);

  test('without it the path in use gets every flow', () => {
    assert.deepEqual(spread(new GroupRig('a b').good('a', 'b')), { a: 3_000 });
  });

  test('every fit path of the tier joins as it comes up and shares by weight', () => {
    const rig = new GroupRig('a:1:1 b:1:2 c:2:9', balance).good('b', 'a', 'c');
    assert.deepEqual(rig.log, ['0 join a']);
    const counts = spread(rig);
    near(counts['a'], 1 / 3);
    near(counts['b'], 2 / 3);
    assert.deepEqual(
      rig.group.rows(0).map(({ share }) => Math.round(share * 100)),
      [33, 67, 0],
    );
  });

  test('one that falls leaves at once; its return waits 60 s, is verified, and starts slowly', () => {
    const rig = new GroupRig('a b', balance).good('a', 'b').to(100).bad('b');
    assert.deepEqual(rig.log, ['0 join b', '100 leave b']);
    assert.deepEqual(spread(rig), { a: 3_000 });
    rig.to(1_000).good('b', 'b').to(60_999);
    assert.deepEqual(rig.log, []);
    rig.to(61_020).good('b');
    assert.deepEqual(rig.log, ['61000 probe b', '61020 join b']);
    assert.deepEqual(spread(rig), { a: 3_000 });
    rig.to(61_020 + 15_000);
    near(spread(rig)['b'], 1 / 3);
    rig.to(61_020 + 30_000);
    near(spread(rig)['b'], 1 / 2);
  });

  test('the path in use goes: the others have its flows before anything is verified', () => {
    const rig = new GroupRig('a b c', balance).good('a', 'b', 'c').to(5_000).bad('a');
    assert.equal(rig.log.at(-1), '5000 probe b');
    assert.equal(spread(rig)['a'], undefined);
    rig.to(5_010).good('b');
    assert.equal(rig.log.at(-1), '5010 switch a > b: a is down: no-answer');
  });

  test('a drained path gets no new flow, unless it is the last', () => {
    const rig = new GroupRig('a b', balance).good('a', 'b').drain('b');
    assert.deepEqual(spread(rig), { a: 3_000 });
    rig.drain('a');
    assert.deepEqual(spread(rig), { a: 3_000 });
  });

  test('only the tier in use shares, and failback to a better one audits every path it leaves', () => {
    const rig = new GroupRig('a:1 b:2 c:2', balance).good('a', 'b', 'c').drain('a').resume('a');
    assert.deepEqual(rig.log, ['0 switch a > b: a is drained', '0 join c']);
    rig.to(60_000).good('a').to(70_000);
    assert.deepEqual(rig.log, [
      '60000 probe a',
      '60000 switch b > a: a is back: preferred tier 1, good for 1m',
      '60000 leave c',
      '70000 audit b',
      '70000 audit c',
    ]);
  });

  test('one that is silent when its wait is over is asked again every 1 000 ms', () => {
    const rig = new GroupRig('a b', balance).good('a', 'b').bad('b').good('b', 'b').to(62_500);
    assert.deepEqual(rig.log.slice(2), ['60000 probe b', '61000 probe b', '62000 probe b']);
    rig.good('b');
    assert.deepEqual(rig.log, ['62500 join b']);
  });

  for (const [what, wokenAt] of [
    ['past its end', 70_000],
    ['that ends before it does', 40_000],
  ] as const) {
    test(`a sleep of the observer ${what} starts the wait again`, () => {
      const rig = new GroupRig('a b', balance).good('a', 'b').bad('b').good('b', 'b').to(10_000);
      rig.sleepTo(wokenAt).to(wokenAt + 59_999);
      assert.deepEqual(rig.log.slice(2), []);
      rig.to(wokenAt + 60_000);
      assert.deepEqual(rig.log, [`${wokenAt + 60_000} probe b`]);
    });
  }

  test('the path in use has its share again when its hold-down ends, without any result', () => {
    const options = { ...balance, failbackAfterMs: 0, slowStartMs: 0 };
    const rig = new GroupRig('a b', options).good('a', 'b').bad('b');
    for (let round = 0; round < 2; round += 1) rig.bad('a').good('a', 'a');
    rig.good('b', 'b');
    const shares = () => rig.group.rows(rig.now).map(({ share }) => share);
    assert.deepEqual([rig.group.active, shares()], ['a', [0, 1]]);
    rig.to(30_000);
    assert.deepEqual(shares(), [0.5, 0.5]);
  });
});
