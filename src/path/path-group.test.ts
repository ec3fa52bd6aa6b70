import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { GroupRig as Rig } from '../../test/support/group-rig.ts';

/** A down path counts: takes `path` down and up again until it is held, at one instant. */
function hold(rig: Rig, path: string, downs = 2): void {
  for (let round = 0; round < downs; round += 1) rig.bad(path).good(path, path);
}

/** On `b` (tier 2) since 0, and `a` (tier 1) up again at 1 000. */
function away(): Rig {
  const rig = new Rig('a:1 b:2').good('a', 'b').bad('a').to(1_000).good('a', 'a');
  assert.deepEqual(rig.log, ['0 switch a > b: a is down: no-answer']);
  return rig;
}

suite('PathGroup: at start', () => {
  for (const [paths, active] of [
    ['a b', 'a'],
    ['a:2 b:1', 'b'],
    ['a:1:1 b:1:5', 'b'],
    ['a:2:9 b:1:1 c:1:2 d:1:2', 'c'],
  ] as const) {
    test(`of ${paths} the one in use is ${active}, because of "start"`, () => {
      const { group } = new Rig(paths);
      assert.deepEqual([group.active, group.activeSince, group.activeWhy], [active, 0, 'start']);
      assert.equal(group.pollTimeout(), undefined);
    });
  }

  test('does not leave an unknown path for one that is up, and leaves it at its verdict', () => {
    const rig = new Rig('a b').to(10).good('b').to(600_000).good('b');
    assert.deepEqual(rig.log, []);
    assert.equal(rig.group.active, 'a');
    rig.bad('a', 'refused');
    assert.deepEqual(rig.log, ['600000 switch a > b: a is down: refused']);
  });

  test('one that never came up is left as soon as another comes up', () => {
    const rig = new Rig('a b').to(10).bad('a').to(5_000).good('b');
    assert.deepEqual(rig.log, [
      '10 note no path is up; staying on a',
      '5000 switch a > b: a is down: no-answer',
    ]);
  });

  test('tells a row for each path, in the order given', () => {
    const rig = new Rig('a:2 b:1:3').to(7).good('b').drain('a');
    const none = {
      heldUntil: undefined,
      flappingUntil: undefined,
      poor: undefined,
      failbackAt: undefined,
    };
    const row = { weight: 1, since: 0, share: 0, silencedBy: undefined, ...none };
    assert.deepEqual(rig.group.rows(7), [
      {
        ...row,
        name: 'a',
        tier: 2,
        state: 'unknown',
        standing: 'unfit',
        drained: true,
        active: false,
      },
      {
        ...row,
        name: 'b',
        tier: 1,
        weight: 3,
        state: 'up',
        since: 7,
        standing: 'eligible',
        drained: false,
        share: 1,
        active: true,
      },
    ]);
    hold(rig, 'b');
    assert.equal(rig.group.rows(7)[1]?.heldUntil, 30_007);
    assert.equal(rig.group.rows(7)[1]?.standing, 'held');
    assert.equal(rig.group.rows(30_007)[1]?.heldUntil, undefined);
  });

  test('refuses a link it does not have', () => {
    const { group } = new Rig('a b');
    const expected = {
      code: 'unknown-link',
      message: '"z" is not a link of this group; use: a, b',
    };
    assert.throws(() => group.handleResult('z', true, '', 0), expected);
    assert.throws(() => group.handleDrain('z', true, 0), expected);
  });
});

