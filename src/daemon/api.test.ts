import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';
import { UsageError } from '../time/usage-error.ts';
import { buildApi } from './api.ts';
import { ApiGuard } from './api-guard.ts';
import type { Config } from './config-schema.ts';
import { EventLog } from './event-log.ts';
import { Supervisor } from './supervisor.ts';

const TOKEN = 'the-right-token';
const BEARER = { authorization: `Bearer ${TOKEN}` };
const BOUND_MS = 5_000;
const at = '2026-11-22T12:00:00.000Z';
const NOTHING: Config = { links: {}, groups: {}, relays: {}, routes: {}, respond: [], protect: [] };

interface Rig {
  readonly app: FastifyInstance;
  readonly supervisor: Supervisor;
  readonly log: EventLog;
  /** A GET unless told otherwise. */
  readonly ask: (url: string, more?: InjectOptions) => Promise<LightMyRequestResponse>;
}

interface RigOptions {
  readonly host?: string;
  readonly config?: Partial<Config>;
  readonly reload?: () => Promise<void>;
}

async function rig(t: TestContext, options: RigOptions = {}): Promise<Rig> {
  const log = new EventLog();
  log.setMaxListeners(0);
  const supervisor = new Supervisor(log);
  const app = buildApi({
    supervisor,
    log,
    guard: new ApiGuard(options.host ?? '127.0.0.1', TOKEN),
    version: '1.2.3',
    reload: options.reload ?? (async () => undefined),
  });
  t.after(async () => {
    await app.close();
    await supervisor.close();
  });
  await supervisor.apply({ ...NOTHING, ...options.config });
  const ask = async (url: string, more: InjectOptions = {}) =>
    await app.inject({ method: 'GET', url, ...more });
  return { app, supervisor, log, ask };
}

/** Links to an address that refuses at once and whose timers are far away. */
function links(...names: readonly string[]): Partial<Config> {
  const entry = { url: 'tcp://127.0.0.1:1', time: '1h', interval: '1h' };
  return { links: Object.fromEntries(names.map((name) => [name, entry])) };
}

/** Checks that the answer is a problem document of this status, and returns its detail. */
function problem(response: LightMyRequestResponse, status: number): string {
  assert.equal(response.statusCode, status, response.body);
  assert.match(String(response.headers['content-type']), /^application\/problem\+json\b/);
  const body = response.json() as Record<string, unknown>;
  assert.deepEqual(new Set(Object.keys(body)), new Set(['type', 'title', 'status', 'detail']));
  assert.equal(body['status'], status);
  assert.equal(body['type'], 'about:blank');
  assert.equal(body['title'], http.STATUS_CODES[status]);
  return String(body['detail']);
}

