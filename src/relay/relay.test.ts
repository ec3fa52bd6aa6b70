import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { mptcpMissing } from '../../test/support/mptcp.ts';
import { Relay, type RelayConfig } from './relay.ts';

/** A server that hands each connection to `serve`, closed with the test. */
async function serve(t: TestContext, handle: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    handle(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

async function relayTo(
  t: TestContext,
  port: () => number,
  options: Partial<RelayConfig> = {},
): Promise<{ relay: Relay; connect: () => net.Socket }> {
  const relay = new Relay({
    host: '127.0.0.1',
    port: 0,
    oldFlows: 'keep',
    graceMs: 0,
    pick: () => ({ path: String(port()), host: '127.0.0.1', port: port() }),
    ...options,
  });
  const bound = await relay.start();
  t.after(() => relay.close());
  const connect = () => {
    const socket = net.connect({ port: bound, host: '127.0.0.1', allowHalfOpen: true });
    t.after(() => socket.destroy());
    return socket;
  };
  return { relay, connect };
}

/** All that arrives until the other end stops writing; the socket stays writable. */
function readAll(socket: net.Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', () => resolve(Buffer.concat(chunks)));
    socket.on('error', reject);
  });
}

/** Resolves with the error code that ended the socket, or `undefined` for a clean end. */
function ending(socket: net.Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    let code: string | undefined;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      code = error.code;
    });
    socket.on('close', () => resolve(code));
    socket.resume();
  });
}

