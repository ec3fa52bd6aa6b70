import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { bucketOf, Histogram, LAST_BUCKET, middleMs } from './histogram.ts';

const WITHIN = 0.03;

suite('a histogram of round trips', () => {
  test('any round trip from 0.01 ms to 100 s is told within 3 %', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.010_01, max: 100_000, noNaN: true }), (ms) => {
        const told = middleMs(bucketOf(ms));
        assert(Math.abs(told - ms) / ms < WITHIN, `${ms} is told as ${told}`);
      }),
    );
  });

  test('0, less than 0.01 ms and nonsense are the first bucket; over 100 s is the last, 280', () => {
    for (const ms of [0, -1, 0.01, Number.NaN]) assert.equal(bucketOf(ms), 0);
    assert.equal(LAST_BUCKET, 280);
    for (const ms of [100_000, 1e9, Number.POSITIVE_INFINITY]) assert.equal(bucketOf(ms), 280);
  });

  test('of 1 to 1,000 ms: p5, p50, p95 within 3 %, the maximum exactly', () => {
    const histogram = new Histogram();
    for (let ms = 1; ms <= 1_000; ms += 1) histogram.record(ms);
    const [p5 = 0, p50 = 0, p95 = 0, p100 = 0] = histogram.percentiles([0.05, 0.5, 0.95, 1]);
    for (const [told, true_] of [
      [p5, 50],
      [p50, 500],
      [p95, 950],
    ] as const) {
      assert(Math.abs(told - true_) / true_ < WITHIN, `${told} for ${true_}`);
    }
    assert(Math.abs(p100 - 1_000) / 1_000 < WITHIN);
    assert.equal(histogram.maxMs, 1_000);
    assert.equal(histogram.total, 1_000);
  });

  test('no percentile is above the maximum: one round trip of 1 to 50 ms is that at most', () => {
    for (let ms = 1; ms <= 50; ms += 1) {
      const histogram = new Histogram();
      histogram.record(ms);
      for (const told of histogram.percentiles([0, 0.5, 1])) {
        assert(told <= ms && told > ms * (1 - WITHIN), `${told} for ${ms}`);
      }
    }
  });

  test('two that are merged are as one that saw all: 300 of each', () => {
    const [a, b, all] = [new Histogram(), new Histogram(), new Histogram()];
    for (let ms = 1; ms <= 300; ms += 1) {
      a.record(ms);
      b.record(ms * 7);
      all.record(ms);
      all.record(ms * 7);
    }
    a.merge(b);
    assert.deepEqual(a.entries(), all.entries());
    assert.equal(a.maxMs, 2_100);
    assert.equal(a.total, 600);
  });
});
