/** The stream of events: in order, by id, and harmless readers however many and slow. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { apiRig } from '../../../test/support/api-rig.ts';
import { EventLog } from '../event-log.ts';
import { EventStream, MOST_READERS } from './stream.ts';

const BOUND_MS = 5_000;
const at = '2026-11-22T12:00:00.000Z';

interface Frame {
  readonly id: number;
  readonly event: string;
  readonly data: { readonly id: number; readonly text?: string };
}

/** Reads a stream; `frames` grows as events arrive. */
async function follow(
  t: TestContext,
  port: number,
  lastEventId?: string,
  query = '',
): Promise<{ frames: Frame[]; reach: (id: number) => Promise<void>; end: () => void }> {
  const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
  const path = `/api/v1/stream${query}`;
  const request = http.get({ port, host: '127.0.0.1', path, headers });
  request.on('error', () => undefined);
  t.after(() => request.destroy());
  const signal = AbortSignal.timeout(BOUND_MS);
  const [response] = (await once(request, 'response', { signal })) as [http.IncomingMessage];
  assert.equal(response.statusCode, 200);
  assert.equal(response.headers['content-type'], 'text/event-stream');
  const frames: Frame[] = [];
  let text = '';
  let over = false;
  response.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (text + chunk).split('\n\n');
    text = parts.pop() ?? '';
    for (const part of parts.filter((frame) => !frame.startsWith(':'))) {
      const [id = '', event = '', data = ''] = part.split('\n');
      frames.push({
        id: Number(/^id: (\d+)$/.exec(id)?.[1]),
        event: /^event: (\w+)$/.exec(event)?.[1] ?? '',
        data: JSON.parse(data.replace(/^data: /, '')),
      });
    }
  });
  response.on('error', () => undefined).on('close', () => (over = true));
  await once(response, 'data', { signal });
  const reach = async (id: number) => {
    while (frames.at(-1)?.id !== id) {
      const have = `have ${frames.length} up to ${frames.at(-1)?.id}`;
      assert(!over, `the stream ended before event ${id}; ${have}`);
      assert(!signal.aborted, `event ${id} did not come within ${BOUND_MS} ms; ${have}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  return { frames, reach, end: () => request.destroy() };
}

function idsOf(frames: readonly Frame[]): number[] {
  return frames.map(({ id }) => id);
}

suite('the stream of events', { timeout: 20_000 }, () => {
  async function listening(
    t: TestContext,
  ): Promise<{ app: FastifyInstance; log: EventLog; port: number }> {
    const { app, log } = await apiRig(t);
    await app.listen({ host: '127.0.0.1', port: 0 });
    return { app, log, port: (app.server.address() as net.AddressInfo).port };
  }

  function say(log: EventLog, text: string): void {
    log.append({ at, type: 'note', text });
  }

  test('tells what happens from now on, with id, type and the event itself', async (t) => {
    const { log, port } = await listening(t);
    say(log, 'before');
    const { frames, reach } = await follow(t, port);
    say(log, 'two\nlines');
    await reach(2);
    const data = { id: 2, at, type: 'note', text: 'two\nlines' };
    assert.deepEqual(frames, [{ id: 2, event: 'note', data }]);
  });

  test('resumes by Last-Event-ID: nothing is missed and nothing comes twice', async (t) => {
    const { log, port } = await listening(t);
    for (const text of ['1', '2', '3']) say(log, text);
    const first = await follow(t, port, '1');
    await first.reach(3);
    say(log, '4');
    await first.reach(4);
    first.end();
    for (const text of ['5', '6']) say(log, text);
    const second = await follow(t, port, String(first.frames.at(-1)?.id));
    say(log, '7');
    await second.reach(7);
    assert.deepEqual(idsOf([...first.frames, ...second.frames]), [2, 3, 4, 5, 6, 7]);
  });

  test('a backlog of 10,000 events (3 MB) arrives whole at a reader that reads', async (t) => {
    const { log, port } = await listening(t);
    for (let index = 0; index < 10_000; index += 1) say(log, 'x'.repeat(200));
    const { frames, reach } = await follow(t, port, '0');
    say(log, 'live');
    await reach(10_001);
    assert.equal(frames.length, 10_001);
    assert(frames.every(({ id }, index) => id === index + 1));
  });

  test('the last id of a daemon before this one: everything of this one is news', async (t) => {
    const { log, port } = await listening(t);
    const early = await follow(t, port, '500');
    say(log, '1');
    await early.reach(1);
    const late = await follow(t, port, '500');
    say(log, '2');
    await late.reach(2);
    assert.deepEqual(
      [idsOf(early.frames), idsOf(late.frames)],
      [
        [1, 2],
        [1, 2],
      ],
    );
  });

  test('a Last-Event-ID that is no id is as none', async (t) => {
    const { log, port } = await listening(t);
    say(log, '1');
    for (const id of ['x', '-1', '1e3', '99999999999999999999', '']) {
      const { frames, reach, end } = await follow(t, port, id);
      say(log, 'live');
      const last = log.query({ limit: 1 }).items[0]?.id ?? 0;
      await reach(last);
      assert.deepEqual(idsOf(frames), [last]);
      end();
    }
  });

  test('a reader that leaves is forgotten, and so are all when the API is closed', async (t) => {
    const { app, log, port } = await listening(t);
    const before = log.listenerCount('event');
    const { end } = await follow(t, port);
    assert.equal(log.listenerCount('event'), before + 1);
    end();
    await until(() => log.listenerCount('event') === before);
    await follow(t, port);
    await app.close();
    await until(() => log.listenerCount('event') === before);
  });

  test('since begins after that event, and Last-Event-ID is stronger', async (t) => {
    const { log, port } = await listening(t);
    for (const text of ['1', '2', '3', '4']) say(log, text);
    const since = await follow(t, port, undefined, '?since=2');
    await since.reach(4);
    assert.deepEqual(idsOf(since.frames), [3, 4]);
    const both = await follow(t, port, '3', '?since=1');
    await both.reach(4);
    assert.deepEqual(idsOf(both.frames), [4]);
  });

  test('a request without a Host, and bytes that are no HTTP, are refused and harm nobody', async (t) => {
    const { log, port } = await listening(t);
    for (const [bytes, status] of [
      ['GET /api/v1/links HTTP/1.0\r\n\r\n', /^HTTP\/1\.1 403 /],
      ['GET /api/v1/links HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 /],
      ['\u0016\u0003\u0001\u0002\u0000\r\n\r\n', /^HTTP\/1\.1 400 /],
      [`GET /${'x'.repeat(100_000)} HTTP/1.1\r\n\r\n`, /^HTTP\/1\.1 4\d\d /],
      ['GET /api/v1/links HTTP/1.1\r\nHost:\r\n\r\n', /^HTTP\/1\.1 403 /],
    ] as const) {
      const socket = net.connect(port, '127.0.0.1').on('error', () => undefined);
      t.after(() => socket.destroy());
      socket.write(bytes);
      const [answer] = await once(socket, 'data', { signal: AbortSignal.timeout(BOUND_MS) });
      assert.match(String(answer), status);
    }
    const { reach } = await follow(t, port);
    say(log, 'still there');
    await reach(1);
  });
});

suite('readers that do not read', { timeout: 30_000 }, () => {
  /** A server of nothing but the stream, that looks after its readers every 50 ms. */
  async function serve(t: TestContext): Promise<{
    readonly log: EventLog;
    readonly stream: EventStream;
    readonly connect: () => net.Socket;
    /** How many came, and the most that was ever unread by one on average. */
    readonly seen: { opened: number; unread: number };
  }> {
    const log = new EventLog();
    const stream = new EventStream(log, 50);
    const seen = { opened: 0, unread: 0 };
    const server = http.createServer((_request, response) => {
      stream.open(response, 0);
      seen.opened += 1;
      seen.unread = Math.max(seen.unread, stream.unreadBytes / stream.readers);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const sockets: net.Socket[] = [];
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      stream.close();
      server.close();
    });
    const connect = () => {
      const socket = net.connect(port, '127.0.0.1').on('error', () => undefined);
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
      socket.pause();
      sockets.push(socket);
      return socket;
    };
    return { log, stream, connect, seen };
  }

  test('30 of them with 20 MB to come cost at most a page each, and are dropped after 3 beats', async (t) => {
    const { log, stream, connect, seen } = await serve(t);
    for (let index = 0; index < 10_000; index += 1) {
      log.append({ at, type: 'note', text: 'x'.repeat(2_000) });
    }
    for (let index = 0; index < 30; index += 1) connect();
    await until(() => {
      log.append({ at, type: 'note', text: 'x'.repeat(2_000) });
      seen.unread = Math.max(seen.unread, stream.unreadBytes / stream.readers || 0);
      return seen.opened === 30;
    });
    assert(seen.unread > 100_000 && seen.unread < 1_500_000, `${seen.unread} bytes each`);
    await until(() => stream.readers === 0);
    assert.equal(log.listenerCount('event'), 0);
  });

  test('a reader that pauses and reads on gets every one of 10,000 events in order', async (t) => {
    const { log, stream, connect } = await serve(t);
    for (let index = 0; index < 10_000; index += 1) {
      log.append({ at, type: 'note', text: 'x'.repeat(200) });
    }
    const socket = connect();
    await until(() => stream.readers === 1);
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    socket.resume();
    await until(() => /^id: 10000$/m.test(text));
    const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    assert.equal(ids.length, 10_000);
    assert(ids.every((id, index) => id === index + 1));
  });

  test('the 1,001st reader is refused by a 503 that says when to come again', () => {
    const stream = new EventStream(new EventLog());
    const response = () => new http.ServerResponse(new http.IncomingMessage(new net.Socket()));
    for (let index = 0; index < MOST_READERS; index += 1) {
      stream.requireRoom();
      stream.open(response(), undefined);
    }
    assert.throws(() => stream.requireRoom(), { status: 503, retryAfterS: 30 });
    stream.close();
  });
});

/** Looks every 5 ms until it is so, and fails after the bound. */
async function until(isSo: () => boolean): Promise<void> {
  const lateAt = performance.now() + BOUND_MS;
  while (!isSo()) {
    assert(performance.now() < lateAt, `not so within ${BOUND_MS} ms: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
