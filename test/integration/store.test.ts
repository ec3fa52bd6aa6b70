/** What outlives the daemon, against kill -9, a full disk, a read-only one, and damaged files. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EventLog } from '../../src/daemon/event-log.ts';
import { emptyStats } from '../../src/daemon/store/link-stats.ts';
import { DatabaseSync } from '../../src/daemon/store/sqlite.ts';
import { Store } from '../../src/daemon/store/store.ts';
import { Prng } from '../support/prng.ts';

const WRITER = fileURLToPath(new URL('../support/peer-store.ts', import.meta.url));
const KILLS = 100;
const AT_ONCE = 4;
/** Node's own cache of compiled modules halves the time that each of them takes to start. */
const COMPILE_CACHE = fileURLToPath(
  new URL('../../node_modules/.cache/linkhold-compile', import.meta.url),
);
const RETRY_MS = 5_000;
const START_MS = Date.UTC(2026, 10, 22, 12);

function tempDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-store-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A store whose clock stands until it is moved. */
function storeIn(directory: string): { store: Store; notes: string[]; clock: { now: number } } {
  const notes: string[] = [];
  const clock = { now: 0 };
  const wallMs = () => START_MS + clock.now;
  const store = new Store({ directory, note: (n) => notes.push(n), now: () => clock.now, wallMs });
  return { store, notes, clock };
}

function append(log: EventLog, count: number, text = 'x'.repeat(100)): void {
  for (let index = 0; index < count; index += 1) {
    log.append({ at: '2026-11-22T12:00:00.000Z', type: 'note', text });
  }
}

/** One daemon's life: it is killed once it has told so many events. Returns what it told. */
async function killedAfter(directory: string, begin: string, events: number): Promise<string[]> {
  const writer = spawn(process.execPath, [WRITER, directory, begin], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
  });
  let out = '';
  let lines = 0;
  writer.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    lines += text.split('\n').length - 1;
    if (lines >= events) writer.kill('SIGKILL');
  });
  const [code, signal] = await once(writer, 'close');
  assert.equal(signal, 'SIGKILL', `it ended by itself with ${code}`);
  return out.split('\n').slice(0, -1);
}

function tmpfs(t: TestContext, options: string): string | undefined {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-store-'));
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'none', directory], {
    encoding: 'utf8',
  });
  t.after(() => {
    // Lazily: a test that failed has files open in it.
    if (status === 0) spawnSync('umount', ['-l', directory]);
    rmSync(directory, { recursive: true });
  });
  if (status === 0) return directory;
  t.skip(`no tmpfs can be mounted: ${stderr.trim()}`);
  return undefined;
}

