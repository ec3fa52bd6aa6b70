import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import {
  apiAnswer,
  type CliProcess,
  runCli,
  startCli,
  temporaryDirectory,
} from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';

interface Row {
  readonly name: string;
  readonly state: string;
  readonly since: string;
}

interface Learner extends Row {
  readonly learned?: { readonly idleTimeoutMs?: number };
}

interface Group {
  readonly active: string;
  readonly since: string;
  readonly why: string;
}

interface Event {
  readonly id: number;
  readonly type: string;
  readonly text?: string;
}

/** Two links, a group of both, and who answers them. */
async function configuration(t: TestContext): Promise<{ file: string; directory: string }> {
  const directory = temporaryDirectory(t);
  const file = path.join(directory, 'linkhold.yaml');
  const responder = `127.0.0.1:${await freePort()}`;
  const link = `{ url: "beat://${responder}?key=k", time: 200ms, interval: 100ms }`;
  writeFileSync(
    file,
    `links: { a: ${link}, b: ${link} }
groups: { g: { paths: [ { link: a, tier: 1 }, { link: b, tier: 2 } ] } }
respond: [ { listen: "${responder}", key: k } ]
`,
  );
  return { file, directory };
}

async function daemon(
  t: TestContext,
  file: string,
  stateDir: string,
): Promise<{ run: CliProcess; base: string; known: string[] }> {
  const listen = `127.0.0.1:${await freePort()}`;
  const run = startCli(t, ['run', file, '--state-dir', stateDir, '--listen', listen]);
  await run.line(/page and API/);
  const base = `http://${listen}/api/v1`;
  return { run, base, known: ['--daemon', listen, '--state-dir', stateDir] };
}

async function pictured(base: string): Promise<{ links: Map<string, Row>; group: Group }> {
  const { items } = await apiAnswer<{ items: Row[] }>(`${base}/links`, ({ items }) =>
    items.every(({ state }) => state === 'up' || state === 'drained'),
  );
  const groups = await apiAnswer<{ items: Group[] }>(`${base}/groups`);
  const [group] = groups.items;
  assert(group !== undefined);
  return { links: new Map(items.map((row) => [row.name, row])), group };
}