suite('reading the API', { timeout: 20_000 }, () => {
  test('links: every row has the keys of the contract', async (t) => {
    const { ask } = await rig(t, { config: links('a', 'b') });
    const response = await ask('/api/v1/links');
    assert.equal(response.statusCode, 200);
    assert.match(String(response.headers['content-type']), /^application\/json\b/);
    const { items, next } = response.json();
    assert.equal(next, null);
    assert.deepEqual(
      items.map((row: { name: string }) => row.name),
      ['a', 'b'],
    );
    for (const key of [
      ...['url', 'kind', 'class', 'state', 'reason', 'rttMs', 'detectsWithinMs'],
      ...['largestSilenceMs', 'evidence', 'local', 'remote'],
    ]) {
      assert(Object.hasOwn(items[0], key), `no ${key} in ${JSON.stringify(items[0])}`);
    }
  });

  test('pages of 2 give all 5 links once, in order, and end with null', async (t) => {
    const { ask } = await rig(t, { config: links('a', 'b', 'c', 'd', 'e') });
    const seen: string[] = [];
    let pages = 0;
    for (let cursor: number | null = 0; cursor !== null; pages += 1) {
      const url: string = `/api/v1/links?limit=2&cursor=${cursor}`;
      const page: { items: { name: string }[]; next: number | null } = (await ask(url)).json();
      const { items, next } = page;
      assert(items.length <= 2 && pages < 5);
      seen.push(...items.map((row) => row.name));
      cursor = next;
    }
    assert.deepEqual(seen, ['a', 'b', 'c', 'd', 'e']);
    assert.equal(pages, 3);
    assert.deepEqual((await ask('/api/v1/links?cursor=99')).json(), { items: [], next: null });
    assert.equal((await ask('/api/v1/links?limit=5')).json().next, null);
  });

  test('one link by its name, and a problem for one that is not there', async (t) => {
    const { ask } = await rig(t, { config: links('a') });
    assert.equal((await ask('/api/v1/links/a')).json().name, 'a');
    assert.equal(problem(await ask('/api/v1/links/b'), 404), 'there is no link "b"');
    problem(await ask(`/api/v1/links/${'x'.repeat(64)}`), 404);
    const long = await ask(`/api/v1/links/${'x'.repeat(5_000)}`);
    problem(long, long.statusCode === 414 ? 414 : 404);
    problem(await ask('/api/v1/links/__proto__'), 404);
  });

  test('groups and relays are lists too', async (t) => {
    const config = { ...links('a', 'b'), groups: { g: { paths: [{ link: 'a' }, { link: 'b' }] } } };
    const { ask } = await rig(t, { config });
    const groups = (await ask('/api/v1/groups')).json();
    assert.equal(groups.next, null);
    assert.equal(groups.items[0].name, 'g');
    assert.equal(groups.items[0].active, 'a');
    assert.deepEqual(
      groups.items[0].paths.map((path: { link: string }) => path.link),
      ['a', 'b'],
    );
    assert.deepEqual((await ask('/api/v1/relays')).json(), { items: [], next: null });
  });

  test('events: since, link, limit and next', async (t) => {
    const { ask, log } = await rig(t);
    for (const group of ['x', 'y', 'x', 'y', 'x'])
      log.append({ at, type: 'note', text: '', group });
    const ids = async (query: string) => {
      const { items, next } = (await ask(`/api/v1/events?${query}`)).json();
      return [items.map((event: { id: number }) => event.id), next];
    };
    assert.deepEqual(await ids(''), [[1, 2, 3, 4, 5], null]);
    assert.deepEqual(await ids('limit=2'), [[4, 5], null]);
    assert.deepEqual(await ids('since=1&limit=2'), [[2, 3], 3]);
    assert.deepEqual(await ids('since=3&limit=2'), [[4, 5], null]);
    assert.deepEqual(await ids('link=x'), [[1, 3, 5], null]);
    assert.deepEqual(await ids('link=x&link=y'), [[], null]);
  });

  for (const query of [
    ...['limit=0', 'limit=10001', 'limit=-1', 'limit=1.5', 'limit=', 'limit=ten', 'limit=1e3'],
    ...['limit=1&limit=2', 'cursor=-1', 'cursor=0x10', 'cursor=99999999999999999999'],
  ]) {
    test(`links?${query} is a 400 that says which numbers may be written`, async (t) => {
      const { ask } = await rig(t);
      const detail = problem(await ask(`/api/v1/links?${query}`), 400);
      assert.match(detail, /^(limit|cursor): write a whole number from \d+ to \d+$/);
    });
  }

  test('events?since=x is a 400 too', async (t) => {
    const { ask } = await rig(t);
    assert.match(problem(await ask('/api/v1/events?since=x'), 400), /^since: write a whole number/);
  });

  test('healthz tells of the daemon itself', async (t) => {
    const { ask } = await rig(t, { config: links('a') });
    const health = (await ask('/healthz')).json();
    assert.deepEqual(
      { ...health, uptimeMs: typeof health.uptimeMs },
      { status: 'ok', version: '1.2.3', pid: process.pid, uptimeMs: 'number', links: 1 },
    );
  });

  test('what is not there is a 404, and so is the wrong method', async (t) => {
    const { ask } = await rig(t, { config: links('a') });
    const detail = problem(await ask('/api/v1/nothing'), 404);
    assert.equal(detail, 'there is no GET /api/v1/nothing');
    problem(await ask('/api/v2/links'), 404);
    problem(await ask('/api/v1/links', { method: 'DELETE', headers: BEARER }), 404);
    problem(await ask('/api/v1/links/a/explode', { method: 'POST', headers: BEARER }), 404);
  });

  for (const url of ['/api/v1/links/%zz', '/%', '/api/v1/links/%ff/drain']) {
    test(`${url} cannot be decoded: a 400 problem`, async (t) => {
      const { ask } = await rig(t);
      problem(await ask(url), 400);
    });
  }
});

