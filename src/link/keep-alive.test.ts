import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Duplex } from 'node:stream';
import { suite, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { ffiMissing } from '../sys/libc.ts';
import { readTcpOptions } from '../sys/tcp-socket.ts';
import { keepAlive } from './keep-alive.ts';
import type { Link, StateEvent } from './link.ts';

const BOUND_MS = 5_000;
const TIMING = { time: '45s', interval: '15s', probes: 3, userTimeout: '120s' } as const;
const KEPT = {
  enabled: true,
  timeMs: 45_000,
  intervalMs: 15_000,
  probes: 3,
  userTimeoutMs: 120_000,
};

/** A key and its own certificate in one PEM text, or why there is none. */
const openssl = spawnSync(
  'openssl',
  'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost -keyout - -out -'.split(
    ' ',
  ),
  { encoding: 'utf8' },
);
const pem = openssl.status === 0 ? openssl.stdout : undefined;
const skipTls =
  pem === undefined ? 'the openssl command is missing or cannot make a certificate' : false;

/** A server; `accepted` is the next connection that comes. */
async function serve(
  t: TestContext,
  server: net.Server,
): Promise<{ port: number; accepted: () => Promise<net.Socket> }> {
  server.on('connection', (socket: net.Socket) => {
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const accepted = async () =>
    (
      (await once(server, 'connection', { signal: AbortSignal.timeout(BOUND_MS) })) as [net.Socket]
    )[0];
  return { port: (server.address() as net.AddressInfo).port, accepted };
}

/** A connected socket of ours with its errors collected, and the other end. */
async function pair(
  t: TestContext,
): Promise<{ socket: net.Socket; peer: net.Socket; errors: string[] }> {
  const { port, accepted } = await serve(t, net.createServer());
  const socket = net.connect(port, '127.0.0.1');
  const errors: string[] = [];
  socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? error.message));
  t.after(() => socket.destroy());
  const [peer] = await Promise.all([accepted(), once(socket, 'connect')]);
  return { socket, peer, errors };
}

function hold(
  t: TestContext,
  socket: net.Socket,
  options: Parameters<typeof keepAlive>[1] = TIMING,
): Link {
  const link = keepAlive(socket, options);
  t.after(() => link.close());
  return link;
}

/** Holds a connected socket; the news that it is up comes once the caller can listen. */
async function holdConnected(...held: Parameters<typeof hold>): Promise<Link> {
  const link = hold(...held);
  assert.equal(link.state, 'unknown');
  assert.equal((await nextState(link)).to, 'up');
  return link;
}

async function nextState(link: Link): Promise<StateEvent> {
  return (
    (await once(link, 'state', { signal: AbortSignal.timeout(BOUND_MS) })) as [StateEvent]
  )[0];
}

function optionsOf(socket: net.Socket): unknown {
  const { _handle } = socket as unknown as { readonly _handle: { readonly fd: number } };
  return readTcpOptions(_handle.fd);
}

/** How many listeners each event of the socket has. */
function listeners(socket: net.Socket): Record<string, number> {
  const names = ['error', 'end', 'close', 'connect', 'data', 'readable', 'timeout', 'drain'];
  return Object.fromEntries(names.map((name) => [name, socket.listenerCount(name)]));
}

suite('keepAlive for a net.Socket', { timeout: 20_000, skip: ffiMissing() ?? false }, () => {
  test('sets all five options of a connected socket, and is up', async (t) => {
    const { socket } = await pair(t);
    const link = await holdConnected(t, socket);
    assert.deepEqual(optionsOf(socket), KEPT);
    const status = link.status();
    assert.equal(status.state, 'up');
    assert.equal(status.name, `tcp://127.0.0.1:${socket.remotePort}`);
    assert.equal(status.local, `127.0.0.1:${socket.localPort}`);
    assert.equal(status.largestSilenceMs, 45_000);
    assert.equal(status.detectsWithinMs, 120_000);
  });

  test('without options: 60s / 10s / 3 and a user timeout of the bound, 90 s', async (t) => {
    const { socket } = await pair(t);
    const link = hold(t, socket, {});
    assert.deepEqual(optionsOf(socket), {
      enabled: true,
      timeMs: 60_000,
      intervalMs: 10_000,
      probes: 3,
      userTimeoutMs: 90_000,
    });
    assert.equal(link.detectsWithinMs, 90_000);
  });

  test('a socket that is still connecting is held once it is connected', async (t) => {
    const { port } = await serve(t, net.createServer());
    const socket = net.connect(port, '127.0.0.1');
    t.after(() => socket.destroy());
    const link = hold(t, socket, { ...TIMING, name: 'db' });
    assert.equal(link.state, 'unknown');
    const event = await nextState(link);
    assert.deepEqual([event.link, event.from, event.to], ['db', 'unknown', 'up']);
    assert.deepEqual(optionsOf(socket), KEPT);
    assert.equal(link.status().remote, `127.0.0.1:${port}`);
  });

  test('a connection that is refused is down with refused and its errno', async (t) => {
    const { socket: spent, peer } = await pair(t);
    const port = spent.localPort ?? 0;
    spent.destroy();
    await once(peer, 'close');
    const socket = net.connect(port, '127.0.0.1');
    const errors: string[] = [];
    socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? ''));
    const link = hold(t, socket);
    const event = await nextState(link);
    assert.equal(event.to, 'down');
    assert.deepEqual(errors, ['ECONNREFUSED']);
    assert.equal(event.reason, 'refused');
    assert.equal(event.evidence.errno, 'ECONNREFUSED');
  });

  test('a peer that says goodbye is down with closed, and a half-open side may still write', async (t) => {
    const { port, accepted } = await serve(t, net.createServer({ allowHalfOpen: true }));
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    t.after(() => socket.destroy());
    const [peer] = await Promise.all([accepted(), once(socket, 'connect')]);
    const link = await holdConnected(t, socket);
    const down = nextState(link);
    peer.end();
    socket.resume();
    const { to, reason } = await down;
    assert.deepEqual([to, reason], ['down', 'closed']);
    socket.write('last words');
    assert.equal(String((await once(peer, 'data'))[0]), 'last words');
  });

  test("a reset reaches both the link and the program's own error handler, once each", async (t) => {
    const { socket, peer, errors } = await pair(t);
    const link = await holdConnected(t, socket);
    const told: string[] = [];
    link.on('state', ({ to, reason }) => told.push(`${to} ${reason}`));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.resume();
    peer.resetAndDestroy();
    await closed;
    assert.deepEqual(errors, ['ECONNRESET']);
    assert.deepEqual(told, ['down reset']);
    assert.equal(link.status().evidence.errno, 'ECONNRESET');
  });

  test("an error of the program's own is told as well, and swallows nothing", async (t) => {
    const { socket, errors } = await pair(t);
    const link = await holdConnected(t, socket);
    const down = nextState(link);
    socket.destroy(new Error('enough'));
    assert.equal((await down).to, 'down');
    assert.deepEqual(errors, ['enough']);
  });

  test('adds no error handler: a program without one hears of its errors as before', async (t) => {
    const { socket } = await pair(t);
    socket.removeAllListeners('error');
    hold(t, socket);
    assert.equal(socket.listenerCount('error'), 0);
    socket.on('error', () => undefined);
  });

  test("after close() the socket is the program's: it carries data, keeps its options, has no listener of ours", async (t) => {
    const { socket, peer } = await pair(t);
    const before = listeners(socket);
    const link = await holdConnected(t, socket);
    const told: string[] = [];
    link.on('state', ({ to }) => told.push(to));
    link.close();
    link.close();
    assert.deepEqual(listeners(socket), before);
    assert.deepEqual(optionsOf(socket), KEPT);
    peer.pipe(peer);
    socket.write('still here?');
    assert.equal(String((await once(socket, 'data'))[0]), 'still here?');
    socket.destroy();
    await once(socket, 'close');
    assert.deepEqual(told, []);
    assert.equal(link.state, 'up');
  });

  test('close() before the connection is there leaves it alone', async (t) => {
    const { port } = await serve(t, net.createServer());
    const socket = net.connect(port, '127.0.0.1');
    t.after(() => socket.destroy());
    const before = listeners(socket);
    hold(t, socket).close();
    assert.deepEqual(listeners(socket), before);
    await once(socket, 'connect');
    assert.equal((optionsOf(socket) as { enabled: boolean }).enabled, false);
  });

  test('does not make a paused socket flow: unread data stays unread', async (t) => {
    const { socket, peer } = await pair(t);
    hold(t, socket);
    peer.write('for the program');
    await once(socket, 'readable');
    assert.equal(String(socket.read()), 'for the program');
  });

  test('reports a round trip when the peer is heard', async (t) => {
    const { socket, peer } = await pair(t);
    const link = hold(t, socket);
    socket.resume();
    const reply = once(link, 'reply', { signal: AbortSignal.timeout(BOUND_MS) });
    peer.write('x');
    link.probe();
    const [event] = (await reply) as [{ rttMs: number }];
    assert(event.rttMs >= 0 && event.rttMs < BOUND_MS);
  });

  test('refuses a destroyed socket, one never connected, and a stream that is no socket', async (t) => {
    const { socket } = await pair(t);
    socket.destroy();
    const wrapped = new Duplex({ read: () => undefined }) as unknown as net.Socket;
    for (const bad of [socket, new net.Socket(), wrapped]) {
      assert.throws(() => keepAlive(bad), {
        name: 'UsageError',
        code: 'not-a-socket',
        message: /pass a connected or connecting net\.Socket or tls\.TLSSocket$/,
      });
    }
    assert.equal(wrapped.listenerCount('close'), 0);
  });

  for (const [options, message] of [
    [{ time: '60' }, /^keepAlive\.time: "60" is not a duration; add a unit/],
    [{ time: '1.5s' }, /^keepAlive\.time: TCP counts whole seconds/],
    [{ probes: 1 }, /^keepAlive\.probes: 1 is not a whole number from 2 to 127/],
    [{ userTimeout: '70s' }, /^keepAlive\.userTimeout: 1m10s would let one lost probe kill/],
    [{ userTimeout: '8760h' }, /^keepAlive\.userTimeout: /],
    [{ beat: '10s' }, /^keepAlive\.beat: TCP has no send clock/],
  ] as const) {
    test(`refuses ${JSON.stringify(options)} and leaves the socket as it was`, async (t) => {
      const { socket } = await pair(t);
      const before = [optionsOf(socket), listeners(socket)];
      assert.throws(() => keepAlive(socket, options), { name: 'UsageError', message });
      assert.deepEqual([optionsOf(socket), listeners(socket)], before);
      assert.equal(socket.destroyed, false);
    });
  }

  test('a Unix socket has no TCP: refused, connected or connecting, and unharmed', async (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const server = net.createServer((peer) => peer.pipe(peer));
    server.listen(path.join(directory, 'socket'));
    await once(server, 'listening');
    t.after(() => server.close());
    const socket = net.connect(path.join(directory, 'socket'));
    t.after(() => socket.destroy());
    const link = hold(t, socket);
    const [error] = (await once(link, 'error', { signal: AbortSignal.timeout(BOUND_MS) })) as [
      Error,
    ];
    assert.match(error.name, /^(System|Usage)Error$/);
    assert.throws(() => keepAlive(socket), { name: /^(System|Usage)Error$/ });
    socket.write('x');
    assert.equal(String((await once(socket, 'data'))[0]), 'x');
  });
});

