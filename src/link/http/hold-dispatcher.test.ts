import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import * as undici from 'undici';
import { type Exchange, eventually, scriptHttp } from '../../../test/support/scripted-http.ts';
import type { LearnedOrigin } from './hold-agent.ts';
import { type HoldDispatcherOptions, holdDispatcher } from './hold-dispatcher.ts';

/** Sends a request; resolves with the answer's text, rejects with the connection's error. */
type Send = (port: number, options?: { method: string; body?: string | null }) => Promise<string>;

interface Rig {
  readonly send: Send;
  readonly learned: () => LearnedOrigin[];
}

type MakeRig = (t: TestContext, options?: HoldDispatcherOptions) => Rig;

const byFetch: MakeRig = (t, options = {}) => {
  const dispatcher = holdDispatcher(options as HoldDispatcherOptions & { undici?: undefined });
  t.after(() => (dispatcher as unknown as undici.Agent).destroy());
  const send: Send = async (port, request = { method: 'GET' }) => {
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/`, { ...request, dispatcher });
      return await answer.text();
    } catch (error) {
      throw (error as Error).cause ?? error;
    }
  };
  return { send, learned: () => dispatcher.learned };
};

const byUndici: MakeRig = (t, options = {}) => {
  const dispatcher = holdDispatcher({ ...options, undici });
  t.after(() => dispatcher.destroy());
  const send: Send = async (port, request = { method: 'GET' }) => {
    const answer = await undici.request(`http://127.0.0.1:${port}/`, { ...request, dispatcher });
    return await answer.body.text();
  };
  return { send, learned: () => dispatcher.learned };
};

const POST = { method: 'POST', body: 'x' };

function afterFirst(misdeed: (exchange: Exchange) => void): (exchange: Exchange) => void {
  return (exchange) => {
    if (exchange.connection === 1 && exchange.request > 1) misdeed(exchange);
    else exchange.ok();
  };
}

