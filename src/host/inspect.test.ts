import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { descriptors } from '../../test/support/descriptors.ts';
import { loopback } from '../../test/support/loopback.ts';
import { strangerMissing, withoutKoffi } from '../../test/support/stranger.ts';
import { ffiMissing } from '../sys/libc.ts';
import { descriptorOf, writeTcpOptions } from '../sys/tcp-socket.ts';
import { inspect } from './inspect.ts';

const RETRIES2 = Number(readFileSync('/proc/sys/net/ipv4/tcp_retries2', 'utf8'));
/** A key and its own certificate in one PEM text, or why there is none. */
const openssl = spawnSync(
  'openssl',
  'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost -keyout - -out -'.split(
    ' ',
  ),
  { encoding: 'utf8' },
);
const skipTls =
  openssl.status === 0 ? false : 'the openssl command is missing or cannot make a certificate';

async function secure(t: TestContext): Promise<tls.TLSSocket> {
  const server = tls.createServer({ key: openssl.stdout, cert: openssl.stdout });
  server.on('secureConnection', (peer) => {
    peer.on('error', () => undefined);
    t.after(() => peer.destroy());
  });
  server.listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  t.after(() => socket.destroy());
  await Promise.all([once(server, 'secureConnection'), once(socket, 'secureConnect')]);
  return socket;
}

const NEEDS = { skip: ffiMissing() ?? false };

suite('a connection of our own, inspected', NEEDS, () => {
  test('as Node opens it would never notice a dead peer', async (t) => {
    const { socket } = await loopback(t);
    const { keepalive, detection, risks, advice, ...rest } = inspect(socket);
    assert.equal(keepalive?.enabled, false);
    assert.equal(keepalive.userTimeoutMs, 0);
    assert.equal(detection?.idleMs, null);
    assert.deepEqual(risks, ['never-detected', 'in-flight-hole']);
    assert.match(advice ?? '', /^turn keepalive on \(.*\); set a user timeout of /);
    assert.deepEqual(Object.keys(rest), ['info'], 'nothing is said to be unreadable');
  });

  test('has what Node set: 45 s / 5 s / 7', async (t) => {
    const { socket } = await loopback(t);
    socket.setKeepAlive(true, 45_000, 5_000, 7);
    const { keepalive, detection, risks } = inspect(socket);
    assert.deepEqual(keepalive, {
      enabled: true,
      timeMs: 45_000,
      intervalMs: 5_000,
      probes: 7,
      userTimeoutMs: 0,
    });
    assert.equal(detection?.idleMs, 80_000);
    assert.deepEqual(risks, ['in-flight-hole']);
  });

  test('has what the kernel holds now, not what it held before', async (t) => {
    const { socket, fd } = await loopback(t);
    const options = {
      enabled: true,
      timeMs: 60_000,
      intervalMs: 10_000,
      probes: 3,
      userTimeoutMs: 90_000,
    };
    inspect(socket);
    writeTcpOptions(fd, options);
    const { keepalive, detection, risks, advice } = inspect(socket);
    assert.deepEqual(keepalive, options);
    assert.deepEqual(detection, { idleMs: 90_000, inFlightMs: 90_000 });
    assert.deepEqual([risks, advice], [[], null]);
    writeTcpOptions(fd, { ...options, enabled: false });
    assert.deepEqual(inspect(socket).risks, ['never-detected']);
  });

  test('tells its live state: established, nothing in flight, heard from just now', async (t) => {
    const { socket, peer } = await loopback(t);
    peer.write('hello');
    await once(socket, 'data');
    const { info } = inspect(socket);
    assert.deepEqual(
      [info?.state, info?.probes, info?.retransmits, info?.unacked],
      [1, 0, 0, 0],
      JSON.stringify(info),
    );
    assert((info?.silentMs ?? 1e9) < 10_000 && (info?.rtoMs ?? 0) >= 200, JSON.stringify(info));
  });

  test('counts data in flight by the tcp_retries2 of this machine', {
    skip: RETRIES2 !== 15 && `tcp_retries2 is ${RETRIES2} here`,
  }, async (t) => {
    const { socket } = await loopback(t);
    assert.equal(inspect(socket).detection?.inFlightMs, 924_600);
  });

  test('works for the accepted end and over IPv6 as well', async (t) => {
    const { peer } = await loopback(t, '::1');
    peer.setKeepAlive(true, 60_000);
    assert.equal(inspect(peer).keepalive?.timeMs, 60_000);
  });

  test('works for TLS', { skip: skipTls }, async (t) => {
    const socket = await secure(t);
    socket.setKeepAlive(true, 33_000);
    const { keepalive, info } = inspect(socket);
    assert.deepEqual([keepalive?.enabled, keepalive?.timeMs, info?.state], [true, 33_000, 1]);
    socket.destroy();
    assert.throws(() => inspect(socket), { code: 'not-a-socket' });
  });

  test('opens nothing', async (t) => {
    const { socket } = await loopback(t);
    const before = descriptors();
    inspect(socket);
    assert.deepEqual(descriptors(), before);
  });
});

suite('what cannot be inspected', NEEDS, () => {
  const error = {
    name: 'UsageError',
    code: 'not-a-socket',
    message:
      'inspect: no open TCP socket is under this; pass a connected net.Socket or tls.TLSSocket',
  };

  test('a socket that was destroyed is wrong usage', async (t) => {
    const { socket } = await loopback(t);
    socket.destroy();
    assert.throws(() => inspect(socket), error);
    await once(socket, 'close');
    assert.throws(() => inspect(socket), error);
  });

  test('so is one that was never connected, and what is no socket', () => {
    assert.throws(() => inspect(new net.Socket()), error);
    assert.throws(() => inspect({} as net.Socket), error);
  });

  test('a socket that is not TCP is a SystemError with the errno', async (t) => {
    const name = `\0linkhold-inspect-${process.pid}`;
    const server = net.createServer().listen(name);
    t.after(() => server.close());
    await once(server, 'listening');
    const socket = net.connect(name);
    t.after(() => socket.destroy());
    const [[peer]] = await Promise.all([once(server, 'connection'), once(socket, 'connect')]);
    t.after(() => (peer as net.Socket).destroy());
    assert((descriptorOf(socket) ?? -1) >= 0);
    assert.throws(() => inspect(socket), { name: 'SystemError', code: /^E(OP)?NOTSUP/ });
  });
});

test('without koffi all is null, and it says what is missing; so does the list of connections', {
  skip: strangerMissing(),
}, async () => {
  const body = `
    const { inspect } = await load('host/inspect.ts');
    const { readSocketTable } = await load('host/socket-table.ts');
    const net = await import('node:net');
    return [inspect(new net.Socket()), attempt(readSocketTable)];`;
  const [inspection, list] = await withoutKoffi<Record<string, unknown>[]>(body);
  const why = /^the koffi package cannot be loaded .*npm install koffi$/;
  const { unreadable, ...nothing } = inspection ?? {};
  assert.deepEqual(nothing, {
    keepalive: null,
    info: null,
    detection: null,
    risks: [],
    advice: null,
  });
  assert.match(String(unreadable), why);
  assert.deepEqual([list?.['name'], list?.['code']], ['SystemError', 'ffi-missing']);
  assert.match(String(list?.['message']), why);
});
