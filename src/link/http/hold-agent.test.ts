import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { type Exchange, eventually, scriptHttp } from '../../../test/support/scripted-http.ts';
import { ffiMissing } from '../../sys/libc.ts';
import { descriptorOf, readTcpOptions } from '../../sys/tcp-socket.ts';
import { HoldAgent, type HoldAgentOptions } from './hold-agent.ts';

interface Answer {
  readonly text: string;
  readonly request: http.ClientRequest;
  readonly socket: net.Socket | undefined;
}

function agentOf(t: TestContext, options: HoldAgentOptions = {}): HoldAgent {
  const agent = new HoldAgent(options);
  t.after(() => agent.destroy());
  return agent;
}

/** Sends a request and reads its answer; rejects with the request's error. */
function send(
  agent: http.Agent,
  port: number,
  options: http.RequestOptions & { body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let socket: net.Socket | undefined;
    const request = http.request({ host: '127.0.0.1', port, agent, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      // The agent has its socket back one tick after the end.
      response.once('end', () => setImmediate(() => resolve({ text, request, socket })));
    });
    request.on('socket', (used) => {
      socket = used;
    });
    request.once('error', reject);
    request.end(options.body);
  });
}

/** Answers, and ends the connection 20 ms later. */
const ENDING_SERVER = `
const { parentPort } = require('node:worker_threads');
const server = require('node:net').createServer((socket) => {
  socket.on('error', () => undefined).on('data', () => {
    socket.write('HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok');
    setTimeout(() => socket.end(), 20);
  });
}).listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`;