function doze(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const tick = () => new Promise((resolve) => setImmediate(resolve));

for (const [name, rig] of [
  ["holdDispatcher for Node's fetch", byFetch],
  ['holdDispatcher for undici', byUndici],
] as const) {
  suite(name, { timeout: 30_000 }, () => {
    test('sends one request after another on one connection, GET and POST', async (t) => {
      const server = await scriptHttp(t);
      const { send } = rig(t);
      for (const options of [undefined, POST, undefined, POST]) {
        assert.equal(await send(server.port, options), 'ok');
        await tick();
      }
      assert.equal(server.sockets.length, 1);
      assert.equal(server.exchanges.length, 4);
    });

    for (const [how, misdeed] of [
      ['ends', ({ socket }: Exchange) => socket.end()],
      ['resets', ({ socket }: Exchange) => socket.resetAndDestroy()],
    ] as const) {
      test(`a GET whose reused connection the server ${how} is sent once more`, async (t) => {
        const server = await scriptHttp(t, afterFirst(misdeed));
        const { send } = rig(t);
        await send(server.port);
        await tick();
        assert.equal(await send(server.port), 'ok');
        assert.deepEqual(
          server.exchanges.map(({ connection }) => connection),
          [1, 1, 2],
        );
      });

      test(`a POST whose reused connection the server ${how} is never sent again`, async (t) => {
        const server = await scriptHttp(t, afterFirst(misdeed));
        const { send } = rig(t);
        await send(server.port);
        await tick();
        await assert.rejects(send(server.port, POST), { code: /UND_ERR_SOCKET|ECONNRESET/ });
        assert.equal(server.exchanges.length, 2);
      });
    }

    test('a second death of the same request is told', async (t) => {
      const server = await scriptHttp(t, (exchange) => {
        if (exchange.connection === 1 && exchange.request === 1) exchange.ok();
        else exchange.socket.destroy();
      });
      const { send } = rig(t);
      await send(server.port);
      await tick();
      await assert.rejects(send(server.port));
      assert.equal(server.exchanges.length, 3);
    });

    test('is sent once more and no more, also behind others on one connection', async (t) => {
      const server = await scriptHttp(t, (exchange) => {
        if (exchange.method === 'DELETE') exchange.socket.destroy();
        else exchange.ok();
      });
      const { send } = rig(t, { connections: 1 });
      await send(server.port);
      await tick();
      const bad = assert.rejects(send(server.port, { method: 'DELETE' }));
      await Promise.all([bad, send(server.port)]);
      assert.deepEqual(
        server.exchanges.map(({ connection, method }) => `${connection} ${method}`),
        ['1 GET', '1 DELETE', '2 DELETE', '3 GET'],
      );
    });

    test('is not sent again after the head of an answer, nor on a first connection', async (t) => {
      const server = await scriptHttp(
        t,
        afterFirst(({ socket }) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbut')),
      );
      const { send } = rig(t);
      await send(server.port);
      await tick();
      await assert.rejects(send(server.port));
      assert.equal(server.exchanges.length, 2);
      const other = await scriptHttp(t, ({ socket }) => socket.destroy());
      await assert.rejects(send(other.port));
      assert.equal(other.exchanges.length, 1);
    });

    test('a connection is not used in the last second of its hint', async (t) => {
      const server = await scriptHttp(t, (exchange) => exchange.ok('Keep-Alive: timeout=1'));
      const { send } = rig(t);
      await send(server.port);
      await tick();
      doze(150);
      assert.equal(await send(server.port), 'ok');
      assert.equal(server.sockets.length, 2);
    });

    test('learns from the close of an idle connection', async (t) => {
      const server = await scriptHttp(t);
      const { send, learned } = rig(t);
      await send(server.port);
      doze(120);
      server.sockets[0]?.end();
      await eventually('the close', () => learned()[0]?.learnedMs !== undefined);
      assert((learned()[0]?.learnedMs ?? 0) >= 120, JSON.stringify(learned()));
      assert.equal(learned()[0]?.origin, `http://127.0.0.1:${server.port}`);
    });

    test('an answer that ends its connection teaches nothing', async (t) => {
      const server = await scriptHttp(t, (exchange) => {
        exchange.ok('Connection: close');
        exchange.socket.end();
      });
      const { send, learned } = rig(t);
      for (let count = 0; count < 3; count += 1) await send(server.port);
      assert.equal(server.sockets.length, 3);
      await eventually('the end of all', () => server.sockets.every(({ closed }) => closed));
      await tick();
      assert.equal(learned()[0]?.learnedMs, undefined);
    });

    test('a POST does not go where a GET may: an idleness that is not proven', async (t) => {
      const server = await scriptHttp(t);
      const { send } = rig(t);
      await send(server.port);
      await tick();
      doze(150);
      await send(server.port);
      await tick();
      assert.equal(server.sockets.length, 1);
      doze(300);
      await send(server.port, POST);
      assert.equal(server.sockets.length, 2);
    });

    test('closes a connection after maxRequests', async (t) => {
      const server = await scriptHttp(t);
      const { send } = rig(t, { maxRequests: 2 });
      for (let count = 0; count < 4; count += 1) {
        await send(server.port);
        await tick();
      }
      const most = Math.max(...server.exchanges.map(({ request }) => request));
      assert.equal(most, 2, 'requests on one connection');
    });

    test('fifty at a time are all answered, and their connections are used again', async (t) => {
      const server = await scriptHttp(t);
      const { send } = rig(t);
      for (let round = 0; round < 3; round += 1) {
        const answers = Array.from({ length: 50 }, () => send(server.port));
        assert.deepEqual(new Set(await Promise.all(answers)), new Set(['ok']));
        await tick();
      }
      assert(server.sockets.length <= 50, `${server.sockets.length} connections`);
    });
  });
}

suite('holdDispatcher', { timeout: 30_000 }, () => {
  test('is an Agent of the undici that was passed, with its options', async (t) => {
    const server = await scriptHttp(t);
    const dispatcher = holdDispatcher({ undici, connections: 1 });
    t.after(() => dispatcher.destroy());
    assert(dispatcher instanceof undici.Agent);
    const url = `http://127.0.0.1:${server.port}/`;
    const answers = Array.from({ length: 5 }, async () => {
      await (await undici.request(url, { dispatcher })).body.text();
    });
    await Promise.all(answers);
    assert.equal(server.sockets.length, 1);
    await dispatcher.close();
    await assert.rejects(undici.request(url, { dispatcher }), {
      code: /^UND_ERR_(CLOSED|DESTROYED)$/,
    });
  });

  test('says what is missing of an undici that is none', () => {
    const none = { Agent: undici.Agent } as unknown as typeof undici;
    assert.throws(() => holdDispatcher({ undici: none }), {
      name: 'UsageError',
      code: 'no-undici',
      message: /undici\.Pool is no class; pass undici itself: holdDispatcher\(\{ undici:/,
    });
  });

  test('refuses an impossible option and names it', () => {
    assert.throws(() => holdDispatcher({ idle: 'long' }), {
      name: 'UsageError',
      message: /^holdDispatcher\.idle: "long" is not a duration/,
    });
  });
});
