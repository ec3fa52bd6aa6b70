/**
 * The API of a real daemon, asked by clients that mean no good: slow, large, many, from elsewhere. And
 * what needs real sockets: TLS with a certificate that changes, tokens made while it runs.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { certify, opensslMissing } from '../support/certificates.ts';
import {
  apiAnswer,
  type CliProcess,
  runCli,
  startCli,
  temporaryDirectory,
} from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';

const BOUND_MS = 20_000;

interface Running {
  readonly daemon: CliProcess;
  readonly directory: string;
  readonly port: number;
  readonly base: string;
  readonly bearer: { readonly authorization: string };
}

async function run(t: TestContext, host: string, ...more: readonly string[]): Promise<Running> {
  const directory = temporaryDirectory(t);
  const file = path.join(directory, 'linkhold.yaml');
  writeFileSync(file, 'links:\n  a: { url: "tcp://127.0.0.1:1", time: 1h, interval: 1h }\n');
  const port = await freePort();
  const listen = `${host}:${port}`;
  const args = ['run', file, '--listen', listen, '--state-dir', directory, ...more];
  const daemon = startCli(t, args);
  await daemon.line(/ runs /);
  const token = readFileSync(path.join(directory, 'token'), 'utf8').trim();
  const bearer = { authorization: `Bearer ${token}` };
  return { daemon, directory, port, base: `http://127.0.0.1:${port}`, bearer };
}

/** A raw connection, and what it said when the daemon ended it. */
function raw(t: TestContext, port: number, head: string) {
  const socket = net.connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => undefined);
  socket.write(head);
  const ended = new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not ended in time: ${text}`)), BOUND_MS);
    socket.once('close', () => {
      clearTimeout(late);
      resolve();
    });
  });
  return { socket, answer: () => text, ended };
}

/** The daemon's memory in bytes. */
function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1_024;
}

suite('hostile clients of the API', { concurrency: true, timeout: 120_000 }, () => {
  test('a body of 100 MB is refused before 16 MB of it were taken, with or without its length', async (t) => {
    const { port, base, bearer } = await run(t, '127.0.0.1');
    const chunk = Buffer.alloc(64 * 1_024, 'x');
    for (const [length, authorization] of [
      ['Content-Length: 104857600', bearer.authorization],
      ['Transfer-Encoding: chunked', bearer.authorization],
      ['Content-Length: 104857600', 'Bearer wrong'],
      ['Transfer-Encoding: chunked', 'Bearer wrong'],
    ]) {
      const head = [
        'POST /api/v1/links/a/probe HTTP/1.1',
        'Host: localhost',
        `Authorization: ${authorization}`,
        'Content-Type: text/plain',
        String(length),
        '\r\n',
      ].join('\r\n');
      const chunked = length?.startsWith('Transfer') === true;
      if (!chunked) {
        const patient = raw(t, port, head);
        await patient.ended;
        assert.match(patient.answer(), /^HTTP\/1\.1 4(13|01) /);
      }
      const { socket, answer, ended } = raw(t, port, head);
      const framed = chunked ? `10000\r\n${chunk}\r\n` : chunk;
      const pump = () => {
        while (socket.writable && socket.bytesWritten < 100 * 1_024 * 1_024) {
          if (!socket.write(framed)) return;
        }
      };
      socket.on('drain', pump);
      pump();
      await ended;
      // Who goes on sending may find the connection reset before the answer was read.
      assert.match(answer(), /^($|HTTP\/1\.1 4(13|01) )/);
      assert(socket.bytesWritten < 16 * 1_024 * 1_024, `${socket.bytesWritten} bytes were taken`);
    }
    assert.equal((await apiAnswer<{ status: string }>(`${base}/healthz`)).status, 'ok');
  });

  test('headers at a byte a second are ended within 20 s, and others are served meanwhile', async (t) => {
    const { port, base } = await run(t, '127.0.0.1');
    const slow = raw(t, port, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ');
    const drip = setInterval(() => slow.socket.write('x'), 1_000);
    t.after(() => clearInterval(drip));
    await apiAnswer(`${base}/healthz`);
    await slow.ended;
    assert.match(slow.answer(), /^(HTTP\/1\.1 408 |$)/);
  });

  test('1,200 readers of the stream that never read: 1,000 stay, and memory grows by less than 150 MB', async (t) => {
    const { daemon, port, base, bearer } = await run(t, '127.0.0.1');
    await apiAnswer(`${base}/healthz`);
    const before = residentBytes(daemon.pid);
    let [opened, refused] = [0, 0];
    const readers = Array.from({ length: 1_200 }, () => {
      const head = 'GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n';
      const { socket } = raw(t, port, head);
      socket.once('data', (text: string) => {
        if (/^HTTP\/1\.1 200 /.test(text)) opened += 1;
        if (/^HTTP\/1\.1 503 /.test(text)) refused += 1;
        socket.pause();
      });
      return socket;
    });
    const lateAt = performance.now() + BOUND_MS;
    while (opened + refused < readers.length) {
      assert(performance.now() < lateAt, `${opened} opened, ${refused} refused`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.deepEqual({ opened, refused }, { opened: 1_000, refused: 200 });
    for (let index = 0; index < 50; index += 1) {
      for (const verb of ['drain', 'resume']) {
        const url = `${base}/api/v1/links/a/${verb}`;
        await fetch(url, { method: 'POST', headers: bearer });
      }
    }
    const grown = residentBytes(daemon.pid) - before;
    assert(grown < 150 * 1_024 * 1_024, `${Math.round(grown / 1_024 / 1_024)} MB`);
    const text = await (await fetch(`${base}/metrics`)).text();
    assert.match(text, /^linkhold_stream_readers 1000$/m);
  });

  test('no path leads out of the API, however it is written', async (t) => {
    const { port, base } = await run(t, '127.0.0.1');
    for (const target of [
      ...['/../../../etc/passwd', '/..%2f..%2fetc%2fpasswd', '/%2e%2e/%2e%2e/etc/passwd'],
      ...['/api/v1/links/../../../../etc/passwd', '/api/v1/links/..%2ftoken', '//etc/passwd'],
      ...[
        '/api/v1/links/%00',
        '/api/v1/links/a%00/drain',
        '/\\..\\..\\etc',
        '/token',
        '/tokens.json',
      ],
      ...['http://localhost/api/v1/../token', '/api/v1/links/%c0%ae%c0%ae%2ftoken'],
    ]) {
      const { socket, answer, ended } = raw(
        t,
        port,
        `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      );
      socket.end();
      await ended;
      assert.match(answer(), /^HTTP\/1\.1 4\d\d /, target);
      assert.doesNotMatch(answer(), /root:|node:internal|\/src\//);
    }
    await apiAnswer(`${base}/healthz`);
  });

  test('a page of another site can neither read nor write, whatever the browser lets it send', async (t) => {
    const { base, bearer } = await run(t, '127.0.0.1');
    const evil = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' };
    const read = await fetch(`${base}/api/v1/links`, { headers: { origin: evil.origin } });
    assert.equal(read.headers.get('access-control-allow-origin'), null);
    assert.equal(read.headers.get('cross-origin-resource-policy'), 'same-origin');
    const url = `${base}/api/v1/links/a/drain`;
    const asked = await fetch(url, { method: 'OPTIONS', headers: evil });
    assert(asked.status >= 400 && asked.headers.get('access-control-allow-methods') === null);
    for (const headers of [{ origin: evil.origin }, { origin: 'null' }]) {
      const written = await fetch(url, { method: 'POST', headers: { ...headers, ...bearer } });
      assert.equal(written.status, 403);
    }
  });
});

