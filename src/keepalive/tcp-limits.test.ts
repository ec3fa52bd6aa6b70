import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  idleBoundMs,
  inFlightBoundMs,
  oneLossKills,
  type TcpLimits,
  tcpLimitsOf,
} from './tcp-limits.ts';
import { profiles, resolveTiming, type Timing } from './timing.ts';

/** `7200/75/9`, or `60/10/3 90`: time, interval, probes and user timeout, in seconds. */
function limits(text: string): TcpLimits {
  const [timing = '', user = '0'] = text.split(' ');
  const [time, interval, probes] = timing.split('/').map(Number);
  assert(time !== undefined && interval !== undefined && probes !== undefined);
  const userTimeoutMs = Number(user) * 1_000;
  return { timeMs: time * 1_000, intervalMs: interval * 1_000, probes, userTimeoutMs };
}

/** `tcp_keepalive_timer` of net/ipv4/tcp_timer.c on a peer that never answers: when it gives up. */
function keepaliveTimer(
  { timeMs, intervalMs, probes, userTimeoutMs }: TcpLimits,
  /** How much later than asked each of its timers fires: 71/63 at most. */
  lateness = 1,
): { readonly elapsedMs: number; readonly probesOut: number } {
  let elapsedMs = timeMs * lateness;
  for (let probesOut = 0; ; probesOut += 1) {
    const over = userTimeoutMs !== 0 && elapsedMs >= userTimeoutMs && probesOut > 0;
    if (over || (userTimeoutMs === 0 && probesOut >= probes)) return { elapsedMs, probesOut };
    elapsedMs += intervalMs * lateness;
  }
}

/** `tcp_model_timeout` of the same file, with TCP_RTO_MIN of 200 ms and TCP_RTO_MAX of 120 s. */
function modelTimeout(boundary: number): number {
  const threshold = Math.floor(Math.log2(120_000 / 200));
  if (boundary <= threshold) return (2 * 2 ** boundary - 1) * 200;
  return (2 * 2 ** threshold - 1) * 200 + (boundary - threshold) * 120_000;
}

const LATEST = 71 / 63;

const anyLimits = fc.record({
  timeMs: fc.integer({ min: 1, max: 32_767 }).map((seconds) => seconds * 1_000),
  intervalMs: fc.integer({ min: 1, max: 300 }).map((seconds) => seconds * 1_000),
  probes: fc.integer({ min: 1, max: 127 }),
  userTimeoutMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 10_000_000 })),
});

suite('when Linux gives an idle peer up', () => {
  for (const [given, seconds, kills] of [
    ['7200/75/9', 7_875, false],
    ['60/10/3', 90, false],
    ['15/15/9', 150, false],
    ['60/10/1', 70, true],
    ['60/10/2', 80, false],
    // A user timeout in place of the count, looked at when a probe is due.
    ['60/10/3 90', 90, false],
    ['60/10/9 90', 90, false],
    ['60/10/1 90', 90, false],
    ['60/10/3 85', 90, false],
    ['60/10/3 78', 80, true],
    ['60/10/3 79', 80, false],
    ['60/10/3 70', 70, true],
    ['60/10/3 60', 70, true],
    ['60/10/3 5', 70, true],
    ['60/10/3 0.001', 70, true],
    ['7200/75/9 90', 7_275, true],
    ['1/1/9 20', 20, false],
  ] as const) {
    const says = kills ? 'one lost probe kills' : 'one lost probe does not';
    test(`${given}: after ${seconds} s; ${says}`, () => {
      assert.equal(idleBoundMs(limits(given)), seconds * 1_000);
      assert.equal(oneLossKills(limits(given)), kills);
    });
  }

  test("says of any options what the kernel's timer does, step by step", () => {
    fc.assert(
      fc.property(anyLimits, (given) => {
        assert.equal(idleBoundMs(given), keepaliveTimer(given).elapsedMs);
        // In whole seconds, so that what is close to the edge is called deadly rather than safe.
        const second = keepaliveTimer(
          { ...given, userTimeoutMs: given.userTimeoutMs - 1_000 },
          LATEST,
        );
        if (keepaliveTimer(given, LATEST).probesOut === 1) assert(oneLossKills(given));
        else if (given.userTimeoutMs === 0 || second.probesOut > 1) assert(!oneLossKills(given));
      }),
      { numRuns: 2_000 },
    );
  });
});

suite('when Linux gives data in flight up', () => {
  for (const [retries2, ms] of [
    [0, 200],
    [1, 600],
    [3, 3_000],
    [5, 12_600],
    [8, 102_200],
    [9, 204_600],
    [10, 324_600],
    [15, 924_600],
    [255, 29_724_600],
  ] as const) {
    test(`without a user timeout, ${retries2} retransmissions: ${ms / 1_000} s`, () => {
      assert.equal(inFlightBoundMs(0, retries2), ms);
    });
  }

  test("counts as the kernel's model for every retries2 that can be set", () => {
    for (let retries2 = 0; retries2 <= 255; retries2 += 1) {
      assert.equal(inFlightBoundMs(0, retries2), modelTimeout(retries2));
    }
  });

  test('a user timeout goes before the count, shorter or longer', () => {
    assert.equal(inFlightBoundMs(90_000, 15), 90_000);
    assert.equal(inFlightBoundMs(1, 15), 1);
    assert.equal(inFlightBoundMs(90_000, 5), 90_000);
  });
});

