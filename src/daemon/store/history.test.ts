import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { type BarCell, History } from './history.ts';
import { emptyStats, type LinkStats, type StateMs } from './link-stats.ts';
import { Meta } from './meta.ts';
import { migrate } from './migrations.ts';
import { Names } from './names.ts';
import { RollUps } from './roll-ups.ts';
import { DatabaseSync } from './sqlite.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.UTC(2026, 10, 22);

function minute(states: Partial<StateMs>, rttMs: readonly number[] = [], losses = 0): LinkStats {
  const stats = emptyStats();
  Object.assign(stats.stateMs, states);
  stats.probes = rttMs.length + losses;
  stats.losses = losses;
  for (const ms of rttMs) stats.roundTrips.record(ms);
  return stats;
}

function drain(steps: Iterable<void>): number {
  return [...steps].length;
}

function opened(t: TestContext): {
  db: DatabaseSync;
  rollUps: RollUps;
  history: History;
  rows: (table: string) => number;
} {
  const db = new DatabaseSync(':memory:');
  t.after(() => db.close());
  migrate(db, 'x');
  const names = new Names(db);
  const rollUps = new RollUps(db, new Meta(db), names);
  const rows = (table: string) =>
    Number(db.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.['count']);
  return { db, rollUps, history: new History(rollUps, names), rows };
}