suite('tokens and TLS of a running daemon', { concurrency: true, timeout: 120_000 }, () => {
  test('a token made while it runs is valid at once for what it may, and until it is removed', async (t) => {
    const { directory, base } = await run(t, '0.0.0.0');
    const state = ['--state-dir', directory];
    const made = await runCli(t, ['token', 'add', 'reader', '--scope', 'read', '--json', ...state]);
    assert.equal(made.code, 0, made.stderr);
    const { token } = JSON.parse(made.stdout);
    const ask = async (method: string, place: string, text?: string) => {
      const headers: Record<string, string> =
        text === undefined ? {} : { authorization: `Bearer ${text}` };
      return (await fetch(base + place, { method, headers })).status;
    };
    assert.equal(await ask('GET', '/api/v1/links', token), 200);
    assert.equal(await ask('GET', '/metrics', token), 200);
    assert.equal(await ask('POST', '/api/v1/links/a/drain', token), 403);
    assert.equal(await ask('GET', '/api/v1/links'), 401);
    assert.equal(await ask('GET', `/api/v1/links?token=${token}`), 401);
    const listed = await runCli(t, ['token', 'list', '--json', ...state]);
    assert.deepEqual(
      JSON.parse(listed.stdout).map(({ name, scope }: Record<string, string>) => [name, scope]),
      [['reader', 'read']],
    );
    assert(!listed.stdout.includes(token));
    assert.equal((await runCli(t, ['token', 'remove', 'reader', ...state])).code, 0);
    assert.equal(await ask('GET', '/api/v1/links', token), 401);
  });

  test('a reload that failed makes it degraded, with the reason, until one succeeds', async (t) => {
    const { base, directory, bearer } = await run(t, '127.0.0.1');
    const file = path.join(directory, 'linkhold.yaml');
    const good = readFileSync(file, 'utf8');
    const reload = async () =>
      (await fetch(`${base}/api/v1/reload`, { method: 'POST', headers: bearer })).status;
    writeFileSync(file, `${good}nonsense: 1\n`);
    assert.equal(await reload(), 400);
    const ill = await apiAnswer<{ status: string; troubles: string[] }>(`${base}/healthz`);
    assert.equal(ill.status, 'degraded');
    assert.match(String(ill.troubles), /^the last reload failed: .*linkhold\.yaml:3:1: /);
    writeFileSync(file, good);
    assert.equal(await reload(), 200);
    assert.equal((await apiAnswer<{ status: string }>(`${base}/healthz`)).status, 'ok');
  });

  test('TLS: reads by its certificate, plain HTTP is refused, SIGHUP takes a new one, a bad one changes nothing', {
    skip: opensslMissing(),
  }, async (t) => {
    const [first, second] = [certify(t), certify(t)];
    const files = temporaryDirectory(t);
    const [cert, key] = [path.join(files, 'cert.pem'), path.join(files, 'key.pem')];
    const use = ({ certificate, key: secret }: typeof first) => {
      copyFileSync(certificate, cert);
      copyFileSync(secret, key);
    };
    use(first);
    const { daemon, port, directory } = await run(
      t,
      '127.0.0.1',
      ...['--tls-cert', cert, '--tls-key', key],
    );
    const fingerprint = async (ca: string) => {
      const socket = tls.connect({
        port,
        host: '127.0.0.1',
        servername: 'localhost',
        ca: readFileSync(ca),
      });
      await once(socket, 'secureConnect', { signal: AbortSignal.timeout(BOUND_MS) });
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      return fingerprint256;
    };
    const before = await fingerprint(first.ca);
    await assert.rejects(fetch(`http://127.0.0.1:${port}/healthz`));
    const env = { NODE_EXTRA_CA_CERTS: first.ca };
    const daemonFlags = ['--daemon', `https://localhost:${port}`, '--state-dir', directory];
    const drained = await runCli(t, ['drain', 'a', ...daemonFlags], { env });
    assert.equal(drained.code, 0, drained.stderr);
    const [cookie = ''] = (await session(port, directory, first.ca)) ?? [];
    assert.match(cookie, /^__Host-linkhold=.*; Secure$/);

    writeFileSync(cert, 'no certificate');
    daemon.kill('SIGHUP');
    await daemon.line(/not reloaded, what ran runs on: --tls-cert: no certificate with its key/);
    assert.equal(await fingerprint(first.ca), before);
    use(second);
    daemon.kill('SIGHUP');
    await daemon.line(/ reloaded /);
    assert.notEqual(await fingerprint(second.ca), before);
  });

  for (const [flags, text] of [
    [['--tls-cert', 'x'], /write --tls-cert and --tls-key together/],
    [['--tls-cert', 'x', '--tls-key', 'y'], /--tls-cert: x cannot be read \(ENOENT\)/],
  ] as const) {
    test(`run ${flags.join(' ')} is wrong usage, in one line`, async (t) => {
      const directory = temporaryDirectory(t);
      const file = path.join(directory, 'linkhold.yaml');
      writeFileSync(file, 'links: {}\n');
      const { code, stderr } = await runCli(t, ['run', file, '--state-dir', directory, ...flags]);
      assert.equal(code, 2);
      assert.match(stderr, text);
      assert.equal(stderr.split('\n').length, 2);
    });
  }
});

/** Opens a session over TLS; answers its cookies. */
async function session(
  port: number,
  directory: string,
  ca: string,
): Promise<readonly string[] | undefined> {
  const token = readFileSync(path.join(directory, 'token'), 'utf8').trim();
  const request = https.request({
    ...{ port, host: '127.0.0.1', servername: 'localhost', ca: readFileSync(ca) },
    ...{ method: 'POST', path: '/api/v1/session' },
    headers: { host: 'localhost', authorization: `Bearer ${token}` },
  });
  request.end();
  const [response] = await once(request, 'response', { signal: AbortSignal.timeout(BOUND_MS) });
  response.resume();
  assert.equal(response.statusCode, 200);
  return response.headers['set-cookie'];
}
