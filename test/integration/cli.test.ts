import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
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

const CHECK_KEYS = [
  ...['url', 'kind', 'class', 'state', 'reason', 'rttMs', 'detectsWithinMs'],
  ...['largestSilenceMs', 'evidence', 'local', 'remote'],
];
const EVENT_KEYS = ['at', 'link', 'type'];
const STATE_KEYS = ['from', 'to', 'reason', 'evidence', 'detectsWithinMs'];
/** The byte that starts every colour. */
const ESCAPE = '\u001b';

/** A server that takes connections and keeps them; `end` closes it and resets them. */
async function listen(t: TestContext): Promise<{ port: number; url: string; end: () => void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    socket.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const end = () => {
    server.close();
    for (const socket of sockets) socket.resetAndDestroy();
  };
  t.after(end);
  const { port } = server.address() as net.AddressInfo;
  return { port, url: `tcp://127.0.0.1:${port}`, end };
}

function hasKeys(value: unknown, keys: readonly string[]): void {
  for (const key of keys) {
    assert(Object.hasOwn(value as object, key), `no ${key} in ${JSON.stringify(value)}`);
  }
}

/** Refused: the exit code, exactly one line on stderr that fits, nothing on stdout. */
async function refused(
  t: TestContext,
  args: readonly string[],
  code: number,
  line: RegExp,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const result = await runCli(t, args, { env });
  assert.equal(result.code, code, result.stderr);
  assert.equal(result.stdout, '');
  assert.match(result.stderr, line);
  assert.equal(result.stderr.split('\n').length, 2, `not one line: ${result.stderr}`);
  assert.doesNotMatch(result.stderr, /^\s+at |node:internal/m);
}

suite('linkhold check', { timeout: 60_000, concurrency: 4 }, () => {
  test('a link that is up: exit 0 and one JSON array with the keys of the contract', async (t) => {
    const { url } = await listen(t);
    const { code, stdout, stderr } = await runCli(t, ['check', url, '--json', '--time', '45s']);
    assert.equal(code, 0, stderr);
    assert.equal(stderr, '');
    const rows = JSON.parse(stdout);
    assert.equal(rows.length, 1);
    hasKeys(rows[0], CHECK_KEYS);
    const { state, kind, largestSilenceMs, detectsWithinMs } = rows[0];
    assert.deepEqual(
      { url: rows[0].url, state, kind, class: rows[0].class, largestSilenceMs, detectsWithinMs },
      {
        url,
        state: 'up',
        kind: 'tcp',
        class: 'answered',
        largestSilenceMs: 45_000,
        detectsWithinMs: 75_000,
      },
    );
  });

  test('for people: a line a link, exit 1 as one is down, known at once, no colour in a pipe', async (t) => {
    const { url } = await listen(t);
    const down = `tcp://127.0.0.1:${await freePort()}`;
    const startedAt = performance.now();
    const { code, stdout, stderr } = await runCli(t, ['check', url, down]);
    assert(performance.now() - startedAt < 10_000, 'the bound of 90 s need not pass');
    assert.deepEqual([code, stderr], [1, '']);
    assert(!stdout.includes(ESCAPE), stdout);
    const lines = stdout.split('\n');
    assert.match(
      lines[0] ?? '',
      /^up {2,}tcp:\/\/127.*knows a dead peer within 1m30s, silent at most 1m$/,
    );
    assert.match(lines[1] ?? '', /^down {2}tcp:\/\/127.* refused +ECONNREFUSED$/);
    assert.match(lines[2] ?? '', /^tcp: up proves /);
    assert.equal(lines.length, 4);
  });

  test('a beat link whose peer lacks the key is down after 3 unanswered probes', async (t) => {
    const port = await freePort();
    const listening = ['--listen', `127.0.0.1:${port}`];
    const responder = startCli(t, ['respond', ...listening, '--key', 'other']);
    await responder.line(/answering on udp/);
    const timing = ['--time', '1s', '--interval', '200ms', '--probes', '3'];
    const url = `beat://127.0.0.1:${port}?key=hunter2`;
    const { code, stdout, stderr } = await runCli(t, ['check', url, ...timing, '--json']);
    assert.equal(code, 1, stderr);
    const [row] = JSON.parse(stdout);
    assert.deepEqual([row.state, row.reason, row.evidence.probes], ['down', 'no-answer', 3]);
    assert(!`${stdout}${stderr}`.includes('hunter2'));
  });

  test('on a terminal it is in colour, with NO_COLOR it is not', async (t) => {
    const { url } = await listen(t);
    const command = `'${path.resolve('bin/linkhold')}' check ${url}`;
    const onTerminal = (env: Record<string, string>) =>
      spawnSync('script', ['-qec', command, '/dev/null'], {
        env: { PATH: process.env['PATH'] ?? '', TERM: 'xterm-256color', ...env },
        encoding: 'utf8',
        timeout: 15_000,
      });
    const coloured = onTerminal({});
    if (coloured.error !== undefined) return t.skip('the script command is not installed');
    assert(coloured.stdout.includes(`${ESCAPE}[32mup`), coloured.stdout);
    const plain = onTerminal({ NO_COLOR: '1' });
    assert.match(plain.stdout, /^up /);
    assert(!plain.stdout.includes(ESCAPE), plain.stdout);
  });
});

