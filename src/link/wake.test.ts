import assert from 'node:assert/strict';
import os from 'node:os';
import { suite, type TestContext, test } from 'node:test';
import { onWake } from './wake.ts';

/**
 * Both clocks by hand. `run` lets the machine run for so many seconds; `suspend` only the clock of
 * the boot goes on, as in a suspended machine.
 */
function clocks(t: TestContext): { run: (seconds: number) => void; suspend: (ms: number) => void } {
  let monotonic = 5_000;
  let boot = 100_000;
  t.mock.timers.enable({ apis: ['setInterval'] });
  t.mock.method(performance, 'now', () => monotonic);
  // As the kernel tells it: in steps of 10 ms.
  t.mock.method(os, 'uptime', () => Math.floor(boot / 10) / 100);
  return {
    run: (seconds) => {
      for (let second = 0; second < seconds; second += 1) {
        monotonic += 1_003.7;
        boot += 1_003.7;
        t.mock.timers.tick(1_000);
      }
    },
    suspend: (ms) => {
      boot += ms;
    },
  };
}

suite('waking from suspend', () => {
  test('an hour without suspension is no wake', (t) => {
    const { run } = clocks(t);
    let wakes = 0;
    t.after(onWake(() => (wakes += 1)));
    run(3_600);
    assert.equal(wakes, 0);
  });

  test('a suspension of 30 s is one wake within a second, for everybody', (t) => {
    const { run, suspend } = clocks(t);
    const woken: string[] = [];
    t.after(onWake(() => woken.push('a')));
    t.after(onWake(() => woken.push('b')));
    run(10);
    suspend(30_000);
    run(1);
    assert.deepEqual(woken, ['a', 'b']);
    run(60);
    assert.deepEqual(woken, ['a', 'b']);
    suspend(86_400_000);
    run(1);
    assert.deepEqual(woken, ['a', 'b', 'a', 'b']);
  });

  test('a suspension of half a second is no wake, one of two seconds is', (t) => {
    const { run, suspend } = clocks(t);
    let wakes = 0;
    t.after(onWake(() => (wakes += 1)));
    suspend(500);
    run(2);
    assert.equal(wakes, 0);
    suspend(2_000);
    run(1);
    assert.equal(wakes, 1);
  });

  test('who left is not woken, and a suspension before joining is not told', (t) => {
    const { run, suspend } = clocks(t);
    let wakes = 0;
    const forget = onWake(() => (wakes += 1));
    run(1);
    forget();
    forget();
    suspend(30_000);
    run(5);
    t.after(onWake(() => (wakes += 1)));
    run(5);
    assert.equal(wakes, 0);
  });

  test('one who leaves while the others are woken leaves them in peace', (t) => {
    const { run, suspend } = clocks(t);
    const woken: string[] = [];
    const forgetA = onWake(() => {
      woken.push('a');
      forgetA();
    });
    t.after(onWake(() => woken.push('b')));
    suspend(30_000);
    run(1);
    assert.deepEqual(woken, ['a', 'b']);
  });

  test('the clock that looks does not keep a program alive', (t) => {
    const unref = t.mock.fn();
    t.mock.method(globalThis, 'setInterval', () => ({ unref }));
    t.mock.method(globalThis, 'clearInterval', () => undefined);
    onWake(() => undefined)();
    assert.equal(unref.mock.callCount(), 1);
  });
});
