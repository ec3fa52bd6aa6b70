import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { DecodeError } from '../../wire/decode-error.ts';
import {
  decodeStates,
  decodeStats,
  emptyStats,
  encodeStats,
  isEmpty,
  type LinkStats,
  mergeStats,
} from './link-stats.ts';

const ms = fc.integer({ min: 0, max: 2 ** 40 });
const stats: fc.Arbitrary<LinkStats> = fc
  .record({
    stateMs: fc.record({ up: ms, suspect: ms, down: ms, drained: ms }),
    probes: ms,
    losses: ms,
    trips: fc.array(fc.double({ min: 0, max: 200_000, noNaN: true }), { maxLength: 50 }),
  })
  .map(({ stateMs, probes, losses, trips }) => {
    const { roundTrips } = emptyStats();
    for (const trip of trips) roundTrips.record(Math.fround(trip));
    return { stateMs: { ...stateMs }, probes, losses, roundTrips };
  });

function plain({ roundTrips, ...rest }: LinkStats): object {
  return { ...rest, entries: roundTrips.entries(), maxMs: roundTrips.maxMs };
}

suite('what happened on a link, as bytes', () => {
  test('comes back as it was, whatever it is', () => {
    fc.assert(
      fc.property(stats, (value) => {
        const bytes = encodeStats(value);
        assert.deepEqual(plain(decodeStats(bytes)), plain(value));
        assert.deepEqual(decodeStates(bytes), value.stateMs);
      }),
    );
  });

  test('a quiet minute, 60 round trips in 4 buckets, takes 18 bytes', () => {
    const value = emptyStats();
    value.stateMs.up = 60_000;
    value.probes = 60;
    for (let second = 0; second < 60; second += 1) value.roundTrips.record(1 + (second % 4) * 0.08);
    assert.equal(value.roundTrips.entries().length, 4);
    assert.equal(encodeStats(value).length, 18);
  });

  test('the bytes of a known minute are what they have always been', () => {
    const value = emptyStats();
    value.stateMs.up = 59_000;
    value.stateMs.down = 1_000;
    value.probes = 60;
    value.losses = 2;
    value.roundTrips.record(1.5);
    value.roundTrips.record(1.5);
    value.roundTrips.record(200);
    const hex = Buffer.from(encodeStats(value)).toString('hex');
    assert.equal(hex, '35f8cc03e8073c02000048435802550' + '1');
  });

  test('any bytes are decoded or refused with a DecodeError, and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        for (const decode of [decodeStats, decodeStates]) {
          try {
            decode(bytes);
          } catch (error) {
            assert(error instanceof DecodeError, String(error));
          }
        }
      }),
      { numRuns: 5_000 },
    );
  });

  test('half a millisecond of nothing is not worth a row; one probe is', () => {
    const value = emptyStats();
    value.stateMs.up = 0.5;
    assert.equal(isEmpty(value), true);
    value.probes = 1;
    assert.equal(isEmpty(value), false);
  });

  test('merged, everything adds up', () => {
    fc.assert(
      fc.property(stats, stats, (a, b) => {
        const sum = emptyStats();
        mergeStats(sum, a);
        mergeStats(sum, b);
        assert.equal(sum.probes, a.probes + b.probes);
        assert.equal(sum.stateMs.down, a.stateMs.down + b.stateMs.down);
        assert.equal(sum.roundTrips.total, a.roundTrips.total + b.roundTrips.total);
        assert.equal(sum.roundTrips.maxMs, Math.max(a.roundTrips.maxMs, b.roundTrips.maxMs));
      }),
    );
  });
});
