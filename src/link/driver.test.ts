import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { suite, type TestContext, test } from 'node:test';
import { Driver, type Machine } from './driver.ts';

/** More than that Node turns into 1 ms. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** Does what it is told, and keeps a diary. */
class FakeMachine implements Machine<string> {
  readonly outputs: string[] = [];
  readonly timeouts: number[] = [];
  deadline: number | undefined;
  onTimeout: (now: number) => void = () => undefined;

  handleTimeout(now: number): void {
    this.timeouts.push(now);
    if (this.deadline !== undefined && now >= this.deadline) this.deadline = undefined;
    this.onTimeout(now);
  }

  pollOutput(): string | undefined {
    return this.outputs.shift();
  }

  pollTimeout(): number | undefined {
    return this.deadline;
  }
}

interface VirtualTime {
  /** Goes on by `ms`; timers that fall due run in order, each with a round of the loop after it. */
  readonly tick: (ms: number) => void;
  /** As far as the timers, but not yet to the end of the round in which sockets are read. */
  readonly tickToTimers: (ms: number) => void;
  /** Every delay a timer was armed with. */
  readonly delays: readonly number[];
}

/** Timers and `performance.now`, moved by hand. */
function virtualTime(t: TestContext): VirtualTime {
  let now = 0;
  const delays: number[] = [];
  const timers = new Map<object, { at: number; run: () => void }>();
  const immediates = new Map<object, () => void>();
  t.mock.method(performance, 'now', () => now);
  t.mock.method(globalThis, 'setTimeout', (run: () => void, ms: number) => {
    const timer = {};
    delays.push(ms);
    timers.set(timer, { at: now + ms, run });
    return timer;
  });
  t.mock.method(globalThis, 'clearTimeout', (timer: object) => timers.delete(timer));
  t.mock.method(globalThis, 'setImmediate', (run: () => void) => {
    const immediate = {};
    immediates.set(immediate, run);
    return immediate;
  });
  t.mock.method(globalThis, 'clearImmediate', (immediate: object) => immediates.delete(immediate));
  const fireNext = (end: number): boolean => {
    const [next] = [...timers].sort((a, b) => a[1].at - b[1].at);
    const due = next !== undefined && next[1].at <= end;
    now = due ? Math.max(now, next[1].at) : end;
    if (!due) return false;
    timers.delete(next[0]);
    next[1].run();
    return true;
  };
  const tick = (ms: number) => {
    const end = now + ms;
    for (let rounds = 0, more = true; more; rounds += 1) {
      assert(rounds < 1_000, 'a timer that is armed again at once, for ever');
      const round = [...immediates.values()];
      immediates.clear();
      for (const run of round) run();
      more = fireNext(end) || immediates.size > 0;
    }
  };
  const tickToTimers = (ms: number) => {
    fireNext(now + ms);
  };
  return { tick, tickToTimers, delays };
}

