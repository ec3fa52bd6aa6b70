import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../test/support/prng.ts';
import { IdleTimeoutLearner, usableMs } from './idle-timeout-learner.ts';

const MINUTE = 60_000;
const LONGEST = 10 * MINUTE;

/** A learner that has seen one close after each of these, ten seconds apart. */
function learnerOf(...idles: number[]): IdleTimeoutLearner {
  const learner = new IdleTimeoutLearner(LONGEST);
  for (const [index, idle] of idles.entries()) learner.handleIdleClose(idle, index * 10_000);
  return learner;
}

suite('the use of a connection before its idle timeout', () => {
  for (const [timeout, usable] of [
    [75_000, 67_500],
    [10_000, 9_000],
    [5_000, 4_000],
    [2_000, 1_000],
    [1_100, 100],
    [1_000, 100],
    [300, 75],
    [0, 0],
  ] as const) {
    test(`a timeout of ${timeout} ms leaves ${usable} ms`, () => {
      assert.equal(usableMs(timeout), usable);
    });
  }
});

suite('what is learned of an idle timeout', () => {
  test('knows nothing at first: any idleness for what can be repeated, 100 ms for the rest', () => {
    const learner = new IdleTimeoutLearner(LONGEST);
    assert.equal(learner.limitMs(true), LONGEST);
    assert.equal(learner.limitMs(false), 100);
    assert.equal(learner.knowledge.learnedMs, undefined);
  });

  test('what a connection has outlived is proven, less the margin, for what cannot be repeated', () => {
    const learner = new IdleTimeoutLearner(LONGEST);
    learner.handleOpen(30_000);
    assert.equal(learner.limitMs(false), 27_000);
  });

  test('a hint counts for both, and goes when it is no longer given', () => {
    const learner = new IdleTimeoutLearner(LONGEST);
    learner.handleHint(5_000);
    assert.deepEqual([learner.limitMs(true), learner.limitMs(false)], [4_000, 4_000]);
    learner.handleHint(undefined);
    assert.equal(learner.limitMs(true), LONGEST);
  });

  test('a hint of 0 means that nothing is pooled, one of a day is capped', () => {
    const learner = new IdleTimeoutLearner(LONGEST);
    learner.handleHint(0);
    assert.equal(learner.limitMs(true), 0);
    learner.handleHint(86_400_000);
    assert.equal(learner.limitMs(true), LONGEST);
  });

  test('one close counts at once, and below the hint it counts more', () => {
    const learner = learnerOf(3_000);
    learner.handleHint(20_000);
    assert.equal(learner.limitMs(true), 2_000);
    learner.handleHint(2_000);
    assert.equal(learner.limitMs(true), 1_000);
  });

  test('closes that jitter by some per cent are one timeout, of the shortest', () => {
    const learner = learnerOf(5_100, 5_000, 5_060);
    const { learnedMs = 0 } = learner.knowledge;
    assert(learnedMs >= 5_000 && learnedMs < 5_050, String(learnedMs));
  });

  test('a close that comes once is forgotten when one connection outlives it', () => {
    const learner = learnerOf(700);
    assert.equal(learner.limitMs(true), 100);
    learner.handleSurvival(4_000, 20_000);
    assert.equal(learner.knowledge.learnedMs, undefined);
  });

  test('a server that became more generous is learned anew from the next close', () => {
    const learner = learnerOf(5_000, 75_000);
    assert.equal(learner.knowledge.learnedMs, 75_000);
  });

  test('a server that became stricter is learned at the first close', () => {
    assert.equal(learnerOf(75_000, 75_000, 75_000, 5_000).limitMs(true), 4_000);
  });

  test('a timeout that was seen three times needs four connections that outlive it', () => {
    const learner = learnerOf(5_000, 5_000, 5_000);
    for (let count = 0; count < 3; count += 1) learner.handleSurvival(9_000, 50_000);
    assert.equal(learner.knowledge.learnedMs, 5_000);
    learner.handleSurvival(9_000, 50_000);
    assert.equal(learner.knowledge.learnedMs, undefined);
  });

  test('a restart that closes all at once teaches nothing, and takes nothing away', () => {
    const learner = learnerOf(5_000, 5_000);
    learner.handleSurvival(4_500, 30_000);
    for (const [index, idle] of [900, 2_300, 40, 4_100, 3_000].entries()) {
      learner.handleIdleClose(idle, 40_000 + index);
    }
    assert.deepEqual(learner.knowledge, { hintMs: undefined, learnedMs: 5_000, provenMs: 4_500 });
  });

  test('many connections that went idle together and end together are a timeout', () => {
    const learner = new IdleTimeoutLearner(LONGEST);
    for (let count = 0; count < 20; count += 1) learner.handleIdleClose(5_000 + count, count);
    const { learnedMs = 0 } = learner.knowledge;
    assert(learnedMs >= 5_000 && learnedMs < 5_020, String(learnedMs));
  });

  test('a scout is wanted until two closes agree, and again ten minutes later', () => {
    const learner = learnerOf(5_000);
    assert(learner.wantsScout(5_000));
    learner.handleIdleClose(5_020, 10_000);
    assert(!learner.wantsScout(10_000 + 10 * MINUTE));
    assert(learner.wantsScout(10_001 + 10 * MINUTE));
  });

  test('a scout that outlives the longest idleness of the pool is an answer too', () => {
    const learner = new IdleTimeoutLearner(LONGEST);
    learner.handleSurvival(LONGEST, 0);
    assert(!learner.wantsScout(1_000));
  });
});

