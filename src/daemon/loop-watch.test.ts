/** How late the daemon's timers are, in virtual time. */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { LoopWatch } from './loop-watch.ts';

/** A watch whose timers fire when told, `lateMs` later than they should. */
function rig(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  const watch = new LoopWatch(() => now);
  const heard: number[] = [];
  watch.onLateness((lateMs) => heard.push(lateMs));
  watch.start();
  const pass = (lateMs: number) => {
    now += 250 + lateMs;
    t.mock.timers.tick(250);
  };
  t.after(() => watch.stop());
  return { watch, heard, pass };
}

suite('the watch over the event loop', () => {
  test('tells each lateness, and its trouble from 1 s on', (t) => {
    const { watch, heard, pass } = rig(t);
    pass(0);
    pass(3);
    pass(999);
    assert.deepEqual(heard, [0, 3, 999]);
    assert.equal(watch.trouble, undefined);
    pass(1_500);
    assert.equal(watch.worstMs, 1_500);
    assert.match(String(watch.trouble), /^its timers were up to 1500 ms late in the last minute/);
  });

  test('forgets it after a minute', (t) => {
    const { watch, pass } = rig(t);
    pass(2_000);
    for (let index = 0; index < 4 * 45; index += 1) pass(0);
    assert.equal(watch.worstMs, 2_000);
    for (let index = 0; index < 4 * 25; index += 1) pass(0);
    assert.equal(watch.worstMs, 0);
    assert.equal(watch.trouble, undefined);
  });
});
