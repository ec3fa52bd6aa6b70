import assert from 'node:assert/strict';
import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { next, reaches } from '../../test/support/link-events.ts';
import type { TimingInput } from '../keepalive/timing.ts';
import { ffiMissing } from '../sys/libc.ts';
import { readTcpOptions } from '../sys/tcp-socket.ts';
import { encodeNbssMessage, NBSS_LONGEST, type NbssPacket, NbssReader } from '../wire/nbss.ts';
import type { Link } from './link.ts';
import { createLink } from './registry.ts';

/** The shortest that TCP can count, so that a test of reconnecting takes a second. */
const SHORT: TimingInput = { time: '1s', interval: '1s', probes: 2, beat: '100ms' };
/** Far more than anything here takes; only a test that fails waits so long. */
const BOUND_MS = 5_000;

const POSITIVE = Uint8Array.of(0x82, 0, 0, 0);
const KEEPALIVE = Uint8Array.of(0x85, 0, 0, 0);
const negative = (code: number) => Uint8Array.of(0x83, 0, 0, 1, code);
const RETARGET = Uint8Array.of(0x84, 0, 0, 6, 127, 0, 0, 1, 0, 139);

interface Server {
  readonly port: number;
  readonly connections: net.Socket[];
  /** What the link sent so far. */
  readonly packets: NbssPacket[];
  /** The next packet of this type. */
  packet(type: NbssPacket['type']): Promise<NbssPacket>;
}

