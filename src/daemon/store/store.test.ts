import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { LoggedEvent } from '../event-log.ts';
import { emptyStats } from './link-stats.ts';
import { exportLines, importLines } from './portable.ts';
import { DatabaseSync } from './sqlite.ts';
import { lockState } from './state-lock.ts';
import { Store } from './store.ts';

const START = Date.UTC(2026, 10, 22, 12);
const RETRY_MS = 5_000;
const ID_GAP = 1_000_000;

function tempDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

function storeIn(directory: string, mostEventBytes?: number) {
  const clock = { now: 0, wallMs: START };
  const notes: string[] = [];
  const store = new Store({
    directory,
    note: (text) => notes.push(text),
    now: () => clock.now,
    wallMs: () => clock.wallMs,
    ...(mostEventBytes === undefined ? {} : { mostEventBytes }),
  });
  return { store, clock, notes };
}

function events(from: number, count: number, text = 'x'): LoggedEvent[] {
  const at = '2026-11-22T12:00:00.000Z';
  return Array.from({ length: count }, (_, index) => ({
    id: from + index,
    at,
    type: 'note',
    text,
    ...((from + index) % 2 === 0 ? { group: 'even' } : {}),
  }));
}

const ids = (found: readonly LoggedEvent[] | undefined) => found?.map(({ id }) => id);