suite('relay', { timeout: 20_000 }, () => {
  test('4 MiB go through unchanged in both directions', async (t) => {
    const port = await serve(t, (socket) => socket.pipe(socket));
    const { connect } = await relayTo(t, () => port);
    const sent = randomBytes(4 << 20);
    const socket = connect();
    socket.end(sent);
    assert(sent.equals(await readAll(socket)));
  });

  test('half-close: the answer to an ended request still arrives', async (t) => {
    const port = await serve(t, (socket) => {
      readAll(socket).then((request) => socket.end(`${request.length} bytes`));
    });
    const { connect } = await relayTo(t, () => port);
    const socket = connect();
    socket.end('hello');
    assert.equal((await readAll(socket)).toString(), '5 bytes');
  });

  test('a server that ends first can still be written to', async (t) => {
    let request: Promise<Buffer> | undefined;
    const port = await serve(t, (socket) => {
      request = readAll(socket);
      socket.end('bye');
    });
    const { connect } = await relayTo(t, () => port);
    const socket = connect();
    assert.equal((await readAll(socket)).toString(), 'bye');
    socket.end('late words');
    assert.equal((await request)?.toString(), 'late words');
  });

  test('a reset by the server is a reset for the client', async (t) => {
    const port = await serve(t, (socket) => socket.once('data', () => socket.resetAndDestroy()));
    const { connect } = await relayTo(t, () => port);
    const socket = connect();
    socket.write('x');
    assert.equal(await ending(socket), 'ECONNRESET');
  });

  test('a reset by the client is a reset for the server', async (t) => {
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const port = await serve(t, (socket) => {
      resolve(ending(socket));
      socket.write('x');
    });
    const { connect } = await relayTo(t, () => port);
    const socket = connect();
    await once(socket, 'data');
    socket.resetAndDestroy();
    assert.equal(await promise, 'ECONNRESET');
  });

  test('a server that ended and then resets takes the client with it', async (t) => {
    const port = await serve(t, (socket) => {
      socket.end('bye');
      socket.once('data', () => socket.resetAndDestroy());
    });
    const { relay, connect } = await relayTo(t, () => port);
    const socket = connect();
    assert.equal((await readAll(socket)).toString(), 'bye');
    const ended = ending(socket);
    const writer = setInterval(() => socket.write('still here'), 10);
    socket.once('close', () => clearInterval(writer));
    assert.match((await ended) ?? '', /ECONNRESET|EPIPE/);
    assert.deepEqual(relay.counts().flows, {});
  });

  test('while there is no path a client is reset at once', async (t) => {
    const { relay, connect } = await relayTo(t, () => 1, { pick: () => undefined });
    assert.equal(await ending(connect()), 'ECONNRESET');
    assert.deepEqual(relay.counts(), { flows: {}, accepted: 1, refused: 0 });
  });

  test('a path that refuses resets the client and is counted', async (t) => {
    const { relay, connect } = await relayTo(t, () => 1);
    assert.equal(await ending(connect()), 'ECONNRESET');
    assert.equal(relay.counts().refused, 1);
  });

  test('a reader that never reads stops the sender: memory does not fill', async (t) => {
    const port = await serve(t, (socket) => socket.pause());
    const { connect } = await relayTo(t, () => port);
    const socket = connect();
    const block = Buffer.alloc(1 << 20);
    let accepted = 0;
    // Writes until nothing has been taken for half a second.
    for (let stalled = false; !stalled; ) {
      assert(accepted < 200, 'the relay swallowed 200 MiB that nobody reads');
      const taken = socket.write(block) || (await drained(socket, 500));
      if (taken) accepted += 1;
      else stalled = true;
    }
  });

  test('oldFlows reset: flows of the path that was left end, new ones go by the other', async (t) => {
    const [a, b] = [await echo(t, 'a'), await echo(t, 'b')];
    let active = a;
    const { relay, connect } = await relayTo(t, () => active, { oldFlows: 'reset' });
    const old = connect();
    assert.equal(String((await once(old, 'data'))[0]), 'a');
    active = b;
    relay.leave(String(a));
    assert.equal(await ending(old), 'ECONNRESET');
    assert.equal(String((await once(connect(), 'data'))[0]), 'b');
    assert.deepEqual(relay.counts().flows, { [b]: 1 });
  });

  test('oldFlows keep: an old flow goes on by its path', async (t) => {
    const [a, b] = [await echo(t, 'a'), await echo(t, 'b')];
    let active = a;
    const { relay, connect } = await relayTo(t, () => active);
    const old = connect();
    await once(old, 'data');
    active = b;
    relay.leave(String(a));
    old.write('still there?');
    assert.equal(String((await once(old, 'data'))[0]), 'still there?');
  });

  test('oldFlows drain: an old flow ends after the grace, unless its path is entered again', async (t) => {
    const a = await echo(t, 'a');
    const { relay, connect } = await relayTo(t, () => a, { oldFlows: 'drain', graceMs: 50 });
    const old = connect();
    await once(old, 'data');
    relay.leave(String(a));
    relay.enter(String(a));
    old.write('x');
    await once(old, 'data');
    relay.leave(String(a));
    assert.equal(await ending(old), 'ECONNRESET');
  });

  test('a taken port is a SystemError that names it', async (t) => {
    const port = await serve(t, () => undefined);
    const relay = new Relay({
      host: '127.0.0.1',
      port,
      oldFlows: 'keep',
      graceMs: 0,
      pick: () => ({ path: 'a', host: '127.0.0.1', port }),
    });
    await assert.rejects(relay.start(), { name: 'SystemError', code: 'EADDRINUSE' });
  });
});

async function echo(t: TestContext, greeting: string): Promise<number> {
  return await serve(t, (socket) => {
    socket.write(greeting);
    socket.pipe(socket);
  });
}

/** True if the socket asked for more within `ms`. */
async function drained(socket: net.Socket, ms: number): Promise<boolean> {
  try {
    await once(socket, 'drain', { signal: AbortSignal.timeout(ms) });
    return true;
  } catch {
    return false;
  }
}

suite('a relay by Multipath TCP', { skip: mptcpMissing() }, () => {
  test('carries flows to a server without it by plain TCP, and counts them', async (t) => {
    const port = await serve(t, (socket) => socket.pipe(socket));
    const { relay, connect } = await relayTo(t, () => port, { mptcp: true });
    const client = connect();
    const back = readAll(client);
    client.end('there and back');
    assert.equal(String(await back), 'there and back');
    assert.deepEqual(relay.counts().mptcp, { inUse: 0, fellBack: 1 });
  });

  test('says nothing of it where it is not asked for', async (t) => {
    const { relay } = await relayTo(t, () => 1);
    assert.equal(relay.counts().mptcp, undefined);
  });
});
