import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { certify, opensslMissing, readCertified } from '../../../test/support/certificates.ts';
import { temporaryDirectory } from '../../../test/support/cli.ts';
import { freePort } from '../../../test/support/free-port.ts';
import { startReceiver } from '../../../test/support/receiver.ts';
import { eventually } from '../../../test/support/scripted-http.ts';
import { startSmtp } from '../../../test/support/smtp.ts';
import { DeliveryError } from './channel.ts';
import { createChannel } from './channels.ts';
import { deliver } from './courier.ts';
import type { Message } from './message.ts';
import type { ChannelEntry } from './notify-schema.ts';

const KEY = '0123456789abcdef0123456789abcdef';
const NAME = 'a"b\r\nBcc: x@evil.example\r\n\r\n<b>';
const MESSAGE: Message = {
  id: 'b1c2d3e4-0000-4000-8000-000000000001',
  at: '2026-11-24T12:00:30.000Z',
  rule: 'all',
  notices: [
    { kind: 'down', of: 'link', name: NAME, since: '2026-11-24T12:00:00.000Z', incident: 'one' },
  ],
  closed: ['two'],
  afterQuiet: false,
};

function send(entry: ChannelEntry, limitMs?: number): Promise<string> {
  const channel = createChannel(entry, 'here');
  return deliver({ ...channel, limitMs: limitMs ?? channel.limitMs }, MESSAGE);
}

/** The error with which it fails; nothing secret may be in it. */
async function failure(entry: ChannelEntry, limitMs?: number): Promise<DeliveryError> {
  const error = await send(entry, limitMs).then(
    (answer) => new Error(`it was delivered: ${answer}`),
    (caught: Error) => caught,
  );
  assert(error instanceof DeliveryError, error);
  assert.doesNotMatch(error.message, /hunter2|\n/);
  return error;
}

suite('HTTP channels', () => {
  test('each sends what it should where it should, with the id of the message', async (t) => {
    const { url, received } = await startReceiver(t);
    await send({ type: 'webhook', url: `${url}/hook?a=b`, method: 'PUT', headers: { 'X-A': 'b' } });
    await send({ type: 'slack', url: `${url}/services/T/B/X` });
    await send({ type: 'ntfy', url, topic: 'ops', token: 'tk_hunter2' });
    await send({ type: 'pagerduty', url: `${url}/v2/enqueue`, routingKey: KEY });
    await send({ type: 'alertmanager', url: url.replace('//', '//me:hunter2@') });
    assert.deepEqual(
      received.map(({ method, path: to }) => `${method} ${to}`),
      [
        'PUT /hook?a=b',
        'POST /services/T/B/X',
        'POST /',
        'POST /v2/enqueue',
        'POST /v2/enqueue',
        'POST /api/v2/alerts',
      ],
    );
    for (const [index, { headers, body }] of received.entries()) {
      // PagerDuty's second event is another request of the same message.
      const key = index === 4 ? `${MESSAGE.id}/1` : MESSAGE.id;
      assert.equal(headers['idempotency-key'], `"${key}"`);
      assert.equal(headers['content-type'], 'application/json');
      JSON.parse(body);
    }
    assert.equal(received[0]?.headers['x-a'], 'b');
    assert.equal(received[2]?.headers.authorization, 'Bearer tk_hunter2');
    const basic = Buffer.from('me:hunter2').toString('base64');
    assert.equal(received[5]?.headers.authorization, `Basic ${basic}`);
  });

  test('an answer of failure, or none, names the host and no secret', async (t) => {
    const { url } = await startReceiver(t, (response, index) => {
      response.writeHead([500, 400, 404][index] ?? 500, { 'retry-after': '7' });
      response.end('no such hook: /hunter2-secret\r\n<html>');
    });
    const entry = { type: 'slack', url: `${url}/hunter2-secret` } as const;
    const host = url.slice(7);
    const failed = await failure(entry);
    assert.equal(failed.message, `${host} answered 500: no such hook: *** <html>`);
    assert.deepEqual([failed.final, failed.waitMs], [false, 7_000]);
    assert.equal((await failure(entry)).final, true, '400: the message is at fault');
    assert.equal((await failure(entry)).final, false, '404: the channel is');
    const port = await freePort();
    const refused = await failure({ type: 'slack', url: `http://127.0.0.1:${port}/hunter2` });
    assert.equal(refused.message, `127.0.0.1:${port}: ECONNREFUSED`);
    const barred = await failure({ type: 'slack', url: 'http://127.0.0.1:6000/hunter2' });
    assert.equal(barred.message, '127.0.0.1:6000: bad port');
  });

  test('a redirect is followed on the same host only, and only by the same method', async (t) => {
    const elsewhere = await startReceiver(t);
    const { url, received } = await startReceiver(t, (response, index) => {
      const to = ['/next', '', `${elsewhere.url}/x`, '/next', '/a', '/a', '/a', '/a'][index] ?? '';
      const status = index === 3 ? 302 : 307;
      response.writeHead(to === '' ? 200 : status, to === '' ? {} : { location: to }).end();
    });
    const entry = { type: 'slack', url: `${url}/first`, token: 'hunter2' } as const;
    await send(entry);
    assert.deepEqual([received[1]?.path, received[1]?.method], ['/next', 'POST']);
    assert.equal(received[1]?.body, received[0]?.body);
    assert.match((await failure(entry)).message, /307; a redirect is not followed/);
    assert.match((await failure(entry)).message, /302; a redirect is not followed/);
    assert.match((await failure(entry)).message, /307; a redirect/);
    assert.equal(received.length, 8);
    assert.deepEqual(elsewhere.received, []);
  });

  test('a receiver that never answers, or never stops, is left after its time', async (t) => {
    const { url } = await startReceiver(t, () => undefined);
    assert.match((await failure({ type: 'slack', url }, 100)).message, /no answer within 100ms/);
    const endless = await startReceiver(t, (response) => {
      const timer = setInterval(() => response.write('x'.repeat(4_096)), 1);
      response.on('close', () => clearInterval(timer));
    });
    const answer = await send({ type: 'slack', url: endless.url });
    assert(answer.length < 300, `${answer.length}`);
  });
});