suite('changing things through the API', { timeout: 20_000 }, () => {
  test('drain, resume and probe answer with the link as it is then', async (t) => {
    const { ask } = await rig(t, { config: links('a') });
    const post = { method: 'POST', headers: BEARER } as const;
    assert.equal((await ask('/api/v1/links/a/drain', post)).json().state, 'drained');
    assert.equal((await ask('/api/v1/links/a/drain', post)).json().state, 'drained');
    assert.notEqual((await ask('/api/v1/links/a/resume', post)).json().state, 'drained');
    assert.equal((await ask('/api/v1/links/a/probe', post)).statusCode, 200);
    problem(await ask('/api/v1/links/b/drain', post), 404);
  });

  test('every write needs the token, and without it nothing is changed', async (t) => {
    let reloads = 0;
    const reload = async () => {
      reloads += 1;
    };
    const { ask, supervisor } = await rig(t, { config: links('a'), reload });
    for (const url of [
      ...['/api/v1/links/a/drain', '/api/v1/links/a/resume', '/api/v1/links/a/probe'],
      ...['/api/v1/links/nobody/drain', '/api/v1/reload', '/nothing'],
    ]) {
      for (const authorization of [
        ...[undefined, '', 'Bearer', 'Bearer ', 'Bearer wrong', `Basic ${TOKEN}`, TOKEN],
        ...[`Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(1)}`, `bearer${TOKEN}`],
      ]) {
        const headers = authorization === undefined ? {} : { authorization };
        const detail = problem(await ask(url, { method: 'POST', headers }), 401);
        assert.match(detail, /send "Authorization: Bearer TOKEN"/);
        assert(!detail.includes(TOKEN));
      }
    }
    assert.equal(reloads, 0);
    assert.notEqual(supervisor.link('a')?.state, 'drained');
  });

  test('reload says what became of it: 200, or 400 with the line of the file', async (t) => {
    const refuse = 'f:1:1: no key "x" is known here';
    let bad = false;
    const { ask } = await rig(t, {
      reload: async () => {
        if (bad) throw new UsageError('bad-config', refuse);
      },
    });
    const post = { method: 'POST', headers: BEARER } as const;
    assert.deepEqual((await ask('/api/v1/reload', post)).json(), { reloaded: true });
    bad = true;
    assert.equal(problem(await ask('/api/v1/reload', post), 400), refuse);
  });

  test('a body of any kind up to 16 KiB is ignored, a larger one is a 413', async (t) => {
    const { ask } = await rig(t, { config: links('a') });
    const post = (payload: string, headers: Record<string, string> = {}) =>
      ask('/api/v1/links/a/probe', { method: 'POST', payload, headers: { ...BEARER, ...headers } });
    for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
      assert.equal((await post('{"not json', { 'content-type': type })).statusCode, 200);
    }
    assert.equal((await post('x')).statusCode, 200);
    const large = { 'content-type': 'text/plain' };
    problem(await post('x'.repeat(16 * 1_024 + 1), large), 413);
    const stranger = { method: 'POST', payload: 'x'.repeat(100_000), headers: large } as const;
    problem(await ask('/api/v1/links/a/probe', stranger), 401);
  });
});

suite('who may read', { timeout: 20_000 }, () => {
  for (const host of ['127.0.0.1', '127.0.0.1:7117', 'localhost', 'localhost:80', '[::1]:7117']) {
    test(`on loopback: ${host} without a token`, async (t) => {
      const { ask } = await rig(t);
      assert.equal((await ask('/api/v1/links', { headers: { host } })).statusCode, 200);
    });
  }

  for (const host of [
    ...['evil.example', 'evil.example:7117', '127.0.0.1.evil.example', 'localhost.evil.example'],
    ...['192.0.2.2:7117', '[fd00::2]:7117', '0.0.0.0'],
  ]) {
    test(`on loopback: not under the name "${host}", with or without the token`, async (t) => {
      const { ask } = await rig(t);
      for (const url of ['/api/v1/links', '/', '/healthz', '/nothing']) {
        const detail = problem(await ask(url, { headers: { host } }), 403);
        assert.match(detail, /for this machine only/);
        problem(await ask(url, { headers: { host, ...BEARER } }), 403);
      }
    });
  }

  test('off loopback: everything but healthz needs the token, under any name', async (t) => {
    const { ask } = await rig(t, { host: '0.0.0.0', config: links('a') });
    const headers = { host: 'linkhold.example:7117' };
    assert.equal((await ask('/healthz', { headers })).statusCode, 200);
    for (const url of ['/', '/api/v1/links', '/api/v1/stream', '/healthz/', '/nothing']) {
      problem(await ask(url, { headers }), 401);
      if (url.endsWith('stream')) continue;
      const status = (await ask(url, { headers: { ...headers, ...BEARER } })).statusCode;
      assert([200, 404].includes(status), `${url}: ${status}`);
    }
  });
});

