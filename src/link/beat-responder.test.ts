import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { suite, type TestContext, test } from 'node:test';
import { BEAT_LENGTH } from '../wire/beat.ts';
import { openBeat, readKey, sealBeat } from './beat-auth.ts';
import { BeatResponder } from './beat-responder.ts';

const KEY = createSecretKey('hunter2', 'utf8');
const OTHER_KEY = createSecretKey('hunter3', 'utf8');
const NONCE = Uint8Array.from({ length: 16 }, (_, index) => index);
const BOUND_MS = 5_000;
/** For 20,000 packets there and back by one process, which take 1 to 5 s where two cores do more. */
const FLOOD_BOUND_MS = 30_000;

/** A responder, and a socket connected to it. */
async function pair(
  t: TestContext,
  address = '127.0.0.1',
): Promise<{ responder: BeatResponder; socket: dgram.Socket; bound: string }> {
  const responder = new BeatResponder(address, 0, KEY);
  const bound = await responder.start();
  t.after(() => responder.close());
  const socket = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.connect(Number(bound.split(':').at(-1)), address);
  await once(socket, 'connect');
  t.after(() => socket.close());
  return { responder, socket, bound };
}

async function answer(socket: dgram.Socket): Promise<Buffer> {
  const signal = AbortSignal.timeout(BOUND_MS);
  return ((await once(socket, 'message', { signal })) as [Buffer])[0];
}

/** Sends `packets`, then a good probe, and returns all that came back up to its answer. */
async function exchange(
  socket: dgram.Socket,
  packets: readonly Uint8Array[],
): Promise<readonly Buffer[]> {
  const got: Buffer[] = [];
  const LAST = 0xffff_ffff;
  const done = new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('no answer to a good probe')), BOUND_MS);
    socket.on('message', (bytes) => {
      got.push(bytes);
      const packet = openBeat(bytes, KEY);
      if (typeof packet === 'string' || packet.sequence !== LAST) return;
      clearTimeout(late);
      resolve();
    });
  });
  for (const packet of packets) socket.send(packet);
  socket.send(sealBeat('probe', LAST, NONCE, KEY));
  await done;
  return got;
}