/** A server's idle timeout, a pool of one connection with a scout, and requests now and then. */
interface World {
  readonly timeoutMs: number;
  readonly seed: number;
  readonly repeatable: boolean;
}

/** How long before its server's close each reused connection was used, once it was learned. */
function simulate({ timeoutMs, seed, repeatable }: World): number[] {
  const prng = new Prng(seed);
  const learner = new IdleTimeoutLearner(LONGEST);
  const spare: number[] = [];
  let pooled: number[] = [];
  let now = 0;
  for (let request = 0; request < 200; request += 1) {
    const around = prng.chance(0.5) ? timeoutMs : usableMs(timeoutMs);
    now += Math.max(1, around * (0.9 + 0.2 * prng.next()));
    for (const since of pooled.filter((at) => now - at >= timeoutMs)) {
      learner.handleIdleClose(timeoutMs * (1 + 0.005 * prng.next()), since + timeoutMs);
    }
    pooled = pooled.filter((at) => now - at < timeoutMs);
    const learned = learner.knowledge.learnedMs !== undefined;
    const since = pooled.find((at) => now - at <= learner.limitMs(repeatable));
    if (since !== undefined) {
      if (learned) spare.push(timeoutMs - (now - since));
      learner.handleSurvival(now - since, now);
      pooled = pooled.filter((at) => at !== since);
    }
    // What may no longer be used is the scout's, or is closed.
    const [scout] = pooled;
    pooled = scout !== undefined && learner.wantsScout(now) ? [scout, now] : [now];
  }
  return spare;
}

suite('simulated servers', () => {
  test('once learned no request is sent in the last second, or tenth (300 servers)', () => {
    let reused = 0;
    fc.assert(
      fc.property(
        fc.record({
          timeoutMs: fc.integer({ min: 1_250, max: 120_000 }),
          seed: fc.integer(),
          repeatable: fc.boolean(),
        }),
        (world) => {
          const spare = simulate(world);
          reused += spare.length;
          // What was measured may be half a per cent too long.
          const least = Math.max(1_000, world.timeoutMs * 0.1) - world.timeoutMs * 0.005;
          for (const ms of spare) assert(ms >= least, `${ms} ms before the close of ${least}`);
        },
      ),
      { numRuns: 300 },
    );
    assert(reused > 1_000, `only ${reused} reused connections: nothing was proved`);
  });
});