/** A server that answers each session request with these bytes. */
async function serve(t: TestContext, answer: () => Uint8Array = () => POSITIVE): Promise<Server> {
  const packets: NbssPacket[] = [];
  const connections: net.Socket[] = [];
  const listener = net.createServer((socket) => {
    const reader = new NbssReader('netbios');
    connections.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Uint8Array) => {
      for (const packet of reader.read(bytes)) {
        packets.push(packet);
        listener.emit(packet.type, packet);
        if (packet.type === 'request') socket.write(answer());
      }
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => {
    for (const socket of connections) socket.destroy();
    listener.close();
  });
  const packet = async (type: NbssPacket['type']) => {
    const signal = AbortSignal.timeout(BOUND_MS);
    return ((await once(listener, type, { signal })) as [NbssPacket])[0];
  };
  return { port: (listener.address() as net.AddressInfo).port, connections, packets, packet };
}

function makeLink(t: TestContext, port: number, query = '', timing = SHORT): Link {
  const link = createLink(`nbss://127.0.0.1:${port}${query}`, timing, 'links.a', 'a');
  t.after(() => link.close());
  return link;
}

async function upLink(
  t: TestContext,
  timing = SHORT,
): Promise<{ link: Link; server: Server; peer: net.Socket }> {
  const server = await serve(t);
  const link = makeLink(t, server.port, '', timing);
  await Promise.all([reaches(link, 'up'), link.start()]);
  const [peer] = server.connections;
  assert(peer !== undefined);
  return { link, server, peer };
}

suite('nbss links', { timeout: 30_000, concurrency: 8 }, () => {
  test('is up by an accepted session: *SMBSERVER is called, LINKHOLD calls', async (t) => {
    const { link, server } = await upLink(t);
    assert.deepEqual(server.packets[0], {
      type: 'request',
      called: '*SMBSERVER',
      calling: 'LINKHOLD',
    });
    const { kind, class: clocks, rttMs, remote, proves } = link.status();
    assert.deepEqual([kind, clocks], ['nbss', 'one-way']);
    assert(rttMs !== null && rttMs >= 0);
    assert.equal(remote, `127.0.0.1:${server.port}`);
    assert.match(proves, /session was accepted .* not that the server still runs/);
  });

  test('calls the name of ?called=, and refuses one that is none', async (t) => {
    const server = await serve(t);
    const link = makeLink(t, server.port, '?called=fileserver-1');
    const request = server.packet('request');
    link.start();
    assert.deepEqual(await request, {
      type: 'request',
      called: 'FILESERVER-1',
      calling: 'LINKHOLD',
    });
    for (const called of ['SIXTEEN-LETTERS!', '', '%00', '%C3%84']) {
      assert.throws(() => createLink(`nbss://h?called=${called}`, {}, 'links.a'), {
        name: 'UsageError',
        message: /^links\.a\.url: called= is no NetBIOS name; write 1 to 15/,
      });
    }
  });

  test('port 139 is the default, and the beat is the time', () => {
    const { remote, largestSilenceMs } = createLink('nbss://h', { time: '45s' }, 'a').status();
    assert.deepEqual([remote, largestSilenceMs], ['h:139', 45_000]);
  });

  test('a beat of 100 ms is a keepalive each 75 to 100 ms, after NEGOTIATE', async (t) => {
    const { server } = await upLink(t);
    await server.packet('keepalive');
    const firstAt = performance.now();
    for (let count = 0; count < 5; count += 1) await server.packet('keepalive');
    const all = performance.now() - firstAt;
    // The first may have come late; more than that is not forgiven.
    assert(all >= 300 && all <= 500 + BOUND_MS / 2, `5 beats in ${Math.round(all)} ms`);
    assert.deepEqual(server.packets.map(({ type }) => type).slice(0, 8), [
      'request',
      'message',
      ...Array(6).fill('keepalive'),
    ]);
  });

  test('states the bound: a beat, the user timeout and a second to the first retransmission', () => {
    const boundOf = (timing: TimingInput) => createLink('nbss://h', timing, 'a').detectsWithinMs;
    const missing = ffiMissing() !== undefined;
    const default_ = { time: '60s', interval: '10s', probes: 3 };
    assert.equal(boundOf(default_), missing ? 985_600 : 60_000 + 90_000 + 1_000);
    assert.equal(
      boundOf({ ...default_, beat: '20s' }),
      missing ? 945_600 : 20_000 + 90_000 + 1_000,
    );
    if (missing) return;
    assert.equal(boundOf({ ...default_, beat: '10s', userTimeout: '80s' }), 91_000);
    assert.equal(boundOf({ ...default_, beat: '1h' }), 90_000 + 90_000 + 1_000);
    assert.equal(boundOf({ ...default_, userTimeout: '0s' }), 60_000 + 924_600 + 1_000);
  });

  test('refuses what TCP cannot count', () => {
    assert.throws(() => createLink('nbss://h', { time: '1.5s' }, 'links.a'), {
      message: /^links\.a\.time: TCP counts whole seconds/,
    });
  });

  test('the kernel holds the timing of the link', { skip: ffiMissing() ?? false }, async (t) => {
    const sockets: net.Socket[] = [];
    const note = (message: unknown) => sockets.push((message as { socket: net.Socket }).socket);
    const server = await serve(t);
    diagnostics.subscribe('net.client.socket', note);
    t.after(() => diagnostics.unsubscribe('net.client.socket', note));
    const link = makeLink(t, server.port, '', { time: '45s', interval: '15s', probes: 3 });
    await Promise.all([reaches(link, 'up'), link.start()]);
    const ours = sockets.find(({ remotePort }) => remotePort === server.port);
    const { fd } = (ours as unknown as { _handle: { fd: number } })._handle;
    assert.deepEqual(readTcpOptions(fd), {
      enabled: true,
      timeMs: 45_000,
      intervalMs: 15_000,
      probes: 3,
      userTimeoutMs: 90_000,
    });
  });

  test('keepalives are tolerated before, with and after the answer', async (t) => {
    const server = await serve(t, () =>
      Uint8Array.of(...KEEPALIVE, ...KEEPALIVE, ...POSITIVE, ...KEEPALIVE),
    );
    const link = makeLink(t, server.port);
    await Promise.all([reaches(link, 'up'), link.start()]);
    link.on('state', ({ to }) => assert.fail(`it went ${to}`));
    server.connections[0]?.write(Buffer.alloc(400_000, KEEPALIVE));
    for (let count = 0; count < 3; count += 1) await server.packet('keepalive');
    assert.equal(link.state, 'up');
  });

  test('keepalives alone bring no link up: no session after 2 intervals is down', async (t) => {
    const server = await serve(t, () => KEEPALIVE);
    const link = makeLink(t, server.port);
    const startedAt = performance.now();
    link.start();
    const { from, reason } = await reaches(link, 'down');
    assert.deepEqual([from, reason], ['unknown', 'no-answer']);
    assert(performance.now() - startedAt < 2_000 + BOUND_MS / 2);
  });

  test('messages of 128 KiB within the session are passed over', async (t) => {
    const { link, server, peer } = await upLink(t);
    link.on('state', ({ to }) => assert.fail(`it went ${to}`));
    const message = encodeNbssMessage(new Uint8Array(NBSS_LONGEST));
    for (let count = 0; count < 10; count += 1) peer.write(message);
    for (let count = 0; count < 3; count += 1) await server.packet('keepalive');
    assert.equal(link.state, 'up');
  });

  for (const [code, words] of [
    [0x80, /0x80: not listening on the called name$/],
    [0x81, /0x81: not listening for the calling name$/],
    [0x82, /0x82: the called name is not present$/],
    [0x83, /0x83: .*resources are insufficient$/],
    [0x8f, /0x8f: unspecified error$/],
    [0x00, /0x0: a code that RFC 1002 does not have$/],
  ] as const) {
    test(`a negative answer ${code.toString(16)} is down, refused, and explained once`, async (t) => {
      const server = await serve(t, () => negative(code));
      const link = makeLink(t, server.port);
      const notes: string[] = [];
      link.on('note', ({ text }) => notes.push(text));
      link.start();
      assert.equal((await reaches(link, 'down')).reason, 'refused');
      await server.packet('request');
      await next(link, 'probe');
      assert.equal(notes.length, 1);
      assert.match(notes[0] ?? '', words);
    });
  }

  test('a refused link is up within an interval of being accepted', async (t) => {
    let answer = negative(0x83);
    const server = await serve(t, () => answer);
    const link = makeLink(t, server.port);
    link.start();
    await reaches(link, 'down');
    answer = POSITIVE;
    assert.equal((await reaches(link, 'up')).from, 'down');
  });

  test('a retarget is not followed: protocol-error, and a note with the address', async (t) => {
    const opened: string[] = [];
    const note = (message: unknown) => {
      const { socket } = message as { socket: net.Socket };
      socket.once('connect', () => opened.push(`${socket.remotePort}`));
    };
    const server = await serve(t, () => RETARGET);
    const link = makeLink(t, server.port);
    diagnostics.subscribe('net.client.socket', note);
    t.after(() => diagnostics.unsubscribe('net.client.socket', note));
    const told = next(link, 'note');
    link.start();
    assert.equal((await reaches(link, 'down')).reason, 'protocol-error');
    assert.match((await told).text, /retargets to 127\.0\.0\.1:139; .* nbss:\/\/127\.0\.0\.1:139$/);
    await server.packet('request');
    assert(!opened.includes('139'), opened.join(' '));
  });

  for (const [what, bytes, words] of [
    ['a web server', Buffer.from('HTTP/1.1 400'), /no NetBIOS session service: nbss: bad-type/],
    ['16 MiB announced', Uint8Array.of(0, 0xff, 0xff, 0xff), /nbss: bad-flags/],
    ['a message first', encodeNbssMessage(new Uint8Array(9)), /a message before the session/],
  ] as const) {
    test(`${what} is down with protocol-error`, async (t) => {
      const server = await serve(t, () => bytes);
      const link = makeLink(t, server.port);
      const told = next(link, 'note');
      link.start();
      assert.equal((await reaches(link, 'down')).reason, 'protocol-error');
      assert.match((await told).text, words);
    });
  }

  test('a second answer within the session is a protocol error', async (t) => {
    const { link, peer } = await upLink(t);
    const told = next(link, 'note');
    const down = reaches(link, 'down');
    peer.write(POSITIVE);
    assert.equal((await down).reason, 'protocol-error');
    assert.match((await told).text, /a positive within the session/);
    await reaches(link, 'up');
  });

  test('a session that ends before the server spoke is followed by one without NEGOTIATE, at once', async (t) => {
    const { link, server, peer } = await upLink(t);
    const told = next(link, 'note');
    const up = reaches(link, 'up');
    const endedAt = performance.now();
    peer.end();
    await up;
    assert(performance.now() - endedAt < 700, 'an interval is 750 ms at least');
    assert.match((await told).text, /had said nothing; the next begins without NEGOTIATE$/);
    await server.packet('keepalive');
    const types = server.packets.map(({ type }) => type).filter((type) => type !== 'keepalive');
    assert.deepEqual(types, ['request', 'message', 'request']);
    const again = reaches(link, 'up');
    server.connections[1]?.end();
    await again;
    await server.packet('keepalive');
    assert.equal(server.packets.filter(({ type }) => type === 'message').length, 2);
  });

  test('a peer that says goodbye is down with closed, one that resets with reset', async (t) => {
    const { link, peer, server } = await upLink(t);
    link.on('note', ({ text }) => assert.fail(text));
    const closed = reaches(link, 'down');
    peer.end(encodeNbssMessage(new Uint8Array(1)));
    assert.equal((await closed).reason, 'closed');
    await reaches(link, 'up');
    link.removeAllListeners('note');
    const reset = reaches(link, 'down');
    server.connections[1]?.resetAndDestroy();
    assert.equal((await reset).evidence.errno, 'ECONNRESET');
  });

  test('one that hangs up instead of answering is down with closed', async (t) => {
    const server: Server = await serve(t, () => {
      server.connections[0]?.end();
      return new Uint8Array();
    });
    const link = makeLink(t, server.port);
    link.start();
    const { from, reason } = await reaches(link, 'down');
    assert.deepEqual([from, reason], ['unknown', 'closed']);
  });

  test('close ends the connection, and no event follows', async (t) => {
    const { link, peer } = await upLink(t);
    link.on('state', ({ to }) => assert.fail(`told of ${to} after close`));
    link.close();
    await once(peer, 'close', { signal: AbortSignal.timeout(BOUND_MS) });
  });
});