suite('command channels', () => {
  const node = (script: string) => ({
    type: 'command' as const,
    command: [process.execPath, '-e', script],
  });

  test('a program gets JSON on stdin and the essentials in its environment, without a shell', async (t) => {
    const file = path.join(temporaryDirectory(t), 'got');
    process.env['LINKHOLD_TOKEN'] = 'hunter2';
    t.after(() => delete process.env['LINKHOLD_TOKEN']);
    const script = `const fs = require('fs');
      fs.writeFileSync(process.argv[1], JSON.stringify({ env: process.env, argv: process.argv.slice(2),
        stdin: JSON.parse(fs.readFileSync(0, 'utf8')) }));
      console.log('done');`;
    const { command } = node(script);
    const answer = await send({ type: 'command', command: [...command, file, '$(id)', '; ls'] });
    assert.equal(answer, `${process.execPath} ended by 0: done`);
    const { env, argv, stdin } = JSON.parse(readFileSync(file, 'utf8'));
    assert.deepEqual(argv, ['$(id)', '; ls']);
    assert.deepEqual(stdin.notices, MESSAGE.notices);
    assert.equal(env.LINKHOLD_ID, MESSAGE.id);
    assert.equal(env.LINKHOLD_TITLE, 'a"b Bcc: x@evil.example <b> is down');
    assert.equal(env.LINKHOLD_KIND, 'down');
    assert.equal(env.LINKHOLD_TOKEN, undefined);
  });

  test('one that fails, is missing, or does not read is told as such', async () => {
    const failed = await failure(node('console.error("alas"); process.exit(3)'));
    assert.equal(failed.message, `${process.execPath} ended by 3: alas`);
    assert.match((await failure({ type: 'command', command: ['/no/such'] })).message, /ENOENT/);
    await send({ type: 'command', command: ['/bin/true'] });
  });

  test('one that takes too long is killed with its children; endless output is cut', async (t) => {
    const file = path.join(temporaryDirectory(t), 'pid');
    const script = `sleep 60 & echo $! > "$0"; wait`;
    const entry = { type: 'command', command: ['/bin/sh', '-c', script, file] } as const;
    const late = failure(entry, 500);
    await eventually('the child runs', () => existsSync(file) && readFileSync(file).length > 1);
    assert.match((await late).message, /no answer within 500ms/);
    const child = Number(readFileSync(file, 'utf8'));
    await eventually('the child is gone', () => !isRunning(child));
    const loud = await send(node('for (let i = 0; i < 1e4; i++) console.log("x".repeat(100))'));
    assert(loud.length < 400, `${loud.length}`);
  });
});

function isRunning(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[2] !== 'Z';
  } catch {
    return false;
  }
}

