import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../../../test/support/cli.ts';
import { DeliveryError } from './channel.ts';
import { Courier, waitMs } from './courier.ts';
import type { Message } from './message.ts';
import { Outbox } from './outbox.ts';

const HOUR = 3_600_000;

function messageOf(id: string): Message {
  return {
    id,
    at: '2026-11-24T12:00:00.000Z',
    rule: 'r',
    notices: [],
    closed: [],
    afterQuiet: false,
  };
}

function open(directory: string, notes: string[] = []): Outbox {
  return new Outbox(directory, (text) => notes.push(text));
}

function keep(outbox: Outbox, id: string, channel = 'c') {
  const [queued] = outbox.keep(messageOf(id), [channel], 'r', []);
  assert(queued !== undefined);
  return queued;
}

/** Lets promises go on, as far as they do without time. */
async function settle(): Promise<void> {
  for (let turns = 0; turns < 20; turns += 1) await Promise.resolve();
}

/** A courier whose channel does what it is told, in time that stands still until it is moved. */
function rig(t: TestContext, act: (id: string, attempt: number) => Promise<string>) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.UTC(2026, 10, 24) });
  const outbox = open(temporaryDirectory(t));
  const attempts: string[] = [];
  const notes: string[] = [];
  const send = (message: Message) => {
    attempts.push(message.id);
    return act(message.id, attempts.length);
  };
  const channel = { limitMs: 10_000, send };
  const courier = new Courier('c', channel, outbox, (text) => notes.push(text));
  t.after(() => {
    courier.stop();
    outbox.close();
  });
  const pass = async (ms: number, steps = 1) => {
    for (let step = 0; step < steps; step += 1) {
      t.mock.timers.tick(ms);
      await settle();
    }
  };
  return { outbox, courier, attempts, notes, pass, channel };
}