suite('the driver of a machine', { timeout: 10_000 }, () => {
  test('performs every output in order, also those that performing brings about', () => {
    const machine = new FakeMachine();
    const performed: string[] = [];
    const driver = new Driver(machine, (output) => {
      performed.push(output);
      if (output === 'a') machine.outputs.push('c');
    });
    machine.outputs.push('a', 'b');
    driver.settle();
    assert.deepEqual(performed, ['a', 'b', 'c']);
  });

  test('calls the machine at its deadline of 100 ms and not before', (t) => {
    const { tick } = virtualTime(t);
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    machine.deadline = 100;
    driver.settle();
    tick(99);
    assert.deepEqual(machine.timeouts, []);
    tick(1);
    assert.deepEqual(machine.timeouts, [100]);
  });

  test('a deadline in the past is called at once, with a delay of 0 ms', (t) => {
    const { tick, delays } = virtualTime(t);
    tick(1_000);
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    machine.deadline = 10;
    driver.settle();
    tick(0);
    assert.deepEqual(machine.timeouts, [1_000]);
    assert.deepEqual(delays, [0]);
  });

  test('1,000 spurious settles arm one timer', (t) => {
    const { tick, delays } = virtualTime(t);
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    machine.deadline = 100;
    for (let count = 0; count < 1_000; count += 1) driver.settle();
    tick(100);
    assert.deepEqual(machine.timeouts, [100]);
    assert.deepEqual(delays, [100]);
  });

  test('a deadline that moves nearer is kept, one that moves away is reached in two steps', (t) => {
    const { tick } = virtualTime(t);
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    machine.deadline = 1_000;
    driver.settle();
    machine.deadline = 50;
    driver.settle();
    tick(50);
    assert.deepEqual(machine.timeouts, [50]);
    machine.deadline = 100;
    driver.settle();
    machine.deadline = 200;
    driver.settle();
    tick(50);
    assert.deepEqual(machine.timeouts, [50, 100], 'early: the machine finds nothing due');
    assert.equal(machine.deadline, 200);
    tick(100);
    assert.deepEqual(machine.timeouts, [50, 100, 200]);
  });

  test('a deadline 60 days away is reached in hops of at most 2^31 - 1 ms, none of them at once', (t) => {
    const { tick, delays } = virtualTime(t);
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    const sixtyDays = 60 * 24 * 3_600_000;
    machine.deadline = sixtyDays;
    driver.settle();
    tick(1);
    assert.deepEqual(machine.timeouts, [], 'Node turns a longer delay into 1 ms');
    tick(LONGEST_DELAY_MS - 1);
    tick(LONGEST_DELAY_MS);
    tick(sixtyDays - 2 * LONGEST_DELAY_MS);
    assert.equal(machine.timeouts.at(-1), sixtyDays);
    assert.equal(machine.deadline, undefined);
    assert.deepEqual(delays, [
      LONGEST_DELAY_MS,
      LONGEST_DELAY_MS,
      sixtyDays - 2 * LONGEST_DELAY_MS,
    ]);
  });

  test('a deadline that never comes arms nothing', (t) => {
    const { delays } = virtualTime(t);
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    driver.settle();
    machine.deadline = Number.POSITIVE_INFINITY;
    driver.settle();
    assert.deepEqual(delays, []);
  });

  test('after stop neither an armed timer nor a settle calls the machine', (t) => {
    const { tick, delays } = virtualTime(t);
    const machine = new FakeMachine();
    const performed: string[] = [];
    const driver = new Driver(machine, (output) => performed.push(output));
    machine.deadline = 100;
    driver.settle();
    driver.stop();
    tick(200);
    machine.outputs.push('too late');
    driver.settle();
    driver.stop();
    tick(200);
    assert.deepEqual(machine.timeouts, []);
    assert.deepEqual(delays, [100]);
    assert.deepEqual(performed, []);
  });

  test('stop within an output ends it there: the outputs behind it are not performed', (t) => {
    virtualTime(t);
    const machine = new FakeMachine();
    const performed: string[] = [];
    const driver = new Driver(machine, (output) => {
      performed.push(output);
      if (output === 'down') driver.stop();
    });
    machine.outputs.push('down', 'probe');
    driver.settle();
    assert.deepEqual(performed, ['down']);
  });

  test('stop between the timer and the verdict, while sockets are read, prevents the verdict', (t) => {
    const { tick, tickToTimers } = virtualTime(t);
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    machine.deadline = 100;
    driver.settle();
    tickToTimers(100);
    driver.stop();
    tick(100);
    assert.deepEqual(machine.timeouts, []);
  });

  test('reads before it judges: what arrived during a stall of 60 ms counts', async (t) => {
    const [socket, peer] = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
    t.after(() => socket.close());
    t.after(() => peer.close());
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    // A connected socket sends within the call, so the packet arrives before the stall ends.
    peer.connect(socket.address().port, '127.0.0.1');
    await once(peer, 'connect');
    const order: string[] = [];
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    const judged = new Promise<void>((resolve) => {
      machine.onTimeout = () => {
        order.push('judged');
        resolve();
      };
    });
    socket.on('message', () => order.push('read'));
    peer.send('alive');
    machine.deadline = performance.now() + 20;
    driver.settle();
    for (const until = performance.now() + 60; performance.now() < until; );
    await judged;
    assert.deepEqual(order, ['read', 'judged']);
  });
});