suite('mail channels', () => {
  const to = ['b@example.net', 'c@example.net'];
  const mail = (port: number) => ({
    ...({ type: 'mail', host: '127.0.0.1', port, tls: 'none' } as const),
    ...{ from: 'a@example.net', to },
  });

  test('a mail has its id, its subject on one line, and no header that a name wrote', async (t) => {
    const { port, mails, commands } = await startSmtp(t);
    assert.equal(await send(mail(port)), '127.0.0.1 answered 250 kept');
    const [head = '', body = ''] = (mails[0] ?? '').split(/\r\n\r\n(.*)/s);
    assert.match(head, /^From: Linkhold <a@example\.net>\r$/m);
    assert.match(head, /^To: b@example\.net, c@example\.net\r$/m);
    // RFC 2047: the quote makes nodemailer encode it.
    const words = [...head.matchAll(/=\?UTF-8\?Q\?([^?]*)\?=/g)].map(([, word = '']) => word);
    const subject = decodeURIComponent(words.join('').replaceAll('_', ' ').replaceAll('=', '%'));
    assert.equal(subject, '[Linkhold] a"b Bcc: x@evil.example <b> is down');
    assert.match(head, new RegExp(`^Message-ID: <${MESSAGE.id}@linkhold>\r$`, 'm'));
    assert.match(head, /^Date: Tue, 24 Nov 2026 12:00:30 \+0000\r$/m);
    assert.doesNotMatch(head, /^Bcc:/im);
    assert.match(body, /link a"b Bcc: x@evil\.example <b> is down since 2026-11-24 12:00:00 UTC/);
    const rcpt = commands.filter((command) => command.startsWith('RCPT'));
    assert.deepEqual(rcpt, ['RCPT TO:<b@example.net>', 'RCPT TO:<c@example.net>']);
  });

  test('by STARTTLS and by TLS, with a login, and only with a certificate that is trusted', async (t) => {
    if (opensslMissing() !== false) return t.skip(`${opensslMissing()}`);
    const certified = certify(t, 'DNS:localhost,IP:127.0.0.1');
    const secure = readCertified(certified);
    const password = path.join(temporaryDirectory(t), 'password');
    writeFileSync(password, 'hunter2\n');
    const login = { user: 'me', passwordFile: password };
    for (const kind of ['starttls', 'tls'] as const) {
      const server = await startSmtp(t, { secure, implicit: kind === 'tls' });
      const entry = { ...mail(server.port), ...login, tls: kind };
      await send({ ...entry, host: 'localhost', caFile: certified.ca });
      await send({ ...entry, caFile: certified.ca });
      assert.equal(server.mails.length, 2);
      const plain = Buffer.from('\0me\0hunter2').toString('base64');
      assert(server.commands.includes(`AUTH PLAIN ${plain}`), `${server.commands}`);
      assert.match((await failure({ ...entry, host: 'localhost' })).message, /certificate/i);
      assert.equal(server.mails.length, 2);
    }
    return undefined;
  });

  test('without the TLS it asks for nothing is sent, least of all a password', async (t) => {
    const { port, commands } = await startSmtp(t);
    const entry = { ...mail(port), tls: 'starttls', user: 'me', password: 'hunter2' } as const;
    await failure(entry);
    assert(
      commands.every((command) => !/^(?:AUTH|MAIL)/.test(command)),
      `${commands}`,
    );
  });

  test('a refusal of the mail is final; one of the login or the recipients is not', async (t) => {
    for (const [verb, answer, final] of [
      ['.', '554 no spam', true],
      ['.', '451 later', false],
      ['RCPT', '550 nobody here', false],
      ['MAIL', '421 busy', false],
    ] as const) {
      const script = (command: string) => (command.startsWith(verb) ? answer : undefined);
      const { port } = await startSmtp(t, { script });
      const error = await failure(mail(port));
      assert.equal(error.final, final, answer);
      assert.match(error.message, new RegExp(answer.slice(4)));
    }
    const some = (command: string) => (command.includes('<c@') ? '550 nobody here' : undefined);
    const { port } = await startSmtp(t, { script: some });
    assert.match(await send(mail(port)), /250 kept, but refused c@example\.net$/);
  });

  test('a server that is silent at any point is left after its time', async (t) => {
    for (const silent of ['greeting', 'EHLO', 'DATA', '.']) {
      const script = (command: string) => (command.startsWith(silent) ? '' : undefined);
      const { port } = await startSmtp(t, { script });
      assert.match((await failure(mail(port), 200)).message, /no answer/);
    }
  });

  test('its connection does not outlive its time', async (t) => {
    const closed = await silentServer(t);
    await failure(mail(closed.port), 100);
    await eventually('the connection is closed', () => closed.open() === 0);
  });
});

/** Accepts and says nothing. */
async function silentServer(t: TestContext): Promise<{ port: number; open(): number }> {
  let open = 0;
  const server = net.createServer((socket) => {
    open += 1;
    socket.resume().on('error', () => undefined);
    socket.on('close', () => {
      open -= 1;
    });
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  t.after(() => server.close());
  return { port, open: () => open };
}