suite('the page', { timeout: 20_000 }, () => {
  const EVIL = `<script>alert("1")</script>&'`;

  test('is HTML that may load and run nothing', async (t) => {
    const { ask } = await rig(t, { config: links('a') });
    const { headers, body } = await ask('/');
    assert.equal(headers['content-type'], 'text/html; charset=utf-8');
    assert.match(String(headers['content-security-policy']), /^default-src 'none';/);
    assert.match(body, /^<!doctype html>/);
    assert(!body.includes('<script'));
  });

  test('names, states, reasons, notes and switches with markup are shown as text', async (t) => {
    const { ask, log } = await rig(t, {
      config: { ...links(EVIL), groups: { [EVIL]: { paths: [{ link: EVIL }] } } },
    });
    log.append({ at, type: 'note', text: EVIL, group: EVIL });
    log.append({ at, type: 'switch', group: EVIL, from: EVIL, to: EVIL, why: EVIL });
    const evidence = { errno: EVIL };
    const event = { at, link: EVIL, reason: EVIL as 'reset', evidence, detectsWithinMs: 1 };
    log.append({ ...event, type: 'state', from: EVIL as 'up', to: EVIL as 'down' });
    const { body } = await ask('/');
    assert(!/<script|alert\("/i.test(body), body);
    const shown = body.split('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;').length - 1;
    assert(shown >= 12, `shown ${shown} times`);
  });
});

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
): Promise<{ frames: Frame[]; reach: (id: number) => Promise<void>; end: () => void }> {
  const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
  const request = http.get({ port, host: '127.0.0.1', path: '/api/v1/stream', headers });
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
  async function listening(t: TestContext): Promise<{ log: EventLog; port: number }> {
    const { app, log } = await rig(t);
    await app.listen({ host: '127.0.0.1', port: 0 });
    return { log, port: (app.server.address() as net.AddressInfo).port };
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

  test('a reader that leaves is forgotten', async (t) => {
    const { log, port } = await listening(t);
    const { end } = await follow(t, port);
    assert.equal(log.listenerCount('event'), 1);
    end();
    await until(() => log.listenerCount('event') === 0);
  });

  test('a reader that never reads is dropped before 64 MiB are written for it', async (t) => {
    const { log, port } = await listening(t);
    const socket = net.connect(port, '127.0.0.1').on('error', () => undefined);
    t.after(() => socket.destroy());
    socket.write('GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until(() => log.listenerCount('event') === 1);
    const text = 'x'.repeat(64 * 1_024);
    for (let blocks = 0; log.listenerCount('event') > 0; blocks += 1) {
      assert(blocks < 1_024, '64 MiB were written to a reader that does not read');
      say(log, text);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const other = await follow(t, port);
    say(log, 'others go on');
    await other.reach(log.query({ limit: 1 }).items[0]?.id ?? 0);
  });

  test('closing the API ends the streams', async (t) => {
    const { app, log } = await rig(t);
    await app.listen({ host: '127.0.0.1', port: 0 });
    await follow(t, (app.server.address() as net.AddressInfo).port);
    await app.close();
    await until(() => log.listenerCount('event') === 0);
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

suite('fuzzing the API', { timeout: 30_000 }, () => {
  test('no path, query, method or header is ever a 5xx, and every refusal is a problem (1,000)', async (t) => {
    const { ask } = await rig(t, { config: links('a', 'b') });
    const piece = fc.oneof(
      fc.string({ maxLength: 6 }).map(encodeURIComponent),
      fc.string({ maxLength: 6 }).map((text) => text.replaceAll(/[^!-~]/g, '~')),
      fc.constantFrom(
        ...['/', '//', '.', '..', '%', '%00', '%2f', '%zz', '%ff', '?', '&', '=', '[]', '#', '*'],
        ...['api', 'v1', 'links', 'groups', 'relays', 'events', 'a', 'drain', 'healthz'],
        ...['limit=', 'cursor=', 'since=', 'link=', '1', '-1', '__proto__', 'constructor', '1e9'],
      ),
    );
    const base = fc.constantFrom(
      '/',
      '/api/v1/',
      '/api/v1/links/',
      '/api/v1/links?',
      '/api/v1/events?',
    );
    const method = fc.constantFrom(
      'GET',
      'GET',
      'GET',
      'HEAD',
      'POST',
      'PUT',
      'DELETE',
      'OPTIONS',
      'PATCH',
    );
    await fc.assert(
      fc.asyncProperty(
        base,
        fc.array(piece, { maxLength: 8 }),
        method,
        fc.boolean(),
        async (start, pieces, verb, token) => {
          const url = start + pieces.join('');
          // The stream never ends, and what is no URL never leaves the client.
          if (/stream/.test(url) || !URL.canParse(url, 'http://localhost')) return;
          const headers = token ? BEARER : {};
          const response = await ask(url, { method: verb as 'GET', headers });
          if (response.statusCode === 200) return;
          assert(response.statusCode >= 400 && response.statusCode < 500, `${verb} ${url}`);
          if (verb !== 'HEAD') problem(response, response.statusCode);
        },
      ),
      { numRuns: 1_000 },
    );
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
