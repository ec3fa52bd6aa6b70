import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import dns from 'node:dns';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { freePort } from '../../test/support/free-port.ts';
import type { Link } from '../link/link.ts';
import type { Config, LinkEntry } from './config-schema.ts';
import { Daemon } from './daemon.ts';
import { EventLog, type LoggedEvent } from './event-log.ts';
import { Supervisor } from './supervisor.ts';

const NOTHING: Config = { links: {}, groups: {}, relays: {}, routes: {}, respond: [], protect: [] };
const BOUND_MS = 5_000;
const SLOW = { time: '60s', interval: '10s' } as const;
const QUICK = { time: '200ms', interval: '100ms', probes: 3 } as const;

/** A server that greets, and the ends of its connections that are open. */
async function greeter(
  t: TestContext,
  greeting = '',
): Promise<{ port: number; open: Set<net.Socket> }> {
  const open = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket)).on('error', () => undefined);
    socket.resume().write(greeting);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return { port: (server.address() as net.AddressInfo).port, open };
}

function supervise(t: TestContext): { supervisor: Supervisor; log: EventLog } {
  const log = new EventLog();
  const supervisor = new Supervisor(log);
  t.after(() => supervisor.close());
  return { supervisor, log };
}

/** Looks every 5 ms until it is so, and fails after the bound. */
async function until(isSo: () => boolean): Promise<void> {
  const lateAt = performance.now() + BOUND_MS;
  while (!isSo()) {
    assert(performance.now() < lateAt, `not so within ${BOUND_MS} ms: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function up(supervisor: Supervisor, ...names: readonly string[]): Promise<void> {
  for (const name of names) await until(() => supervisor.link(name)?.state === 'up');
}

/** What has been logged, one word or two each. */
function story(log: EventLog): string[] {
  return log.query({ limit: 10_000 }).items.map(tell);
}

function tell(event: LoggedEvent): string {
  if (event.type === 'switch') return `switch ${event.from} ${event.to}`;
  return event.type === 'state' ? `${event.link} ${event.to}` : event.text;
}

/** What a new connection by the relay is greeted with. */
async function greeted(t: TestContext, port: number): Promise<{ by: string; socket: net.Socket }> {
  const socket = net.connect(port, '127.0.0.1').on('error', () => undefined);
  t.after(() => socket.destroy());
  const signal = AbortSignal.timeout(BOUND_MS);
  const [data] = (await once(socket, 'data', { signal })) as [Buffer];
  return { by: data.toString(), socket };
}

suite('a reload touches only what differs', { timeout: 30_000 }, () => {
  test('an unchanged link keeps its socket; a changed, a new and a removed one are seen to', async (t) => {
    const { port, open } = await greeter(t);
    const { supervisor, log } = supervise(t);
    const entry: LinkEntry = { url: `tcp://127.0.0.1:${port}`, ...SLOW };
    await supervisor.apply({ ...NOTHING, links: { kept: entry, changed: entry, removed: entry } });
    await up(supervisor, 'kept', 'changed', 'removed');
    const local = (name: string) => supervisor.link(name)?.status().local;
    const before = { kept: local('kept'), changed: local('changed') };
    const lines = story(log).length;
    const links = { kept: { ...entry }, changed: { ...entry, time: '50s' }, added: entry };
    await supervisor.apply({ ...NOTHING, links });
    await up(supervisor, 'kept', 'changed', 'added');
    assert.equal(local('kept'), before.kept);
    assert.notEqual(local('changed'), before.changed);
    assert.equal(supervisor.link('changed')?.status().largestSilenceMs, 50_000);
    assert.equal(supervisor.link('removed'), undefined);
    await until(() => open.size === 3);
    assert.deepEqual(new Set(story(log).slice(lines)), new Set(['changed up', 'added up']));
  });

  test('a reload that changes 1,000 links lets others have their turn in between', async (t) => {
    const { port } = await greeter(t);
    const { supervisor } = supervise(t);
    const names = Array.from({ length: 1_000 }, (_, index) => `link-${index}`);
    const all = (time: string): Config => {
      const entry: LinkEntry = { url: `tcp://127.0.0.1:${port}`, ...SLOW, time };
      return { ...NOTHING, links: Object.fromEntries(names.map((name) => [name, entry])) };
    };
    const changed = () =>
      names.filter((name) => supervisor.link(name)?.status().largestSilenceMs === 50_000).length;
    await supervisor.apply(all('60s'));
    const seen = new Set<number>();
    let over = false;
    const applied = supervisor.apply(all('50s')).finally(() => {
      over = true;
    });
    while (!over) {
      seen.add(changed());
      await new Promise((resolve) => setImmediate(resolve));
    }
    await applied;
    assert.equal(changed(), 1_000);
    const between = [...seen].filter((count) => count > 0 && count < 1_000);
    assert(between.length > 2, `${between}`);
  });

  test('a link that a person drained stays drained', async (t) => {
    const { port } = await greeter(t);
    const { supervisor } = supervise(t);
    const entry: LinkEntry = { url: `tcp://127.0.0.1:${port}`, ...SLOW };
    await supervisor.apply({ ...NOTHING, links: { a: entry } });
    await up(supervisor, 'a');
    supervisor.link('a')?.drain();
    await supervisor.apply({ ...NOTHING, links: { a: entry, b: entry } });
    assert.equal(supervisor.link('a')?.state, 'drained');
  });

  test('a group keeps its path and its age while neither it nor its links change', async (t) => {
    const { port } = await greeter(t);
    const { supervisor } = supervise(t);
    const entry: LinkEntry = { url: `tcp://127.0.0.1:${port}`, ...SLOW };
    const groups = { g: { paths: [{ link: 'a' }, { link: 'b' }], rise: 1 } };
    await supervisor.apply({ ...NOTHING, links: { a: entry, b: entry }, groups });
    await up(supervisor, 'a', 'b');
    supervisor.link('a')?.drain();
    await until(() => supervisor.groupStatuses()[0]?.active === 'b');
    const since = () => Date.parse(supervisor.groupStatuses()[0]?.since ?? '');
    const before = since();
    const links = { a: entry, b: entry, c: entry };
    await supervisor.apply({ ...NOTHING, links, groups: structuredClone(groups) });
    assert.equal(supervisor.groupStatuses()[0]?.active, 'b');
    assert(Math.abs(since() - before) <= 2);
  });

  test('traffic stays on the path that works while a link of its group is changed', async (t) => {
    const { port } = await greeter(t);
    const { supervisor, log } = supervise(t);
    // Nobody answers there, and nobody refuses: only silence tells.
    const silent = dgram.createSocket('udp4').bind(0, '127.0.0.1');
    await once(silent, 'listening');
    t.after(() => silent.close());
    const dead: LinkEntry = { url: `beat://127.0.0.1:${silent.address().port}?key=k`, ...QUICK };
    const alive: LinkEntry = { url: `tcp://127.0.0.1:${port}`, ...SLOW };
    const groups = {
      g: {
        paths: [
          { link: 'a', tier: 1 },
          { link: 'b', tier: 2 },
        ],
        rise: 1,
      },
    };
    await supervisor.apply({ ...NOTHING, links: { a: dead, b: alive }, groups });
    await until(() => supervisor.groupStatuses()[0]?.active === 'b');
    await supervisor.apply({ ...NOTHING, links: { a: { ...dead, time: '1h' }, b: alive }, groups });
    assert.equal(supervisor.groupStatuses()[0]?.active, 'b', 'a has proved nothing yet');
    const changed = { g: { ...groups.g, failbackAfter: '10s' } };
    await supervisor.apply({ ...NOTHING, links: { a: dead, b: alive }, groups: changed });
    assert.equal(supervisor.groupStatuses()[0]?.active, 'b', 'nor has it now');
    assert.equal(story(log).filter((line) => line.startsWith('switch')).length, 1);
  });

  test('a responder takes a new key on the same port', async (t) => {
    const port = await freePort();
    const { supervisor } = supervise(t);
    const listen = `127.0.0.1:${port}`;
    const link = (key: string): LinkEntry => ({ url: `beat://${listen}?key=${key}`, ...QUICK });
    await supervisor.apply({ ...NOTHING, respond: [{ listen, key: 'old' }] });
    await supervisor.apply({
      ...NOTHING,
      respond: [{ listen, key: 'new' }],
      links: { good: link('new'), stale: link('old') },
    });
    await up(supervisor, 'good');
    await until(() => supervisor.link('stale')?.state === 'down');
  });

  test('close ends connections and listeners', async (t) => {
    const { port, open } = await greeter(t);
    const { supervisor } = supervise(t);
    const [listen, udp] = [await freePort(), await freePort()];
    const config: Config = {
      ...NOTHING,
      links: { a: { url: `tcp://127.0.0.1:${port}`, ...SLOW } },
      groups: { g: { paths: [{ link: 'a' }] } },
      relays: { r: { listen: `127.0.0.1:${listen}`, group: 'g' } },
      respond: [{ listen: `127.0.0.1:${udp}`, key: 'k' }],
    };
    await supervisor.apply(config);
    await up(supervisor, 'a');
    await supervisor.close();
    await until(() => open.size === 0);
    assert.deepEqual(supervisor.links(), []);
    // Everything can be opened again at once.
    await supervisor.apply(config);
    await up(supervisor, 'a');
  });

  test('a port that is taken is told once, everything else runs, and the next reload mends it', async (t) => {
    const { port } = await greeter(t);
    const { supervisor } = supervise(t);
    const blocker = net.createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    t.after(() => blocker.close());
    const listen = `127.0.0.1:${(blocker.address() as net.AddressInfo).port}`;
    const other = `127.0.0.1:${await freePort()}`;
    const config: Config = {
      ...NOTHING,
      links: { a: { url: `tcp://127.0.0.1:${port}`, ...SLOW } },
      groups: { g: { paths: [{ link: 'a' }] } },
      relays: { blocked: { listen, group: 'g' }, free: { listen: other, group: 'g' } },
    };
    await assert.rejects(supervisor.apply(config), { name: 'SystemError', code: 'EADDRINUSE' });
    await up(supervisor, 'a');
    const failed = () => supervisor.relayStatuses().filter(({ failure }) => failure !== null);
    assert.deepEqual(
      failed().map(({ name }) => name),
      ['blocked'],
    );
    assert.match(failed()[0]?.failure ?? '', /cannot listen on 127.* EADDRINUSE; is it taken/);
    blocker.close();
    await once(blocker, 'close');
    await supervisor.apply(config);
    assert.deepEqual(failed(), []);
  });
});

