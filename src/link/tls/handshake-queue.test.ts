import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { dropStep, queueStep } from './handshake-queue.ts';

const BOUND_MS = 5_000;
const STEP_MS = 2;
/** Steps of 2 ms until a turn of 5 ms is over. */
const MOST_STEPS_A_TURN = 3;

/** Arithmetic, as a step of a handshake is. */
function busy(ms: number): void {
  for (const until = performance.now() + ms; performance.now() < until; );
}

/** Waits until every step queued so far has run. */
async function served(): Promise<void> {
  await new Promise<void>((resolve) => queueStep(resolve));
}

/** What nobody caught, while `body` runs. */
async function uncaught(t: TestContext, body: () => Promise<void>): Promise<Error[]> {
  const errors: Error[] = [];
  process.setUncaughtExceptionCaptureCallback((error) => errors.push(error as Error));
  t.after(() => process.setUncaughtExceptionCaptureCallback(null));
  await body();
  process.setUncaughtExceptionCaptureCallback(null);
  return errors;
}

suite('the queue of handshakes', { timeout: BOUND_MS }, () => {
  test('runs 3 steps in order, once each, however often they were asked for', async () => {
    const ran: string[] = [];
    const [first, second, third] = ['first', 'second', 'third'].map((name) => () => {
      ran.push(name);
    }) as [() => void, () => void, () => void];
    for (const step of [first, second, first, third, second, first]) queueStep(step);
    assert.deepEqual(ran, []);
    await served();
    await served();
    assert.deepEqual(ran, ['first', 'second', 'third']);
  });

  test('runs 10,000 short steps in order, many of them in a turn', async () => {
    const ran: number[] = [];
    for (let index = 0; index < 10_000; index += 1) queueStep(() => ran.push(index));
    let turns = 0;
    for (; ran.length < 10_000; turns += 1) await new Promise(setImmediate);
    assert.deepEqual(ran, [...Array(10_000).keys()]);
    assert(turns < 5_000, `${turns} turns`);
  });

  test('a step that was asked for again while it ran runs again, behind the others', async () => {
    const ran: string[] = [];
    const again = () => {
      ran.push('again');
      if (ran.length < 3) queueStep(again);
    };
    queueStep(again);
    queueStep(() => ran.push('other'));
    await served();
    await served();
    assert.deepEqual(ran, ['again', 'other', 'again']);
  });

  test('goes on when it was empty in between', async () => {
    let ran = 0;
    for (let round = 1; round <= 3; round += 1) {
      queueStep(() => {
        ran += 1;
      });
      await served();
      assert.equal(ran, round);
      await new Promise(setImmediate);
    }
  });

  test('a step that was dropped never runs, and those around it do', async () => {
    const ran: string[] = [];
    const dropped = () => ran.push('dropped');
    queueStep(() => ran.push('before'));
    queueStep(dropped);
    queueStep(() => ran.push('after'));
    dropStep(dropped);
    dropStep(() => ran.push('never queued'));
    await served();
    assert.deepEqual(ran, ['before', 'after']);
  });

  test('a step may drop one behind it, which was to run in the same turn', async () => {
    const ran: string[] = [];
    const dropped = () => ran.push('dropped');
    queueStep(() => dropStep(dropped));
    queueStep(dropped);
    queueStep(() => ran.push('after'));
    await served();
    assert.deepEqual(ran, ['after']);
  });

  test('a step that throws stops none of the others, and is heard of', async (t) => {
    const ran: string[] = [];
    const errors = await uncaught(t, async () => {
      queueStep(() => {
        throw new Error('the first');
      });
      queueStep(() => ran.push('between'));
      queueStep(() => {
        throw new Error('the second');
      });
      queueStep(() => ran.push('after'));
      // Nobody queues anything more, which would wake the queue.
      for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
    });
    assert.deepEqual(ran, ['between', 'after']);
    assert.deepEqual(
      errors.map(({ message }) => message),
      ['the first', 'the second'],
    );
  });
});

suite('timers beside the queue', { timeout: BOUND_MS }, () => {
  test('have their turn after at most 3 of 60 steps that take 2 ms each', async () => {
    let done = 0;
    const doneAt: number[] = [];
    const firedAt: number[] = [performance.now()];
    const timer = setInterval(() => {
      doneAt.push(done);
      firedAt.push(performance.now());
    }, 1);
    for (let index = 0; index < 60; index += 1) {
      queueStep(() => {
        busy(STEP_MS);
        done += 1;
      });
    }
    await served();
    clearInterval(timer);
    firedAt.push(performance.now());
    const between = [...doneAt, done].map((count, index) => count - (doneAt[index - 1] ?? 0));
    assert(Math.max(...between) <= MOST_STEPS_A_TURN, `${between}`);
    assert(doneAt.length >= 60 / MOST_STEPS_A_TURN, `${doneAt.length} times`);
    const gaps = firedAt.slice(1).map((at, index) => at - (firedAt[index] ?? 0));
    const total = (firedAt.at(-1) ?? 0) - (firedAt[0] ?? 0);
    assert(Math.max(...gaps) < total / 2, `${Math.max(...gaps)} of ${total} ms`);
  });

  test('have it beside a step that always asks for another turn', async () => {
    let ran = 0;
    let over = false;
    const endless = () => {
      busy(STEP_MS);
      ran += 1;
      if (!over) queueStep(endless);
    };
    queueStep(endless);
    await new Promise((resolve) => setTimeout(resolve, 20));
    over = true;
    await served();
    assert(ran > 1 && ran < 500, `${ran} turns`);
  });

  test('immediates and promises of others have theirs as well', async () => {
    let done = 0;
    const seen: number[] = [];
    for (let index = 0; index < 12; index += 1) {
      queueStep(() => {
        busy(STEP_MS);
        done += 1;
      });
    }
    while (done < 12) {
      await new Promise(setImmediate);
      seen.push(done);
    }
    const between = seen.map((count, index) => count - (seen[index - 1] ?? 0));
    assert(Math.max(...between) <= MOST_STEPS_A_TURN, `${between}`);
  });
});