suite('the beat responder', { timeout: 20_000 }, () => {
  test('answers a probe with its sequence and nonce, in the 44 bytes it came in', async (t) => {
    const { responder, socket } = await pair(t);
    socket.send(sealBeat('probe', 7, NONCE, KEY));
    const bytes = await answer(socket);
    assert.equal(bytes.length, BEAT_LENGTH);
    const packet = openBeat(bytes, KEY);
    assert(typeof packet !== 'string', String(packet));
    assert.equal(packet.type, 'answer');
    assert.equal(packet.sequence, 7);
    assert.deepEqual([...packet.nonce], [...NONCE]);
    assert.deepEqual(responder.counts, {
      answered: 1,
      malformed: 0,
      notAuthentic: 0,
      overRate: 0,
    });
  });

  test('answers on IPv6 and tells its address in brackets', async (t) => {
    const { socket, bound } = await pair(t, '::1');
    assert.match(bound, /^\[::1\]:\d+$/);
    assert.equal((await exchange(socket, [])).length, 1);
  });

  test('never answers a wrong key, a malformed packet, a beat or an answer, and counts them', async (t) => {
    const { responder, socket } = await pair(t);
    const probe = sealBeat('probe', 1, NONCE, KEY);
    const forged = probe.slice();
    forged[43] = (forged[43] ?? 0) ^ 1;
    const altered = probe.slice();
    altered[12] = (altered[12] ?? 0) ^ 1;
    const got = await exchange(socket, [
      sealBeat('probe', 2, NONCE, OTHER_KEY),
      forged,
      altered,
      new Uint8Array(0),
      probe.subarray(0, 43),
      new Uint8Array([...probe, 0]),
      new Uint8Array(1_400),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      sealBeat('beat', 3, NONCE, KEY),
      sealBeat('answer', 4, NONCE, KEY),
    ]);
    assert.equal(got.length, 1);
    assert.deepEqual(responder.counts, {
      answered: 1,
      malformed: 5,
      notAuthentic: 3,
      overRate: 0,
    });
  });

  test('answers are never longer than the request: 1 byte to 1,400 bytes of it', async (t) => {
    const { socket } = await pair(t);
    const probe = sealBeat('probe', 1, NONCE, KEY);
    const longer = new Uint8Array(1_400);
    longer.set(probe);
    const sizes = [1, 8, 43, BEAT_LENGTH, 45, 100, 1_400];
    const sent = [...sizes.map((size) => longer.subarray(0, size)), probe];
    const got = await exchange(socket, sent);
    // The two whole probes and the last one; nothing else was worth a byte.
    assert.deepEqual(
      got.map((bytes) => bytes.length),
      [BEAT_LENGTH, BEAT_LENGTH, BEAT_LENGTH],
    );
  });

  test('20,000 answers a second at most, also in the first one and after a rest; more is counted', async (t) => {
    let now = 1_000_000;
    t.mock.method(performance, 'now', () => now);
    const { responder, socket } = await pair(t);
    const probe = sealBeat('probe', 1, NONCE, KEY);
    await flood(responder, socket, probe, 20_050);
    assert.equal(responder.counts.answered, 20_000);
    assert.equal(responder.counts.overRate, 50);
    now += 1_000;
    await flood(responder, socket, probe, 50);
    assert.equal(responder.counts.answered, 20_050);
    now += 10_000;
    await flood(responder, socket, probe, 20_050);
    assert.equal(responder.counts.answered, 40_050);
    assert.equal(responder.counts.overRate, 100);
  });

  test('a taken port is a SystemError that names it', async (t) => {
    const { bound } = await pair(t);
    const second = new BeatResponder('127.0.0.1', Number(bound.split(':')[1]), KEY);
    t.after(() => second.close());
    await assert.rejects(second.start(), {
      name: 'SystemError',
      code: 'EADDRINUSE',
      message: `cannot answer on udp ${bound}: EADDRINUSE; choose another address`,
    });
  });

  test('close frees the port and may be called twice', async (t) => {
    const { responder, bound } = await pair(t);
    responder.close();
    responder.close();
    const second = new BeatResponder('127.0.0.1', Number(bound.split(':')[1]), KEY);
    t.after(() => second.close());
    assert.equal(await second.start(), bound);
  });
});

suite('keys', () => {
  test('a key of 4,096 characters is the longest', () => {
    assert.equal(readKey({ key: 'x'.repeat(4_096) }, 'respond.0').symmetricKeySize, 4_096);
    assert.throws(() => readKey({ key: 'x'.repeat(4_097) }, 'respond.0'), {
      code: 'no-key',
      message: 'respond.0: the key is longer than 4096 characters',
    });
  });

  test('an empty key is none, and the message says where to put one', () => {
    const kept = process.env['LINKHOLD_KEY'];
    delete process.env['LINKHOLD_KEY'];
    try {
      assert.throws(() => readKey({ key: '' }, 'links.a'), {
        code: 'no-key',
        message: /^links\.a: .*; give key=SECRET, keyFile=FILE or the variable LINKHOLD_KEY$/,
      });
      process.env['LINKHOLD_KEY'] = 'from outside';
      assert.equal(readKey({}, 'links.a').symmetricKeySize, 12);
    } finally {
      if (kept === undefined) delete process.env['LINKHOLD_KEY'];
      else process.env['LINKHOLD_KEY'] = kept;
    }
  });
});

/** Sends `count` packets, a few at a time so that no buffer overflows, and waits for all of them. */
async function flood(
  responder: BeatResponder,
  socket: dgram.Socket,
  packet: Uint8Array,
  count: number,
): Promise<void> {
  const received = () => Object.values(responder.counts).reduce((sum, value) => sum + value, 0);
  const goal = received() + count;
  const signal = AbortSignal.timeout(FLOOD_BOUND_MS);
  for (let sent = 0; sent < count; ) {
    const target = received() + Math.min(count - sent, 100);
    for (; sent < count && goal - count + sent < target; sent += 1) socket.send(packet);
    while (received() < target) {
      signal.throwIfAborted();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  assert.equal(received(), goal);
}