suite('PathGroup: failover', () => {
  test('a good result as recent as 1 000 ms is verification: it switches at once', () => {
    const rig = new Rig('a b').good('a', 'b').to(1_000).bad('a');
    assert.deepEqual(rig.log, ['1000 switch a > b: a is down: no-answer']);
    const { group } = rig;
    assert.deepEqual(
      [group.active, group.activeSince, group.activeWhy],
      ['b', 1_000, 'a is down: no-answer'],
    );
  });

  test('an older one is not: it probes and switches when the answer comes', () => {
    const rig = new Rig('a b').good('a', 'b').to(1_001).bad('a');
    assert.deepEqual(rig.log, ['1001 probe b']);
    assert.equal(rig.group.pollTimeout(), 2_001);
    rig.to(1_050).good('b');
    assert.deepEqual(rig.log, ['1050 switch a > b: a is down: no-answer']);
    assert.equal(rig.group.pollTimeout(), undefined);
  });

  test('verifies by rank, one candidate after the other', () => {
    const rig = new Rig('a b:3 c:2:1 d:2:2').good('a', 'b', 'c', 'd').to(5_000).bad('a');
    rig.to(6_000).to(6_999).to(7_200).good('b');
    assert.deepEqual(rig.log, [
      '5000 probe d',
      '6000 probe c',
      '7000 probe b',
      '7200 switch a > b: a is down: no-answer',
    ]);
  });

  test('a bad answer moves on to the next candidate at once', () => {
    const rig = new Rig('a b c', { fall: 2 }).good('a', 'b', 'c').to(5_000).bad('a').bad('a');
    rig.to(5_010).bad('b').to(5_020).good('c');
    assert.deepEqual(rig.log, [
      '5000 probe b',
      '5010 probe c',
      '5020 switch a > c: a is down: no-answer',
    ]);
  });

  test('a fresh good result is no verification once a bad one followed', () => {
    const rig = new Rig('a b', { fall: 2 }).to(5_000).good('a', 'b').bad('b').bad('a').bad('a');
    assert.deepEqual(rig.log, ['5000 probe b']);
  });

  test('a candidate in doubt from before is not rejected for that', () => {
    const rig = new Rig('a b', { fall: 2 }).good('a', 'b').to(5_000).bad('b').bad('a').bad('a');
    rig.to(5_010).good('b');
    assert.deepEqual(rig.log, ['5000 probe b', '5010 switch a > b: a is down: no-answer']);
  });

  test('with no candidate verified a dead path is left for the best one all the same', () => {
    const rig = new Rig('a b c').good('a', 'b', 'c').to(5_000).bad('a').to(9_000);
    assert.deepEqual(rig.log, [
      '5000 probe b',
      '6000 probe c',
      '7000 switch a > b: a is down: no-answer; b could not be verified but nothing is lost',
    ]);
  });

  test('and among those rather for one whose last result was not bad', () => {
    const rig = new Rig('a b c', { fall: 2 }).good('a', 'b', 'c').to(5_000).bad('a').bad('a');
    rig.to(5_010).bad('b').to(6_010);
    assert.match(rig.log.join('\n'), /6010 switch a > c: .* c could not be verified/);
  });

  test('an answer after the wait still counts while the round goes on', () => {
    const rig = new Rig('a b c').good('a', 'b', 'c').to(5_000).bad('a').to(6_100).good('b');
    assert.equal(rig.log.at(-1), '6100 switch a > b: a is down: no-answer');
  });

  test('a better path that answers meanwhile is taken before the candidate', () => {
    const rig = new Rig('a b c').good('a', 'b', 'c').to(5_000).bad('b').bad('a').to(5_100);
    rig.good('b', 'b');
    assert.deepEqual(rig.log, ['5000 probe c', '5100 switch a > b: a is down: no-answer']);
  });

  test('a worse path that answers meanwhile waits for the candidate', () => {
    const rig = new Rig('a b c').good('a', 'b', 'c').to(5_000).bad('a').to(5_500).good('c');
    assert.deepEqual(rig.log, ['5000 probe b']);
    rig.to(6_000);
    assert.deepEqual(rig.log, ['6000 switch a > c: a is down: no-answer']);
  });

  test('stops when the path in use recovers before the candidate answers', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).bad('a').to(5_100).good('a').good('a');
    rig.to(5_200).good('b').to(60_000);
    assert.deepEqual(rig.log, ['5000 probe b']);
    assert.equal(rig.group.active, 'a');
  });

  test('stays where it is if nothing is up, and says so once', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).bad('b').bad('a').bad('a').bad('b');
    rig.to(60_000).bad('a');
    assert.deepEqual(rig.log, ['5000 note no path is up; staying on a']);
    rig.good('b').good('b');
    assert.deepEqual(rig.log, ['60000 switch a > b: a is down: no-answer']);
    rig.bad('b');
    assert.deepEqual(rig.log, ['60000 note no path is up; staying on b']);
  });

  test('says so again at the next outage', () => {
    const rig = new Rig('a b').bad('b').good('a').bad('a').good('a', 'a').to(9_000).bad('a');
    assert.deepEqual(rig.log, [
      '0 note no path is up; staying on a',
      '9000 note no path is up; staying on a',
    ]);
  });

  test('never considers a path that is down or unknown', () => {
    const rig = new Rig('a b c d').good('a', 'b', 'd').to(5_000).bad('b').bad('a');
    assert.deepEqual(rig.log, ['5000 probe d']);
  });

  test('same tier: no preemption, however long the heavier path is back', () => {
    const rig = new Rig('a:1:9 b:1:1').good('a', 'b').bad('a').good('a', 'a').to(3_600_000);
    assert.deepEqual(rig.log, ['0 switch a > b: a is down: no-answer']);
    assert.equal(rig.group.pollTimeout(), undefined);
  });
});

