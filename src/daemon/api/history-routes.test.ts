/** The past by the API: series and bars. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { apiRig, linksCalled, problemIn } from '../../../test/support/api-rig.ts';
import { emptyStats } from '../store/link-stats.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** The start of the hour before the last whole one, as all minutes of it are kept. */
function hourAgo(): number {
  return Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS;
}

suite('the past by the API', { timeout: 20_000 }, () => {
  test('a series of 10 minutes: one of them down, one with a round trip, the others not observed', async (t) => {
    const { ask, store } = await apiRig(t, { config: linksCalled('a') });
    const from = hourAgo();
    const [down, up] = [emptyStats(), emptyStats()];
    down.stateMs.down = MINUTE_MS;
    up.stateMs.up = MINUTE_MS;
    up.probes = 2;
    up.losses = 1;
    up.roundTrips.record(5);
    assert(store.putMinuteNow(from, new Map([['a', down]])));
    assert(store.putMinuteNow(from + MINUTE_MS, new Map([['a', up]])));
    const span = `from=${new Date(from).toISOString()}&to=${new Date(from + 10 * MINUTE_MS).toISOString()}`;
    const { stepMs, cells, total } = (await ask(`/api/v1/links/a/history?${span}`)).json();
    assert.equal(stepMs, MINUTE_MS);
    assert.equal(cells.length, 10);
    assert.equal(cells[0].availability, 0);
    assert.equal(cells[1].availability, 1);
    assert.equal(cells[2].availability, null);
    assert.equal(total.availability, 0.5);
    assert.equal(total.loss, 0.5);
    assert.equal(total.stateMs.notObserved, 8 * MINUTE_MS);
    assert(Math.abs(cells[1].rttMs.percentiles[50] - 5) < 0.15);
    const bars = (await ask(`/api/v1/history?links=a,nobody&cells=10&${span}`)).json();
    assert.deepEqual(Object.keys(bars.bars), ['a']);
    assert.deepEqual(bars.bars.a.slice(0, 3), [
      [0, 0, 1, 0],
      [1, 0, 0, 0],
      [0, 0, 0, 0],
    ]);
  });

  test('what cannot be: a link that is not there, times that are none, a step without a unit, 101 links', async (t) => {
    const { ask } = await apiRig(t, { config: linksCalled('a') });
    problemIn(await ask('/api/v1/links/b/history'), 404);
    assert.match(problemIn(await ask('/api/v1/links/a/history?from=yesterday'), 400), /^from: /);
    assert.match(problemIn(await ask('/api/v1/links/a/history?step=60'), 400), /unit/);
    const later = 'from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z';
    assert.match(problemIn(await ask(`/api/v1/history?links=a&${later}`), 400), /before "to"/);
    const many = Array.from({ length: 101 }, (_, index) => `n${index}`).join(',');
    assert.match(problemIn(await ask(`/api/v1/history?links=${many}`), 400), /at most 100/);
    assert.deepEqual((await ask('/api/v1/history')).json().bars, {});
  });
});
