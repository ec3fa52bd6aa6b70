import assert from 'node:assert/strict';
import { createHmac, timingSafeEqual } from 'node:crypto';
import dgram from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { suite, type TestContext, test } from 'node:test';
import { reaches } from '../../test/support/link-events.ts';
import { UdpSession, type UdpSessionOptions } from './udp-session.ts';

const KEY = 'shared';
const TAG_LENGTH = 32;
const HOST = '127.0.0.1';
/** What a busy machine may be late by. */
const LATE_MS = 1_000;

/** A small protocol: a counter, a text, and a tag over both. */
class Protocol {
  readonly received: string[] = [];
  #sent = 0;
  #heard = 0;

  seal(text: string): Uint8Array {
    this.#sent += 1;
    const plain = Buffer.from(`${this.#sent} ${text}`);
    return Buffer.concat([createHmac('sha256', KEY).update(plain).digest(), plain]);
  }

  open(bytes: Uint8Array): boolean {
    if (bytes.length <= TAG_LENGTH) return false;
    const plain = Buffer.from(bytes.subarray(TAG_LENGTH));
    const tag = createHmac('sha256', KEY).update(plain).digest();
    if (!timingSafeEqual(tag, bytes.subarray(0, TAG_LENGTH))) return false;
    const [count = '', text = ''] = plain.toString().split(' ');
    if (Number(count) <= this.#heard) return false;
    this.#heard = Number(count);
    this.received.push(text);
    return true;
  }
}

async function bound(t: TestContext): Promise<dgram.Socket> {
  const socket = dgram.createSocket('udp4').bind(0, HOST);
  t.after(() => socket.close());
  await once(socket, 'listening');
  return socket;
}

async function connect(socket: dgram.Socket, port: number): Promise<void> {
  socket.connect(port, HOST);
  await once(socket, 'connect');
}

interface End {
  readonly session: UdpSession;
  readonly protocol: Protocol;
  readonly socket: dgram.Socket;
}

function end(t: TestContext, socket: dgram.Socket, timing: Partial<UdpSessionOptions>): End {
  const protocol = new Protocol();
  const session = new UdpSession(socket, {
    time: '400ms',
    beat: '100ms',
    makeBeat: () => protocol.seal('beat'),
    receive: (bytes) => protocol.open(bytes),
    ...timing,
  });
  t.after(() => session.close());
  return { session, protocol, socket };
}

/** Two sessions on two sockets, both started. */
async function pair(t: TestContext, timing: Partial<UdpSessionOptions> = {}): Promise<[End, End]> {
  const sockets = [await bound(t), await bound(t)] as const;
  await connect(sockets[0], sockets[1].address().port);
  await connect(sockets[1], sockets[0].address().port);
  const ends: [End, End] = [end(t, sockets[0], timing), end(t, sockets[1], timing)];
  const up = ends.map(({ session }) => reaches(session, 'up'));
  for (const { session } of ends) session.start();
  await Promise.all(up);
  return ends;
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** A socket that keeps what is sent, and a session that can be woken as after a suspension. */
class Fake extends EventEmitter {
  readonly sent: Uint8Array[] = [];
  send(bytes: Uint8Array): void {
    this.sent.push(bytes);
  }
}
class Sleeper extends UdpSession {
  awake(): void {
    this.wake();
  }
}

suite('UDP sessions', { concurrency: true }, () => {
  test('a beat leaves at the start, and at once after a suspension', (t) => {
    const socket = new Fake();
    const beat = Uint8Array.of(7);
    const session = new Sleeper(socket, { makeBeat: () => beat, receive: () => false });
    t.after(() => session.close());
    session.start();
    assert.deepEqual(socket.sent, [beat]);
    session.awake();
    assert.deepEqual(socket.sent, [beat, beat]);
    assert.equal(session.state, 'unknown');
  });

  test('beats each 100 ms keep both up for three times 400 ms', async (t) => {
    const [a, b] = await pair(t);
    const states: string[] = [];
    for (const { session } of [a, b]) session.on('state', ({ to }) => states.push(to));
    await pause(1_200);
    assert.deepEqual(states, []);
    for (const { protocol } of [a, b]) {
      const beats = protocol.received.length;
      assert(beats >= 6 && beats <= 14, `${beats} beats`);
    }
    const { detectsWithinMs, largestSilenceMs } = a.session.status();
    assert.deepEqual([detectsWithinMs, largestSilenceMs], [400, 100]);
    assert.equal(a.session.facts.class, 'two-sided');
  });

  test('an end that falls silent is dead after 400 ms, and alive again when it speaks', async (t) => {
    const [a, b] = await pair(t);
    b.session.close();
    const from = performance.now();
    const { reason, evidence, to } = await reaches(a.session, 'down');
    const took = performance.now() - from;
    assert.deepEqual([to, reason], ['down', 'silent']);
    assert(took > 250 && took < 400 + LATE_MS, `${took} ms`);
    assert((evidence.silentMs ?? 0) >= 400);
    const up = reaches(a.session, 'up');
    b.socket.send(b.protocol.seal('here'));
    assert.equal((await up).reason, 'heard');
  });

  test('forged, replayed and empty datagrams are no life', async (t) => {
    const [a, b] = await pair(t);
    b.session.close();
    const old = b.protocol.seal('old');
    b.socket.send(old);
    const forged = Buffer.from(b.protocol.seal('new'));
    forged[0] = (forged[0] ?? 0) ^ 1;
    const again = setInterval(() => {
      for (const bytes of [old, forged, Buffer.alloc(0)]) b.socket.send(bytes);
    }, 50);
    t.after(() => clearInterval(again));
    assert.equal((await reaches(a.session, 'down')).reason, 'silent');
  });

  test('who sends each 40 ms anyway sends no beat', async (t) => {
    const [a, b] = await pair(t);
    const sending = setInterval(() => a.session.send(a.protocol.seal('data')), 40);
    t.after(() => clearInterval(sending));
    await pause(50);
    const from = b.protocol.received.length;
    await pause(600);
    const since = b.protocol.received.slice(from);
    assert(since.length >= 5, `${since}`);
    const beats = since.filter((text) => text === 'beat').length;
    // A busy machine may be late for its own data once.
    assert(beats <= 1, `${since}`);
  });

  test('a port that is closed is a doubt; silence decides', async (t) => {
    const [a, b] = await pair(t);
    b.session.close();
    await new Promise<void>((resolve) => b.socket.close(() => resolve()));
    t.mock.method(b.socket, 'close', () => undefined);
    const states: string[] = [];
    a.session.on('state', ({ to, reason }) => states.push(`${to} ${reason}`));
    await reaches(a.session, 'down');
    assert.deepEqual(states, ['suspect refused', 'down refused']);
  });

  test('after close nothing is sent, and the socket is still the caller’s', async (t) => {
    const [a, b] = await pair(t);
    b.session.close();
    const from = a.protocol.received.length;
    b.session.send(b.protocol.seal('late'));
    await pause(200);
    assert.equal(a.protocol.received.length, from);
    assert.equal(b.socket.listenerCount('message'), 0);
    b.socket.send(b.protocol.seal('mine'));
    await pause(50);
    assert.equal(a.protocol.received.at(-1), 'mine');
  });

  test('by default dead after a minute, a beat after a sixth of that', async (t) => {
    const socket = await bound(t);
    const nothing = { makeBeat: () => undefined, receive: () => false };
    const { detectsWithinMs, largestSilenceMs } = new UdpSession(socket, nothing).status();
    assert.deepEqual([detectsWithinMs, largestSilenceMs], [60_000, 10_000]);
    assert.equal(
      new UdpSession(socket, { ...nothing, time: '30s' }).status().largestSilenceMs,
      5_000,
    );
  });

  test('refuses a time of less than two beats, and what is no duration', async (t) => {
    const socket = await bound(t);
    const nothing = { makeBeat: () => undefined, receive: () => false };
    const make = (timing: object) => () => new UdpSession(socket, { ...nothing, ...timing });
    assert.throws(make({ name: 'db', time: '10s', beat: '6s' }), {
      code: 'bad-timing',
      message: /^db\.time: .*two beats/,
    });
    assert.throws(make({ time: '10' }), { code: 'bad-duration' });
  });
});
