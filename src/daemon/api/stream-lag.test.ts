/** Readers that lag by more than a page holds: they come to have every event once, and in order. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { apiRig } from '../../../test/support/api-rig.ts';
import { eventually } from '../../../test/support/scripted-http.ts';
import { type EventKeeper, EventLog, type LoggedEvent } from '../event-log.ts';
import { EventStream } from './stream.ts';

const at = '2026-11-22T12:00:00.000Z';
const LAG = 25_000;
const BOUND_MS = 30_000;

function say(log: EventLog, count: number): void {
  for (let index = 0; index < count; index += 1) log.append({ at, type: 'note', text: 'x' });
}

/** The ids that a stream tells, as they come. */
async function read(t: TestContext, port: number, path: string): Promise<number[]> {
  const ids: number[] = [];
  const request = http.get({ port, host: '127.0.0.1', path, agent: false });
  t.after(() => request.destroy());
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) if (line.startsWith('id: ')) ids.push(Number(line.slice(4)));
  });
  response.on('error', () => undefined);
  return ids;
}

/** Keeps events in memory, and neither keeps nor reads while it is set not to work. */
function keeping(): { keeper: EventKeeper; set: (works: boolean) => void } {
  const kept: LoggedEvent[] = [];
  let works = true;
  const keeper: EventKeeper = {
    lastId: 0,
    keep: (events) => {
      if (works) kept.push(...events);
      return works;
    },
    find: ({ after, limit }) => {
      if (!works) return undefined;
      if (after === undefined) return kept.slice(-limit);
      return kept.filter(({ id }) => id > after).slice(0, limit);
    },
  };
  return {
    keeper,
    set: (now) => {
      works = now;
    },
  };
}

async function serve(
  t: TestContext,
  log: EventLog,
  stream: EventStream,
  answer: (response: http.ServerResponse) => void,
): Promise<number> {
  const server = http.createServer((_request, response) => answer(response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    stream.close();
    server.close();
    log.close();
  });
  return (server.address() as AddressInfo).port;
}

const isCounted = (ids: readonly number[]) => ids.every((id, index) => id === index + 1);

suite('readers that lag', { timeout: 60_000 }, () => {
  test('25,000 behind: pages until next is null, then live, while more happens: each once', async (t) => {
    const { app, ask, log } = await apiRig(t, { keeps: true });
    await app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = app.server.address() as AddressInfo;
    say(log, LAG);
    while (!log.flush());
    const ids: number[] = [];
    const pages: number[] = [];
    for (let next: number | null = 0; next !== null; ) {
      const page: { items: LoggedEvent[]; next: number | null } = (
        await ask(`/api/v1/events?since=${next}&limit=10000`)
      ).json();
      ids.push(...page.items.map(({ id }) => id));
      pages.push(page.items.length);
      next = page.next;
      say(log, 3);
    }
    assert.deepEqual(pages.slice(0, 2), [10_000, 10_000]);
    const live = await read(t, port, `/api/v1/stream?since=${ids.at(-1)}`);
    say(log, 700);
    const last = LAG + 3 * pages.length + 700;
    await eventually('all of them', () => live.at(-1) === last, BOUND_MS);
    const all = [...ids, ...live];
    assert.deepEqual([all.length, isCounted(all)], [last, true]);
  });

  test('25,000 behind on the stream alone: what was missed, then what happens', async (t) => {
    const { app, log } = await apiRig(t, { keeps: true });
    await app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = app.server.address() as AddressInfo;
    say(log, LAG);
    while (!log.flush());
    const ids = await read(t, port, '/api/v1/stream?since=0');
    say(log, 5);
    await eventually('all of them', () => ids.at(-1) === LAG + 5, BOUND_MS);
    assert.deepEqual([ids.length, isCounted(ids)], [LAG + 5, true]);
  });

  test('2,000 events wait to be told when a reader joins that lags: each comes once', async (t) => {
    const log = new EventLog(keeping().keeper);
    const stream = new EventStream(log);
    const port = await serve(t, log, stream, (response) => {
      say(log, 2_000);
      stream.open(response, 0);
    });
    say(log, 600);
    const ids = await read(t, port, '/');
    await eventually('all of them', () => ids.at(-1) === 2_600, BOUND_MS);
    assert.deepEqual([ids.length, isCounted(ids)], [2_600, true]);
  });

  test('what cannot be read for a while: what happens is told, and once it can be read all since the gap', async (t) => {
    const { keeper, set } = keeping();
    const log = new EventLog(keeper);
    const stream = new EventStream(log, 20);
    const port = await serve(t, log, stream, (response) => stream.open(response, 2));
    say(log, 10);
    log.flush();
    set(false);
    say(log, 5);
    log.flush();
    const ids = await read(t, port, '/');
    say(log, 5);
    log.flush();
    assert.equal(log.query({ since: 2, limit: 100 }).isWhole, false);
    await eventually('what happens', () => ids.at(-1) === 20, BOUND_MS);
    assert.equal(ids.join(' '), '11 12 13 14 15 16 17 18 19 20');
    set(true);
    await eventually('all of them', () => ids.length === 28, BOUND_MS);
    assert.equal(ids.slice(10).join(' '), '3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20');
  });
});