suite('a courier', () => {
  test('waits 1 to 2 s, then twice as long each time, at most 5 min', () => {
    const low = [1, 2, 3, 9, 10, 1_000].map((failures) => waitMs(failures, 0));
    assert.deepEqual(low, [1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
    assert.equal(waitMs(1, 0.999), 1_999);
    assert.equal(waitMs(9, 0.999), 300_000);
  });

  test('keeps the order over failures, and notes the first failure and the end of it', async (t) => {
    const { outbox, courier, attempts, notes, pass } = rig(t, async (_, attempt) => {
      if (attempt <= 3) throw new DeliveryError('answered 500');
      return 'ok';
    });
    for (const id of ['a', 'b', 'c']) courier.add(keep(outbox, id));
    await settle();
    await pass(1_000, 20);
    assert.deepEqual(attempts, ['a', 'a', 'a', 'a', 'b', 'c']);
    assert.deepEqual(notes, [
      'notify: c: fails and is tried again: answered 500',
      'notify: c: works again',
    ]);
    assert.deepEqual(outbox.queued('c'), []);
  });

  test('gives a message up at once if it is at fault, and goes on with the next', async (t) => {
    const { outbox, courier, attempts, notes, pass } = rig(t, async (id) => {
      if (id === 'bad') throw new DeliveryError('answered 400', true);
      return 'ok';
    });
    courier.add(keep(outbox, 'bad'));
    courier.add(keep(outbox, 'good'));
    await settle();
    assert.deepEqual(attempts, ['bad', 'good']);
    assert.deepEqual(notes, ['notify: c: message bad is dropped: answered 400']);
    courier.add(keep(outbox, 'later'));
    await pass(0);
    assert.deepEqual(attempts, ['bad', 'good', 'later']);
    assert.deepEqual(outbox.queued('c'), []);
  });

  test('gives it up after a day, and what comes then is tried', async (t) => {
    let works = false;
    const { outbox, courier, attempts, notes, pass } = rig(t, async () => {
      if (!works) throw new DeliveryError('answered 500');
      return 'ok';
    });
    courier.add(keep(outbox, 'a'));
    await settle();
    await pass(60_000, 23 * 60);
    assert.equal(outbox.queued('c').length, 1);
    await pass(60_000, 70);
    assert.equal(outbox.queued('c').length, 0);
    assert.match(notes.at(-1) ?? '', /message a is dropped: a day has passed; answered 500/);
    // 24 hours at 5 minutes each, and the short waits before.
    assert(attempts.length > 280 && attempts.length < 310, `${attempts.length}`);
    works = true;
    courier.add(keep(outbox, 'b'));
    await pass(0);
    assert.equal(attempts.at(-1), 'b');
    assert.deepEqual(outbox.queued('c'), []);
  });

  test('waits as long as the receiver asks', async (t) => {
    const { outbox, courier, attempts, pass } = rig(t, async (_, attempt) => {
      if (attempt === 1) throw new DeliveryError('answered 429', false, 60_000);
      return 'ok';
    });
    courier.add(keep(outbox, 'a'));
    await settle();
    await pass(1_000, 59);
    assert.equal(attempts.length, 1);
    await pass(1_000);
    assert.equal(attempts.length, 2);
  });

  test('one more message does not shorten the wait after a failure', async (t) => {
    const { outbox, courier, attempts, pass } = rig(t, async () => {
      throw new DeliveryError('answered 500');
    });
    courier.add(keep(outbox, 'a'));
    await settle();
    courier.add(keep(outbox, 'b'));
    await pass(999);
    assert.deepEqual(attempts, ['a']);
    await pass(1_001);
    assert.deepEqual(attempts, ['a', 'a']);
  });

  test('leaves a channel that never ends its attempt after 10 s, and tries again', async (t) => {
    const { outbox, courier, attempts, notes, pass } = rig(t, (_, attempt) =>
      attempt === 1 ? new Promise(() => undefined) : Promise.resolve('ok'),
    );
    courier.add(keep(outbox, 'a'));
    await pass(9_999);
    assert.deepEqual(notes, []);
    await pass(1);
    assert.match(notes[0] ?? '', /no answer within 10s/);
    await pass(2_000);
    assert.equal(attempts.length, 2);
    assert.deepEqual(outbox.queued('c'), []);
  });

  test('another channel is tried at once, without waiting for the next attempt', async (t) => {
    const { outbox, courier, channel, attempts } = rig(t, async () => {
      throw new DeliveryError('answered 401');
    });
    courier.add(keep(outbox, 'a'));
    await settle();
    courier.use({ ...channel, send: async () => 'ok' });
    await settle();
    assert.equal(attempts.length, 1);
    assert.deepEqual(outbox.queued('c'), []);
  });

  test('holds 500 messages at most: the oldest give way, but for the one under way', async (t) => {
    const { outbox, courier, notes } = rig(t, () => new Promise(() => undefined));
    for (let index = 0; index < 502; index += 1) courier.add(keep(outbox, `m${index}`));
    const ids = outbox.queued('c').map(({ message }) => message.id);
    assert.deepEqual([ids.length, ids[0], ids[1]], [500, 'm0', 'm3']);
    assert.match(notes[0] ?? '', /message m1 is dropped: 500 wait already/);
    assert.equal(notes.length, 2);
  });

  test('one that is stopped leaves what it has for the next, in order', async (t) => {
    const { outbox, courier, attempts } = rig(t, () => new Promise(() => undefined));
    courier.add(keep(outbox, 'a'));
    courier.add(keep(outbox, 'b'));
    courier.stop();
    await settle();
    const delivered: string[] = [];
    const send = async ({ id }: Message) => {
      delivered.push(id);
      return 'ok';
    };
    new Courier('c', { limitMs: 1_000, send }, outbox, assert.fail);
    await settle();
    assert.deepEqual([attempts, delivered], [['a'], ['a', 'b']]);
  });
});

suite('the outbox', () => {
  const told = { troubles: { down: '2026-11-24T12:00:00.000Z' }, incident: 'i' };

  test('messages and what was told are there after it was opened again', (t) => {
    const directory = temporaryDirectory(t);
    const first = open(directory);
    first.keep(messageOf('a'), ['x', 'y'], 'r', [['link:a', told]]);
    first.keep(undefined, ['x'], 's', [['link:b', told]]);
    const [done] = first.queued('x');
    first.remove(done?.number ?? 0);
    first.close();
    const second = open(directory);
    t.after(() => second.close());
    assert.deepEqual(second.queued('x'), []);
    assert.deepEqual(
      second.queued('y').map(({ message }) => message),
      [messageOf('a')],
    );
    assert.deepEqual(second.memory('r').get('link:a')?.told, told);
    second.keep(undefined, [], 'r', [['link:a', undefined]]);
    assert.equal(second.memory('r').size, 0);
    assert.deepEqual([...second.keepOnly(['x'], ['r'])], [['y', 1]]);
    assert.equal(second.memory('s').size, 0);
    assert.deepEqual(second.queued('y'), []);
  });

  test('a step that fails leaves nothing of itself', (t) => {
    const outbox = open(temporaryDirectory(t));
    t.after(() => outbox.close());
    const bad = { ...told, incident: 1n } as unknown as typeof told;
    assert.throws(() =>
      outbox.keep(messageOf('a'), ['x'], 'r', [
        ['link:a', told],
        ['link:b', bad],
      ]),
    );
    assert.deepEqual([outbox.queued('x').length, outbox.memory('r').size], [0, 0]);
    outbox.keep(messageOf('b'), ['x'], 'r', []);
    assert.equal(outbox.queued('x').length, 1);
  });

  test('a damaged file is put aside and told, and work goes on', (t) => {
    const directory = temporaryDirectory(t);
    const file = path.join(directory, 'notify.sqlite');
    writeFileSync(file, 'no database, whatever its name says. '.repeat(200));
    const notes: string[] = [];
    const outbox = open(directory, notes);
    t.after(() => outbox.close());
    assert.equal(notes.length, 1);
    assert.match(notes[0] ?? '', /was damaged and lies in .*\.damaged/);
    assert(existsSync(`${file}.damaged`));
    assert.match(readFileSync(`${file}.damaged`, 'utf8'), /^no database/);
    outbox.keep(messageOf('a'), ['x'], 'r', []);
  });

  test('so is one that is damaged in the middle', (t) => {
    const directory = temporaryDirectory(t);
    const file = path.join(directory, 'notify.sqlite');
    const first = open(directory);
    const channels = Array.from({ length: 2_000 }, (_, index) => `c${index}`);
    first.keep(messageOf('a'), channels, 'r', []);
    first.close();
    const bytes = readFileSync(file);
    assert(bytes.length > 40_000, `${bytes.length}`);
    writeFileSync(file, bytes.fill(0xa5, 8_192, bytes.length - 8_192));
    const notes: string[] = [];
    const outbox = open(directory, notes);
    t.after(() => outbox.close());
    assert.match(notes[0] ?? '', /was damaged/);
    assert.deepEqual(outbox.queued('c1000'), []);
  });

  test('two daemons cannot share it, nor one use a directory that is not there', (t) => {
    const directory = temporaryDirectory(t);
    const outbox = open(directory);
    t.after(() => outbox.close());
    const refused = { name: 'SystemError', message: /another daemon uses this state directory/ };
    assert.throws(() => open(directory), refused);
    assert.throws(() => open(path.join(directory, 'none')), { name: 'SystemError' });
  });

  test('how long ago something was told is never negative, whatever the clock did', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 10 * HOUR });
    const outbox = open(temporaryDirectory(t));
    t.after(() => outbox.close());
    outbox.keep(undefined, [], 'r', [['link:a', told]]);
    t.mock.timers.tick(HOUR);
    assert.equal(outbox.memory('r').get('link:a')?.agoMs, HOUR);
    t.mock.timers.setTime(0);
    assert.equal(outbox.memory('r').get('link:a')?.agoMs, 0);
  });
});