suite('PathGroup: doubt', () => {
  test('probes a path in doubt every 1 000 ms until a result ends the doubt', () => {
    const rig = new Rig('a b', { fall: 3 }).good('a').to(100).bad('a').to(3_200);
    assert.deepEqual(rig.log, ['1100 probe a', '2100 probe a', '3100 probe a']);
    rig.good('a').to(60_000);
    assert.deepEqual(rig.log, []);
  });

  test('a result puts the next probe off by the whole gap', () => {
    const rig = new Rig('a', { fall: 3 }).good('a').to(100).bad('a').to(900).bad('a').to(1_900);
    assert.deepEqual(rig.log, ['1900 probe a']);
  });

  test('probes on the way up too, and not at all when beyond doubt', () => {
    const rig = new Rig('a b', { rise: 3, doubtIntervalMs: 250 }).good('b').bad('a').to(1_000);
    assert.deepEqual(rig.log, ['0 switch a > b: a is down: no-answer']);
    rig.good('a').to(1_300).good('a').to(1_600).good('a').to(5_000);
    assert.deepEqual(rig.log, ['1250 probe a', '1550 probe a']);
  });
});

suite('PathGroup: hold-down', () => {
  test('an eligible path goes before a better one in hold-down', () => {
    const rig = new Rig('x:1:9 b:1:5 c:1:1').good('x', 'b', 'c');
    hold(rig, 'b');
    rig.to(500).bad('x');
    assert.deepEqual(rig.log, ['500 switch x > c: x is down: no-answer']);
  });

  test('if no eligible path answers, one in hold-down that does is better', () => {
    const rig = new Rig('a b c').good('a', 'b', 'c').to(5_000);
    hold(rig, 'b');
    rig.to(5_100).bad('a').to(6_050).good('b').to(6_100);
    assert.deepEqual(rig.log, [
      '5100 probe c',
      '6100 switch a > b: a is down: no-answer; b is held down but nothing better answered',
    ]);
  });

  test('it is used when nothing else is up', () => {
    const rig = new Rig('a b').good('a', 'b');
    hold(rig, 'b');
    rig.to(500).bad('a');
    assert.match(rig.log[0] ?? '', /^500 switch a > b: a is down: no-answer; b is held down/);
  });

  test('failback waits for its end and 60 s more', () => {
    const rig = new Rig('a:1 b:2').good('a', 'b').bad('a').good('a', 'a');
    hold(rig, 'a', 1);
    assert.deepEqual(rig.log, ['0 switch a > b: a is down: no-answer']);
    rig.to(89_999);
    assert.deepEqual(rig.log, []);
    rig.to(90_000);
    assert.deepEqual(rig.log, ['90000 probe a']);
  });
});