const skipIfTlsMissing = skipTls || (ffiMissing() ?? false);

suite('keepAlive for a tls.TLSSocket', { timeout: 20_000, skip: skipIfTlsMissing }, () => {
  function tlsServer(): tls.Server {
    return tls.createServer({ key: pem, cert: pem }, (socket) => {
      socket.on('error', () => undefined);
      socket.pipe(socket);
    });
  }

  function connectTls(t: TestContext, options: tls.ConnectionOptions): tls.TLSSocket {
    const socket = tls.connect({ host: '127.0.0.1', ca: pem, servername: 'localhost', ...options });
    t.after(() => socket.destroy());
    return socket;
  }

  test('holds it while it is connecting, and data flows after the handshake', async (t) => {
    const { port } = await serve(t, tlsServer());
    const socket = connectTls(t, { port });
    const link = hold(t, socket);
    await once(socket, 'secureConnect');
    assert.equal(link.state, 'up');
    assert.deepEqual(optionsOf(socket), KEPT);
    socket.write('x');
    assert.equal(String((await once(socket, 'data'))[0]), 'x');
  });

  test('holds it after the handshake, and tells of its reset', async (t) => {
    const { port: behind } = await serve(t, tlsServer());
    // A plain relay, since a TLS socket of Node's cannot send a reset.
    const relay = net.createServer((client) => {
      const server = net.connect(behind, '127.0.0.1');
      t.after(() => server.destroy());
      client.pipe(server).pipe(client);
    });
    const { port, accepted } = await serve(t, relay);
    const socket = connectTls(t, { port });
    const errors: string[] = [];
    socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? ''));
    const [client] = await Promise.all([accepted(), once(socket, 'secureConnect')]);
    const link = await holdConnected(t, socket);
    assert.deepEqual(optionsOf(socket), KEPT);
    assert.equal(link.state, 'up');
    // Before the first data Node tells a reset as a clean end.
    socket.write('x');
    assert.equal(String((await once(socket, 'data'))[0]), 'x');
    const down = nextState(link);
    client.resetAndDestroy();
    assert.deepEqual([(await down).to, (await down).reason], ['down', 'reset']);
    assert.deepEqual(errors, ['ECONNRESET']);
  });

  test('holds the socket under it when TLS is laid over a net.Socket', async (t) => {
    const { port } = await serve(t, tlsServer());
    const under = net.connect(port, '127.0.0.1');
    await once(under, 'connect');
    const socket = connectTls(t, { socket: under });
    await once(socket, 'secureConnect');
    hold(t, socket);
    assert.deepEqual(optionsOf(socket), KEPT);
  });

  test('refuses TLS over a stream that is no socket', async (t) => {
    const { port } = await serve(t, tlsServer());
    const under = net.connect(port, '127.0.0.1');
    t.after(() => under.destroy());
    await once(under, 'connect');
    const stream = new Duplex({
      read: () => undefined,
      write: (chunk, _encoding, done) => under.write(chunk, () => done()),
    });
    under.on('data', (chunk) => stream.push(chunk));
    const socket = connectTls(t, { socket: stream as unknown as net.Socket });
    socket.on('error', () => undefined);
    await once(socket, 'secureConnect');
    assert.throws(() => keepAlive(socket), { name: 'UsageError', code: 'not-a-socket' });
    socket.write('x');
    assert.equal(String((await once(socket, 'data'))[0]), 'x');
  });
});
