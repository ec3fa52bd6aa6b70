import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { descriptors } from '../../test/support/descriptors.ts';
import { UdpDialer, type UdpTarget } from './udp-dialer.ts';

const BOUND_MS = 5_000;

/** What a dialer told, in order. */
type Told =
  | { readonly type: 'connected'; readonly socket: dgram.Socket }
  | { readonly type: 'message'; readonly text: string }
  | { readonly type: 'failed' | 'doubted'; readonly code: string | undefined };

interface Subject {
  readonly dialer: UdpDialer;
  readonly told: Told[];
  /** The next thing that is told and was not taken yet. */
  next(): Promise<Told>;
}

function subject(t: TestContext, target: UdpTarget): Subject {
  const told: Told[] = [];
  let taken = 0;
  let wake = () => {};
  const tell = (what: Told) => {
    told.push(what);
    wake();
  };
  const codeOf = (error: Error) => (error as NodeJS.ErrnoException).code;
  const dialer = new UdpDialer(target, {
    connected: (socket) => tell({ type: 'connected', socket }),
    message: (bytes) => tell({ type: 'message', text: Buffer.from(bytes).toString() }),
    failed: (error) => tell({ type: 'failed', code: codeOf(error) }),
    doubted: (error) => tell({ type: 'doubted', code: codeOf(error) }),
  });
  t.after(() => dialer.hangUp());
  const next = async () => {
    if (told.length === taken) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    taken += 1;
    return told[taken - 1] as Told;
  };
  return { dialer, told, next };
}

/** A socket that is bound, and its port. */
async function peer(t: TestContext, host = '127.0.0.1'): Promise<[dgram.Socket, number]> {
  const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
  t.after(() => {
    socket.close();
  });
  socket.bind(0, host);
  await once(socket, 'listening');
  return [socket, socket.address().port];
}

/** What a peer hears next, and from whom. */
async function heard(socket: dgram.Socket): Promise<[string, AddressInfo]> {
  const signal = AbortSignal.timeout(BOUND_MS);
  const [bytes, from] = (await once(socket, 'message', { signal })) as [Buffer, AddressInfo];
  return [bytes.toString(), from];
}

