import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type EventKeeper, EventLog, type LoggedEvent } from './event-log.ts';

const at = '2026-11-22T12:00:00.000Z';
const BATCH = 500;

class FakeKeeper implements EventKeeper {
  lastId = 0;
  works = true;
  reads = true;
  readonly kept: LoggedEvent[] = [];
  readonly batches: number[] = [];

  keep(events: readonly LoggedEvent[]): boolean {
    if (!this.works) return false;
    this.kept.push(...events);
    this.batches.push(events.length);
    return true;
  }

  find(query: Parameters<EventKeeper['find']>[0]): LoggedEvent[] | undefined {
    if (!this.reads) return undefined;
    const { after, before, subject, limit } = query;
    const of = (event: LoggedEvent) => ('link' in event ? event.link : event.group);
    const all = this.kept.filter((event) => subject === undefined || of(event) === subject);
    if (after === undefined) return all.filter(({ id }) => id < (before ?? 1e9)).slice(-limit);
    return all.filter(({ id }) => id > after).slice(0, limit);
  }
}

function rig(): { keeper: FakeKeeper; log: EventLog; told: number[] } {
  const keeper = new FakeKeeper();
  const log = new EventLog(keeper);
  const told: number[] = [];
  log.on('event', ({ id }) => told.push(id));
  return { keeper, log, told };
}

function append(log: EventLog, count: number, group?: string): void {
  for (let index = 0; index < count; index += 1) {
    log.append({ at, type: 'note', text: 'x', ...(group === undefined ? {} : { group }) });
  }
}

const ids = (events: readonly LoggedEvent[]) => events.map(({ id }) => id);

suite('the event log with a keeper', () => {
  test('an event is told only once it is kept, by itself at the end of the turn', async () => {
    const { keeper, log, told } = rig();
    append(log, 1);
    assert.deepEqual([told.length, keeper.kept.length], [0, 0]);
    await nextTurn();
    await nextTurn();
    assert.deepEqual([told, ids(keeper.kept)], [[1], [1]]);
    log.close();
  });

  test('a question is answered with what is kept, and what waits is kept first', () => {
    const { keeper, log, told } = rig();
    append(log, 3);
    assert.deepEqual(ids(log.query({ limit: 10 }).items), [1, 2, 3]);
    assert.deepEqual(
      [ids(keeper.kept), told],
      [
        [1, 2, 3],
        [1, 2, 3],
      ],
    );
    log.close();
  });

  test('a flood is kept 500 at a time, each batch told after it is kept', async () => {
    const { keeper, log, told } = rig();
    append(log, 1_200);
    assert.equal(log.unkept, 1_200);
    log.flush();
    assert.deepEqual([keeper.batches, told.length, log.unkept], [[BATCH], BATCH, 700]);
    assert.equal(log.query({ since: 0, limit: 5_000 }).items.length, 2 * BATCH);
    log.close();
    assert.deepEqual(keeper.batches, [BATCH, BATCH, 200]);
    assert.equal(told.length, 1_200);
  });

  test('ids go on after the last one of the daemon before: 41, then 42', () => {
    const { keeper, log } = rig();
    keeper.lastId = 41;
    append(log, 1);
    log.flush();
    assert.deepEqual(ids(keeper.kept), [42]);
    log.close();
  });

  test('a keeper in trouble: told at once, found by id and by name, and kept in order later', () => {
    const { keeper, log, told } = rig();
    append(log, 4, 'db');
    log.flush();
    keeper.works = false;
    append(log, 3, 'db');
    append(log, 2);
    assert.equal(log.flush(), false);
    assert.equal(told.length, 9);
    assert.deepEqual(ids(log.query({ since: 2, limit: 4 }).items), [3, 4, 5, 6]);
    assert.equal(log.query({ since: 2, limit: 4 }).next, 6);
    assert.deepEqual(log.query({ since: 6, limit: 4 }), {
      items: log.query({ since: 6, limit: 9 }).items,
      next: null,
      isWhole: true,
    });
    assert.deepEqual(ids(log.query({ limit: 7 }).items), [3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual(ids(log.query({ limit: 5, link: 'db' }).items), [3, 4, 5, 6, 7]);
    // Back over the border between what is held and what is kept.
    const back = log.query({ before: 8, limit: 5 });
    assert.deepEqual([ids(back.items), back.next], [[3, 4, 5, 6, 7], 3]);
    const rest = log.query({ before: 3, limit: 5 });
    assert.deepEqual([ids(rest.items), rest.next], [[1, 2], null]);
    assert.deepEqual(log.query({ before: 1, limit: 5 }).items, []);
    assert.deepEqual(ids(log.query({ before: 9, limit: 3, link: 'db' }).items), [5, 6, 7]);
    assert.equal(keeper.kept.length, 4);
    keeper.works = true;
    assert.equal(log.flush(), true);
    assert.deepEqual(ids(keeper.kept), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.equal(told.length, 9, 'and none is told twice');
    log.close();
  });

  test('a keeper that cannot read: whole is only what follows from memory', () => {
    const { keeper, log } = rig();
    append(log, 4);
    log.flush();
    [keeper.works, keeper.reads] = [false, false];
    append(log, 3);
    log.flush();
    const asked = [{}, { since: 2 }, { since: 3 }, { since: 4 }, { since: 9 }, { before: 7 }];
    assert.deepEqual(
      asked.map((query) => {
        const { items, isWhole } = log.query({ ...query, limit: 2 });
        return [ids(items).join(), isWhole];
      }),
      [
        ['6,7', true],
        ['5,6', false],
        ['5,6', false],
        ['5,6', true],
        ['5,6', false],
        ['5,6', false],
      ],
    );
    assert.equal(log.lastId, 7);
    log.close();
  });

  test('the last id is that of the daemon before, until something is told', () => {
    const { keeper, log } = rig();
    keeper.kept.push({ id: 41, at, type: 'note', text: '' });
    keeper.lastId = 1_041;
    assert.equal(log.lastId, 41);
    keeper.reads = false;
    assert.equal(log.lastId, 1_041);
    append(log, 1);
    assert.equal(log.lastId, 1_042);
    log.close();
  });

  test('beyond 200,000 held the oldest 100,000 are lost, and that is said once it works again', () => {
    const { keeper, log } = rig();
    keeper.works = false;
    append(log, 200_001);
    log.flush();
    keeper.works = true;
    log.flush();
    assert.equal(keeper.kept[0]?.id, 100_001);
    log.close();
    const last = keeper.kept.at(-1);
    assert.equal(
      last !== undefined && 'text' in last ? last.text : '',
      '100000 events are lost: more happened than fits in memory',
    );
    assert.equal(keeper.kept.length, 100_002);
  });

  test('who is told something and asks for more does not overtake another listener', () => {
    const { log } = rig();
    const seen: string[] = [];
    log.on('event', ({ id }) => {
      seen.push(`first ${id}`);
      if (id === 1) append(log, 1);
      log.query({ limit: 1 });
    });
    log.on('event', ({ id }) => seen.push(`second ${id}`));
    append(log, 1);
    log.close();
    assert.deepEqual(seen, ['first 1', 'second 1', 'first 2', 'second 2']);
  });
});
