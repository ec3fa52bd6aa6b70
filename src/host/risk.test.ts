import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { formatDuration } from '../time/duration.ts';
import { judge, MIDDLEBOX_IDLE_MS, RISKS, type Risk, type RiskInput } from './risk.ts';

/** `off`, or `60/10/3 90`: time, interval, probes and user timeout in seconds. */
function options(text: string): RiskInput {
  const [timing = '', user = '0'] = text.split(' ');
  const [time = 7_200, interval = 75, probes = 9] =
    timing === 'off' ? [] : timing.split('/').map(Number);
  return {
    enabled: timing !== 'off',
    timeMs: time * 1_000,
    intervalMs: interval * 1_000,
    probes,
    userTimeoutMs: Number(user) * 1_000,
    retries2: 15,
  };
}

const s = (seconds: number) => formatDuration(seconds * 1_000);
const LIMITS = `${s(60)}/${s(10)}/3`;
const ON = `turn keepalive on (${LIMITS})`;
const SOONER = `probe sooner than middleboxes forget (${LIMITS})`;
const GONE = 'nobody answers; if the peer is gone, reset it';
const set = (seconds: number) => `set a user timeout of ${s(seconds)}`;
const raise = (seconds: number) =>
  `raise the user timeout to ${s(seconds)}, so that one lost probe is survived`;

suite('what becomes of a connection whose peer dies', () => {
  const rows: readonly (readonly [
    given: string,
    idleSeconds: number | null,
    inFlightSeconds: number,
    risks: readonly Risk[],
    advice: string | null,
  ])[] = [
    ['off', null, 924.6, ['never-detected', 'in-flight-hole'], `${ON}; ${set(90)}`],
    ['off 90', null, 90, ['never-detected'], ON],
    // Keepalive of 60s/10s/3 would then die of one lost probe, where the kernel is late by an eighth.
    ['off 78', null, 78, ['never-detected'], `${ON}; ${raise(90)}`],
    ['off 79', null, 79, ['never-detected'], ON],
    // Linux as it comes, once a program has said SO_KEEPALIVE.
    [
      '7200/75/9',
      7_875,
      924.6,
      ['slower-than-middlebox', 'in-flight-hole'],
      `${SOONER}; ${set(90)}`,
    ],
    ['7200/75/9 90', 7_275, 90, ['slower-than-middlebox', 'one-loss-kills'], SOONER],
    [
      '7200/75/9 60',
      7_275,
      60,
      ['slower-than-middlebox', 'one-loss-kills'],
      `${SOONER}; ${raise(90)}`,
    ],
    ['7200/75/9 8198', 8_250, 8_198, ['slower-than-middlebox', 'one-loss-kills'], SOONER],
    ['7200/75/9 8199', 8_250, 8_199, ['slower-than-middlebox'], SOONER],
    [
      '7200/75/1',
      7_275,
      924.6,
      ['slower-than-middlebox', 'in-flight-hole', 'one-loss-kills'],
      `${SOONER}; ${set(90)}`,
    ],
    // The example of the contract, and what it advises.
    ['60/10/3', 90, 924.6, ['in-flight-hole'], set(90)],
    ['60/10/3 90', 90, 90, [], null],
    ['60/10/3 79', 80, 79, [], null],
    ['60/10/3 78', 80, 78, ['one-loss-kills'], raise(90)],
    ['60/10/3 70', 70, 70, ['one-loss-kills'], raise(90)],
    ['60/10/3 60', 70, 60, ['one-loss-kills'], raise(90)],
    ['60/10/3 5', 70, 5, ['one-loss-kills'], raise(90)],
    // Go's net.Dial.
    ['15/15/9', 150, 924.6, ['in-flight-hole'], set(150)],
    ['15/15/9 30', 30, 30, ['one-loss-kills'], raise(150)],
    ['15/15/9 150', 150, 150, [], null],
    [
      '60/10/1',
      70,
      924.6,
      ['in-flight-hole', 'one-loss-kills'],
      `${set(80)}; allow at least 2 probes`,
    ],
    ['60/10/1 70', 70, 70, ['one-loss-kills'], raise(80)],
    ['60/10/1 90', 90, 90, [], null],
    ['60/10/2', 80, 924.6, ['in-flight-hole'], set(80)],
    // As late as load balancers allow, and a second later.
    ['350/10/3 406', 410, 406, [], null],
    ['351/10/3 407', 411, 407, ['slower-than-middlebox'], SOONER],
  ];
  for (const [given, idle, inFlight, risks, advice] of rows) {
    const known = idle === null ? 'never' : `${idle} s`;
    test(`${given}: idle ${known}, in flight ${inFlight} s, ${risks.join(', ') || 'no risk'}`, () => {
      const judged = judge(options(given));
      const idleMs = idle === null ? null : idle * 1_000;
      assert.deepEqual(judged.detection, { idleMs, inFlightMs: inFlight * 1_000 });
      assert.deepEqual(judged.risks, risks);
      assert.equal(judged.advice, advice);
    });
  }

  for (const [retries2, inFlightMs] of [
    [5, 12_600],
    [8, 102_200],
    [15, 924_600],
  ] as const) {
    test(`tcp_retries2 of ${retries2} gives data in flight ${inFlightMs} ms, whatever keepalive does`, () => {
      for (const given of ['off', '60/10/3']) {
        const { detection } = judge({ ...options(given), retries2 });
        assert.equal(detection.inFlightMs, inFlightMs);
      }
    });
  }

  test('a middlebox forgets after 350 s', () => assert.equal(MIDDLEBOX_IDLE_MS, 350_000));
});