suite('a relay follows the path its group uses', { timeout: 30_000 }, () => {
  /** Two paths, each a responder of its own and a server that says which it is. */
  async function twoPaths(
    t: TestContext,
    more: { readonly failbackAfter?: string; readonly oldFlows?: 'keep' | 'reset' } = {},
  ): Promise<{ supervisor: Supervisor; log: EventLog; relay: number; config: Config }> {
    const [a, b] = [await greeter(t, 'a'), await greeter(t, 'b')];
    const [udpA, udpB, relay] = [await freePort(), await freePort(), await freePort()];
    const link = (port: number): LinkEntry => ({ url: `beat://127.0.0.1:${port}?key=k`, ...QUICK });
    const config: Config = {
      ...NOTHING,
      links: { a: link(udpA), b: link(udpB) },
      groups: {
        g: {
          paths: [
            { link: 'a', tier: 1, to: `127.0.0.1:${a.port}` },
            { link: 'b', tier: 2, to: `127.0.0.1:${b.port}` },
          ],
          rise: 1,
          holdDown: '0s',
          failbackAfter: more.failbackAfter ?? '1h',
        },
      },
      relays: {
        r: { listen: `127.0.0.1:${relay}`, group: 'g', oldFlows: more.oldFlows ?? 'keep' },
      },
      respond: [
        { listen: `127.0.0.1:${udpA}`, key: 'k' },
        { listen: `127.0.0.1:${udpB}`, key: 'k' },
      ],
    };
    const { supervisor, log } = supervise(t);
    await supervisor.apply(config);
    await up(supervisor, 'a', 'b');
    return { supervisor, log, relay, config };
  }

  test('draining the path in use moves new flows at once; the old one goes on with keep', async (t) => {
    const { supervisor, log, relay } = await twoPaths(t);
    const old = await greeted(t, relay);
    assert.equal(old.by, 'a');
    (supervisor.link('a') as Link).drain();
    await until(() => story(log).includes('switch a b'));
    assert.equal((await greeted(t, relay)).by, 'b');
    assert.deepEqual(supervisor.relayStatuses()[0]?.flows, { a: 1, b: 1 });
    const [group] = supervisor.groupStatuses();
    assert.equal(group?.active, 'b');
    assert.match(group?.why ?? '', /drained/);
    assert.equal(group?.paths[0]?.drained, true);
    assert.equal(old.socket.destroyed, false);
  });

  test('with reset the old flow is reset when its path is left', async (t) => {
    const { supervisor, relay } = await twoPaths(t, { oldFlows: 'reset' });
    const old = await greeted(t, relay);
    supervisor.link('a')?.drain();
    await until(() => old.socket.destroyed);
    assert.equal((await greeted(t, relay)).by, 'b');
  });

  test('resuming a drained path brings traffic back after failbackAfter', async (t) => {
    const { supervisor, log, relay } = await twoPaths(t, { failbackAfter: '0s' });
    supervisor.link('a')?.drain();
    await until(() => story(log).includes('switch a b'));
    supervisor.link('a')?.resume();
    await until(() => story(log).includes('switch b a'));
    assert.equal((await greeted(t, relay)).by, 'a');
  });

  test('connections that come while a reload waits for a listener are carried', async (t) => {
    const { supervisor, relay, config } = await twoPaths(t);
    const asked = Promise.withResolvers<() => void>();
    const { lookup } = dns;
    t.mock.method(dns, 'lookup', (name: string, ...rest: unknown[]) => {
      const done = rest.at(-1) as (error: null, address: string, family: 4) => void;
      if (name === 'localhost') asked.resolve(() => done(null, '127.0.0.1', 4));
      else (lookup as (...all: unknown[]) => void)(name, ...rest);
    });
    const respond = [...config.respond, { listen: `localhost:${await freePort()}`, key: 'k' }];
    const { paths = [], ...group } = config.groups['g'] ?? {};
    const groups = { g: { ...group, paths, fall: 2 } };
    const reload = supervisor.apply({ ...config, groups, respond });
    const answerName = await asked.promise;
    const by = await greeted(t, relay).then((greeting) => greeting.by, String);
    answerName();
    await reload;
    assert.equal(by, 'a');
  });

  test('a path that dies is left within its bound, and the last one that works is not', async (t) => {
    const { supervisor, log, relay, config } = await twoPaths(t);
    const diedAt = performance.now();
    await supervisor.apply({ ...config, respond: config.respond.slice(1) });
    await until(() => story(log).includes('switch a b'));
    // The bound is 500 ms; the rest is a busy test machine.
    assert(performance.now() - diedAt < 500 + 1_000);
    assert.equal((await greeted(t, relay)).by, 'b');
    supervisor.link('b')?.drain();
    await until(() => story(log).some((line) => line.startsWith('b is drained but stays in use')));
    assert.equal((await greeted(t, relay)).by, 'b');
  });
});