/** Blocks our own event loop: what arrives meanwhile lies in the kernel, unread. */
function doze(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const free = (agent: http.Agent): net.Socket[] =>
  Object.values(agent.freeSockets).flatMap((sockets) => sockets ?? []);

/** Answers the first request, and does something else with those that come later on a connection. */
function afterFirst(misdeed: (exchange: Exchange) => void): (exchange: Exchange) => void {
  return (exchange) => (exchange.connection === 1 && exchange.request > 1 ? misdeed : ok)(exchange);
}

function ok(exchange: Exchange): void {
  exchange.ok();
}

const POST = { method: 'POST', body: 'x', headers: { 'Content-Length': 1 } };

suite('HoldAgent', { timeout: 30_000 }, () => {
  test('sends one request after another on one connection, GET and POST', async (t) => {
    const server = await scriptHttp(t);
    const agent = agentOf(t);
    for (const options of [{}, POST, {}, POST]) {
      assert.equal((await send(agent, server.port, options)).text, 'ok');
    }
    assert.deepEqual(
      server.exchanges.map(({ connection, method, body }) => [connection, method, body]),
      [
        [1, 'GET', ''],
        [1, 'POST', 'x'],
        [1, 'GET', ''],
        [1, 'POST', 'x'],
      ],
    );
  });

  for (const [how, misdeed] of [
    ['ends', ({ socket }: Exchange) => socket.end()],
    ['resets', ({ socket }: Exchange) => socket.resetAndDestroy()],
  ] as const) {
    test(`a GET whose reused connection the server ${how} is sent once more, anew`, async (t) => {
      const server = await scriptHttp(t, afterFirst(misdeed));
      const agent = agentOf(t);
      await send(agent, server.port);
      const { text, request } = await send(agent, server.port, { path: '/again' });
      assert.equal(text, 'ok');
      assert.equal(request.reusedSocket, false);
      assert.deepEqual(
        server.exchanges.map(({ connection, path }) => [connection, path]),
        [
          [1, '/'],
          [1, '/again'],
          [2, '/again'],
        ],
      );
      // The answer's connection is pooled as any other.
      assert.equal(free(agent).length, 1);
      await send(agent, server.port);
      assert.equal(server.sockets.length, 2);
    });

    test(`a POST whose reused connection the server ${how} is never sent again`, async (t) => {
      const server = await scriptHttp(t, afterFirst(misdeed));
      const agent = agentOf(t);
      await send(agent, server.port);
      await assert.rejects(send(agent, server.port, POST), { code: 'ECONNRESET' });
      assert.equal(server.exchanges.length, 2);
    });
  }

  test('a PUT is sent again with its whole body', async (t) => {
    const server = await scriptHttp(
      t,
      afterFirst(({ socket }) => socket.destroy()),
    );
    const agent = agentOf(t);
    await send(agent, server.port);
    const body = 'all of it '.repeat(1_000);
    const headers = { 'Content-Length': body.length };
    await send(agent, server.port, { method: 'PUT', body, headers });
    assert.deepEqual([server.exchanges[1]?.body, server.exchanges[2]?.body], [body, body]);
  });

  test('a PUT larger than resendBytes is not sent again', async (t) => {
    const server = await scriptHttp(
      t,
      afterFirst(({ socket }) => socket.destroy()),
    );
    const agent = agentOf(t, { resendBytes: 5_000 });
    await send(agent, server.port);
    const body = 'x'.repeat(5_000);
    const put = { method: 'PUT', body, headers: { 'Content-Length': body.length } };
    await assert.rejects(send(agent, server.port, put), { code: 'ECONNRESET' });
    assert.equal(server.exchanges.length, 2);
  });

  test('is sent once more and no more: a second death is told', async (t) => {
    const server = await scriptHttp(t, (exchange) => {
      if (exchange.path === '/bad') exchange.socket.destroy();
      else exchange.ok();
    });
    const agent = agentOf(t);
    await send(agent, server.port);
    await assert.rejects(send(agent, server.port, { path: '/bad' }), { code: 'ECONNRESET' });
    assert.equal(server.exchanges.filter(({ path }) => path === '/bad').length, 2);
  });

  test('is not sent again on a first connection, which no idle timeout has ended', async (t) => {
    const server = await scriptHttp(t, ({ socket }) => socket.destroy());
    await assert.rejects(send(agentOf(t), server.port), { code: 'ECONNRESET' });
    assert.equal(server.exchanges.length, 1);
  });

  test('is not sent again after the first byte of an answer', async (t) => {
    const server = await scriptHttp(
      t,
      afterFirst(({ socket }) => socket.end('HTTP/1.1 2')),
    );
    const agent = agentOf(t);
    await send(agent, server.port);
    await assert.rejects(send(agent, server.port), { code: 'ECONNRESET' });
    assert.equal(server.exchanges.length, 2);
  });

  test('is not sent again when the program gave it up', async (t) => {
    const server = await scriptHttp(
      t,
      afterFirst(() => undefined),
    );
    const agent = agentOf(t);
    await send(agent, server.port);
    const options = { host: '127.0.0.1', port: server.port, agent };
    const request = http.get(options);
    const failed = new Promise((resolve) => request.once('close', resolve));
    request.on('error', () => undefined);
    await eventually('the second request', () => server.exchanges.length === 2);
    request.destroy();
    await failed;
    assert.deepEqual([Object.keys(agent.sockets), free(agent)], [[], []], 'one for nobody');
    await send(agent, server.port);
    assert.deepEqual(
      server.exchanges.map(({ connection }) => connection),
      [1, 1, 2],
    );
  });

  test('a request in the queue of maxSockets is sent again too', async (t) => {
    const server = await scriptHttp(
      t,
      afterFirst(({ socket }) => socket.destroy()),
    );
    const agent = agentOf(t, { maxSockets: 1 });
    const paths = ['/a', '/b', '/c'];
    await Promise.all(paths.map((path) => send(agent, server.port, { path })));
    const seen = server.exchanges.map(({ connection, path }) => `${connection}${path}`);
    assert.deepEqual(seen.toSorted(), ['1/a', '1/b', '2/b', '2/c']);
  });

  test('is sent once more and no more, also by way of the queue', async (t) => {
    const server = await scriptHttp(t, (exchange) => {
      if (exchange.path === '/bad') exchange.socket.destroy();
      else exchange.ok();
    });
    const agent = agentOf(t, { maxSockets: 1 });
    await send(agent, server.port);
    const bad = assert.rejects(send(agent, server.port, { path: '/bad' }), { code: 'ECONNRESET' });
    await Promise.all([bad, send(agent, server.port, { path: '/good' })]);
    assert.deepEqual(
      server.exchanges.map(({ connection, path }) => `${connection}${path}`),
      ['1/', '1/bad', '2/good', '2/bad'],
    );
  });

  test('its finish and its response are told once, whichever socket it was', async (t) => {
    const server = await scriptHttp(
      t,
      afterFirst(({ socket }) => socket.destroy()),
    );
    const agent = agentOf(t);
    await send(agent, server.port);
    const told: string[] = [];
    const request = http.request({ host: '127.0.0.1', port: server.port, agent, method: 'GET' });
    for (const name of ['finish', 'response', 'error', 'close']) {
      request.on(name, () => told.push(name));
    }
    request.on('response', (response) => response.resume());
    request.end(() => told.push('ended'));
    await once(request, 'close');
    const expected = ['close', 'ended', 'finish', 'response'];
    assert.deepEqual(new Set(told), new Set(expected));
    assert.equal(told.length, expected.length, told.join());
  });
});

suite('the pool of HoldAgent', { timeout: 30_000 }, () => {
  test('a connection is not used in the last second of its hint', async (t) => {
    const server = await scriptHttp(t, (exchange) => exchange.ok('Keep-Alive: timeout=1'));
    const agent = agentOf(t);
    await send(agent, server.port);
    await eventually('idle for 150 ms, which is more than 100', () => {
      doze(150);
      return true;
    });
    await send(agent, server.port);
    assert.equal(server.sockets.length, 2);
  });

  test('a hint of 0 keeps nothing but a scout', async (t) => {
    const server = await scriptHttp(t, (exchange) => exchange.ok('Keep-Alive: timeout=0'));
    const agent = agentOf(t);
    for (let count = 0; count < 3; count += 1) await send(agent, server.port);
    assert.equal(server.sockets.length, 3);
    assert.equal(free(agent).length, 1);
  });

  test('learns from the close of an idle connection, and pools no longer than that', async (t) => {
    const server = await scriptHttp(t);
    const agent = agentOf(t);
    await send(agent, server.port);
    const since = performance.now();
    doze(120);
    server.sockets[0]?.end();
    await eventually('the close', () => agent.learned[0]?.learnedMs !== undefined);
    const { learnedMs = 0 } = agent.learned[0] ?? {};
    assert(learnedMs >= 120 && learnedMs <= performance.now() - since, String(learnedMs));
  });

  test('one close out of turn is forgotten as soon as one connection outlives it', async (t) => {
    const server = await scriptHttp(t);
    const agent = agentOf(t);
    await send(agent, server.port);
    server.sockets[0]?.end();
    await eventually('the close', () => agent.learned[0]?.learnedMs !== undefined);
    await send(agent, server.port);
    await eventually('a scout', () => agent.learned[0]?.learnedMs === undefined);
    assert.equal(server.sockets.length, 2);
  });

  test('a POST does not go where a GET may: an idleness that is not proven', async (t) => {
    const server = await scriptHttp(t);
    const agent = agentOf(t);
    await send(agent, server.port);
    doze(150);
    await send(agent, server.port, POST);
    assert.deepEqual(
      server.exchanges.map(({ connection }) => connection),
      [1, 2],
    );
    doze(150);
    await send(agent, server.port);
    assert.equal(server.sockets.length, 2);
  });

  test('a pooled socket of which the kernel has the end, unread, is not used', async (t) => {
    const missing = ffiMissing();
    if (missing !== undefined) {
      t.skip(missing);
      return;
    }
    // A thread of its own: it ends the connection while this one reads nothing.
    const worker = new Worker(ENDING_SERVER, { eval: true });
    t.after(() => worker.terminate());
    const [port] = (await once(worker, 'message')) as [number];
    const agent = agentOf(t);
    await send(agent, port);
    doze(60);
    // A POST is never sent again: had it gone there, it would have failed.
    const { request } = await send(agent, port, POST);
    assert.equal(request.reusedSocket, false);
  });

  test('a pooled socket on which bytes came unasked is destroyed, and teaches nothing', async (t) => {
    const server = await scriptHttp(t);
    const agent = agentOf(t);
    const { socket } = await send(agent, server.port);
    server.sockets[0]?.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil');
    await eventually('the bytes', () => socket?.destroyed === true || socket?.bytesRead !== 40);
    const { text } = await send(agent, server.port);
    assert.equal(text, 'ok');
    assert.equal(server.sockets.length, 2);
    assert.equal(agent.learned[0]?.learnedMs, undefined);
  });

  test('closes a connection after maxRequests, or once it is older than maxAge', async (t) => {
    const server = await scriptHttp(t);
    const agent = agentOf(t, { maxRequests: 2 });
    for (let count = 0; count < 4; count += 1) await send(agent, server.port);
    assert.equal(server.sockets.length, 2);
    const old = agentOf(t, { maxAge: '60ms' });
    await send(old, server.port);
    doze(70);
    await send(old, server.port);
    assert.equal(server.sockets.length, 4);
  });

  test('a connection is closed when it has been idle for as long as the pool allows', async (t) => {
    const server = await scriptHttp(t);
    const agent = agentOf(t, { idle: '80ms' });
    await send(agent, server.port);
    await eventually('the end of it', () => free(agent).length === 0);
    assert.equal(agent.learned[0]?.learnedMs, undefined);
  });

  test('maxSockets holds while free sockets may not be used', async (t) => {
    const server = await scriptHttp(t);
    const agent = agentOf(t, { maxSockets: 1 });
    await send(agent, server.port);
    doze(150);
    const { text } = await send(agent, server.port, POST);
    assert.equal(text, 'ok');
    assert.equal(server.sockets.length, 2);
    assert.equal(free(agent).length, 1);
    await send(agent, server.port);
    assert.equal(server.exchanges[2]?.connection, 2, 'the first had to make room');
  });

  test("the kernel's keepalive is ours, and stays so when the socket is pooled", async (t) => {
    const missing = ffiMissing();
    if (missing !== undefined) {
      t.skip(missing);
      return;
    }
    const server = await scriptHttp(t);
    const agent = agentOf(t, { time: '45s', interval: '15s', probes: 4, userTimeout: '120s' });
    const wanted = {
      enabled: true,
      timeMs: 45_000,
      intervalMs: 15_000,
      probes: 4,
      userTimeoutMs: 120_000,
    };
    for (let count = 0; count < 2; count += 1) {
      const { socket } = await send(agent, server.port);
      assert.deepEqual(readTcpOptions(descriptorOf(socket ?? {}) ?? -1), wanted);
    }
    assert.equal(server.sockets.length, 1);
  });

  test("a program's timeout is for answers, not for the pool", async (t) => {
    const server = await scriptHttp(t, (exchange) => {
      if (exchange.path !== '/never') exchange.ok();
    });
    const agent = agentOf(t, { timeout: 50 });
    const { socket } = await send(agent, server.port);
    assert.equal(socket?.timeout, 0);
    const request = http.get({ host: '127.0.0.1', port: server.port, agent, path: '/never' });
    request.on('error', () => undefined);
    await once(request, 'timeout');
    assert.equal(request.reusedSocket, true);
    request.destroy();
  });

  for (const [options, message] of [
    [{ idle: '60' }, /^HoldAgent\.idle: "60" is not a duration/],
    [{ maxAge: '0s' }, /^HoldAgent\.maxAge: must be longer than 0/],
    [{ maxRequests: 0 }, /^HoldAgent\.maxRequests: 0 is not a whole number of at least 1/],
    [{ resendBytes: -1 }, /^HoldAgent\.resendBytes: -1 is not a whole number of at least 0/],
    [{ time: '1500ms' }, /^HoldAgent\.time: TCP counts whole seconds/],
  ] as const) {
    test(`refuses ${JSON.stringify(options)} and names the option`, () => {
      assert.throws(() => new HoldAgent(options), { name: 'UsageError', message });
    });
  }
});
