import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { QuietEntry } from './notify-schema.ts';
import { QuietTimes } from './quiet.ts';

const BERLIN = 'Europe/Berlin';

/** Which of these moments are quiet. */
function quietAt(entry: QuietEntry, ...moments: string[]): boolean[] {
  const times = new QuietTimes([entry], 'quiet');
  return moments.map((moment) => times.askAgainAt(Date.parse(moment)) !== undefined);
}

function refuses(entry: QuietEntry, what: RegExp): void {
  assert.throws(() => new QuietTimes([entry], 'quiet'), { name: 'UsageError', message: what });
}

suite('quiet times', () => {
  test('22:00 to 06:00 lasts over midnight, in the clock of its zone, ends not included', () => {
    const night = { from: '22:00', to: '06:00', timeZone: BERLIN };
    assert.deepEqual(
      quietAt(
        night,
        '2026-11-24T20:59:59Z',
        '2026-11-24T21:00:00Z',
        '2026-11-25T04:59:59Z',
        '2026-11-25T05:00:00Z',
        '2026-11-25T11:00:00Z',
      ),
      [false, true, true, false, false],
    );
  });

  test('a day names when a window begins: one of Friday night goes on on Saturday', () => {
    const friday = { days: ['fri'], from: '22:00', to: '06:00', timeZone: 'UTC' };
    assert.deepEqual(
      quietAt(
        friday,
        '2026-11-27T05:00:00Z',
        '2026-11-27T23:00:00Z',
        '2026-11-28T05:00:00Z',
        '2026-11-28T23:00:00Z',
      ),
      [false, true, true, false],
    );
    const sunday = { days: ['sun'], from: '00:00', to: '24:00', timeZone: 'UTC' };
    const around = ['2026-11-28T23:59:00Z', '2026-11-29T00:00:00Z', '2026-11-29T23:59:59Z'];
    assert.deepEqual(quietAt(sunday, ...around, '2026-11-30T00:00:00Z'), [
      false,
      true,
      true,
      false,
    ]);
  });

  test('the same time twice is a whole day', () => {
    const day = { days: ['sat'], from: '08:00', to: '08:00', timeZone: 'UTC' };
    const moments = ['2026-11-28T07:59:00Z', '2026-11-28T08:00:00Z', '2026-11-29T07:59:00Z'];
    assert.deepEqual(quietAt(day, ...moments, '2026-11-29T08:00:00Z'), [false, true, true, false]);
  });

  test('a window with dates is there once', () => {
    const works = { from: '2026-12-24T18:00', to: '2026-12-26T06:00', timeZone: BERLIN };
    const moments = ['2026-12-24T16:59:59Z', '2026-12-24T17:00:00Z', '2026-12-26T04:59:59Z'];
    assert.deepEqual(quietAt(works, ...moments, '2026-12-26T05:00:00Z'), [
      false,
      true,
      true,
      false,
    ]);
    assert.deepEqual(quietAt(works, '2027-12-25T00:00:00Z'), [false]);
  });

  test('in the night of the clock change a window ends by the clock: an hour later or earlier', () => {
    const night = { from: '01:00', to: '05:00', timeZone: BERLIN };
    // Summer time begins on 2027-03-28 and ends on 2026-10-25, each at 01:00 UTC.
    const spring = ['2027-03-28T00:00:00Z', '2027-03-28T02:59:00Z', '2027-03-28T03:00:00Z'];
    assert.deepEqual(quietAt(night, ...spring), [true, true, false]);
    const autumn = ['2026-10-24T23:00:00Z', '2026-10-25T03:59:00Z', '2026-10-25T04:00:00Z'];
    assert.deepEqual(quietAt(night, ...autumn), [true, true, false]);
  });

  test('it says to ask again at the next full minute', () => {
    const times = new QuietTimes([{ from: '00:00', to: '24:00', timeZone: 'UTC' }], 'quiet');
    const next = times.askAgainAt(Date.parse('2026-11-24T12:00:30.500Z'));
    assert.equal(next, Date.parse('2026-11-24T12:01:00Z'));
    assert.equal(times.askAgainAt(next ?? 0), Date.parse('2026-11-24T12:02:00Z'));
  });

  test('what makes no sense is refused', () => {
    refuses({ from: '22:00', to: '06:00', timeZone: 'Mars/Base' }, /^quiet\.0\.timeZone: .*Mars/);
    refuses({ from: '2026-12-24T18:00', to: '06:00' }, /^quiet\.0\.to: .*after 2026-12-24T18:00/);
    refuses({ from: '2026-12-24T18:00', to: '2026-12-24T18:00' }, /^quiet\.0\.to: /);
    refuses({ from: '22:00', to: '2026-12-24T18:00' }, /^quiet\.0\.to: write a time/);
    const dated = { from: '2026-12-24T18:00', to: '2026-12-25T18:00' };
    refuses({ ...dated, days: ['mon'] }, /^quiet\.0\.days: /);
  });
});
