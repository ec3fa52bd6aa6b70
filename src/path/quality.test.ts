import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type QualityOptions, QualityWindow, readQuality } from './quality.ts';

/** What is poor after these probes: `.` answered in 20 ms, `-` lost, `o` answered in 600 ms. */
function poor(fates: string, options: QualityOptions): string | undefined {
  const window = new QualityWindow(readQuality(options));
  for (const fate of fates) window.handleSample(fate === '-' ? undefined : fate === 'o' ? 600 : 20);
  return window.poor;
}

suite('QualityWindow', () => {
  const loss = { window: 10, lossBad: 30, lossGood: 10 };
  const latency = { window: 10, latencyBadMs: 500, latencyGoodMs: 200 };
  const rows: readonly (readonly [string, QualityOptions, string | undefined])[] = [
    ['---------', loss, undefined],
    ['..........', loss, undefined],
    ['--........', loss, undefined],
    ['---.......', loss, 'loses 30 % of its probes'],
    ['----------', loss, 'loses 100 % of its probes'],
    // On the way back 20 % lies in the dead band, 10 % does not.
    ['---........', loss, 'loses 20 % of its probes'],
    ['---.........', loss, undefined],
    // On the way there 20 % is good enough.
    ['.......--..', loss, undefined],
    ['oooooooooo', latency, 'answers in 600ms'],
    ['oooooooo..', latency, undefined],
    ['oooooooooo....', latency, 'answers in 368ms'],
    ['oooooooooo.......', latency, undefined],
    ['----------', latency, undefined],
    ['-----ooooo', latency, 'answers in 600ms'],
    ['ooooooo---', { ...loss, ...latency }, 'loses 30 % of its probes'],
  ];
  for (const [fates, options, expected] of rows) {
    const limits = Object.keys(options).length > 3 ? 'both' : options.lossBad ? 'loss' : 'latency';
    test(`"${fates}" with limits of ${limits}: ${expected ?? 'good'}`, () => {
      assert.equal(poor(fates, options), expected);
    });
  }

  test('the way back is half of the limit, and 20 probes are judged, unless told otherwise', () => {
    assert.deepEqual(readQuality({ lossBad: 30 }), {
      window: 20,
      lossBad: 30,
      lossGood: 15,
      latencyBadMs: Infinity,
      latencyGoodMs: Infinity,
    });
  });

  test('a break forgets what was seen', () => {
    const window = new QualityWindow(readQuality({ window: 2, lossBad: 50 }));
    window.handleSample(undefined);
    window.handleSample(undefined);
    window.handleBreak();
    assert.equal(window.poor, undefined);
    window.handleSample(undefined);
    assert.equal(window.poor, undefined);
  });
});