suite('PathGroup: drain', () => {
  test('moves traffic off a drained path that works, verified', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).drain('a').to(5_030).good('b');
    assert.deepEqual(rig.log, ['5000 probe b', '5030 switch a > b: a is drained']);
  });

  test('goes on trying every 1 000 ms while no candidate can be verified, and stays', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).drain('a').to(9_500);
    assert.deepEqual(rig.log, [
      '5000 probe b',
      '6000 note a is drained but stays in use: no other path could be verified',
      '7000 probe b',
      '9000 probe b',
    ]);
    rig.good('b');
    assert.deepEqual(rig.log, ['9500 switch a > b: a is drained']);
  });

  test('results in between do not put the next round off', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).drain('a').to(6_900).good('a').to(7_000);
    assert.equal(rig.log.at(-1), '7000 probe b');
  });

  test('takes a good result between two rounds at once', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).drain('a').to(6_500).good('b');
    assert.equal(rig.log.at(-1), '6500 switch a > b: a is drained');
  });

  test('does not honour the drain of the last path that works, and says so once', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).bad('b').drain('a').drain('a').good('a');
    rig.to(60_000);
    assert.deepEqual(rig.log, ['5000 note a is drained but stays in use: no other path is up']);
    rig.good('b', 'b');
    assert.deepEqual(rig.log, ['60000 switch a > b: a is drained']);
  });

  test('does not swap one drained path for another', () => {
    const rig = new Rig('a b').good('a', 'b').drain('b').drain('a').to(60_000).good('b');
    assert.deepEqual(rig.log, ['0 note a is drained but stays in use: no other path is up']);
  });

  test('moves off a drained path even to one in hold-down', () => {
    const rig = new Rig('a b').good('a', 'b');
    hold(rig, 'b');
    rig.drain('a');
    assert.match(rig.log.at(-1) ?? '', /^0 switch a > b: a is drained; b is held down/);
  });

  test('a drained path is used when nothing else is up, and left for the first other one', () => {
    const rig = new Rig('a b c').good('a', 'b').bad('c').drain('b').to(500).bad('a');
    assert.deepEqual(rig.log, [
      '500 switch a > b: a is down: no-answer; b is drained but nothing else is up',
    ]);
    rig.to(700).good('c').good('c');
    assert.deepEqual(rig.log, ['700 switch b > c: b is drained']);
  });

  test('a drained path is no candidate while another is up, even a silent one', () => {
    const rig = new Rig('a b c').good('a', 'b', 'c').drain('b').to(5_000).bad('a').good('b');
    assert.deepEqual(rig.log, ['5000 probe c']);
    rig.to(6_000);
    assert.match(rig.log[0] ?? '', /^6000 switch a > c: /);
  });

  test('resumed before another path answered, it stays in use', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).drain('a').to(5_100).resume('a').good('b');
    assert.deepEqual(rig.log, ['5000 probe b']);
    assert.equal(rig.group.active, 'a');
  });

  test('a path in use, drained and then down, is left for any candidate', () => {
    const rig = new Rig('a b').good('a', 'b').to(5_000).drain('a').to(6_200).bad('a').to(7_200);
    assert.equal(
      rig.log.at(-1),
      '7200 switch a > b: a is down: no-answer; b could not be verified but nothing is lost',
    );
  });

  test('a drained unknown path is left too', () => {
    const rig = new Rig('a b').good('b').drain('a');
    assert.deepEqual(rig.log, ['0 switch a > b: a is drained']);
  });
});