suite('roll-ups and what is told from them', () => {
  test('10 minutes up, 2 suspect, 3 down, 5 drained of an hour: available 10 of 15, 40 not observed', (t) => {
    const { rollUps, history } = opened(t);
    const states = ['up', 'suspect', 'down', 'drained'] as const;
    const counts = [10, 2, 3, 5];
    let at = START;
    for (const [index, state] of states.entries()) {
      for (let n = 0; n < (counts[index] ?? 0); n += 1) {
        rollUps.addMinute(at, 'a', minute({ [state]: MINUTE }, [4, 5], 1));
        at += MINUTE;
      }
    }
    const span = { fromMs: START, toMs: START + HOUR };
    const { total, cells, stepMs } = history.series('a', span, 10 * MINUTE, START + HOUR);
    assert.equal(stepMs, 10 * MINUTE);
    assert.equal(cells.length, 6);
    assert.equal(total.availability, 10 / 15);
    assert.deepEqual(total.stateMs, {
      up: 10 * MINUTE,
      suspect: 2 * MINUTE,
      down: 3 * MINUTE,
      drained: 5 * MINUTE,
      notObserved: 40 * MINUTE,
    });
    assert.equal(total.probes, 60);
    assert.equal(total.loss, 20 / 60);
    assert.equal(total.rttMs?.count, 40);
    assert.equal(total.rttMs?.max, 5);
    assert.equal(cells[0]?.availability, 1);
    assert.equal(cells[5]?.availability, null);
    assert.equal(cells[5]?.rttMs, null);
    assert.equal(cells[5]?.loss, null);
    const later = history.series('a', span, 10 * MINUTE, START + 30 * MINUTE);
    assert.equal(later.total.stateMs.notObserved, 10 * MINUTE, 'what is to come is not missing');
  });

  test('hours are made of minutes and days of hours, once they are over, and add up', (t) => {
    const { rollUps, history, rows } = opened(t);
    drain(rollUps.make(START));
    let now = START;
    for (; now < START + DAY + 90 * MINUTE; now += MINUTE) {
      rollUps.addMinute(now, 'a', minute({ up: 59_000, down: 1_000 }, [3]));
      if ((now + MINUTE) % HOUR === 0) drain(rollUps.make(now + MINUTE));
    }
    assert.equal(rows('hours'), 25);
    assert.equal(rows('days'), 1);
    const span = { fromMs: START, toMs: now };
    for (const stepMs of [MINUTE, HOUR, DAY]) {
      const { total } = history.series('a', span, stepMs, now);
      assert.equal(total.probes, 1_530, `step ${stepMs}`);
      assert.equal(total.stateMs.down, 1_530_000);
    }
    assert.equal(drain(rollUps.make(now)), 0, 'what is made is not made again');
  });

  test('a daemon that slept 5 hours makes the hour it left open, and none in between', (t) => {
    const { rollUps, rows } = opened(t);
    drain(rollUps.make(START));
    rollUps.addMinute(START + 30 * MINUTE, 'a', minute({ up: MINUTE }));
    drain(rollUps.make(START + 5 * HOUR + MINUTE));
    assert.equal(rows('hours'), 1);
  });

  test('an hour that was half made when the daemon was killed is made again, and not twice as full', (t) => {
    const { rollUps, history } = opened(t);
    drain(rollUps.make(START));
    for (let link = 0; link < 20; link += 1) {
      rollUps.addMinute(START, `l${link}`, minute({ up: MINUTE }, [1]));
    }
    rollUps.make(START + HOUR).next();
    drain(rollUps.make(START + HOUR));
    const span = { fromMs: START, toMs: START + HOUR };
    for (let link = 0; link < 20; link += 1) {
      assert.equal(history.series(`l${link}`, span, HOUR, START + HOUR).total.probes, 1);
    }
  });

  test('a clock set back by a year: the minute is that of then, and later made hours stay as they are', (t) => {
    const { rollUps, history } = opened(t);
    drain(rollUps.make(START));
    rollUps.addMinute(START, 'a', minute({ up: MINUTE }, [1]));
    drain(rollUps.make(START + HOUR));
    const back = START - 365 * DAY;
    rollUps.addMinute(back, 'a', minute({ up: MINUTE }, [1]));
    drain(rollUps.make(back + HOUR));
    drain(rollUps.trim(back + HOUR));
    const before = { fromMs: back, toMs: back + HOUR };
    assert.equal(history.series('a', before, HOUR, back + HOUR).total.probes, 1);
    const now = { fromMs: START, toMs: START + HOUR };
    assert.equal(history.series('a', now, HOUR, START + HOUR).total.probes, 1);
    for (const { stateMs } of history.series('a', before, MINUTE, back).cells) {
      assert(stateMs.notObserved >= 0);
    }
  });

  test('a minute that comes twice, for a clock set back by 60 s, is one with the sum of both', (t) => {
    const { rollUps, history } = opened(t);
    rollUps.addMinute(START, 'a', minute({ up: MINUTE }, [1]));
    rollUps.addMinute(START, 'a', minute({ up: 30_000, down: 30_000 }, [2]));
    const span = { fromMs: START, toMs: START + MINUTE };
    const { total } = history.series('a', span, MINUTE, START + MINUTE);
    assert.equal(total.availability, 0.75);
    assert.equal(total.stateMs.notObserved, 0);
    const bars = new Map<string, BarCell[]>();
    drain(history.bars(['a'], span, 1, START + MINUTE, bars));
    assert.deepEqual(bars.get('a'), [[0.75, 0, 0.25, 0]]);
  });

  test('minutes go a minute after a day, hours an hour after 30 days, days a day after 730', (t) => {
    const { rollUps, rows } = opened(t);
    for (const [tier, lengthMs] of [MINUTE, HOUR, DAY].entries()) {
      const body = Uint8Array.from([0]);
      for (const days of [1, 30, 730]) {
        const at = Math.floor((START - days * DAY) / lengthMs);
        rollUps.put(tier as 0 | 1 | 2, at, 'a', body);
        rollUps.put(tier as 0 | 1 | 2, at - 2, 'b', body);
      }
    }
    drain(rollUps.trim(START));
    assert.deepEqual([rows('minutes'), rows('hours'), rows('days')], [1, 3, 5]);
  });

  test('a time of which only hours are kept is told by the hour, also if minutes are asked for', (t) => {
    const { history } = opened(t);
    const span = { fromMs: START, toMs: START + 2 * HOUR };
    assert.equal(history.series('a', span, MINUTE, START + 2 * DAY).stepMs, HOUR);
    assert.equal(history.series('a', span, MINUTE, START + 60 * DAY).stepMs, DAY);
  });

  test('the last day and the last 30 are told as fine as they are kept, by whole minutes and hours', (t) => {
    const { rollUps, history } = opened(t);
    const now = START + 40_500;
    for (let at = START - DAY - 5 * MINUTE; at < START; at += MINUTE) {
      rollUps.addMinute(at, 'a', minute({ up: MINUTE }));
    }
    drain(rollUps.trim(now));
    const day = history.series('a', { fromMs: START - DAY, toMs: START }, 10 * MINUTE, now);
    assert.deepEqual([day.stepMs, day.cells.length], [10 * MINUTE, 144]);
    assert.equal(day.total.stateMs.notObserved, 0);
    // As the API's default: up to now, a few milliseconds before it is looked at.
    const late = history.series('a', { fromMs: now - 5 - DAY, toMs: now - 5 }, MINUTE, now);
    assert.equal(late.stepMs, MINUTE);
    const month = { fromMs: START - 30 * DAY, toMs: START };
    assert.equal(history.series('a', month, HOUR, now).stepMs, HOUR);
  });

  test('of what is not known there is nothing to tell', (t) => {
    const { history } = opened(t);
    const span = { fromMs: START, toMs: START + HOUR };
    assert.deepEqual(history.series('a', span, MINUTE, START + DAY).cells, []);
  });

  test('bars: 4 cells a link, shares of the time in each state; nothing for who is not known', (t) => {
    const { rollUps, history } = opened(t);
    for (let index = 0; index < 60; index += 1) {
      rollUps.addMinute(START + index * MINUTE, 'a', minute({ up: index < 30 ? MINUTE : 30_000 }));
    }
    const bars = new Map<string, BarCell[]>();
    const span = { fromMs: START, toMs: START + HOUR };
    drain(history.bars(['a', 'b'], span, 4, START + HOUR, bars));
    assert.deepEqual(
      bars.get('a')?.map(([up]) => up),
      [1, 1, 0.5, 0.5],
    );
    assert.deepEqual(bars.get('b')?.[0], [0, 0, 0, 0]);
  });

  test('a damaged row counts as not observed', (t) => {
    const { db, rollUps, history } = opened(t);
    rollUps.addMinute(START, 'a', minute({ up: MINUTE }));
    rollUps.addMinute(START + MINUTE, 'a', minute({ up: MINUTE }));
    db.exec(`UPDATE minutes SET body = x'ff' WHERE at = ${START / MINUTE}`);
    const span = { fromMs: START, toMs: START + 2 * MINUTE };
    const { total } = history.series('a', span, MINUTE, START + 2 * MINUTE);
    assert.deepEqual([total.stateMs.up, total.stateMs.notObserved], [MINUTE, MINUTE]);
  });
});