suite('the store', () => {
  test('events by id, the newest, those of a name, and pages; also after a restart', (t) => {
    const directory = tempDirectory(t);
    const { store } = storeIn(directory);
    store.open();
    assert.equal(store.lastId, 0);
    assert.equal(store.lastSign, undefined);
    assert.equal(statSync(store.file).mode & 0o777, 0o600);
    assert.equal(store.keep(events(1, 6)), true);
    store.close();
    const again = storeIn(directory).store;
    again.open();
    assert.deepEqual(again.lastSign, { atMs: START, stopped: true });
    assert.equal(again.lastId, 6, 'no gap after a stop');
    assert.deepEqual(ids(again.find({ limit: 2 })), [5, 6]);
    assert.deepEqual(ids(again.find({ after: 2, limit: 2 })), [3, 4]);
    assert.deepEqual(ids(again.find({ subject: 'even', limit: 2 })), [4, 6]);
    assert.deepEqual(ids(again.find({ subject: 'even', after: 2, limit: 9 })), [4, 6]);
    assert.deepEqual(again.find({ subject: 'nobody', limit: 9 }), []);
    assert.deepEqual(again.find({ after: 5, limit: 1 }), events(6, 1));
    assert.deepEqual(ids(again.find({ before: 5, limit: 2 })), [3, 4]);
    assert.deepEqual(ids(again.find({ before: 6, subject: 'even', limit: 9 })), [2, 4]);
    again.close();
  });

  test('after a kill the ids go on a million later, for what was told and could not be kept', (t) => {
    const directory = tempDirectory(t);
    const { store } = storeIn(directory);
    store.open();
    store.keep(events(1, 6));
    const copy = storeIn(directory).store;
    copy.open();
    assert.equal(copy.lastId, 6 + ID_GAP);
    copy.close();
    store.close();
  });

  test('events take no more than their cap of 100 kB: the oldest go, and the file stops growing', (t) => {
    const { store } = storeIn(tempDirectory(t), 100_000);
    store.open();
    const pages = () => {
      const db = new DatabaseSync(store.file, { readOnly: true });
      const count = Number(db.prepare('PRAGMA page_count').get()?.['page_count']);
      db.close();
      return count;
    };
    let next = 1;
    const write = () => {
      for (let batch = 0; batch < 20; batch += 1, next += 100) {
        store.keep(events(next, 100, 'y'.repeat(100)));
      }
    };
    write();
    const full = pages();
    write();
    write();
    assert(pages() <= full * 1.2, `${pages()} pages after ${full}`);
    const left = store.find({ after: 0, limit: 10_000 }) ?? [];
    assert.equal(left.at(-1)?.id, next - 1);
    assert(left.length > 100 && left.length < 700, `${left.length} left`);
    store.close();
  });

  test('a file that is no database is put aside, a new one is begun, and that is said', (t) => {
    const directory = tempDirectory(t);
    writeFileSync(path.join(directory, 'linkhold.db'), 'no database at all, '.repeat(100));
    const { store, notes } = storeIn(directory);
    store.open();
    assert.equal(store.trouble(), undefined);
    assert.match(notes[0] ?? '', /linkhold\.db was damaged \(.*\): a new one is begun, it is now /);
    assert.equal(notes.length, 1);
    assert(readdirSync(directory).includes('linkhold.db.corrupt-2026-11-22T12-00-00.000Z'));
    assert(store.lastId >= START, 'ids above those of the file that is gone');
    assert.equal(store.keep(events(store.lastId + 1, 1)), true);
    store.close();
  });

  test('a damaged file that cannot be put aside at the start is put aside once it can', (t) => {
    const directory = tempDirectory(t);
    writeFileSync(path.join(directory, 'linkhold.db'), 'no database at all, '.repeat(100));
    const taken = path.join(directory, 'linkhold.db.corrupt-2026-11-22T12-00-00.000Z');
    madeAnew(path.join(taken, 'full'));
    const { store, notes, clock } = storeIn(directory);
    store.open();
    assert.match(store.trouble() ?? '', /linkhold\.db does not work .*; what happens is kept in/);
    assert.equal(store.keep(events(1, 1)), false);
    [clock.now, clock.wallMs] = [RETRY_MS, START + RETRY_MS];
    assert.equal(store.keep(events(1, 1)), true);
    assert.equal(store.trouble(), undefined);
    assert.deepEqual(
      notes.slice(1).map((note) => note.replace(/^.*linkhold\.db was/, 'was').slice(0, 12)),
      ['was damaged ', 'the memory o'],
    );
    store.close();
  });

  test('damaged while it runs: put aside once, and not again and again where a disk damages all', (t) => {
    const directory = tempDirectory(t);
    const { store, notes, clock } = storeIn(directory);
    store.open();
    const damage = () => {
      const other = new DatabaseSync(store.file);
      other.enableDefensive(false);
      other.exec("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'nonsense'");
      other.exec('PRAGMA schema_version = 99');
      other.close();
    };
    damage();
    assert.equal(store.keep(events(1, 1)), false);
    assert.match(notes[0] ?? '', /was damaged .*: a new one is begun/);
    assert.equal(store.keep(events(1, 1)), true);
    damage();
    for (let round = 0; round < 5; round += 1) {
      assert.equal(store.keep(events(2, 1)), false);
      clock.now += RETRY_MS;
    }
    assert.match(
      store.trouble() ?? '',
      /linkhold\.db does not work \(.*malformed.*\); what happens/,
    );
    const aside = readdirSync(directory).filter((name) => /corrupt-[^w]*Z$/.test(name));
    assert.equal(aside.length, 1);
    store.close();
  });

  test('a file of a newer linkhold: refused at the start, and mere trouble while it runs', (t) => {
    const { store, clock } = storeIn(tempDirectory(t));
    store.open();
    const other = new DatabaseSync(store.file);
    other.exec('PRAGMA user_version = 99');
    store.keep(events(1, 1));
    other.exec('BEGIN IMMEDIATE');
    assert.equal(store.keep(events(2, 1)), false);
    other.exec('ROLLBACK');
    other.close();
    clock.now += RETRY_MS;
    assert.equal(store.keep(events(2, 1)), false);
    assert.match(store.trouble() ?? '', /is of version 99, and this linkhold knows/);
    store.close();
    const late = storeIn(path.dirname(store.file)).store;
    assert.throws(() => late.open(), { code: 'newer-database' });
  });

  test('a directory that does not exist: one sentence, memory alone, and kept once it is there', (t) => {
    const directory = tempDirectory(t);
    const { store, notes, clock } = storeIn(path.join(directory, 'below'));
    store.open();
    const trouble =
      /^.*below\/linkhold\.db cannot be opened or made; what happens is kept in memory/;
    assert.match(store.trouble() ?? '', trouble);
    assert.equal(store.keep(events(1, 1)), false);
    assert.equal(store.find({ limit: 1 }), undefined);
    assert.equal(store.series('a', { fromMs: 0, toMs: 1 }, 1), undefined);
    clock.now += RETRY_MS;
    assert.equal(store.keep(events(1, 1)), false);
    assert.equal(notes.length, 1, 'the same trouble is said once');
    rmSync(directory, { recursive: true });
    madeAnew(path.join(directory, 'below'));
    assert.equal(store.keep(events(1, 1)), false, 'not asked before 5 s have passed');
    clock.now += RETRY_MS;
    assert.equal(store.keep(events(1, 1)), true);
    assert.equal(store.trouble(), undefined);
    assert.deepEqual(notes.slice(1), ['the memory on disk works again']);
    store.close();
  });

  test('a row that cannot be read is left out, and the page has the next one in its place', (t) => {
    const { store } = storeIn(tempDirectory(t));
    store.open();
    store.keep(events(1, 6));
    const other = new DatabaseSync(store.file);
    other.exec("UPDATE events SET body = 'nonsense' WHERE id IN (2, 5)");
    other.close();
    assert.deepEqual(ids(store.find({ after: 0, limit: 3 })), [1, 3, 4]);
    assert.deepEqual(ids(store.find({ before: 6, limit: 3 })), [1, 3, 4]);
    assert.deepEqual(ids(store.find({ limit: 2 })), [4, 6]);
    store.close();
  });

  test('a clock set back by a year: events stay in the order of their ids', (t) => {
    const { store, clock } = storeIn(tempDirectory(t));
    store.open();
    store.keep(events(1, 1));
    clock.wallMs -= 365 * 86_400_000;
    store.keep(events(2, 1));
    store.beat(false);
    assert.deepEqual(ids(store.find({ limit: 9 })), [1, 2]);
    store.close();
  });

  test('a minute of 500 links is written in slices, and what is kept is taken out of it', async (t) => {
    const { store } = storeIn(tempDirectory(t));
    store.open();
    const stats = emptyStats();
    stats.stateMs.up = 60_000;
    const minute = new Map(Array.from({ length: 500 }, (_, index) => [`l${index}`, stats]));
    assert.equal(await store.putMinute(START - 60_000, minute), true);
    assert.equal(minute.size, 0);
    const span = { fromMs: START - 60_000, toMs: START };
    const bars = await store.bars(['l0', 'l499'], span, 1);
    assert.deepEqual([...bars.values()], [[[1, 0, 0, 0]], [[1, 0, 0, 0]]]);
    store.close();
    const other = new Map([['a', stats]]);
    assert.equal(await store.putMinute(START, other), false);
    assert.equal(other.size, 1, 'what is not kept stays');
  });
});