suite('PathGroup: failback', () => {
  test('returns to a better tier that was eligible for 60 s, verified', () => {
    const rig = away().to(60_999);
    assert.deepEqual(rig.log, []);
    rig.to(61_000);
    assert.deepEqual(rig.log, ['61000 probe a']);
    rig.to(61_030).good('a');
    assert.deepEqual(rig.log, ['61030 switch b > a: a is back: preferred tier 1, good for 1m']);
    rig.to(71_030);
    assert.deepEqual(rig.log, ['71030 audit b']);
    assert.equal(rig.group.pollTimeout(), undefined);
  });

  test('a down in between starts the wait again, after its hold-down of 30 s', () => {
    const rig = away().to(50_000).bad('a').to(50_500).good('a', 'a').to(139_999);
    assert.deepEqual(rig.log, []);
    rig.to(140_000);
    assert.deepEqual(rig.log, ['140000 probe a']);
  });

  test('a drain stops it, and a resume counts from its instant', () => {
    const rig = away().to(50_000).drain('a').to(300_000).resume('a');
    rig.to(330_000).resume('a').to(359_999);
    assert.deepEqual(rig.log, []);
    rig.to(360_000);
    assert.deepEqual(rig.log, ['360000 probe a']);
  });

  for (const [what, rejectedAt] of [
    ['silence', 61_000],
    ['a bad result', 60_100],
  ] as const) {
    test(`a failed verification (${what}) starts the wait again`, () => {
      const rig = new Rig('a:1 b:2', { fall: 9 }).good('a', 'b').drain('a').resume('a');
      rig.to(rejectedAt);
      if (what === 'a bad result') rig.bad('a').good('a');
      rig.to(rejectedAt + 59_999);
      assert.deepEqual(rig.log, ['0 switch a > b: a is drained', '60000 probe a']);
      rig.to(rejectedAt + 60_000);
      assert.deepEqual(rig.log, [`${rejectedAt + 60_000} probe a`]);
    });
  }

  test('an answer at the very end of the verification counts', () => {
    const rig = away().to(61_999);
    rig.now = 62_000;
    rig.good('a');
    assert.equal(rig.group.active, 'a');
  });

  test('tells when it returns, 60 s after the better path is good, while one of a later tier is in use', () => {
    const rig = new Rig('a:1 b:2', { rise: 1 }).good('a', 'b').bad('a').to(5_000);
    assert.equal(rig.group.rows(5_000)[0]?.failbackAt, undefined);
    rig.good('a').to(6_000);
    assert.equal(rig.group.rows(6_000)[0]?.failbackAt, 65_000);
    assert.equal(rig.group.rows(6_000)[1]?.failbackAt, undefined);
  });

  test('with failbackAfterMs 0 it returns at once, but asks at most every doubtIntervalMs', () => {
    const now = new Rig('a:1 b:2', { failbackAfterMs: 0 }).good('a', 'b').bad('a').to(9_000);
    now.good('a', 'a');
    assert.equal(now.log.at(-1), '9000 switch b > a: a is back: preferred tier 1, good for 0ms');
    const slow = new Rig('a:1 b:2', { failbackAfterMs: 0, fall: 9 }).good('a', 'b').drain('a');
    slow.to(5_000).resume('a').bad('a').bad('a').bad('a').to(6_500);
    assert.deepEqual(slow.log, ['0 switch a > b: a is drained', '5000 probe a', '6000 probe a']);
  });

  test('goes to the best of several, and to the next if that one is not verified', () => {
    const rig = new Rig('a:1 b:3 c:2').good('a', 'b', 'c').drain('a').drain('c').to(5_000);
    assert.equal(rig.group.active, 'b');
    rig.resume('a').resume('c').to(65_000).to(66_000).to(66_010).good('c').to(125_999);
    assert.deepEqual(rig.log.slice(2), [
      '65000 probe a',
      '66000 probe c',
      '66010 switch b > c: c is back: preferred tier 2, good for 1m1s',
      '76010 audit b',
    ]);
    rig.to(126_000);
    assert.deepEqual(rig.log, ['126000 probe a']);
  });

  test('one that comes due while another is verified is asked after that', () => {
    const rig = new Rig('a:1 b:2 c:3').good('a', 'b', 'c').drain('a').drain('b').resume('b');
    rig.to(500).resume('a').to(60_600).good('b').to(60_630).good('a');
    assert.deepEqual(rig.log.slice(2), [
      '60000 probe b',
      '60600 switch c > b: b is back: preferred tier 2, good for 1m1s',
      '60600 probe a',
      '60630 switch b > a: a is back: preferred tier 1, good for 1m',
    ]);
  });

  test('if the path in use goes down meanwhile, it goes to the waiting one without the wait', () => {
    const rig = away().to(1_500).bad('b');
    assert.deepEqual(rig.log, ['1500 switch b > a: b is down: no-answer']);
    const later = away().to(30_000).bad('b').to(30_040).good('a');
    assert.deepEqual(later.log, ['30000 probe a', '30040 switch b > a: b is down: no-answer']);
  });

  test('a verification under way goes on when the path in use goes down', () => {
    const rig = away().to(61_400).bad('b').to(61_500).good('a');
    assert.deepEqual(rig.log, ['61000 probe a', '61500 switch b > a: b is down: no-answer']);
  });

  test('a candidate of failover that stayed silent waits the whole failback', () => {
    const rig = new Rig('x:1 a:2 b:3')
      .good('x', 'a', 'b')
      .to(500_000)
      .bad('x')
      .to(501_050)
      .good('b');
    rig.to(560_999);
    assert.deepEqual(rig.log, [
      '500000 probe a',
      '501000 probe b',
      '501050 switch x > b: x is down: no-answer',
    ]);
    rig.to(561_000);
    assert.deepEqual(rig.log, ['561000 probe a']);
  });
});

