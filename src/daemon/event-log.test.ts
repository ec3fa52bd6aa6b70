import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { EventLog, type LoggedEvent, type PlainNote } from './event-log.ts';

const CAPACITY = 10_000;
const at = '2026-11-22T12:00:00.000Z';

function note(text: string, group?: string): PlainNote {
  return group === undefined ? { at, type: 'note', text } : { at, type: 'note', text, group };
}

function filled(count: number): EventLog {
  const log = new EventLog();
  for (let index = 1; index <= count; index += 1) log.append(note(`n${index}`));
  return log;
}

function ids(events: readonly LoggedEvent[]): number[] {
  return events.map(({ id }) => id);
}

suite('the event log', () => {
  test('ids start at 1 and rise by 1, and who listens is told each one with its id', () => {
    const log = new EventLog();
    const told: LoggedEvent[] = [];
    log.on('event', (event) => told.push(event));
    log.append(note('a'));
    log.append(note('b', 'db'));
    assert.deepEqual(told, [
      { id: 1, at, type: 'note', text: 'a' },
      { id: 2, at, type: 'note', text: 'b', group: 'db' },
    ]);
    assert.deepEqual(log.query({ limit: 10 }).items, told);
  });

  test('without since: the newest 3, oldest first, and no next page', () => {
    const { items, next } = filled(10).query({ limit: 3 });
    assert.deepEqual(ids(items), [8, 9, 10]);
    assert.equal(next, null);
  });

  test('pages of 4 by since and next give all 10 once and end with null', () => {
    const log = filled(10);
    const seen: number[] = [];
    let pages = 0;
    for (let since: number | null = 0; since !== null; pages += 1) {
      assert(pages < 10);
      const { items, next } = log.query({ since, limit: 4 });
      seen.push(...ids(items));
      since = next;
    }
    assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert.equal(pages, 3);
  });

  test('a page that ends with the last event has no next: 2 pages of 5 for 10', () => {
    assert.equal(filled(10).query({ since: 5, limit: 5 }).next, null);
    assert.equal(filled(10).query({ since: 4, limit: 5 }).next, 9);
  });

  test('nothing after the last id, and everything after an id of an earlier daemon', () => {
    assert.deepEqual(filled(3).query({ since: 3, limit: 5 }), {
      items: [],
      next: null,
      isWhole: true,
    });
    assert.equal(filled(3).query({ since: 99, limit: 5 }).items.length, 3);
  });

  test('events of one link or group only, and never those of nobody', () => {
    const log = new EventLog();
    log.append(note('of nobody'));
    log.append(note('of the group', 'db'));
    log.append({ at, type: 'switch', group: 'db', from: 'a', to: 'b', why: 'a is down' });
    log.append({ at, type: 'note', link: 'a', text: 'of the link' });
    log.append({
      at,
      type: 'state',
      link: 'a',
      from: 'up',
      to: 'down',
      reason: 'reset',
      evidence: {},
      detectsWithinMs: 1,
    });
    assert.deepEqual(ids(log.query({ link: 'db', limit: 9 }).items), [2, 3]);
    assert.deepEqual(ids(log.query({ link: 'a', limit: 9 }).items), [4, 5]);
    assert.deepEqual(ids(log.query({ link: 'a', since: 4, limit: 9 }).items), [5]);
    assert.deepEqual(ids(log.query({ link: 'a', limit: 1 }).items), [5]);
    assert.deepEqual(ids(log.query({ link: 'c', limit: 9 }).items), []);
  });

  test('keeps the newest 10,000 of 35,000 and forgets the oldest', () => {
    const log = filled(3 * CAPACITY + 5_000);
    const { items } = log.query({ since: 0, limit: 2 * CAPACITY });
    assert.equal(items.length, CAPACITY);
    assert.equal(items[0]?.id, 25_001);
    assert.equal(items.at(-1)?.id, 35_000);
  });

  test('what is forgotten is freed: event 1 is garbage after 25,000 more', async () => {
    const log = new EventLog();
    const refs: WeakRef<LoggedEvent>[] = [];
    log.once('event', (event) => refs.push(new WeakRef(event)));
    for (let index = 0; index < 2 * CAPACITY + 5_000; index += 1) log.append(note('x'));
    v8.setFlagsFromString('--expose-gc');
    const collect = vm.runInNewContext('gc') as () => void;
    // A WeakRef holds its target until the end of the job it was made in.
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    assert.equal(refs.length, 1);
    assert.equal(refs[0]?.deref(), undefined);
    assert.equal(log.query({ since: 0, limit: 2 * CAPACITY }).items.length, CAPACITY);
  });
});