/** A port where nobody listens, held by nobody. */
async function closedPort(): Promise<number> {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

async function connected(next: () => Promise<Told>): Promise<dgram.Socket> {
  const what = await next();
  assert(what.type === 'connected', what.type);
  return what.socket;
}

/** Calls `body` after so many turns of the queue where Node puts what is to be told. */
async function ticks(count: number, body: () => void): Promise<void> {
  await new Promise<void>((resolve) => {
    const turn = (left: number): void => {
      if (left > 0) {
        process.nextTick(turn, left - 1);
        return;
      }
      body();
      resolve();
    };
    turn(count);
  });
}

function openSockets(): string[] {
  return descriptors().filter((line) => line.includes('socket:'));
}

/** Everything that was to happen in this process has. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
}

suite('the UDP dialer', { timeout: 20_000 }, () => {
  for (const host of ['127.0.0.1', '::1', 'localhost']) {
    test(`connects to ${host} and carries a message each way`, async (t) => {
      const [other, port] = await peer(t, host === 'localhost' ? '127.0.0.1' : host);
      const source = host === 'localhost' ? { source: '127.0.0.1' } : {};
      const { dialer, told, next } = subject(t, { host, port, ...source });
      dialer.dial();
      assert.deepEqual(told, []);
      const socket = await connected(next);
      assert.equal(socket.remoteAddress().port, port);
      const asking = heard(other);
      dialer.send(Buffer.from('asked'));
      const [text, from] = await asking;
      assert.equal(text, 'asked');
      assert.equal(from.port, socket.address().port);
      other.send('answered', from.port, from.address);
      assert.deepEqual(await next(), { type: 'message', text: 'answered' });
    });
  }

  test('sends from the source that it was given', async (t) => {
    const [other, port] = await peer(t);
    const { dialer, next } = subject(t, { host: '127.0.0.1', port, source: '127.0.0.2' });
    dialer.dial();
    assert.equal((await connected(next)).address().address, '127.0.0.2');
    const asking = heard(other);
    dialer.send(Buffer.from('asked'));
    assert.equal((await asking)[1].address, '127.0.0.2');
  });

  test('hears nobody but the peer', async (t) => {
    const [other, port] = await peer(t);
    const [stranger] = await peer(t);
    const { dialer, told, next } = subject(t, { host: '127.0.0.1', port });
    dialer.dial();
    const here = (await connected(next)).address();
    stranger.send('forged', here.port, '127.0.0.1');
    await settled();
    other.send('true', here.port, '127.0.0.1');
    assert.deepEqual(await next(), { type: 'message', text: 'true' });
    assert.equal(told.length, 2);
  });

  test('a closed port makes a doubt, ECONNREFUSED, and the socket stays', async (t) => {
    const port = await closedPort();
    const { dialer, told, next } = subject(t, { host: '127.0.0.1', port });
    dialer.dial();
    const socket = await connected(next);
    dialer.send(Buffer.from('asked'));
    assert.deepEqual(await next(), { type: 'doubted', code: 'ECONNREFUSED' });
    assert(told.every(({ type }) => type !== 'failed'));
    const back = dgram.createSocket('udp4');
    t.after(() => {
      back.close();
    });
    back.bind(port, '127.0.0.1');
    await once(back, 'listening');
    back.send('here again', socket.address().port, '127.0.0.1');
    assert.deepEqual(await next(), { type: 'message', text: 'here again' });
  });

  test('a datagram of 65,508 bytes cannot be sent: a doubt, EMSGSIZE', async (t) => {
    const [, port] = await peer(t);
    const { dialer, next } = subject(t, { host: '127.0.0.1', port });
    dialer.dial();
    await connected(next);
    dialer.send(new Uint8Array(65_508));
    assert.deepEqual(await next(), { type: 'doubted', code: 'EMSGSIZE' });
  });

  test('a name that nobody has fails, once', async (t) => {
    const { dialer, told, next } = subject(t, { host: 'nowhere.invalid', port: 4_433 });
    dialer.dial();
    const what = await next();
    assert(what.type === 'failed');
    assert.match(what.code ?? '', /^(ENOTFOUND|EAI_AGAIN)$/);
    dialer.send(Buffer.from('to nobody'));
    await settled();
    assert.equal(told.length, 1);
  });

  test('a source that is not ours fails, once, and leaves none open: EADDRNOTAVAIL', async (t) => {
    const [, port] = await peer(t);
    const { dialer, told, next } = subject(t, { host: '127.0.0.1', port, source: '192.0.2.7' });
    const before = openSockets();
    dialer.dial();
    assert.deepEqual(await next(), { type: 'failed', code: 'EADDRNOTAVAIL' });
    await settled();
    assert.equal(told.length, 1);
    assert.deepEqual(
      openSockets().filter((line) => !before.includes(line)),
      [],
    );
  });

  test('a source of the other family fails, once', async (t) => {
    const { dialer, told, next } = subject(t, { host: '127.0.0.1', port: 4_433, source: '::1' });
    dialer.dial();
    assert.equal((await next()).type, 'failed');
    await settled();
    assert.equal(told.length, 1);
  });

  test('may dial again after it failed', async (t) => {
    const [, port] = await peer(t);
    const { dialer, next } = subject(t, { host: '127.0.0.1', port, source: '192.0.2.7' });
    for (let dial = 0; dial < 2; dial += 1) {
      dialer.dial();
      assert.equal((await next()).type, 'failed');
    }
  });

  test('nothing is told after it hung up, at whichever of 20 steps that is', async (t) => {
    const [, port] = await peer(t);
    const toldBefore: number[] = [];
    for (let steps = 0; steps < 20; steps += 1) {
      const { dialer, told } = subject(t, { host: '127.0.0.1', port });
      dialer.dial();
      await ticks(steps, () => {
        toldBefore.push(told.length);
        dialer.hangUp();
      });
      await settled();
      assert.equal(told.length, toldBefore.at(-1), `hung up after ${steps} steps`);
    }
    assert(toldBefore[0] === 0 && toldBefore[1] === 0, `${toldBefore}`);
    assert.equal(toldBefore.at(-1), 1);
  });

  test('neither what comes nor what cannot be sent is told after it hung up', async (t) => {
    const [other, port] = await peer(t);
    const { dialer, told, next } = subject(t, { host: '127.0.0.1', port });
    dialer.hangUp();
    dialer.dial();
    const { port: here } = (await connected(next)).address();
    other.send('too late', here, '127.0.0.1');
    dialer.send(new Uint8Array(65_508));
    dialer.hangUp();
    dialer.hangUp();
    dialer.send(Buffer.from('without a socket'));
    await settled();
    assert.equal(told.length, 1);
  });

  test('what was sent before it hung up leaves still', async (t) => {
    const [other, port] = await peer(t);
    const { dialer, next } = subject(t, { host: '127.0.0.1', port });
    dialer.dial();
    await connected(next);
    const asking = heard(other);
    dialer.send(Buffer.from('goodbye'));
    dialer.hangUp();
    assert.equal((await asking)[0], 'goodbye');
  });

  test('4 dials have 4 sockets, with ports of their own, and the last one is heard', async (t) => {
    const [other, port] = await peer(t);
    const { dialer, told, next } = subject(t, { host: '127.0.0.1', port });
    const sockets: dgram.Socket[] = [];
    const ports: number[] = [];
    for (let dial = 0; dial < 4; dial += 1) {
      dialer.dial();
      const socket = await connected(next);
      sockets.push(socket);
      ports.push(socket.address().port);
    }
    assert.equal(new Set(sockets).size, 4);
    // The kernel chooses at random: twice the same may be, but not always.
    assert(new Set(ports).size > 1, `${ports}`);
    other.send('the last', ports[3], '127.0.0.1');
    assert.deepEqual(await next(), { type: 'message', text: 'the last' });
    assert.equal(told.length, 5);
  });

  test('of 3 dials at once only the last is told of', async (t) => {
    const [, port] = await peer(t);
    const { dialer, told, next } = subject(t, { host: '127.0.0.1', port });
    for (let dial = 0; dial < 3; dial += 1) dialer.dial();
    await connected(next);
    await settled();
    assert.equal(told.length, 1);
  });
});