suite('PathGroup: a late observer', () => {
  test('does not count a wait it slept through: it starts again', () => {
    const rig = away().to(10_000).sleepTo(70_000).good('a').to(129_999);
    assert.deepEqual(rig.log, []);
    rig.to(130_000);
    assert.deepEqual(rig.log, ['130000 probe a']);
  });

  test('nor a nap of more than 2 s that ends before the wait does', () => {
    const rig = away().to(10_000).sleepTo(12_001).to(72_000);
    assert.deepEqual(rig.log, []);
    rig.to(72_001);
    assert.deepEqual(rig.log, ['72001 probe a']);
  });

  test('a timer late by up to 1 000 ms is not sleep', () => {
    const rig = away().to(10_000).sleepTo(12_000).to(61_000);
    assert.deepEqual(rig.log, ['61000 probe a']);
  });

  test('notices at whatever input comes first, also a result', () => {
    const rig = away().to(10_000);
    rig.now = 70_000;
    rig.good('a').good('b').to(129_999);
    assert.deepEqual(rig.log, []);
  });

  test('asks the candidate again instead of passing it over', () => {
    const rig = new Rig('a b c').good('a', 'b', 'c').to(5_000).bad('a').sleepTo(8_000);
    assert.deepEqual(rig.log, ['5000 probe b', '8000 probe b']);
    rig.to(8_020).good('b');
    assert.deepEqual(rig.log, ['8020 switch a > b: a is down: no-answer']);
  });

  test('drops a failback verification it slept through', () => {
    const rig = away().to(61_000).sleepTo(90_000);
    rig.good('a').to(149_999);
    assert.deepEqual(rig.log, ['61000 probe a']);
    rig.to(150_000);
    assert.deepEqual(rig.log, ['150000 probe a']);
  });

  test('never moves traffic because time jumped, and has no deadline in the past', () => {
    const rig = new Rig('a:1 b:2 c:3', { fall: 2 }).good('a', 'b', 'c').bad('a').bad('b');
    rig.sleepTo(1e9);
    assert.deepEqual(rig.log, [`${1e9} probe a`, `${1e9} probe b`]);
    assert.equal(rig.group.active, 'a');
    assert.equal(rig.group.pollTimeout(), 1e9 + 1_000);
  });
});

suite('PathGroup: spurious calls', () => {
  test('handleTimeout before its deadline, or twice at it, does nothing', () => {
    const rig = new Rig('a b', { fall: 2 }).good('a', 'b').to(5_000).bad('a').bad('a');
    assert.deepEqual(rig.log, ['5000 probe b']);
    for (const instant of [5_000, 5_500, 5_999]) rig.sleepTo(instant);
    assert.deepEqual(rig.log, []);
    assert.equal(rig.group.pollTimeout(), 6_000);
    rig.sleepTo(6_000);
    const after = [rig.log.length, rig.group.pollTimeout()];
    rig.sleepTo(6_000);
    assert.deepEqual([1 + rig.log.length, rig.group.pollTimeout()], after);
  });

  test('a drain of what is drained, and a resume of what is not, do nothing', () => {
    const rig = new Rig('a b').good('a', 'b').resume('a').drain('b').drain('b').to(60_000);
    assert.deepEqual(rig.log, []);
    assert.equal(rig.group.pollTimeout(), undefined);
  });
});