suite('the daemon and its file', { timeout: 30_000 }, () => {
  async function daemonWith(
    t: TestContext,
    text: string,
  ): Promise<{ daemon: Daemon; file: string; base: string; stateDir: string }> {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const file = path.join(directory, 'linkhold.yaml');
    writeFileSync(file, text);
    const listen = `127.0.0.1:${await freePort()}`;
    const stateDir = path.join(directory, 'state');
    const daemon = new Daemon({ file, listen, stateDir, version: '0' });
    t.after(() => daemon.stop());
    return { daemon, file, base: `http://${listen}`, stateDir };
  }

  async function rows(base: string): Promise<{ name: string; local: string; state: string }[]> {
    const answer = await fetch(`${base}/api/v1/links`);
    return ((await answer.json()) as { items: { name: string; local: string; state: string }[] })
      .items;
  }

  test('a bad file is refused with its line, and leaves every socket and listener as it was', async (t) => {
    const { port } = await greeter(t, 'hello');
    const relay = await freePort();
    const good = `links:
  a: { url: "tcp://127.0.0.1:${port}", time: 60s, interval: 10s }
groups:
  g: { paths: [ { link: a } ] }
relays:
  r: { listen: "127.0.0.1:${relay}", group: g }
`;
    const { daemon, file, base } = await daemonWith(t, good);
    await daemon.start();
    const upWith = async () => {
      const lateAt = performance.now() + BOUND_MS;
      for (;;) {
        const [row] = await rows(base);
        if (row?.state === 'up') return row.local;
        assert(performance.now() < lateAt);
      }
    };
    const before = await upWith();
    for (const [bad, message] of [
      [`${good}  x: { listen: "127.0.0.1:${relay}", group: g }\n`, /:7:16: relays\.x\.listen: /],
      [good.replace('60s', '60'), /:2:\d+: links\.a\.time: /],
      [good.replace('link: a', 'link: b'), /:4:\d+: groups\.g\.paths\.0\.link: there is no link/],
      ['links: [', /:1:\d+: /],
      [`${good}extra: 1\n`, /:7:1: the file: no key "extra"/],
    ] as const) {
      writeFileSync(file, bad);
      await assert.rejects(daemon.reload(), { name: 'UsageError', message });
      assert.equal(await upWith(), before);
      assert.equal((await greeted(t, relay)).by, 'hello');
    }
    rmSync(file);
    await assert.rejects(daemon.reload(), { name: 'UsageError', message: /cannot be read/ });
    assert.equal(await upWith(), before);
    writeFileSync(file, good.replace('  g:', '  g2:').replace('group: g ', 'group: g2 '));
    await daemon.reload();
    assert.equal(await upWith(), before, 'the link itself did not change');
  });

  test('5 reloads at once are done one after the other, and the last file is what runs', async (t) => {
    const { daemon, file, base } = await daemonWith(t, 'links: {}\n');
    await daemon.start();
    // Two at the same time would both want to listen.
    const relays = `relays: { r: { listen: "127.0.0.1:${await freePort()}", group: g } }`;
    const reloads = [];
    for (let index = 1; index <= 5; index += 1) {
      const links = `links: { l${index}: { url: "tcp://127.0.0.1:1" } }`;
      const groups = `groups: { g: { paths: [ { link: l${index} } ] } }`;
      writeFileSync(file, `${links}\n${groups}\n${relays}\n`);
      reloads.push(daemon.reload());
    }
    await Promise.all(reloads);
    assert.deepEqual(
      (await rows(base)).map(({ name }) => name),
      ['l5'],
    );
  });

  test('a bad file at the start starts nothing', async (t) => {
    const { daemon, base } = await daemonWith(t, 'links: 1\n');
    await assert.rejects(daemon.start(), { name: 'UsageError', message: /:1:8: links: / });
    await assert.rejects(fetch(`${base}/healthz`));
  });

  test('a taken API port is a SystemError that asks for another daemon', async (t) => {
    const { daemon, base, file, stateDir } = await daemonWith(t, 'links: {}\n');
    await daemon.start();
    const listen = base.replace('http://', '');
    const elsewhere = `${stateDir}-2`;
    const second = new Daemon({ file, listen, stateDir: elsewhere, version: '0' });
    t.after(() => second.stop());
    await assert.rejects(second.start(), {
      name: 'SystemError',
      code: 'EADDRINUSE',
      message: new RegExp(`^the API cannot listen on ${listen}: .*does a daemon run already\\?`),
    });
    assert.equal((await fetch(`${base}/healthz`)).status, 200);
  });

  test('a second daemon on a state directory is refused with the process id of the first', async (t) => {
    const { daemon, file, stateDir } = await daemonWith(t, 'links: {}\n');
    await daemon.start();
    const listen = `127.0.0.1:${await freePort()}`;
    const second = new Daemon({ file, listen, stateDir, version: '0' });
    t.after(() => second.stop());
    await assert.rejects(second.start(), {
      name: 'SystemError',
      code: 'already-running',
      message: new RegExp(`^a daemon \\(process ${process.pid}\\) runs with ${stateDir}; stop it`),
    });
    await daemon.stop();
    await second.start();
  });

  test('a relay that cannot listen at the start: a SystemError, and nothing is left running', async (t) => {
    const { port, open } = await greeter(t);
    const text = `links: { a: { url: "tcp://127.0.0.1:${port}" } }
groups: { g: { paths: [ { link: a } ] } }
relays: { r: { listen: "127.0.0.1:${port}", group: g } }
`;
    const { daemon, base } = await daemonWith(t, text);
    await assert.rejects(daemon.start(), { name: 'SystemError', code: 'EADDRINUSE' });
    await assert.rejects(fetch(`${base}/healthz`));
    await until(() => open.size === 0);
  });

  test('makes a token of 64 hex digits that only its owner can read, and keeps it', async (t) => {
    const { daemon, stateDir } = await daemonWith(t, 'links: {}\n');
    await daemon.start();
    const file = path.join(stateDir, 'token');
    const token = readFileSync(file, 'utf8');
    assert.match(token, /^[\da-f]{64}\n$/);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(stateDir).mode & 0o777, 0o700);
    await daemon.stop();
    const again = await daemonWith(t, 'links: {}\n');
    const second = new Daemon({
      file: again.file,
      listen: again.base.replace('http://', ''),
      stateDir,
      version: '0',
    });
    t.after(() => second.stop());
    await second.start();
    assert.equal(readFileSync(file, 'utf8'), token);
  });

  test('a state directory that cannot be written is a SystemError that names the flag', async (t) => {
    const { file, base } = await daemonWith(t, 'links: {}\n');
    const listen = base.replace('http://', '');
    const daemon = new Daemon({ file, listen, stateDir: path.join(file, 'below'), version: '0' });
    t.after(() => daemon.stop());
    await assert.rejects(daemon.start(), {
      name: 'SystemError',
      message: /cannot be written \(E\w+\); choose one with --state-dir$/,
    });
  });
});
