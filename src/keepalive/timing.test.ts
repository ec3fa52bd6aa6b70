import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { FLAGS } from '../time/usage-error.ts';
import {
  detectionBoundMs,
  largestSilenceMs,
  type ProfileName,
  profiles,
  resolveTiming,
  type TimingInput,
} from './timing.ts';

suite('timing', () => {
  test('errors of flags name the flag', () => {
    assert.throws(
      () => resolveTiming({ userTimeout: '1s' }, FLAGS),
      /^UsageError: --user-timeout: /,
    );
  });

  for (const [name, timing, bound] of [
    ['rfc9293', { timeMs: 7_200_000, intervalMs: 75_000, probes: 9 }, 7_875_000],
    ['linux', { timeMs: 7_200_000, intervalMs: 75_000, probes: 9 }, 7_875_000],
    ['windows', { timeMs: 7_200_000, intervalMs: 1_000, probes: 10 }, 7_210_000],
    ['windows-legacy', { timeMs: 7_200_000, intervalMs: 1_000, probes: 5 }, 7_205_000],
    ['macos', { timeMs: 7_200_000, intervalMs: 75_000, probes: 8 }, 7_800_000],
    ['typical', { timeMs: 60_000, intervalMs: 60_000, probes: 3 }, 240_000],
    ['default', { timeMs: 60_000, intervalMs: 10_000, probes: 3 }, 90_000],
  ] as const) {
    test(`profile ${name} knows a dead peer within ${bound} ms, and its source stays out of the timing`, () => {
      assert.equal(detectionBoundMs(profiles[name]), bound);
      assert.deepEqual(resolveTiming({ profile: name }, 'link'), timing);
      assert.deepEqual(profiles[name], { ...timing, source: profiles[name].source });
    });
  }

  for (const [name, place] of [
    ['rfc9293', /RFC 9293 section 3\.8\.4/],
    ['linux', /tcp\(7\): .*tcp_keepalive_time/],
    ['windows', /SIO_KEEPALIVE_VALS/],
    ['windows-legacy', /TcpMaxDataRetransmissions/],
    ['macos', /tcp_timer\.h/],
    ['typical', /Wikipedia, Keepalive/],
    ['default', /Linkhold's own/],
  ] as const) {
    test(`profile ${name} names its source, ${place.source}, on one line`, () => {
      assert.match(profiles[name].source, place);
      assert(!profiles[name].source.includes('\n') && profiles[name].source.length <= 100);
    });
  }

  test('a profile is overridden key by key', () => {
    const timing = resolveTiming({ profile: 'linux', time: '45s', userTimeout: '30m' }, 'link');
    assert.deepEqual(timing, {
      timeMs: 45_000,
      intervalMs: 75_000,
      probes: 9,
      userTimeoutMs: 1_800_000,
    });
  });

  test('the largest silence is time, or beat where that is shorter', () => {
    assert.equal(largestSilenceMs(profiles.default), 60_000);
    assert.equal(largestSilenceMs({ ...profiles.default, beatMs: 20_000 }), 20_000);
  });

  for (const [input, code, message] of [
    [
      { profile: 'solaris' as ProfileName },
      'bad-profile',
      /db\.profile: no profile "solaris"; choose one/,
    ],
    [{ profile: 'toString' as ProfileName }, 'bad-profile', /no profile/],
    [{ time: '0s' }, 'bad-timing', /db\.time: must be longer than 0/],
    [{ interval: '0ms' }, 'bad-timing', /db\.interval: /],
    [{ beat: '0s' }, 'bad-timing', /db\.beat: /],
    [{ probes: 1 }, 'bad-timing', /db\.probes: 1 is not a whole number from 2 to 127/],
    [{ probes: 2.5 }, 'bad-timing', /db\.probes: /],
    [{ probes: 128 }, 'bad-timing', /db\.probes: /],
    [{ userTimeout: '70s' }, 'bad-timing', /db\.userTimeout: 1m10s would let one lost probe kill/],
    [{ time: '60' }, 'bad-duration', /db\.time: "60" is not a duration/],
  ] satisfies [TimingInput, string, RegExp][]) {
    test(`refuses ${JSON.stringify(input)}`, () => {
      assert.throws(() => resolveTiming(input, 'db'), { name: 'UsageError', code, message });
    });
  }
});
