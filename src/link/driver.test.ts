import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { suite, type TestContext, test } from 'node:test';
import { Driver, type Machine } from './driver.ts';

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

/** A clock that only `tick` moves: timers and `performance.now` together. */
function virtualTime(t: TestContext): { tick: (ms: number) => void; delays: number[] } {
  let now = 0;
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  t.mock.method(performance, 'now', () => now);
  const delays: number[] = [];
  const { setTimeout } = globalThis;
  t.mock.method(globalThis, 'setTimeout', (run: () => void, ms: number) => {
    delays.push(ms);
    return setTimeout(run, ms);
  });
  const tick = (ms: number) => {
    now += ms;
    t.mock.timers.tick(ms);
    // What a timer leaves for the next round of the loop.
    t.mock.timers.tick(0);
  };
  return { tick, delays };
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
    virtualTime(t);
    const machine = new FakeMachine();
    const driver = new Driver(machine, () => undefined);
    machine.deadline = 100;
    driver.settle();
    t.mock.timers.tick(100);
    driver.stop();
    t.mock.timers.tick(1);
    assert.deepEqual(machine.timeouts, []);
  });

  test('reads before it judges: what arrived during a stall of 60 ms counts', async (t) => {
    const [socket, peer] = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
    t.after(() => socket.close());
    t.after(() => peer.close());
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
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
    await new Promise((resolve) => peer.send('alive', socket.address().port, '127.0.0.1', resolve));
    // A fresh round of the loop, so that the stall covers both the arrival and the deadline.
    order.length = 0;
    peer.send('alive', socket.address().port, '127.0.0.1');
    machine.deadline = performance.now() + 20;
    driver.settle();
    for (const until = performance.now() + 60; performance.now() < until; );
    await judged;
    assert.equal(order.at(-1), 'judged');
    assert(order.includes('read'), 'the packet lay in the buffer and was not looked at');
  });
});