test('once tidied, the file alone has everything, without its log', async (t) => {
  const { store } = storeIn(tempDirectory(t));
  store.open();
  store.keep(events(1, 3));
  const elsewhere = tempDirectory(t);
  assert.equal(await store.tidy(), true);
  copyFileSync(store.file, path.join(elsewhere, 'linkhold.db'));
  const copy = storeIn(elsewhere).store;
  copy.open();
  assert.deepEqual(ids(copy.find({ limit: 9 })), [1, 2, 3]);
  copy.close();
  store.close();
});

/** The directory anew. */
function madeAnew(directory: string): void {
  mkdirSync(directory, { recursive: true });
}

async function* those(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

suite('export and import', () => {
  function filled(t: TestContext): string {
    const { store } = storeIn(tempDirectory(t));
    store.open();
    store.attach({
      changes: () => ({
        links: [['a', { state: 'drained', since: 's', reason: 'drained', url: 'tcp://a' }]],
        groups: [['g', { active: 'a', since: 's', why: 'start' }]],
      }),
      taken: () => undefined,
    });
    store.keep(events(1, 5));
    const stats = emptyStats();
    stats.stateMs.up = 60_000;
    stats.probes = 2;
    stats.roundTrips.record(1.5);
    store.putMinuteNow(START, new Map([['a', stats]]));
    store.close();
    return store.file;
  }

  test('what is imported exports as the same 10 lines', async (t) => {
    const lines = [...exportLines(filled(t))];
    assert.equal(lines.length, 12);
    const file = path.join(tempDirectory(t), 'linkhold.db');
    assert.equal(await importLines(file, those(lines), 'x'), 10);
    assert.deepEqual(readdirSync(path.dirname(file)), ['linkhold.db']);
    assert.deepEqual([...exportLines(file)], lines);
    const { store } = storeIn(path.dirname(file));
    store.open();
    assert.equal(store.links.get('a')?.state, 'drained');
    assert.equal(store.lastId, 5);
    store.close();
  });

  test('a directory that has a database, half a file, and lines of anything: refused, and nothing is left', async (t) => {
    const file = filled(t);
    const lines = [...exportLines(file)];
    await assert.rejects(importLines(file, those(lines), 'x'), { code: 'not-empty' });
    const empty = path.join(tempDirectory(t), 'linkhold.db');
    for (const [bad, message] of [
      [lines.slice(0, -1), /^x:11: it is not whole: its end is missing/],
      [lines.slice(0, 5), /^x:5: it is not whole/],
      [[lines[0] ?? '', '{"end":1}'], /^x:2: it is not whole/],
      [[], /^x:0: it is not whole/],
      [lines.slice(1), /^x:1: this is no export of version 1/],
      [[...lines, lines[1] ?? ''], /^x:13: more after its end/],
      [[lines[0] ?? '', '{"event":{"id":-1}}', '{"end":1}'], /^x:2: this is no line of an export/],
      [[lines[0] ?? '', 'nonsense', '{"end":1}'], /^x:2: this is no line/],
    ] as const) {
      const error = { name: 'UsageError', code: 'bad-export', message };
      await assert.rejects(importLines(empty, those(bad), 'x'), error);
      assert.deepEqual(readdirSync(path.dirname(empty)), []);
    }
  });

  test('no database: a SystemError that names the flag', (t) => {
    const file = path.join(tempDirectory(t), 'linkhold.db');
    assert.throws(() => [...exportLines(file)], { code: 'no-database', message: /--state-dir$/ });
  });
});

suite('the lock of a state directory', () => {
  test('one at a time: refused with the process id, free again after release', (t) => {
    const directory = tempDirectory(t);
    const lock = lockState(directory);
    assert.equal(lock.trouble, undefined);
    assert.throws(() => lockState(directory), {
      code: 'already-running',
      message: `a daemon (process ${process.pid}) runs with ${directory}; stop it, or choose another with --state-dir`,
    });
    lock.release();
    lockState(directory).release();
  });

  test('where no file can be made the daemon runs, and it is said that a second one would too', () => {
    const { trouble, release } = lockState('/nonexistent');
    assert.match(trouble ?? '', /^\/nonexistent\/daemon\.lock cannot be locked .*ENOENT/);
    release();
  });
});
