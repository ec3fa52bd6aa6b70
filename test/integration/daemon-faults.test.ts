/**
 * The whole daemon under faults, with real links that flap: killed with -9 again and again, a full and a
 * read-only disk, a damaged file, a clock that is set, receivers of notifications that hang.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { LoggedEvent } from '../../src/daemon/event-log.ts';
import { DatabaseSync } from '../../src/daemon/store/sqlite.ts';
import { apiAnswer, temporaryDirectory } from '../support/cli.ts';
import { DaemonRig, type Told } from '../support/daemon-rig.ts';
import { freePort } from '../support/free-port.ts';
import { Prng } from '../support/prng.ts';
import { startReceiver } from '../support/receiver.ts';
import { eventually } from '../support/scripted-http.ts';

/** Daemons that run side by side, and how often each is killed. */
const AT_ONCE = 4;
const KILLS = Number(process.env['DAEMON_KILLS'] ?? 20) / AT_ONCE;
const BOUND_MS = 20_000;
const YEAR_S = 365 * 86_400;

/** A file system of its own for a state directory; skips the test where none can be mounted. */
function tmpfs(t: TestContext, options: string): string | undefined {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-faults-'));
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

function remount(directory: string, options: string): void {
  const { status, stderr } = spawnSync('mount', ['-o', `remount,${options}`, directory], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
}

/** Resolves once the stream has told an event that fits. */
async function tells(
  { events }: Told,
  what: string,
  fits: (event: LoggedEvent) => boolean,
): Promise<LoggedEvent> {
  const find = () => [...events.values()].find(fits);
  await eventually(what, () => find() !== undefined, BOUND_MS);
  return find() as LoggedEvent;
}

/** Told that a link is in a state, after event `since`. */
const entered = (told: Told, link: string, to: string, since = 0) =>
  tells(
    told,
    `${link} is ${to}`,
    (event) => event.type === 'state' && event.link === link && event.to === to && event.id > since,
  );

const lastOf = ({ events }: Told) => [...events.keys()].at(-1) ?? 0;

/** Links go down and come back until it is over. */
async function flap(rig: DaemonRig, random: Prng, until: () => boolean): Promise<void> {
  while (!until()) {
    const peers = [...rig.peers.values()];
    const peer = peers[random.between(0, peers.length - 1)];
    if (peer !== undefined) peer.answers = !peer.answers;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** One life of a daemon: it is killed once it has told so many events of links that flap. */
async function oneLife(rig: DaemonRig, random: Prng, since: number): Promise<Told> {
  const daemon = await rig.start();
  const told = await rig.listen(since);
  const most = random.between(20, 120);
  let killed = false;
  void told.ended.then(() => {
    killed = true;
  });
  const drains = random.chance(0.5);
  if (drains) await rig.post('h', random.chance(0.5) ? 'drain' : 'resume');
  const lateAt = performance.now() + BOUND_MS;
  await flap(rig, random, () => told.events.size >= most || killed || performance.now() > lateAt);
  assert(told.events.size >= most, `only ${told.events.size} events`);
  daemon.kill('SIGKILL');
  await daemon.ended();
  await told.ended;
  return told;
}

/** Every state follows from the one before it, and every switch begins where the last one ended. */
function assertOneStory(events: readonly LoggedEvent[], lives: number): void {
  const states = new Map<string, string>();
  const drained = new Set<string>();
  let active: string | undefined;
  let begun = 0;
  for (const event of events) {
    if (event.type === 'note' && /^nothing was observed since/.test(event.text)) {
      begun += 1;
      // Nobody watched: nothing is known, but that what a person drained is so still.
      for (const [link, state] of states) {
        if (state === 'drained') drained.add(link);
        states.set(link, 'unknown');
      }
    } else if (event.type === 'state') {
      const before = states.get(event.link) ?? 'unknown';
      assert.equal(event.from, before, `event ${event.id}: ${JSON.stringify(event)}`);
      if (drained.delete(event.link)) assert.equal(event.to, 'drained', `event ${event.id}`);
      states.set(event.link, event.to);
    } else if (event.type === 'switch') {
      assert.equal(event.from, active ?? event.from, `event ${event.id}`);
      active = event.to;
    }
  }
  assert.equal(begun, lives - 1, 'each daemon but the first tells of the gap before it');
}

suite('a daemon under faults', { concurrency: 2, timeout: 600_000 }, () => {
  test('killed with -9 20 times while links flap: every event told is there, and they make one story', async (t) => {
    const lives = async (seed: number): Promise<number> => {
      const random = new Prng(seed);
      const rig = await DaemonRig.create(t, { links: 8 });
      const told = new Map<number, LoggedEvent>();
      let last = 0;
      for (let life = 1; life <= KILLS; life += 1) {
        const { events } = await oneLife(rig, random, last);
        for (const [id, event] of events) {
          assert(id > last, `life ${life}: ${id} after ${last}`);
          last = id;
          told.set(id, event);
        }
      }
      await rig.start();
      const kept = new Map((await rig.events(0)).map((event) => [event.id, event]));
      for (const [id, event] of told) assert.deepEqual(kept.get(id), event);
      assertOneStory([...kept.values()], KILLS + 1);
      const [gap] = [...kept.values()].filter(({ id, type }) => id > last && type === 'note');
      assert.match(JSON.stringify(gap), /the daemon ended then without a word/);
      const switches = [...kept.values()].filter(({ type }) => type === 'switch');
      assert.equal((await rig.health(() => true)).status, 'ok');
      const db = new DatabaseSync(path.join(rig.stateDir, 'linkhold.db'), { readOnly: true });
      assert.equal(db.prepare('PRAGMA integrity_check').get()?.['integrity_check'], 'ok');
      db.close();
      t.diagnostic(`${told.size} events told, ${switches.length} switches, ${KILLS} kills`);
      return switches.length;
    };
    const counts = await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => lives(at + 1)));
    const switches = counts.reduce((sum, one) => sum + one);
    assert(switches > AT_ONCE * KILLS, `${switches} switches`);
  });

  test('a full disk: it holds its links, says so, and loses no event once there is room', async (t) => {
    const stateDir = tmpfs(t, 'size=6m');
    if (stateDir === undefined) return;
    const rig = await DaemonRig.create(t, { links: 8, stateDir });
    const daemon = await rig.start();
    const told = await rig.listen(0);
    await entered(told, 'a', 'up');
    const ballast = path.join(stateDir, 'ballast');
    const full = () =>
      assert.throws(() => writeFileSync(ballast, Buffer.alloc(8_000_000)), { code: 'ENOSPC' });
    full();
    let degraded = false;
    const flapping = flap(rig, new Prng(3), () => degraded);
    const { troubles } = await rig.health(({ status }) => status === 'degraded');
    degraded = true;
    await flapping;
    assert.match(
      String(troubles),
      /the disk of .*linkhold\.db is full; what happens is kept in memory/,
    );
    const begun = lastOf(told);
    for (const name of rig.peers.keys()) rig.answer(name, true);
    await entered(told, 'a', 'up', 0);
    rig.answer('a', false);
    const { id } = await entered(told, 'a', 'down', begun);
    rig.answer('a', true);
    await entered(told, 'a', 'up', id);
    assert.equal((await rig.health(() => true)).status, 'degraded');
    rmSync(ballast);
    await rig.health(({ status }) => status === 'ok');
    daemon.kill('SIGKILL');
    await daemon.ended();
    await rig.start();
    const kept = new Map((await rig.events(0)).map((event) => [event.id, event]));
    for (const [key, event] of told.events) assert.deepEqual(kept.get(key), event);
  });

  test('a disk that turns read-only: it holds its links and says so until it can be written', async (t) => {
    const stateDir = tmpfs(t, 'size=16m');
    if (stateDir === undefined) return;
    const rig = await DaemonRig.create(t, { links: 2, stateDir });
    const daemon = await rig.start();
    daemon.kill('SIGTERM');
    await daemon.ended();
    remount(stateDir, 'ro');
    await rig.start();
    const told = await rig.listen(0);
    const { troubles } = await rig.health(({ status }) => status === 'degraded');
    assert.match(String(troubles), /linkhold\.db cannot be .*; what happens is kept in memory/);
    const { id: up } = await entered(told, 'a', 'up');
    rig.answer('a', false);
    await entered(told, 'a', 'down', up);
    remount(stateDir, 'rw');
    await rig.health(({ status }) => status === 'ok');
    const kept = new Map((await rig.events(0)).map((event) => [event.id, event]));
    for (const [id, event] of told.events) assert.deepEqual(kept.get(id), event);
  });

  test('a directory that is read-only at the start: once it is not, drains and events are as they were', async (t) => {
    const stateDir = tmpfs(t, 'size=16m');
    if (stateDir === undefined) return;
    const rig = await DaemonRig.create(t, { links: 3, stateDir });
    const first = await rig.start();
    const early = await rig.listen(0);
    await entered(early, 'c', 'up');
    await rig.post('c', 'drain');
    await entered(early, 'c', 'drained');
    // Stopped and not killed: then its log is gone, without which SQLite reads nothing here.
    first.kill('SIGTERM');
    await first.ended();
    await early.ended;
    remount(stateDir, 'ro');
    const second = await rig.start();
    await rig.health(({ status }) => status === 'degraded');
    const told = await rig.listen(lastOf(early));
    const { id: up } = await entered(told, 'c', 'up');
    await rig.post('b', 'drain');
    await entered(told, 'b', 'drained');
    remount(stateDir, 'rw');
    await entered(told, 'c', 'drained', up);
    await rig.health(({ status }) => status === 'ok');
    second.kill('SIGKILL');
    await second.ended();
    await told.ended;

    await rig.start();
    const all = new Map((await rig.events(0)).map((event) => [event.id, event]));
    for (const [id, event] of [...early.events, ...told.events]) {
      assert.deepEqual(all.get(id), event);
    }
    const { items } = await apiAnswer<{ items: { name: string; state: string }[] }>(
      `${rig.base}/api/v1/links?state=drained`,
    );
    assert.deepEqual(
      items.map(({ name }) => name),
      ['b', 'c'],
    );
  });

  test('a damaged file at the start is put aside, and the log and the stream say so', async (t) => {
    const rig = await DaemonRig.create(t, { links: 2 });
    writeFileSync(path.join(rig.stateDir, 'linkhold.db'), Buffer.alloc(65_536, 'no database '));
    const daemon = await rig.start();
    await daemon.line(
      /linkhold\.db was damaged \(.*\): a new one is begun, it is now .*\.corrupt-/,
    );
    const told = await rig.listen(0);
    await tells(told, 'a note', ({ type }) => type === 'note');
    await entered(told, 'a', 'up');
    assert.equal((await rig.health(() => true)).status, 'ok');
    assert.equal(globSync('linkhold.db.corrupt-*', { cwd: rig.stateDir }).length, 1);
  });

  test('a wall clock that is set back a year, then on by two: nobody is blamed, and ids rise', async (t) => {
    const [library] = globSync('/usr/lib/*/faketime/libfaketimeMT.so.1');
    if (library === undefined) {
      t.skip('needs libfaketime (Debian: apt-get install libfaketime)');
      return;
    }
    // Whoever is not answered within 100 ms on a busy machine would be blamed for that, not the clock.
    const timing = 'time: 100ms, interval: 1s, probes: 2';
    const rig = await DaemonRig.create(t, { links: 2, timing });
    const offset = path.join(rig.directory, 'offset');
    const set = (seconds: number) => writeFileSync(offset, `${seconds < 0 ? '' : '+'}${seconds}`);
    set(0);
    await rig.start({
      env: {
        LD_PRELOAD: library,
        FAKETIME_TIMESTAMP_FILE: offset,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        NO_FAKE_STAT: '1',
      },
    });
    const told = await rig.listen(0);
    await entered(told, 'a', 'up');
    await entered(told, 'b', 'up');
    for (const seconds of [-YEAR_S, YEAR_S]) {
      const last = lastOf(told);
      set(seconds);
      await probed(rig.base, 20);
      await rig.post('b', 'drain');
      const drained = await entered(told, 'b', 'drained', last);
      const apart = Date.parse(drained.at) - Date.now() - seconds * 1_000;
      assert(Math.abs(apart) < 60_000, `the clock was not set: ${drained.at}`);
      await rig.post('b', 'resume');
      await entered(told, 'b', 'up', drained.id);
      const blamed = [...told.events.values()].filter(
        (event) => event.type === 'state' && (event.to === 'suspect' || event.to === 'down'),
      );
      assert.deepEqual(blamed, []);
      const ids = [...told.events.keys()];
      assert.deepEqual(
        ids,
        ids.toSorted((a, b) => a - b),
      );
    }
    rig.answer('a', false);
    await entered(told, 'a', 'down');
    assert.equal((await rig.health(() => true)).status, 'ok');
  });

  test('Ctrl-C in a terminal, which goes to all of its processes, ends it with 0 and no word of an error', async (t) => {
    const relay = `relays:\n  r: { listen: "127.0.0.1:${await freePort()}", group: g }\n`;
    const rig = await DaemonRig.create(t, { links: 2, more: relay });
    const daemon = await rig.start({ under: ['setsid'] });
    // As a terminal does: to everything in its process group.
    process.kill(-daemon.pid, 'SIGINT');
    const { code, stderr } = await daemon.ended();
    assert.deepEqual([code, stderr], [0, '']);
  });

  test('a webhook that hangs and a program that never ends: deaths are told meanwhile, and it stops', async (t) => {
    const hung = await startReceiver(t, () => undefined);
    const pids = path.join(temporaryDirectory(t), 'pids');
    const rig = await DaemonRig.create(t, {
      links: 3,
      more: `notify:
  channels:
    hook: { type: webhook, url: "${hung.url}" }
    program: { type: command, command: [/bin/sh, -c, 'echo $$ >> "$0"; exec sleep 600', "${pids}"] }
  rules:
    all: { to: [hook, program], after: 100ms, recoverAfter: 100ms, groupWait: 100ms }
`,
    });
    const daemon = await rig.start();
    const told = await rig.listen(0);
    for (const name of rig.peers.keys()) await entered(told, name, 'up');
    rig.answer('a', false);
    await entered(told, 'a', 'down');
    await tells(told, 'a switch', (event) => event.type === 'switch' && event.to === 'b');
    await eventually('the webhook is asked', () => hung.received.length === 1, BOUND_MS);
    await eventually('the program runs', () => existsSync(pids), BOUND_MS);
    const [pid] = readFileSync(pids, 'utf8').split('\n');
    rig.answer('c', false);
    await entered(told, 'c', 'down');
    rig.answer('a', true);
    const { id } = await entered(told, 'a', 'up', lastOf(told));
    await tells(told, 'the way back', (event) => event.type === 'switch' && event.id > id);
    assert.equal(hung.received.length, 1, 'the webhook hangs still');
    assert(existsSync(`/proc/${pid}`), 'the program runs still');
    assert.equal((await rig.health(() => true)).status, 'ok');
    daemon.kill('SIGTERM');
    assert.equal((await daemon.ended()).code, 0);
    await eventually('the program is gone', () => !existsSync(`/proc/${pid}`), BOUND_MS);
  });
});

/** Resolves once so many more probes of links were answered. */
async function probed(base: string, times: number): Promise<void> {
  const count = async () => {
    const text = await (await fetch(`${base}/metrics`)).text();
    const rows = text.matchAll(/^linkhold_link_round_trip_seconds_count\{.*\} (\d+)$/gm);
    return [...rows].reduce((sum, [, one]) => sum + Number(one), 0);
  };
  const before = await count();
  const lateAt = performance.now() + BOUND_MS;
  while ((await count()) < before + times) {
    assert(performance.now() < lateAt, 'probes go unanswered');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
