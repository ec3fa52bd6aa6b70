import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { next, reaches } from '../../test/support/link-events.ts';
import { mptcpMissing } from '../../test/support/mptcp.ts';
import type { TimingInput } from '../keepalive/timing.ts';
import { ffiMissing } from '../sys/libc.ts';
import { readTcpInfo, readTcpOptions } from '../sys/tcp-socket.ts';
import { decodeTcpInfo } from '../wire/tcp-info.ts';
import type { Link } from './link.ts';
import { createLink } from './registry.ts';

/** The shortest that TCP can count, so that a test of reconnecting takes a second. */
const SHORT: TimingInput = { time: '1s', interval: '1s', probes: 2, userTimeout: '0s' };
/** Far more than anything here takes; only a test that fails waits so long. */
const BOUND_MS = 5_000;

const MPTCP = { skip: mptcpMissing() };

interface Listener {
  readonly server: net.Server;
  readonly port: number;
  /** The next connection that comes. */
  accepted(): Promise<net.Socket>;
}

async function listen(t: TestContext, port = 0): Promise<Listener> {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined).resume();
    t.after(() => socket.destroy());
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const accepted = async () => {
    const signal = AbortSignal.timeout(BOUND_MS);
    return ((await once(server, 'connection', { signal })) as [net.Socket])[0];
  };
  return { server, port: (server.address() as net.AddressInfo).port, accepted };
}

async function closedPort(t: TestContext): Promise<number> {
  const { server, port } = await listen(t);
  server.close();
  await once(server, 'close');
  return port;
}

function makeLink(t: TestContext, port: number, query = '', timing = SHORT): Link {
  const link = createLink(`tcp://127.0.0.1:${port}${query}`, timing, 'links.a', 'a');
  t.after(() => link.close());
  return link;
}

/** A link that is up, and the server's end of its connection. */
async function upLink(
  t: TestContext,
  listener: Listener,
  timing = SHORT,
): Promise<{ link: Link; peer: net.Socket }> {
  const link = makeLink(t, listener.port, '', timing);
  const [peer] = await Promise.all([listener.accepted(), reaches(link, 'up'), link.start()]);
  return { link, peer };
}

/** Every TCP socket this process opens to `port` until the test ends. */
function socketsTo(t: TestContext, port: number): net.Socket[] {
  const all: net.Socket[] = [];
  const note = (message: unknown) => {
    const { socket } = message as { readonly socket: net.Socket };
    socket.once('connect', () => socket.remotePort === port && all.push(socket));
  };
  diagnostics.subscribe('net.client.socket', note);
  t.after(() => diagnostics.unsubscribe('net.client.socket', note));
  return all;
}

function descriptor(socket: net.Socket | undefined): number {
  return (socket as unknown as { readonly _handle: { readonly fd: number } })._handle.fd;
}

