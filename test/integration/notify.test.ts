/** A daemon that tells people: real receivers, a real program, a mail server, hung and broken ones. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
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
import { type Received, startReceiver } from '../support/receiver.ts';
import { eventually } from '../support/scripted-http.ts';
import { startSmtp } from '../support/smtp.ts';

const BOUND_MS = 20_000;

interface Setup {
  readonly directory: string;
  /** Another daemon on the same state. */
  start(): CliProcess;
  configure(channels: string, more?: string): void;
  /** Takes the watched port away, or gives it back. */
  fall(): void;
  rise(): Promise<void>;
  readonly api: string;
}

/** A port to watch, and a daemon that tells of it soon. */
async function setUp(t: TestContext): Promise<Setup> {
  const directory = temporaryDirectory(t);
  const [port, apiPort] = [await freePort(), await freePort()];
  let server: net.Server | undefined;
  const sockets = new Set<net.Socket>();
  const fall = () => {
    server?.close();
    for (const socket of sockets) socket.destroy();
  };
  const rise = async () => {
    server = net.createServer((socket) => {
      sockets.add(socket);
      socket.resume().on('error', () => undefined);
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  };
  await rise();
  t.after(fall);
  const file = path.join(directory, 'f.yaml');
  const configure = (channels: string, more = '') => {
    const names = [...channels.matchAll(/^ {4}(\w+):/gm)].map(([, name]) => name);
    const rule = `to: [${names}], after: 100ms, recoverAfter: 100ms, groupWait: 100ms`;
    writeFileSync(
      file,
      `links:
  db: { url: "tcp://127.0.0.1:${port}", time: 1s, interval: 1s, probes: 2 }
${more}notify:
  channels:
${channels}
  rules:
    all: { ${rule} }
`,
    );
  };
  const state = ['--state-dir', path.join(directory, 'state')];
  const listen = ['--listen', `127.0.0.1:${apiPort}`];
  const start = () => startCli(t, ['run', file, ...listen, ...state, '--json']);
  return { directory, start, configure, fall, rise, api: `http://127.0.0.1:${apiPort}` };
}

async function running(daemon: CliProcess): Promise<CliProcess> {
  await daemon.line(/page and API/);
  await daemon.line(/"link":"db".*"to":"up"/);
  return daemon;
}

async function arrived(received: readonly Received[], count: number): Promise<void> {
  await eventually(`${count} messages`, () => received.length >= count, BOUND_MS);
}

function titles(received: readonly Received[]): string[] {
  return received.map(({ body }) => JSON.parse(body).title);
}

suite('notifications of a daemon', { concurrency: 4 }, () => {
  test('a link that dies and returns is told by webhook, program and mail; no secret shows', async (t) => {
    const setup = await setUp(t);
    const { url, received } = await startReceiver(t);
    const smtp = await startSmtp(t);
    const got = path.join(setup.directory, 'got');
    const secret = path.join(setup.directory, 'url');
    writeFileSync(secret, `${url}/hunter2-path`);
    setup.configure(`    hook: { type: webhook, urlFile: ${secret}, token: hunter2-token }
    program: { type: command, command: [/bin/sh, -c, 'cat >> "$0"; echo >> "$0"', ${got}] }
    post: { type: mail, host: 127.0.0.1, port: ${smtp.port}, tls: none, from: a@b.example, to: [c@d.example], user: u, password: hunter2-password }`);
    const daemon = await running(setup.start());
    setup.fall();
    await arrived(received, 1);
    await setup.rise();
    await arrived(received, 2);
    assert.deepEqual(titles(received), ['db is down', 'db is up again']);
    assert.equal(received[0]?.path, '/hunter2-path');
    assert.equal(received[0]?.headers.authorization, 'Bearer hunter2-token');
    const [first, second] = received.map(({ body }) => JSON.parse(body));
    assert.notEqual(first.id, second.id);
    assert.deepEqual(second.closed, [first.notices[0].incident]);
    await eventually('two mails', () => smtp.mails.length === 2, BOUND_MS);
    assert.match(smtp.mails[0] ?? '', /^Subject: \[Linkhold\] db is down\r$/m);
    const lines = () => (existsSync(got) ? readFileSync(got, 'utf8').split('\n').slice(0, -1) : []);
    await eventually('the program ran twice', () => lines().length === 2, BOUND_MS);
    assert.deepEqual(
      lines().map((line) => JSON.parse(line).id),
      [first.id, second.id],
    );
    const events = await apiAnswer<object>(`${setup.api}/api/v1/events`);
    const links = await apiAnswer<object>(`${setup.api}/api/v1/links`);
    daemon.kill('SIGTERM');
    const { code, stdout, stderr } = await daemon.ended();
    assert.equal(code, 0, stderr);
    const seen = `${stdout}${stderr}${JSON.stringify(events)}${JSON.stringify(links)}`;
    assert.doesNotMatch(seen, /hunter2/);
  });

  test('a receiver that hangs keeps neither others nor the daemon waiting', async (t) => {
    const setup = await setUp(t);
    const hung = await startReceiver(t, () => undefined);
    const good = await startReceiver(t);
    setup.configure(`    hung: { type: webhook, url: "${hung.url}" }
    good: { type: webhook, url: "${good.url}" }`);
    const daemon = await running(setup.start());
    setup.fall();
    await arrived(hung.received, 1);
    await arrived(good.received, 1);
    await setup.rise();
    await arrived(good.received, 2);
    assert.equal(hung.received.length, 1);
    await apiAnswer(`${setup.api}/healthz`);
    await daemon.line(/notify: hung: fails and is tried again: no answer within 10s/);
    await arrived(hung.received, 2);
    assert.equal(hung.received[1]?.body, hung.received[0]?.body);
    assert.equal(hung.received[1]?.headers['idempotency-key'], `"${titleId(hung.received[0])}"`);
    daemon.kill('SIGTERM');
    assert.equal((await daemon.ended()).code, 0);
  });

  test('answers of 500 are followed by another attempt, until it is taken, in order', async (t) => {
    const setup = await setUp(t);
    const { url, received } = await startReceiver(t, (response, index) => {
      response.writeHead(index < 2 ? 500 : 200).end();
    });
    setup.configure(`    hook: { type: webhook, url: "${url}" }`);
    const daemon = await running(setup.start());
    setup.fall();
    await arrived(received, 1);
    await setup.rise();
    await daemon.line(/notify: hook: works again/);
    await arrived(received, 4);
    const down = 'db is down';
    assert.deepEqual(titles(received), [down, down, down, 'db is up again']);
    assert.equal(new Set(received.slice(0, 3).map(titleId)).size, 1);
  });

  test('killed with -9 while a message is under way, it delivers it after the restart, with its id', async (t) => {
    const setup = await setUp(t);
    const { url, received } = await startReceiver(t, (response, index) => {
      if (index > 0) response.end();
    });
    setup.configure(`    hook: { type: webhook, url: "${url}" }`);
    const daemon = await running(setup.start());
    setup.fall();
    await arrived(received, 1);
    daemon.kill('SIGKILL');
    await daemon.ended();
    const next = setup.start();
    await arrived(received, 2);
    assert.equal(received[1]?.body, received[0]?.body);
    await next.line(/"link":"db".*"to":"down"/);
    await setup.rise();
    await arrived(received, 3);
    // It knows what it told: the link that is still down is not told twice, and its end is.
    assert.deepEqual(titles(received.slice(1)), ['db is down', 'db is up again']);
    const [, down, back] = received.map(({ body }) => JSON.parse(body));
    assert.deepEqual(back.closed, [down.notices[0].incident]);
  });

  test('killed with -9 while the receiver is away, nothing is lost', async (t) => {
    const setup = await setUp(t);
    const port = await freePort();
    setup.configure(`    hook: { type: webhook, url: "http://127.0.0.1:${port}" }`);
    const daemon = await running(setup.start());
    setup.fall();
    await daemon.line(/notify: hook: fails and is tried again: 127\.0\.0\.1:\d+: ECONNREFUSED/);
    daemon.kill('SIGKILL');
    await daemon.ended();
    await setup.rise();
    const { received } = await startReceiver(t, undefined, port);
    setup.start();
    await arrived(received, 2);
    assert.deepEqual(titles(received), ['db is down', 'db is up again']);
  });

  test('a reload changes who is told, without a word about what was told already', async (t) => {
    const setup = await setUp(t);
    const first = await startReceiver(t);
    const second = await startReceiver(t);
    setup.configure(`    one: { type: webhook, url: "${first.url}" }`);
    const daemon = await running(setup.start());
    setup.fall();
    await arrived(first.received, 1);
    setup.configure(`    two: { type: webhook, url: "${second.url}" }`);
    daemon.kill('SIGHUP');
    await daemon.line(/reloaded/);
    await setup.rise();
    await arrived(second.received, 1);
    assert.deepEqual(titles(second.received), ['db is up again']);
    assert.equal(first.received.length, 1);
  });

  test('what lies behind a dead uplink is a line of its message', async (t) => {
    const setup = await setUp(t);
    const { url, received } = await startReceiver(t);
    const far = await freePort();
    setup.configure(
      `    hook: { type: webhook, url: "${url}" }`,
      `  far: { url: "tcp://127.0.0.1:${far}", time: 1s, interval: 1s, probes: 2 }
groups:
  g: { paths: [{ link: far, behind: db }] }
`,
    );
    setup.fall();
    const daemon = setup.start();
    await daemon.line(/"link":"far".*"to":"down"/);
    await arrived(received, 1);
    const { title, notices } = JSON.parse(received[0]?.body ?? '');
    assert.equal(title, 'db is down');
    assert.deepEqual(notices[0].behind.names.includes('far'), true);
  });
});

function titleId(received: Received | undefined): string {
  return JSON.parse(received?.body ?? '{}').id;
}

suite('linkhold notify --test', { concurrency: true }, () => {
  const write = (t: TestContext, channels: string) => {
    const file = path.join(temporaryDirectory(t), 'f.yaml');
    writeFileSync(file, `notify:\n  rules: {}\n  channels:\n${channels}`);
    return ['--config', file];
  };

  test('sends by each channel, or by one, and prints what was answered', async (t) => {
    const { url, received } = await startReceiver(t);
    const config = write(
      t,
      `    a: { type: webhook, url: "${url}/a" }\n    b: { type: slack, url: "${url}/b" }\n`,
    );
    const all = await runCli(t, ['notify', '--test', ...config]);
    assert.deepEqual([all.code, all.stderr], [0, '']);
    assert.match(all.stdout, /^a {2}webhook {2}delivered {2}127\.0\.0\.1:\d+ answered 200: ok$/m);
    assert.deepEqual(received.map((one) => one.path).toSorted(), ['/a', '/b']);
    const one = await runCli(t, ['notify', '--test', 'b', ...config, '--json']);
    const [row, ...others] = JSON.parse(one.stdout);
    assert.deepEqual([row.channel, row.type, row.delivered, others], ['b', 'slack', true, []]);
    assert.equal(received.length, 3);
  });

  test('ends with 1 if one fails, and with 2 for a channel or file that is not there', async (t) => {
    const config = write(
      t,
      `    a: { type: slack, url: "http://127.0.0.1:${await freePort()}/" }\n`,
    );
    const failed = await runCli(t, ['notify', '--test', ...config]);
    assert.equal(failed.code, 1);
    assert.match(failed.stdout, /^a {2}slack {2}failed {2}127\.0\.0\.1:\d+: ECONNREFUSED$/m);
    const unknown = await runCli(t, ['notify', '--test', 'b', ...config]);
    assert.equal(unknown.code, 2);
    assert.match(unknown.stderr, /^linkhold: there is no channel "b"; use: a\n$/);
    assert.equal((await runCli(t, ['notify', ...config])).code, 2);
    const missing = await runCli(t, ['notify', '--test', '--config', '/no/such.yaml']);
    assert.equal(missing.code, 2);
    assert.match(missing.stderr, /cannot be read/);
  });
});