suite('half-open right now', () => {
  const still = { probes: 0, retransmits: 0, silentMs: 0, rtoMs: 204 };
  for (const [given, what, unanswered, suspect] of [
    ['60/10/3 90', 'nothing is out', { silentMs: 59_000 }, false],
    ['60/10/3 90', 'silent for long, but nothing is out', { silentMs: 600_000 }, false],
    ['60/10/3 90', 'a probe left just now', { probes: 1, silentMs: 60_100 }, false],
    ['60/10/3 90', 'a probe 204 ms ago', { probes: 1, silentMs: 60_204 }, false],
    ['60/10/3 90', 'a probe 205 ms ago', { probes: 1, silentMs: 60_205 }, true],
    ['60/10/3 90', 'two probes', { probes: 2, silentMs: 70_100 }, true],
    ['60/10/3 90', 'a window probe while data comes', { probes: 1, silentMs: 300 }, false],
    ['off 90', 'a window probe answered just now', { probes: 1, silentMs: 100 }, false],
    ['off 90', 'a window probe unanswered for 205 ms', { probes: 1, silentMs: 205 }, true],
    ['60/10/3 90', 'one retransmission', { retransmits: 1, silentMs: 800 }, false],
    ['60/10/3 90', 'two retransmissions', { retransmits: 2, silentMs: 1_200 }, true],
    ['off 90', 'six retransmissions', { retransmits: 6, silentMs: 30_000 }, true],
  ] as const) {
    test(`${given}, ${what}: ${suspect ? 'suspect' : 'not suspect'}`, () => {
      const { risks, advice } = judge({
        ...options(given),
        unanswered: { ...still, ...unanswered },
      });
      const others = judge(options(given));
      assert.deepEqual(risks, [...(suspect ? ['half-open-suspect'] : []), ...others.risks]);
      const lines = [suspect ? GONE : [], others.advice ?? []].flat();
      assert.equal(advice, lines.length === 0 ? null : lines.join('; '));
    });
  }

  test('does not change when a dead peer would be known', () => {
    const unanswered = { probes: 3, retransmits: 9, silentMs: 100_000, rtoMs: 204 };
    const { detection } = judge({ ...options('60/10/3'), unanswered });
    assert.deepEqual(detection, judge(options('60/10/3')).detection);
  });
});

suite('risks and advice of any options', () => {
  const seconds = (max: number) => fc.integer({ min: 1, max }).map((value) => value * 1_000);
  const any = fc.record({
    enabled: fc.boolean(),
    timeMs: fc.oneof(seconds(400), seconds(32_767)),
    intervalMs: fc.oneof(seconds(30), seconds(32_767)),
    probes: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 127 })),
    userTimeoutMs: fc.oneof(fc.constant(0), seconds(500), seconds(2_000_000)),
    retries2: fc.integer({ min: 0, max: 255 }),
    unanswered: fc.option(
      fc.record({
        probes: fc.nat(9),
        retransmits: fc.nat(9),
        silentMs: fc.nat(1_000_000),
        rtoMs: fc.integer({ min: 200, max: 120_000 }),
      }),
      { nil: undefined },
    ),
  });

  /** Milliseconds of `1m30s`. */
  const ms = (text: string) =>
    [...text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)].reduce((total, [, number, unit]) => {
      const factor = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[unit as 's'];
      return total + Number(number) * factor;
    }, 0);

  /** Does what the advice says, to the letter. */
  function followed(given: RiskInput, advice: string): RiskInput {
    let after: RiskInput = given;
    for (const line of advice.split('; ')) {
      const [, time, interval, count] = /\((\w+)\/(\w+)\/(\d+)\)$/.exec(line) ?? [];
      if (time !== undefined && interval !== undefined) {
        const probes = Number(count);
        after = { ...after, enabled: true, timeMs: ms(time), intervalMs: ms(interval), probes };
      }
      const user = /user timeout (?:of|to) (\w+)/.exec(line)?.[1];
      if (user !== undefined) after = { ...after, userTimeoutMs: ms(user) };
      const least = /^allow at least (\d+) probes$/.exec(line)?.[1];
      if (least !== undefined) after = { ...after, probes: Number(least) };
    }
    return after;
  }

  test('whoever does what the advice says is at no risk any more, but that a peer is gone', () => {
    fc.assert(
      fc.property(any, (given) => {
        const { advice } = judge(given);
        const { risks } = judge(followed(given, advice ?? ''));
        assert.deepEqual(
          risks.filter((risk) => risk !== 'half-open-suspect'),
          [],
          advice ?? 'no advice',
        );
      }),
      { numRuns: 3_000 },
    );
  });

  test('risks come from the worst to the least, each once, and advice where there are any', () => {
    fc.assert(
      fc.property(any, (given) => {
        const { risks, advice, detection } = judge(given);
        assert.deepEqual(
          risks,
          RISKS.filter((risk) => risks.includes(risk)),
        );
        assert.equal(advice === null, risks.length === 0);
        assert(advice === null || (advice.length > 0 && !advice.includes('\n')), advice ?? '');
        assert.equal(detection.idleMs === null, risks.includes('never-detected'));
        assert(detection.inFlightMs > 0);
      }),
      { numRuns: 1_000 },
    );
  });
});