suite('a daemon remembers', { concurrency: true, timeout: 60_000 }, () => {
  test('kill -9 right after drain: drained, the path in use, since and why are the same; ids rise', async (t) => {
    const { file, directory } = await configuration(t);
    const stateDir = path.join(directory, 'state');
    const first = await daemon(t, file, stateDir);
    await pictured(first.base);
    assert.equal((await runCli(t, ['drain', 'a', ...first.known])).code, 0);
    await apiAnswer<{ items: Group[] }>(
      `${first.base}/groups`,
      ({ items }) => items[0]?.active === 'b',
    );
    const told = await apiAnswer<{ items: Event[] }>(`${first.base}/events?since=0`, ({ items }) =>
      items.some(({ type }) => type === 'switch'),
    );
    const before = await pictured(first.base);
    first.run.kill('SIGKILL');
    await first.run.ended();

    const second = await daemon(t, file, stateDir);
    const after = await pictured(second.base);
    assert.equal(after.links.get('a')?.state, 'drained');
    for (const name of ['a', 'b']) {
      assert.equal(after.links.get(name)?.since, before.links.get(name)?.since, name);
    }
    assert.deepEqual([after.group.active, after.group.why], ['b', 'a is drained']);
    const sinceMs = (group: Group) => Date.parse(group.since);
    assert(Math.abs(sinceMs(after.group) - sinceMs(before.group)) < 100);
    const { items } = await apiAnswer<{ items: Event[] }>(`${second.base}/events?since=0`);
    assert.deepEqual(items.slice(0, told.items.length), told.items);
    const news = items.slice(told.items.length);
    const last = told.items.at(-1)?.id ?? 0;
    assert(news.every(({ id }, index) => id > (news[index - 1]?.id ?? last)));
    const gap = /^nothing was observed since .*: the daemon ended then without a word$/;
    assert(news.some(({ text }) => text !== undefined && gap.test(text)));
    const resumed = await runCli(t, ['events', '--json', '--since', String(last), ...second.known]);
    assert.equal(resumed.stdout.trimEnd().split('\n').length >= news.length, true);

    const refused = await runCli(t, ['run', file, '--state-dir', stateDir]);
    assert.equal(refused.code, 3);
    assert.match(refused.stderr, /^linkhold: a daemon \(process \d+\) runs with .*; stop it, or/);
  });

  test('kill -9 after a link learned when its server ends idle connections: known, and not told again', async (t) => {
    const server = http.createServer((_request, response) => void response.end());
    server.keepAliveTimeout = 0;
    server.on('connection', (socket) => void setTimeout(() => socket.end(), 3_000));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close().closeAllConnections());
    const { port } = server.address() as AddressInfo;
    const directory = temporaryDirectory(t);
    const file = path.join(directory, 'linkhold.yaml');
    const link = `{ url: "http://127.0.0.1:${port}", time: 60s, interval: 1s }`;
    writeFileSync(file, `links: { web: ${link} }\n`);
    const stateDir = path.join(directory, 'state');
    const first = await daemon(t, file, stateDir);
    const learns = ({ items: [row] }: { items: Learner[] }) => row?.learned !== undefined;
    const before = await apiAnswer<{ items: Learner[] }>(`${first.base}/links`, learns);
    const learned = before.items[0]?.learned;
    assert((learned?.idleTimeoutMs ?? 0) > 100, JSON.stringify(learned));
    first.run.kill('SIGKILL');
    await first.run.ended();

    const again = once(server, 'connection', { signal: AbortSignal.timeout(20_000) });
    const second = await daemon(t, file, stateDir);
    const after = await apiAnswer<{ items: Learner[] }>(`${second.base}/links`);
    assert.deepEqual(after.items[0]?.learned, learned);
    const [socket] = (await again) as [Socket];
    await once(socket, 'close', { signal: AbortSignal.timeout(20_000) });
    const { items } = await apiAnswer<{ items: Event[] }>(`${second.base}/events?since=0`);
    const told = items.filter(({ text }) => /ends a connection that is idle/.test(text ?? ''));
    assert.equal(told.length, 1, JSON.stringify(told));
  });

  test('export of a running daemon, import elsewhere: the next daemon there has the same drains', async (t) => {
    const { file, directory } = await configuration(t);
    const first = await daemon(t, file, path.join(directory, 'one'));
    await pictured(first.base);
    assert.equal((await runCli(t, ['drain', 'b', ...first.known])).code, 0);
    const out = path.join(directory, 'export.jsonl');
    const one = ['--state-dir', path.join(directory, 'one')];
    const exported = await runCli(t, ['export', out, '--json', ...one]);
    assert.equal(exported.code, 0, exported.stderr);
    const { lines } = JSON.parse(exported.stdout);
    const again = await runCli(t, ['export', out, ...one]);
    assert.equal(again.code, 3);
    assert.match(again.stderr, /export\.jsonl cannot be written: it is there already/);
    const whole = await runCli(t, ['export', ...one]);
    assert(whole.stdout.startsWith('{"format":"linkhold export","version":1,'));

    const two = ['--state-dir', path.join(directory, 'two')];
    const imported = await runCli(t, ['import', out, '--json', ...two]);
    assert.equal(imported.code, 0, imported.stderr);
    assert.equal(JSON.parse(imported.stdout).lines, lines - 2);
    const refused = await runCli(t, ['import', out, ...one]);
    assert.equal(refused.code, 3, 'a daemon runs there');
    assert.equal((await runCli(t, ['import', out, ...two])).code, 2, 'there is one already');
    const missing = await runCli(t, ['import', `${out}.not`, '--state-dir', `${out}.dir`]);
    assert.deepEqual(
      [missing.code, existsSync(path.join(`${out}.dir`, 'linkhold.db'))],
      [2, false],
    );
    first.run.kill('SIGKILL');
    await first.run.ended();

    const second = await daemon(t, file, path.join(directory, 'two'));
    const { links } = await pictured(second.base);
    assert.equal(links.get('b')?.state, 'drained');
  });
});
