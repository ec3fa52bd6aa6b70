import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { LinkState } from '../../keepalive/keepalive.ts';
import { type Learned, Link } from '../../link/link.ts';
import { Recorder } from './recorder.ts';
import { DatabaseSync } from './sqlite.ts';
import { type Standing, Store } from './store.ts';

const TIMING = { timeMs: 1e9, intervalMs: 1e9, probes: 3 };
const FACTS = { kind: 'test', class: 'answered', proves: 'nothing' } as const;

class TestLink extends Link {
  constructor(name: string, url = 'test://a') {
    super({ name, url, timing: TIMING }, FACTS, TIMING);
  }

  protected open(): void {}
  protected sendProbe(): void {}
  protected shut(): void {}

  hear(): void {
    this.feed((machine, now) => machine.handleReceived(now));
  }

  find(learned: Learned): void {
    this.learn(learned);
  }

  fail(): void {
    this.feed((machine, now) => machine.handleFailure('reset', {}, now));
  }
}

interface Rig {
  store: Store;
  recorder: Recorder;
  links: TestLink[];
  notes: string[];
  flushes: () => number;
  /** Adds a link, followed. */
  add(name: string, url?: string): TestLink;
}

function rig(
  t: TestContext,
  directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-')),
  now: () => number = () => performance.now(),
): Rig {
  const notes: string[] = [];
  const store = new Store({ directory, note: (text) => notes.push(text), now });
  store.open();
  const links: TestLink[] = [];
  let flushes = 0;
  const recorder = new Recorder(store, {
    links: () => links,
    groups: () => [['g', { active: 'a', since: '2026-11-22T12:00:00.000Z', why: 'start' }]],
    flush: () => {
      flushes += 1;
      store.keep([]);
    },
    note: (text) => notes.push(text),
  });
  t.after(async () => {
    await recorder.stop();
    for (const link of links) link.close();
    store.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const add = (name: string, url?: string) => {
    const link = new TestLink(name, url);
    recorder.follow(link);
    link.start();
    links.push(link);
    return link;
  };
  return { store, recorder, links, notes, flushes: () => flushes, add };
}

/** Everything of a link around now. */
function totalOf(store: Store, link: string) {
  const now = Date.now();
  const total = store.series(link, { fromMs: now - 300_000, toMs: now + 300_000 }, 60_000)?.total;
  assert(total !== undefined);
  return total;
}

suite('the recorder', () => {
  test('counts probes, those without an answer as lost, and round trips: 4, 2, 2', async (t) => {
    const { store, recorder, add } = rig(t);
    const link = add('a');
    const at = { at: '', link: 'a' };
    const probe = () => link.emit('probe', { ...at, type: 'probe' });
    const reply = (rttMs: number) => link.emit('reply', { ...at, type: 'reply', rttMs });
    probe();
    reply(3);
    probe();
    probe();
    probe();
    reply(5);
    await recorder.stop();
    const { probes, losses, rttMs } = totalOf(store, 'a');
    assert.deepEqual([probes, losses, rttMs?.count, rttMs?.max], [4, 2, 2, 5]);
  });

  test('time is that of the monotonic clock: 30 s up, then down, whatever the wall clock says', async (t) => {
    const { store, recorder, add } = rig(t);
    const link = add('a');
    link.hear();
    const from = performance.now();
    for (let s = 1; s <= 30; s += 1) recorder.tick(from + s * 1_000, Date.now());
    // The minute is over when the wall clock says so, also if that goes back by a year.
    recorder.tick(from + 31_000, Date.now() - 365 * 86_400_000);
    recorder.tick(from + 32_000, Date.now());
    await recorder.stop();
    const { up, down } = totalOf(store, 'a').stateMs;
    assert(up >= 30_900 && up < 32_000, `${up}`);
    assert.equal(down, 0);
  });

  test('61 s in which this process stood still are not observed, and said once', async (t) => {
    const { store, recorder, notes, add } = rig(t);
    add('a').hear();
    const from = performance.now();
    recorder.tick(from + 500, Date.now());
    recorder.tick(from + 61_500, Date.now());
    recorder.tick(from + 62_500, Date.now());
    recorder.tick(from + 62_600, Date.now() + 60_000);
    await recorder.stop();
    assert.deepEqual(notes, ['nothing was observed for 61 s: this process stood still']);
    const { up } = totalOf(store, 'a').stateMs;
    assert(up > 1_400 && up < 2_000, `${up}`);
  });

  test('drained is kept before drain returns, and the next daemon starts with it', async (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    const first = rig(t, directory);
    const link = first.add('a');
    link.hear();
    assert.equal(first.flushes(), 0);
    link.drain();
    assert.equal(first.flushes(), 1);
    const { since } = link.status();
    // As after kill -9: nothing more is written.
    const copy = new Store({ directory, note: () => undefined });
    copy.open();
    assert.equal(copy.links.get('a')?.state, 'drained');
    assert.equal(copy.lastSign?.stopped, false);
    assert.equal(copy.groups.get('g')?.active, 'a');
    copy.close();
    const second = rig(t, directory).add('a');
    assert.equal(second.state, 'drained');
    assert.equal(second.status().since, since);
  });

  test('up since then, if the first thing observed is up; else since now; not for another URL', (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    const first = rig(t, directory);
    const since = new Map<string, string>();
    for (const name of ['a', 'b', 'c']) {
      const link = first.add(name);
      link.hear();
      since.set(name, link.status().since);
    }
    first.store.keep([]);
    const second = rig(t, directory);
    const states: [string, LinkState, boolean][] = [];
    const lateAt = Date.now() + 5;
    while (Date.now() < lateAt);
    for (const name of ['a', 'b', 'c']) {
      const link = second.add(name, name === 'c' ? 'test://other' : 'test://a');
      assert.equal(link.state, 'unknown');
      if (name === 'b') link.fail();
      link.hear();
      states.push([name, link.state, link.status().since === since.get(name)]);
    }
    assert.deepEqual(states, [
      ['a', 'up', true],
      ['b', 'up', false],
      ['c', 'up', false],
    ]);
  });

  test('a memory that opens only later: drains and what was learned are taken up, decisions stand', (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    const first = rig(t, directory);
    const [, a, b, , z] = ['other', 'a', 'b', 'c', 'z'].map((name) => first.add(name));
    for (const link of first.links) link.hear();
    a?.find({ localPort: 1_194 });
    for (const link of [a, b, z]) link?.drain();
    // As after kill -9, and the disk is not there.
    const away = `${directory}-away`;
    t.after(() => rmSync(away, { recursive: true, force: true }));
    renameSync(directory, away);
    const clock = { now: 0 };
    const second = rig(t, directory, () => clock.now);
    assert.match(second.store.trouble() ?? '', /cannot be opened or made/);
    const [c, d, e, f] = ['a', 'b', 'c', 'z'].map((name) => second.add(name));
    c?.hear();
    f?.hear();
    d?.drain();
    d?.resume();
    const from = performance.now();
    second.recorder.tick(from + 1_000, Date.now());
    assert.deepEqual([c?.state, d?.state, e?.state], ['up', 'unknown', 'unknown']);
    renameSync(away, directory);
    clock.now += 5_000;
    second.store.keep([]);
    const peek = new Store({ directory, note: () => undefined });
    peek.open();
    assert.equal(peek.links.get('a')?.state, 'drained', 'not written over before it is taken up');
    peek.close();
    second.recorder.tick(from + 2_000, Date.now());
    const states = [c, d, e, f].map((link) => link?.state);
    assert.deepEqual(states, ['drained', 'unknown', 'unknown', 'drained']);
    assert.deepEqual(c?.learned, { localPort: 1_194 });
    assert.equal(c?.status().since, a?.status().since);
    assert(second.notes.some((text) => text.startsWith('nothing was observed since ')));
    assert.equal(second.store.trouble(), undefined);
    second.store.keep([]);
    const third = new Store({ directory, note: () => undefined });
    third.open();
    const kept = ['a', 'b', 'other', 'z'].map((name) => third.links.get(name)?.state);
    assert.deepEqual(kept, ['drained', 'unknown', 'up', 'drained']);
    third.close();
  });

  test('what a link learned is kept within 10 s without any event, and not for another URL', (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    const first = rig(t, directory);
    const link = first.add('a');
    link.find({ idleTimeoutMs: 5_000, localPort: 1_194 });
    const from = performance.now();
    for (let s = 1; s <= 12; s += 1) first.recorder.tick(from + s * 1_000, Date.now());
    link.find({ localPort: undefined });
    for (let s = 13; s <= 24; s += 1) first.recorder.tick(from + s * 1_000, Date.now());
    // As after kill -9: nothing more is written.
    const second = rig(t, directory);
    assert.deepEqual(second.add('a').status().learned, { idleTimeoutMs: 5_000 });
    const third = rig(t, directory);
    assert.equal(third.add('a', 'test://other').status().learned, undefined);
  });

  test('what is no learned value in the file is not taken for one', (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    const first = rig(t, directory);
    for (const name of ['a', 'b']) first.add(name).drain();
    const db = new DatabaseSync(first.store.file);
    const named = (name: string) => `name = (SELECT id FROM names WHERE name = '${name}')`;
    const learned = `json_set(body, '$.learned', json('{"localPort":"x"}'))`;
    db.exec(`UPDATE links SET body = ${learned} WHERE ${named('a')}`);
    db.exec(`UPDATE links SET body = json_set(body, '$.state', 'happy') WHERE ${named('b')}`);
    db.close();
    const second = rig(t, directory);
    const [a, b] = [second.add('a'), second.add('b')];
    assert.deepEqual([a.state, a.learned, b.state], ['drained', {}, 'unknown']);
  });

  test('a link that left the configuration keeps its past, and is drained when it returns', async (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    const first = rig(t, directory);
    const gone = first.add('gone');
    gone.hear();
    gone.emit('reply', { at: '', link: 'gone', type: 'reply', rttMs: 7 });
    gone.drain();
    first.links.splice(0, 1);
    gone.close();
    await first.recorder.stop();
    first.store.close();
    // A daemon that knows nothing of it.
    const second = rig(t, directory);
    second.add('other').hear();
    await second.recorder.stop();
    assert.equal(await second.store.tidy(), true);
    assert.equal(totalOf(second.store, 'gone').rttMs?.max, 7);
    second.store.close();
    const third = rig(t, directory);
    assert.equal(third.add('gone').state, 'drained');
  });

  test('what changed is offered until it is kept, and a group only when its path is another', (t) => {
    const { recorder, add } = rig(t);
    add('a').hear();
    const names = ({ links, groups }: Standing) => [links.length, groups.length];
    assert.deepEqual(names(recorder.changes()), [1, 1]);
    const standing = recorder.changes();
    assert.deepEqual(names(standing), [1, 1]);
    recorder.taken(standing);
    assert.deepEqual(names(recorder.changes()), [0, 0]);
  });

  test('the gap since the last sign of life is a note, also from a clock that was ahead', (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    const ahead = Date.UTC(2099, 0);
    for (const [wallMs, text] of [
      [Date.UTC(2026, 0), /^nothing was observed since 2026-01-01T00:00:00.000Z: .* stopped then$/],
      [ahead, /2099-01-01T00:00:00.000Z, which this machine's clock has yet to reach$/],
    ] as const) {
      const store = new Store({ directory, note: () => undefined, wallMs: () => wallMs });
      store.open();
      store.close();
      const { recorder, notes, store: next } = rig(t, directory);
      recorder.start();
      assert.match(notes[0] ?? '', text);
      next.close();
    }
  });
});