suite('what can be asked of TCP', () => {
  const base: Timing = { timeMs: 60_000, intervalMs: 10_000, probes: 3 };

  test('60s/10s/3 gets the detection bound, 90 s, as its user timeout', () => {
    assert.deepEqual(tcpLimitsOf(base, 'links.db'), { ...base, userTimeoutMs: 90_000 });
  });

  test("the limits have no more than the kernel's four numbers", () => {
    assert.deepEqual(Object.keys(tcpLimitsOf(profiles.windows, 'links.db')), [
      'timeMs',
      'intervalMs',
      'probes',
      'userTimeoutMs',
    ]);
  });

  for (const userTimeoutMs of [0, 70_001, 2_147_483_647]) {
    test(`a user timeout of ${userTimeoutMs} ms stays as it was asked for`, () => {
      const asked = { ...base, userTimeoutMs };
      assert.equal(tcpLimitsOf(asked, 'links.db').userTimeoutMs, userTimeoutMs);
    });
  }

  for (const seconds of [1, 32_767]) {
    test(`${seconds}s can be counted`, () => {
      const asked = { ...base, timeMs: seconds * 1_000, intervalMs: seconds * 1_000 };
      assert.equal(tcpLimitsOf(asked, 'links.db').timeMs, seconds * 1_000);
      assert.equal(tcpLimitsOf(asked, 'links.db').intervalMs, seconds * 1_000);
    });
  }

  for (const [asked, userTimeoutMs] of [
    ['60/10/3', 90_000],
    ['17/1/2', 21_000],
    ['17/1/3', 21_000],
    ['17/1/4', 21_000],
    ['17/1/5', 22_000],
    ['890/10/3', 0],
    ['840/20/4', 0],
    ['700/50/4', 900_000],
    ['820/20/4', 0],
    ['7200/1/10', 0],
    ['32767/32767/127', 0],
  ] as const) {
    const what = userTimeoutMs === 0 ? 'none, for the kernel is faster' : `${userTimeoutMs} ms`;
    test(`${asked} has a user timeout of ${what} unless one is asked for`, () => {
      const { userTimeoutMs: _, ...timing } = limits(asked);
      const given = tcpLimitsOf(timing, 'links.db');
      assert.equal(given.userTimeoutMs, userTimeoutMs);
      assert(!oneLossKills(given));
    });
  }

  for (const [what, timing, message] of [
    ['half a second', { timeMs: 500 }, /^db\.time: TCP counts .* from 1s to 32767s, not 500ms$/],
    ['1.5 s', { timeMs: 1_500 }, /^db\.time: .*, not 1\.5s$/],
    ['32768 s', { timeMs: 32_768_000 }, /^db\.time: .*, not 9h6m8s$/],
    ['no interval', { intervalMs: 0 }, /^db\.interval: .*, not 0ms$/],
    ['an interval of 1.001 s', { intervalMs: 1_001 }, /^db\.interval: TCP counts whole seconds/],
    ['beats', { beatMs: 20_000 }, /^db\.beat: TCP has no send clock; a shorter `time`/],
    ['a user timeout of 2^31 ms', { userTimeoutMs: 2 ** 31 }, /^db\.userTimeout: .*596h at most/],
  ] as const) {
    test(`refuses ${what}, and says where and what instead`, () => {
      const error = { name: 'UsageError', code: 'bad-timing', message };
      assert.throws(() => tcpLimitsOf({ ...base, ...timing }, 'db'), error);
    });
  }

  test('names a flag where it was one', () => {
    assert.throws(() => tcpLimitsOf({ ...base, userTimeoutMs: 2 ** 31 }, '--'), {
      message: /^--user-timeout: /,
    });
  });

  test('no timing that a person can ask for lets one lost probe kill', () => {
    const seconds = (max: number) => fc.integer({ min: 1, max }).map((value) => `${value}s`);
    const input = fc.record({
      time: seconds(32_767),
      interval: seconds(32_767),
      probes: fc.nat(127),
    });
    fc.assert(
      fc.property(input, fc.option(seconds(100_000), { nil: undefined }), (asked, userTimeout) => {
        let timing: Timing;
        try {
          timing = resolveTiming({ ...asked, userTimeout }, 'db');
        } catch (error) {
          assert.equal((error as Error).name, 'UsageError');
          return;
        }
        const given = tcpLimitsOf(timing, 'db');
        assert(!oneLossKills(given));
        assert(idleBoundMs(given) > timing.timeMs + timing.intervalMs);
      }),
    );
  });
});