suite('the store under fire', { timeout: 300_000 }, () => {
  test('of 100 daemons killed with -9 while they write, no event that was told is missing', async (t) => {
    const random = new Prng(7);
    const lives = async (directory: string): Promise<void> => {
      const told = new Map<number, string>();
      let last = 0;
      for (let life = 1; life <= KILLS / AT_ONCE; life += 1) {
        for (const line of await killedAfter(directory, `life ${life}`, random.between(1, 600))) {
          const [, id = '', text = ''] = /^(\d+) (.*)$/.exec(line) ?? [];
          assert(Number(id) > last, `${id} after ${last}`);
          last = Number(id);
          told.set(last, text);
        }
      }
      const { store } = storeIn(directory);
      store.open();
      assert.equal(store.trouble(), undefined);
      assert(store.lastId > last);
      const kept = store.find({ after: 0, limit: 10_000_000 }) ?? [];
      const texts = new Map(kept.map((event) => [event.id, 'text' in event ? event.text : '']));
      for (const [id, text] of told) assert.equal(texts.get(id), text);
      // How the group stands was kept with the last batch, and not a batch before or after.
      const [newest] = store.find({ limit: 1 }) ?? [];
      const [, life, count] = /^life (\d+) (\d+)$/.exec(texts.get(newest?.id ?? 0) ?? '') ?? [];
      const [, standsIn, standsAt] =
        /^life (\d+) (\d+)$/.exec(store.groups.get('g')?.active ?? '') ?? [];
      assert.equal(standsIn, life);
      assert(Number(standsAt) >= Number(count));
      store.close();
      const db = new DatabaseSync(store.file);
      assert.equal(db.prepare('PRAGMA integrity_check').get()?.['integrity_check'], 'ok');
      db.close();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, () => lives(tempDirectory(t))));
  });

  test('a full disk: says so, holds what happens, and keeps all of it once there is room', (t) => {
    const directory = tmpfs(t, 'size=1m');
    if (directory === undefined) return;
    const { store, notes, clock } = storeIn(directory);
    store.open();
    const log = new EventLog(store);
    let told = 0;
    log.on('event', () => {
      told += 1;
    });
    const ballast = path.join(directory, 'ballast');
    assert.throws(() => writeFileSync(ballast, Buffer.alloc(4_000_000)), { code: 'ENOSPC' });
    append(log, 5_000);
    for (let round = 0; round < 12; round += 1) log.flush();
    assert.match(
      store.trouble() ?? '',
      /^the disk of .*linkhold\.db is full; what happens is kept/,
    );
    assert.equal(notes.length, 1, 'it is said once');
    assert.equal(told, 5_000, 'told all the same');
    assert.equal(log.query({ limit: 10_000 }).items.length, 5_000);
    rmSync(ballast);
    // The file itself needs more than a megabyte.
    assert.equal(spawnSync('mount', ['-o', 'remount,size=16m', directory]).status, 0);
    log.flush();
    assert.notEqual(store.trouble(), undefined, 'a disk is not asked all the time');
    clock.now += RETRY_MS;
    log.close();
    assert.equal(store.trouble(), undefined);
    assert.equal(notes.at(-1), 'the memory on disk works again');
    assert.equal(store.find({ after: 0, limit: 10_000 })?.length, 5_000);
    store.close();
  });

  test('a read-only directory: holds what happens in memory, and reads what is there', (t) => {
    const directory = tmpfs(t, 'size=16m');
    if (directory === undefined) return;
    const first = storeIn(directory);
    first.store.open();
    const before = new EventLog(first.store);
    append(before, 3);
    before.close();
    first.store.close();
    assert.equal(spawnSync('mount', ['-o', 'remount,ro', directory]).status, 0);
    const { store, notes, clock } = storeIn(directory);
    store.open();
    const log = new EventLog(store);
    append(log, 2);
    log.flush();
    assert.match(
      store.trouble() ?? '',
      /linkhold\.db cannot be .*; what happens is kept in memory/,
    );
    assert.equal(notes.length, 1);
    const items = log.query({ since: 0, limit: 10 }).items;
    assert(items.length === 2 || items.length === 5, `${items.length}`);
    assert.equal(spawnSync('mount', ['-o', 'remount,rw', directory]).status, 0);
    clock.now += RETRY_MS;
    assert.equal(log.flush(), true);
    assert.equal(log.query({ since: 0, limit: 10 }).items.length, 5);
    store.close();
  });

  test('one locked by another process: says so, and keeps all of it afterwards', (t) => {
    const { store, notes, clock } = storeIn(tempDirectory(t));
    store.open();
    const other = new DatabaseSync(store.file);
    other.exec('BEGIN IMMEDIATE');
    const log = new EventLog(store);
    append(log, 10);
    log.flush();
    assert.match(store.trouble() ?? '', /linkhold\.db is locked by another process/);
    other.exec('ROLLBACK');
    other.close();
    clock.now += RETRY_MS;
    log.close();
    assert.equal(store.find({ after: 0, limit: 100 })?.length, 10);
    assert.deepEqual(notes.length, 2);
    store.close();
  });

  test('100 databases with bytes changed anywhere: each is read, or put aside and begun anew', async (t) => {
    const directory = tempDirectory(t);
    const sound = path.join(directory, 'sound');
    mkdirSync(sound);
    const { store } = storeIn(sound);
    store.open();
    const log = new EventLog(store);
    append(log, 300);
    log.close();
    const stats = emptyStats();
    stats.stateMs.up = 60_000;
    stats.roundTrips.record(3);
    for (let minute = 0; minute < 200; minute += 1) {
      store.putMinuteNow(START_MS - minute * 60_000, new Map([['a', stats]]));
    }
    store.close();
    let aside = 0;
    for (let seed = 1; seed <= 100; seed += 1) {
      const random = new Prng(seed);
      const place = path.join(directory, String(seed));
      mkdirSync(place);
      const file = path.join(place, 'linkhold.db');
      copyFileSync(store.file, file);
      const bytes = readFileSync(file);
      const least = seed % 2 === 0 ? 100 : 0;
      for (let change = random.between(1, 40); change > 0; change -= 1) {
        bytes[random.between(least, bytes.length - 1)] = random.between(0, 255);
      }
      if (random.chance(0.2)) bytes.fill(0, random.between(0, bytes.length));
      writeFileSync(file, bytes);
      const { store: damaged, notes, clock } = storeIn(place);
      try {
        damaged.open();
      } catch (error) {
        // A changed version is one of a newer program's: it is refused and left as it is.
        assert.equal((error as { code?: string }).code, 'newer-database', `seed ${seed}`);
        continue;
      }
      const span = { fromMs: START_MS - 86_400_000, toMs: START_MS + 60_000 };
      damaged.find({ after: 0, limit: 1_000 });
      damaged.series('a', span, 60_000);
      await damaged.bars(['a', 'b'], span, 24);
      await damaged.putMinute(START_MS, new Map([['a', stats]]));
      await damaged.tidy();
      const after = new EventLog(damaged);
      append(after, 1, 'afterwards');
      for (let round = 0; round < 3; round += 1) {
        after.flush();
        clock.now += RETRY_MS;
      }
      const [newest] = after.query({ limit: 1 }).items;
      assert(newest !== undefined, `seed ${seed}: ${notes.join(' | ')}`);
      damaged.close();
      aside += readdirSync(place).some((name) => name.includes('.corrupt-')) ? 1 : 0;
    }
    assert(aside >= 10 && aside < 100, `${aside} were put aside`);
  });
});