suite('tcp links', { timeout: 30_000, concurrency: 16 }, () => {
  test('is up on connect, with addresses, round trip and the bound in its status', async (t) => {
    const listener = await listen(t);
    const link = makeLink(t, listener.port, '', { time: '45s', interval: '15s', probes: 3 });
    link.start();
    const event = await reaches(link, 'up');
    assert.equal(event.from, 'unknown');
    assert.equal(event.reason, 'heard');
    assert.equal(event.link, 'a');
    assert.equal(event.detectsWithinMs, 90_000);
    assert.match(event.at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const status = link.status();
    assert.equal(status.remote, `127.0.0.1:${listener.port}`);
    assert.match(status.local ?? '', /^127\.0\.0\.1:\d+$/);
    assert(status.rttMs !== null && status.rttMs >= 0 && status.rttMs < BOUND_MS);
  });

  test('states the bound of the user timeout where that overrides the probe count', async () => {
    const bound = (userTimeout: string) =>
      createLink('tcp://h:1', { time: '60s', interval: '10s', probes: 3, userTimeout }, 'links.a')
        .detectsWithinMs;
    assert.equal(bound('0s'), 90_000);
    assert.equal(bound('79s'), 80_000);
    assert.equal(bound('80s'), 80_000);
    assert.equal(bound('200s'), 200_000);
  });

  test('a port where nobody listens is down at once, refused', async (t) => {
    const link = makeLink(t, await closedPort(t));
    const startedAt = performance.now();
    link.start();
    const event = await reaches(link, 'down');
    assert.equal(event.reason, 'refused');
    assert.deepEqual(event.evidence, { errno: 'ECONNREFUSED' });
    assert(performance.now() - startedAt < 2_000, 'that is known at once, not after the bound');
  });

  test('a refused link is up within an interval of the server coming', async (t) => {
    const port = await closedPort(t);
    const link = makeLink(t, port);
    link.start();
    await reaches(link, 'down');
    await listen(t, port);
    const event = await reaches(link, 'up');
    assert.equal(event.from, 'down');
  });

  test('a name that does not exist is down with name-not-found', async (t) => {
    // A label of 64 characters cannot exist, so no name server is asked.
    const link = createLink(`tcp://${'x'.repeat(64)}.invalid:1`, SHORT, 'links.a', 'a');
    t.after(() => link.close());
    link.start();
    const event = await reaches(link, 'down');
    assert.equal(event.reason, 'name-not-found');
    assert.match(event.evidence.errno ?? '', /^(ENOTFOUND|EAI_AGAIN)$/);
  });

  test('a name with a NUL in it is refused or down, never a crash', async (t) => {
    let link: Link;
    try {
      link = createLink('tcp://a%00b:1', SHORT, 'links.a', 'a');
    } catch (error) {
      assert.equal((error as Error).name, 'UsageError');
      return;
    }
    t.after(() => link.close());
    link.start();
    await until(() => link.state === 'down');
  });

  test('a peer that says goodbye is down with closed, and up again by a new connection', async (t) => {
    const listener = await listen(t);
    const { link, peer } = await upLink(t, listener);
    const before = link.status().local;
    const down = reaches(link, 'down');
    peer.end();
    const event = await down;
    assert.equal(event.from, 'up');
    assert.equal(event.reason, 'closed');
    assert.equal(typeof event.evidence.silentMs, 'number');
    await reaches(link, 'up');
    assert.notEqual(link.status().local, before);
  });

  test('a connection that ends early is not made anew before 75 % of an interval', async (t) => {
    const listener = await listen(t);
    const { link, peer } = await upLink(t, listener);
    const down = reaches(link, 'down');
    peer.end();
    await down;
    const downAt = performance.now();
    await reaches(link, 'up');
    assert(performance.now() - downAt >= 749, 'a server that hangs up must not be hammered');
  });

  test('a peer that resets is down with reset and ECONNRESET', async (t) => {
    const { link, peer } = await upLink(t, await listen(t));
    const down = reaches(link, 'down');
    peer.resetAndDestroy();
    const event = await down;
    assert.equal(event.reason, 'reset');
    assert.equal(event.evidence.errno, 'ECONNRESET');
  });

  test('?source= is the address that the peer sees', async (t) => {
    const listener = await listen(t);
    const link = makeLink(t, listener.port, '?source=127.0.0.9');
    link.start();
    assert.equal((await listener.accepted()).remoteAddress, '127.0.0.9');
  });

  test('a source that is not of this machine is down, unreachable with EADDRNOTAVAIL', async (t) => {
    const link = makeLink(t, (await listen(t)).port, '?source=203.0.113.1');
    link.start();
    const event = await reaches(link, 'down');
    assert.equal(event.reason, 'unreachable');
    assert.equal(event.evidence.errno, 'EADDRNOTAVAIL');
  });

  test('drain and resume are told, and in between the link is watched in silence', async (t) => {
    const { link, peer } = await upLink(t, await listen(t));
    const told: string[] = [];
    link.on('state', ({ from, to, reason }) => told.push(`${from} ${to} ${reason}`));
    link.resume();
    link.drain();
    link.drain();
    assert.equal(link.status().state, 'drained');
    const ended = next(link, 'probe');
    peer.end();
    // A probe of a tcp link is a new connection: by then the end of the old one is known.
    await ended;
    assert.deepEqual(told, ['up drained drained']);
    link.resume();
    link.resume();
    assert.deepEqual(told, ['up drained drained', 'drained down resumed']);
  });

  test('a drained link that stayed alive is resumed as up', async (t) => {
    const { link } = await upLink(t, await listen(t));
    link.drain();
    const resumed = reaches(link, 'up');
    link.resume();
    const { from, reason } = await resumed;
    assert.deepEqual([from, reason], ['drained', 'resumed']);
  });

  test('a peer that talks is read: 4 MiB of banner do not stop at a full buffer', async (t) => {
    const { peer } = await upLink(t, await listen(t));
    const signal = AbortSignal.timeout(BOUND_MS);
    if (!peer.write(Buffer.alloc(4 << 20))) await once(peer, 'drain', { signal });
    assert.equal(peer.writableLength, 0);
  });

  test('close ends the connection, no event follows, and a probe afterwards opens nothing', async (t) => {
    const listener = await listen(t);
    const { link, peer } = await upLink(t, listener);
    const opened = socketsTo(t, listener.port);
    link.on('state', ({ to }) => assert.fail(`told of ${to} after close`));
    link.close();
    await once(peer, 'close', { signal: AbortSignal.timeout(BOUND_MS) });
    link.probe();
    // Whatever that probe had opened would have come before this connection.
    const marker = net.connect(listener.port, '127.0.0.1');
    t.after(() => marker.destroy());
    await once(marker, 'connect');
    assert.equal(opened.length, 1);
    assert.equal(link.status().state, 'up');
  });

  suite('and the kernel', { skip: ffiMissing() ?? false }, () => {
    for (const [timing, kept] of [
      [
        { time: '45s', interval: '15s', probes: 3 },
        { timeMs: 45_000, intervalMs: 15_000, probes: 3, userTimeoutMs: 90_000 },
      ],
      [
        { time: '2h', interval: '75s', probes: 9, userTimeout: '0s' },
        { timeMs: 7_200_000, intervalMs: 75_000, probes: 9, userTimeoutMs: 0 },
      ],
      [
        { profile: 'windows', userTimeout: '9000s' },
        { timeMs: 7_200_000, intervalMs: 1_000, probes: 10, userTimeoutMs: 9_000_000 },
      ],
    ] as const) {
      test(`the kernel holds ${JSON.stringify(timing)}`, async (t) => {
        const listener = await listen(t);
        const sockets = socketsTo(t, listener.port);
        await upLink(t, listener, timing);
        assert.equal(sockets.length, 1);
        assert.deepEqual(readTcpOptions(descriptor(sockets[0])), { enabled: true, ...kept });
      });
    }

    test('ss shows the keepalive timer of 45 s running', async (t) => {
      const listener = await listen(t);
      const { link } = await upLink(t, listener, { time: '45s', interval: '15s' });
      const port = link.status().local?.split(':').at(-1);
      const ss = spawnSync('ss', ['-Htno', `sport = :${port}`], { encoding: 'utf8' });
      if (ss.error !== undefined) return t.skip('ss is not installed');
      assert.match(ss.stdout, /timer:\(keepalive,4[345]/);
    });

    test('probe is answered at once where something was heard within a second', async (t) => {
      const { link } = await upLink(t, await listen(t));
      const replied = next(link, 'reply');
      link.probe();
      assert((await replied).rttMs >= 0);
    });

    test('probe after a second of silence makes the kernel ask, and the options are as before', async (t) => {
      const listener = await listen(t);
      const sockets = socketsTo(t, listener.port);
      const timing = { time: '45s', interval: '15s', probes: 3 };
      const { link } = await upLink(t, listener, timing);
      const fd = descriptor(sockets[0]);
      const before = readTcpOptions(fd);
      await until(() => decodeTcpInfo(readTcpInfo(fd)).silentMs >= 1_050);
      const replied = next(link, 'reply');
      link.probe();
      link.probe();
      await replied;
      assert(decodeTcpInfo(readTcpInfo(fd)).silentMs < 1_000, 'the kernel heard the peer');
      await until(() => readTcpOptions(fd).timeMs === before.timeMs);
      assert.deepEqual(readTcpOptions(fd), before);
      assert.equal(link.state, 'up');
    });
  });
});

/** Looks every 10 ms until it is so, and fails after the bound. */
async function until(isSo: () => boolean): Promise<void> {
  const lateAt = performance.now() + BOUND_MS;
  while (!isSo()) {
    assert(performance.now() < lateAt, `not so within ${BOUND_MS} ms: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

suite('tcp links by Multipath TCP', () => {
  const refused = (query: string, timing: TimingInput, what: RegExp) =>
    assert.throws(() => createLink(`tcp://127.0.0.1:9${query}`, timing, 'links.a', 'a'), {
      name: 'UsageError',
      message: what,
    });

  test('mptcp is true or left out, and has no user timeout', () => {
    refused('?mptcp=yes', SHORT, /^links\.a\.url: mptcp=yes: write mptcp=true/);
    const text = /^links\.a\.userTimeout: the kernel has no user timeout for Multipath TCP/;
    refused('?mptcp=true', { ...SHORT, userTimeout: '9s' }, text);
    const link = createLink('tcp://127.0.0.1:9?mptcp=true', { time: '1s' }, 'links.a', 'a');
    assert.equal(link.status().detectsWithinMs, 31_000);
    assert.deepEqual(link.status().mptcp, { inUse: false, subflows: 0 });
    link.close();
  });

  test('a peer without it is held by plain TCP, and a note says so', MPTCP, async (t) => {
    const listener = await listen(t);
    const link = makeLink(t, listener.port, '?mptcp=true');
    const noted = next(link, 'note');
    await Promise.all([listener.accepted(), reaches(link, 'up'), link.start()]);
    assert.match((await noted).text, /the peer has no Multipath TCP/);
    assert.deepEqual(link.status().mptcp, { inUse: false, subflows: 0 });
  });

  test('a name is looked up, and a refusal is a verdict', MPTCP, async (t) => {
    const port = await closedPort(t);
    const link = createLink(`tcp://localhost:${port}?mptcp=true`, SHORT, 'links.a', 'a');
    t.after(() => link.close());
    const down = reaches(link, 'down');
    link.start();
    assert.equal((await down).reason, 'refused');
  });
});