suite('wrong usage is exit 2 and one line on stderr', { timeout: 60_000, concurrency: 4 }, () => {
  for (const [args, line] of [
    [['check'], /missing required argument 'url'/],
    [['chek', 'tcp://h:1'], /unknown command 'chek'.*check/],
    [['check', 'tcp://h:1', '--tiem', '4s'], /unknown option '--tiem'.*--time/],
    [['check', 'nonsense'], /^linkhold: URL: "nonsense" is no link URL; write tcp:\/\/host:port/],
    [['check', 'tcp://h\n\u001b[2Jx:1'], /^linkhold: URL: [\x20-\x7e\u00a0-\uffff]*\n$/],
    [['check', 'beat://h:1'], /^linkhold: URL: beat links need a key.*give key=SECRET/],
    [
      ['check', 'tcp://h:1', '--time', '45'],
      /^linkhold: --time: "45" is not a duration; add a unit/,
    ],
    [['watch', 'tcp://h:1', '--profile', 'solaris'], /^linkhold: --profile: no profile "solaris"/],
    [['run', '/nowhere.yaml', '--check'], /^linkhold: \/nowhere\.yaml: cannot be read/],
    [
      ['run', '/\u001b[2J.yaml', '--check'],
      /^linkhold: [ -~\u00a0-\uffff]*cannot be read[ -~]*\n$/,
    ],
    [
      ['respond', '--listen', '7200', '--key', 'k'],
      /^linkhold: --listen: "7200" is no address with a port/,
    ],
    [
      ['respond', '--listen', '127.0.0.1:1'],
      /^linkhold: --key: beat links need a key.*LINKHOLD_KEY/,
    ],
    [
      ['respond', '--listen', '127.0.0.1:1', '--key-file', '/nowhere'],
      /key file \/nowhere cannot be read \(ENOENT\)/,
    ],
    [['events', '--limit', 'x'], /^linkhold: --limit: "x" is not a whole number/],
    [['status', '--daemon', '7117'], /^linkhold: --daemon: "7117" is no address with a port/],
  ] as const) {
    test(args.join(' ').replaceAll(/[^\x20-\x7e]/g, '.'), (t) => refused(t, args, 2, line));
  }

  test('--help of every command is exit 0 and shows an example', async (t) => {
    const commands = [
      ...['check', 'watch', 'run', 'respond', 'status', 'drain', 'resume', 'events'],
      ...['schema', 'token add', 'token list', 'token remove'],
    ];
    for (const command of commands) {
      const { code, stdout, stderr } = await runCli(t, [...command.split(' '), '--help']);
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, new RegExp(`\nExample:\n {2}linkhold ${command}`));
      assert.match(stdout, /--json/);
    }
  });

  test('--version is one line and exit 0', async (t) => {
    const { code, stdout, stderr } = await runCli(t, ['--version']);
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  });
});

