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

  for (const [name, bound] of [
    ['rfc9293', 7_875_000],
    ['linux', 7_875_000],
    ['windows', 7_210_000],
    ['windows-legacy', 7_205_000],
    ['macos', 7_800_000],
    ['typical', 240_000],
    ['default', 90_000],
  ] as const) {
    test(`profile ${name} knows a dead peer within ${bound} ms`, () => {
      assert.equal(detectionBoundMs(profiles[name]), bound);
      assert.deepEqual(resolveTiming({ profile: name }, 'link'), profiles[name]);
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
