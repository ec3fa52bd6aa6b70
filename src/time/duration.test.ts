import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { formatDuration, parseDuration } from './duration.ts';

suite('durations', () => {
  for (const [text, ms] of [
    ['500ms', 500],
    ['45s', 45_000],
    ['1.5s', 1_500],
    ['10m', 600_000],
    ['2h', 7_200_000],
    ['0s', 0],
    ['1m30s', 90_000],
    ['2h11m15s', 7_875_000],
    ['2h0m5s', 7_205_000],
  ] as const) {
    test(`reads ${text}`, () => assert.equal(parseDuration(text), ms));
  }

  for (const text of [
    '60',
    '',
    '45 s',
    '-1s',
    '1d',
    's',
    '1e9s',
    'Infinitys',
    '9999999h',
    '30s1m',
    '1m30',
    '1m1m',
    '99999h1s',
  ]) {
    test(`refuses "${text}" and names the place`, () => {
      assert.throws(() => parseDuration(text, '--time'), {
        name: 'UsageError',
        code: 'bad-duration',
        message: /^--time: /,
      });
    });
  }

  test('tells a bare number how to mend itself', () => {
    assert.throws(() => parseDuration('60'), /add a unit, for example 60s/);
  });

  for (const [ms, text] of [
    [0, '0ms'],
    [250, '250ms'],
    [1_500, '1.5s'],
    [90_000, '1m30s'],
    [7_200_000, '2h'],
    [7_875_000, '2h11m15s'],
  ] as const) {
    test(`writes ${ms} ms as ${text}`, () => assert.equal(formatDuration(ms), text));
  }

  test('reads what it writes, to the second', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 31_536_000 }), (seconds) => {
        assert.equal(parseDuration(formatDuration(seconds * 1_000)), seconds * 1_000);
      }),
    );
  });

  test('never throws anything but a UsageError', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          assert(Number.isFinite(parseDuration(text)));
        } catch (error) {
          assert.equal((error as Error).name, 'UsageError');
        }
      }),
    );
  });
});