suite('what the machine cannot do is exit 3 and one line', {
  timeout: 60_000,
  concurrency: 4,
}, () => {
  test('status without a daemon says how to start one', async (t) => {
    const daemon = `127.0.0.1:${await freePort()}`;
    await refused(
      t,
      ['status', '--daemon', daemon],
      3,
      /no daemon answers on .*; start one with linkhold run/,
    );
  });

  test('status of something that is no daemon of ours', async (t) => {
    const server = http.createServer((_request, response) => response.end('<h1>hello</h1>'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const daemon = `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    await refused(t, ['status', '--daemon', daemon], 3, new RegExp(`^linkhold: .*${daemon}`));
    await refused(t, ['events', '--daemon', daemon], 3, new RegExp(`^linkhold: .*${daemon}`));
    await refused(t, ['drain', 'a', '--daemon', daemon], 3, new RegExp(`^linkhold: .*${daemon}`));
  });

  test('respond and run on an address that is taken or not ours', async (t) => {
    const { port } = await listen(t);
    const file = path.join(temporaryDirectory(t), 'linkhold.yaml');
    writeFileSync(file, 'links: {}\n');
    const state = ['--state-dir', temporaryDirectory(t)];
    const taken = ['run', file, '--listen', `127.0.0.1:${port}`, ...state];
    await refused(
      t,
      taken,
      3,
      /the API cannot listen on .*EADDRINUSE; does a daemon run already\?/,
    );
    const foreign = ['respond', '--listen', '203.0.113.1:7200', '--key', 'k'];
    await refused(t, foreign, 3, /cannot answer on udp 203\.0\.113\.1:7200: EADDRNOTAVAIL/);
    writeFileSync(
      file,
      `links: { a: { url: "tcp://127.0.0.1:${port}" } }
groups: { g: { paths: [ { link: a } ] } }
relays: { r: { listen: "127.0.0.1:${port}", group: g } }
`,
    );
    // The daemon runs already when that shows; it must end, with nothing on stdout but its log.
    const { code, stderr } = await runCli(t, [
      'run',
      file,
      '--listen',
      `127.0.0.1:${await freePort()}`,
      ...state,
    ]);
    assert.equal(code, 3, stderr);
    assert.match(
      stderr,
      /^linkhold: [^\n]*cannot listen on 127\.0\.0\.1\D+\d+: EADDRINUSE[^\n]*\n$/,
    );
  });
});

suite('linkhold watch and respond', { timeout: 60_000, concurrency: 4 }, () => {
  test('watch --json: one event a line, up and then down, exit 0 on SIGINT', async (t) => {
    const { url, end } = await listen(t);
    const watch = startCli(t, ['watch', url, '--json', '--time', '1s', '--interval', '1s']);
    await watch.line(/"to":"up"/);
    end();
    await watch.line(/"to":"down"/);
    watch.kill('SIGINT');
    const { code, stdout, stderr } = await watch.ended();
    assert.deepEqual([code, stderr], [0, '']);
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    for (const event of events) {
      hasKeys(event, EVENT_KEYS);
      assert.equal(event.link, url);
      assert.match(event.type, /^(state|probe|reply|note)$/);
      if (event.type === 'reply') assert.equal(typeof event.rttMs, 'number');
    }
    const states = events.filter((event) => event.type === 'state');
    for (const event of states) hasKeys(event, STATE_KEYS);
    assert.deepEqual(
      states.slice(0, 2).map(({ from, to, reason }) => [from, to, reason]),
      [
        ['unknown', 'up', 'heard'],
        ['up', 'down', 'reset'],
      ],
    );
  });

  test('watch for people, in a pipe: lines without colour, exit 0 on SIGTERM', async (t) => {
    const { url } = await listen(t);
    const watch = startCli(t, ['watch', url]);
    const line = await watch.line(/→/);
    assert.match(line, /^\d\d:\d\d:\d\d\.\d{3} {2}tcp:\/\/127\S+ {2}unknown → up {2}heard$/);
    watch.kill('SIGTERM');
    assert.equal((await watch.ended()).code, 0);
  });

  test('a reader that leaves, as | head does, ends watch quietly with 0', async (t) => {
    const { url, end } = await listen(t);
    const watch = startCli(t, ['watch', url, '--json', '--time', '1s', '--interval', '1s']);
    await watch.line(/"to":"up"/);
    watch.closeStdout();
    end();
    const { code, stderr } = await watch.ended();
    assert.deepEqual([code, stderr], [0, '']);
  });

  test('respond answers a check, with the key from the environment or a file, and ends with 0', async (t) => {
    const [first, second] = [await freePort(), await freePort()];
    const file = path.join(temporaryDirectory(t), 'key');
    writeFileSync(file, 'hunter2\n', { mode: 0o600 });
    const env = { LINKHOLD_KEY: 'hunter2' };
    const byEnv = startCli(t, ['respond', '--listen', `127.0.0.1:${first}`, '--json'], { env });
    const byFile = startCli(t, ['respond', '--listen', `127.0.0.1:${second}`, '--key-file', file]);
    const said = JSON.parse(await byEnv.line(/answering/));
    hasKeys(said, ['at', 'type', 'text']);
    assert.equal(said.listen, `127.0.0.1:${first}`);
    await byFile.line(new RegExp(`answering on udp 127\\.0\\.0\\.1:${second}$`));
    const urls = [`beat://127.0.0.1:${first}`, `beat://127.0.0.1:${second}?keyFile=${file}`];
    const { code, stdout, stderr } = await runCli(t, ['check', ...urls], { env });
    assert.equal(code, 0, `${stdout}${stderr}`);
    byEnv.kill('SIGINT');
    byFile.kill('SIGTERM');
    assert.deepEqual([(await byEnv.ended()).code, (await byFile.ended()).code], [0, 0]);
    assert(!`${byEnv.stdout}${byFile.stdout}`.includes('hunter2'));
  });
});

interface Running {
  readonly run: CliProcess;
  readonly file: string;
  readonly base: string;
  /** Flags with which other commands find it, and may change things. */
  readonly known: readonly string[];
  /** The same without the token. */
  readonly stranger: readonly string[];
}

async function startDaemon(
  t: TestContext,
  text: string,
  flags: readonly string[] = [],
): Promise<Running> {
  const directory = temporaryDirectory(t);
  const file = path.join(directory, 'linkhold.yaml');
  writeFileSync(file, text);
  const listen = `127.0.0.1:${await freePort()}`;
  const state = ['--state-dir', path.join(directory, 'state')];
  const run = startCli(t, ['run', file, '--listen', listen, ...state, ...flags]);
  const base = `http://${listen}`;
  await apiAnswer(`${base}/healthz`);
  await run.line(/page and API/);
  return {
    run,
    file,
    base,
    known: ['--daemon', listen, ...state],
    stranger: ['--daemon', listen, '--state-dir', path.join(directory, 'nowhere')],
  };
}

async function stateOf(base: string, name: string, state: string): Promise<void> {
  await apiAnswer<{ state: string }>(`${base}/api/v1/links/${name}`, (row) => row.state === state);
}

suite('linkhold run and its companions', { timeout: 60_000, concurrency: 4 }, () => {
  test('run --check: 0 for a good file, 2 with file, line and column for a bad one', async (t) => {
    const directory = temporaryDirectory(t);
    writeFileSync(path.join(directory, 'linkhold.yaml'), 'links: { a: { url: "tcp://h:1" } }\n');
    const good = await runCli(t, ['run', '--check'], { cwd: directory });
    assert.equal(good.code, 0, good.stderr);
    assert.equal(good.stdout, 'linkhold.yaml: good, 1 links, 0 groups, 0 relays\n');
    const json = await runCli(t, ['run', '--check', '--json'], { cwd: directory });
    assert.equal(typeof JSON.parse(json.stdout), 'object');
    const bad = path.join(directory, 'bad.yaml');
    writeFileSync(bad, 'links:\n  a: { url: "tcp://h:1", time: 45 }\n');
    await refused(
      t,
      ['run', bad, '--check'],
      2,
      /^linkhold: \S+bad\.yaml:2:32: links\.a\.time: write a duration/,
    );
  });

  test('status, drain, resume and events of a running daemon, with and without the token', async (t) => {
    const { url } = await listen(t);
    const text = `links: { a: { url: "${url}" }, b: { url: "${url}" } }
groups: { g: { paths: [ { link: a }, { link: b } ] } }
relays: { r: { listen: "127.0.0.1:${await freePort()}", group: g } }
`;
    const { run, base, known, stranger } = await startDaemon(t, text);
    await stateOf(base, 'a', 'up');
    await stateOf(base, 'b', 'up');

    const status = await runCli(t, ['status', '--json', ...known]);
    assert.equal(status.code, 0, status.stderr);
    const { links, groups, relays } = JSON.parse(status.stdout);
    assert.equal(links.length, 2);
    hasKeys(links[0], ['name', ...CHECK_KEYS]);
    hasKeys(groups[0], ['name', 'active', 'since', 'why', 'paths']);
    hasKeys(relays[0], ['name', 'listen', 'group', 'oldFlows', 'pid', 'flows']);
    assert(Number.isInteger(relays[0].pid) && relays[0].pid > 0);

    await refused(
      t,
      ['drain', 'a', ...stranger],
      2,
      /^linkhold: the daemon refused: a token is needed/,
    );
    await stateOf(base, 'a', 'up');
    const drained = await runCli(t, ['drain', 'a', '--json', ...known]);
    assert.equal(drained.code, 0, drained.stderr);
    assert.equal(JSON.parse(drained.stdout).state, 'drained');
    await apiAnswer<{ items: { active: string }[] }>(
      `${base}/api/v1/groups`,
      ({ items }) => items[0]?.active === 'b',
    );
    const { stdout: table } = await runCli(t, ['status', ...known]);
    assert.match(table, /\nPATH +GROUP +TIER +STATE +FOR +NEW FLOWS +WHY\n/);
    assert.match(table, /\na +g +1 +drained +\d+m?s +–\n/);
    assert.match(table, /\nb +g +1 +up +\d+m?s +100 % +in use\n/);
    const resumed = await runCli(t, ['resume', 'a', ...known]);
    assert.deepEqual([resumed.code, resumed.stdout], [0, 'a is up\n']);

    const events = await runCli(t, ['events', '--json', ...stranger]);
    assert.equal(events.code, 0, events.stderr);
    const lines = events.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const moved = lines.find((event) => event.type === 'switch');
    hasKeys(moved, ['at', 'group', 'from', 'to', 'why']);
    for (const event of lines.filter(({ type }) => type === 'state')) {
      hasKeys(event, [...EVENT_KEYS, ...STATE_KEYS]);
    }
    const one = await runCli(t, ['events', '--link', 'b', '--limit', '1', ...known]);
    assert.match(one.stdout, /^\d\d:\d\d:\d\d\.\d{3} {2}b {2}unknown → up {2}heard\n$/);

    run.kill('SIGTERM');
    assert.equal((await run.ended()).code, 0);
  });

  test('status is 1 while a link is down, and a table for people', async (t) => {
    const { base, known } = await startDaemon(t, 'links: { a: { url: "tcp://127.0.0.1:1" } }\n');
    await stateOf(base, 'a', 'down');
    const { code, stdout, stderr } = await runCli(t, ['status', ...known]);
    assert.deepEqual([code, stderr], [1, '']);
    assert.match(
      stdout,
      /^LINK +STATE +FOR +ROUND TRIP +KNOWS WITHIN +WHY\na +down +.*refused: ECONNREFUSED\n/,
    );
  });

  test('SIGHUP: a bad file leaves it running, a good one is applied, a taken port is told as such', async (t) => {
    const { url, port } = await listen(t);
    const { run, file, base } = await startDaemon(t, `links: { a: { url: "${url}" } }\n`, [
      '--json',
    ]);
    await stateOf(base, 'a', 'up');
    const before = await apiAnswer<{ local: string }>(`${base}/api/v1/links/a`);
    writeFileSync(file, 'links: { a: { url: nonsense } }\n');
    run.kill('SIGHUP');
    const said = JSON.parse(await run.line(/not reloaded/));
    assert.match(
      said.msg,
      /^not reloaded, .*: \S+linkhold\.yaml:1:20: links\.a\.url: "nonsense" is no link URL/,
    );
    assert.equal(
      (await apiAnswer<{ local: string }>(`${base}/api/v1/links/a`)).local,
      before.local,
    );
    writeFileSync(file, `links: { a: { url: "${url}" }, b: { url: "${url}" } }\n`);
    run.kill('SIGHUP');
    await run.line(/"reloaded /);
    await stateOf(base, 'b', 'up');
    assert.equal(
      (await apiAnswer<{ local: string }>(`${base}/api/v1/links/a`)).local,
      before.local,
    );

    const taken = `relays: { r: { listen: "127.0.0.1:${port}", group: g } }`;
    const groups = 'groups: { g: { paths: [ { link: c } ] } }';
    writeFileSync(file, `links: { c: { url: "${url}" } }\n${groups}\n${taken}\n`);
    run.kill('SIGHUP');
    const { msg } = JSON.parse(await run.line(/EADDRINUSE/));
    // The link of that file runs, so what ran before does not run on.
    await stateOf(base, 'c', 'up');
    assert.doesNotMatch(msg, /not reloaded|stays|runs on/);

    run.kill('SIGINT');
    const { code, stdout, stderr } = await run.ended();
    assert.deepEqual([code, stderr], [0, '']);
    for (const line of stdout.trimEnd().split('\n')) JSON.parse(line);
  });

  test('SIGTERM in the middle of a reload ends it all the same, with 0', async (t) => {
    const { url } = await listen(t);
    const { run, file } = await startDaemon(t, 'links: {}\n');
    // A name is looked up, which takes long enough for the second signal to come.
    const respond = `respond: [ { listen: "localhost:${await freePort()}", key: k } ]`;
    writeFileSync(file, `links: { a: { url: "${url}" } }\n${respond}\n`);
    run.kill('SIGHUP');
    run.kill('SIGTERM');
    assert.equal((await run.ended(5_000)).code, 0);
  });

  test('run goes on when the reader of its log leaves, and an open stream does not hold its end', async (t) => {
    const { url } = await listen(t);
    const { run, base, known } = await startDaemon(t, `links: { a: { url: "${url}" } }\n`);
    await stateOf(base, 'a', 'up');
    const stream = http.get(`${base}/api/v1/stream`).on('error', () => undefined);
    t.after(() => stream.destroy());
    const [response] = (await once(stream, 'response')) as [http.IncomingMessage];
    response.on('error', () => undefined).resume();
    run.closeStdout();
    const token = readFileSync(path.join(known.at(-1) ?? '', 'token'), 'utf8').trim();
    const headers = { authorization: `Bearer ${token}` };
    for (const verb of ['drain', 'resume', 'drain']) {
      const answer = await fetch(`${base}/api/v1/links/a/${verb}`, { method: 'POST', headers });
      assert.equal(answer.status, 200);
    }
    await stateOf(base, 'a', 'drained');
    run.kill('SIGTERM');
    const { code, stderr } = await run.ended(5_000);
    assert.deepEqual([code, stderr], [0, '']);
  });
});
