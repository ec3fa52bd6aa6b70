/**
 * `node bench/daemon.ts [links=10000] [remembered=1000]`: what a daemon with many links is like to live
 * with. Fills its memory with 30 days of so many links and 100,000 events, starts it with all links in
 * its file (`beat://`, default timing, and a group for every ten), and prints what it takes at rest, how
 * late its timers are, and the median and the slowest of 50 requests for each page of the API. Nothing
 * is asserted.
 * @module
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import { DATABASE_NAME } from '../src/daemon/store/database.ts';
import { EVENT_BYTES } from '../src/daemon/store/event-table.ts';
import { emptyStats, encodeStats } from '../src/daemon/store/link-stats.ts';
import { TIERS, type TierIndex } from '../src/daemon/store/roll-ups.ts';
import { Store } from '../src/daemon/store/store.ts';
import { inTransaction, openTables, type Tables } from '../src/daemon/store/tables.ts';
import { freePort } from '../test/support/free-port.ts';
import { Prng } from '../test/support/prng.ts';
import { costOf } from './process-cost.ts';

const LINKHOLD = path.join(import.meta.dirname, '../bin/linkhold');
const HOST = '127.0.0.1';
const KEY = 'bench';
const ROUNDS = 50;
const EVENTS = 100_000;
const EVENTS_A_BATCH = 5_000;
const DAYS = 30;
const DAY_MS = 86_400_000;
/** Of a minute; hours and days are drawn from as many, so that filling takes no longer than measuring. */
const ROUND_TRIPS = 60;
/** Rows of roll-ups are drawn from so many; the file does not compress, so that they cost the same. */
const SHAPES = 64;
const ALL_UP_WITHIN_MS = 180_000;
/** The month comes at once: its hours and days are made in the first minute and a half. */
const MONTH_MADE_MS = 90_000;
const REST_SECONDS = 30;
/** What we ask of ourselves. */
const TARGET = { pageMs: 100, rssMb: 400 };
/** Public: an issue of Uptime Kuma's, of its 2.0 beta. Another machine, and a whole page in a browser. */
const RIVAL =
  'Uptime Kuma 2.0 beta, 882 monitors: 15 s until its first page (github.com/louislam/uptime-kuma/issues/6181)';

const print = (text: string) => process.stdout.write(`${text}\n`);
const row = (what: string, value: string) => print(`${what.padEnd(58)}${value}`);

/** Rows of one tier, for each link that is remembered. */
function fillTier(tables: Tables, tier: TierIndex, names: readonly string[], random: Prng): void {
  const { lengthMs, keptMs } = TIERS[tier];
  const shapes = Array.from({ length: SHAPES }, () => {
    const stats = emptyStats();
    stats.stateMs.up = lengthMs;
    stats.probes = ROUND_TRIPS;
    for (let round = 0; round < ROUND_TRIPS; round += 1) {
      if (random.chance(0.002)) stats.losses += 1;
      else stats.roundTrips.record(5 * Math.exp(random.next() ** 4 * 2));
    }
    return encodeStats(stats);
  });
  const end = Math.floor(Date.now() / lengthMs);
  const first = end - Math.min(keptMs, DAYS * DAY_MS) / lengthMs;
  for (let at = first; at < end; at += 1) {
    inTransaction(tables.db, () => {
      for (const name of names) {
        const body = shapes[random.between(0, SHAPES - 1)] ?? new Uint8Array();
        tables.rollUps.put(tier, at, name, body);
      }
    });
  }
}

function fillEvents(tables: Tables, names: readonly string[], random: Prng): void {
  const stepMs = (DAYS * DAY_MS) / EVENTS;
  const begin = Date.now() - DAYS * DAY_MS;
  for (let from = 0; from < EVENTS; from += EVENTS_A_BATCH) {
    const events = Array.from({ length: EVENTS_A_BATCH }, (_, index): LoggedEvent => {
      const [fell, id] = [(from + index) % 2 === 0, from + index + 1];
      return {
        id,
        at: new Date(begin + id * stepMs).toISOString(),
        link: names[random.between(0, names.length - 1)] ?? '',
        type: 'state',
        from: fell ? 'suspect' : 'down',
        to: fell ? 'down' : 'up',
        reason: fell ? 'no-answer' : 'heard',
        evidence: fell ? { probes: 3, silentMs: 90_000 } : {},
        detectsWithinMs: 90_000,
      };
    });
    inTransaction(tables.db, () => tables.events.add(events));
  }
}

function fill(directory: string, names: readonly string[]): void {
  const random = new Prng(1);
  const tables = openTables(path.join(directory, DATABASE_NAME), EVENT_BYTES);
  for (const tier of [0, 1, 2] as const) fillTier(tables, tier, names, random);
  fillEvents(tables, names, random);
  tables.db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  tables.db.close();
}

function configure(file: string, links: number, responder: string): void {
  const lines = ['links:'];
  for (let index = 0; index < links; index += 1) {
    lines.push(
      `  l${index}: { url: "beat://${responder}?key=${KEY}", tags: [rack-${index % 40}] }`,
    );
  }
  lines.push('groups:');
  for (let index = 0; index + 1 < links; index += 10) {
    lines.push(`  g${index}: { paths: [{ link: l${index} }, { link: l${index + 1}, tier: 2 }] }`);
  }
  writeFileSync(file, `${lines.join('\n')}\n`);
}

const agent = new http.Agent({ keepAlive: true });

/** The body of an answer, and its status. */
async function ask(url: string): Promise<{ status: number; text: string }> {
  const request = http.get(url, { agent });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() };
}

/** The median and the slowest, in milliseconds. */
async function timed(work: () => Promise<unknown>): Promise<readonly [number, number]> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const from = performance.now();
    await work();
    times.push(performance.now() - from);
  }
  times.sort((a, b) => a - b);
  return [times[ROUNDS / 2] ?? Number.NaN, times.at(-1) ?? Number.NaN];
}

/** Every page that can be read, as the API itself lists them; the stream never ends. */
async function pagesOf(base: string): Promise<string[]> {
  const { paths } = JSON.parse((await ask(`${base}/api/v1/openapi.json`)).text) as {
    paths: Record<string, { get?: object }>;
  };
  const readable = Object.keys(paths).filter(
    (place) => paths[place]?.get !== undefined && !place.endsWith('/stream'),
  );
  const named = readable.map((place) =>
    place.replace('{name}', place.includes('groups/') ? 'g0' : 'l0'),
  );
  const more = ['links?limit=10000', 'links?state=down', 'links?q=l99', 'events?link=l7'];
  return [...named, ...more.map((place) => `/api/v1/${place}`)];
}

async function measurePages(base: string): Promise<void> {
  print(`\n${'page'.padEnd(42)}${'bytes'.padStart(12)}${'median'.padStart(12)}  slowest of 50`);
  for (const place of await pagesOf(base)) {
    const { status, text } = await ask(base + place);
    if (status !== 200) {
      row(place, `answers ${status}: ${text.slice(0, 80)}`);
      continue;
    }
    const [median, slowest] = await timed(() => ask(base + place));
    const verdict = median > TARGET.pageMs ? '  MISSED' : '';
    const figures = [`${text.length}`, `${median.toFixed(1)} ms`].map((cell) => cell.padStart(12));
    print(`${place.padEnd(42)}${figures.join('')}  ${slowest.toFixed(1)} ms${verdict}`);
  }
}

/** What the pages of a link's past would ask of the file, in this process. */
async function measureHistory(directory: string, names: readonly string[]): Promise<void> {
  const store = new Store({ directory, note: (text) => print(`note: ${text}`) });
  const now = Date.now();
  const since = (days: number) => ({ fromMs: now - days * DAY_MS, toMs: now });
  print('');
  for (const [what, work] of [
    ['a series of 24 hours by the minute', async () => store.series('l7', since(1), 60_000)],
    ['a series of 30 days by the hour', async () => store.series('l7', since(DAYS), 3_600_000)],
    ['bars of 24 hours for 100 links', () => store.bars(names.slice(0, 100), since(1), 24)],
    ['bars of 30 days for 100 links', () => store.bars(names.slice(0, 100), since(DAYS), 30)],
  ] as const) {
    const [median, slowest] = await timed(work);
    row(`history: ${what}`, `${median.toFixed(1)} ms, slowest ${slowest.toFixed(1)} ms`);
  }
}

async function whenUp(base: string, links: number, daemon: ChildProcess): Promise<void> {
  const late = performance.now() + ALL_UP_WITHIN_MS;
  for (let up = -1; up < links; ) {
    if (daemon.exitCode !== null) throw new Error(`the daemon ended with ${daemon.exitCode}`);
    if (performance.now() > late) throw new Error(`only ${up} of ${links} links came up`);
    await sleep(200);
    const answer = await ask(`${base}/api/v1/summary`).catch(() => undefined);
    if (answer?.status === 200) up = JSON.parse(answer.text).links.up;
  }
}

/** How often a timer of the daemon was at most so late, by seconds, as its own metrics tell it. */
async function lateness(base: string): Promise<Map<string, number>> {
  const { text } = await ask(`${base}/metrics`);
  const buckets = text.matchAll(/^linkhold_timer_lateness_seconds_bucket\{le="(.+)"\} (\d+)$/gm);
  return new Map([...buckets].map(([, most = '', times]) => [most, Number(times)]));
}

/** What all of them stayed within since then, and how many there were. */
function latenessSince(before: Map<string, number>, after: Map<string, number>): string {
  const since = [...after].map(([most, times]) => [most, times - (before.get(most) ?? 0)] as const);
  const all = since.at(-1)?.[1];
  return `${all} looks, each at most ${since.find(([, times]) => times === all)?.[0]} s late`;
}

async function measure(home: string, links: number, remembered: number): Promise<void> {
  const names = Array.from({ length: Math.min(remembered, links) }, (_, index) => `l${index}`);
  const from = performance.now();
  fill(home, names);
  row(
    `filled: ${DAYS} days of ${names.length} links, ${EVENTS} events`,
    `${((performance.now() - from) / 1_000).toFixed(0)} s`,
  );
  const env = { ...process.env, LINKHOLD_KEY: KEY };
  const responder = fork(path.join(import.meta.dirname, 'responder.ts'), [], { env });
  children.push(responder);
  const [{ listen }] = (await once(responder, 'message')) as [{ listen: string }];
  const file = path.join(home, 'linkhold.yaml');
  configure(file, links, listen);

  const base = `http://${HOST}:${await freePort()}`;
  const flags = ['--json', '--listen', base.slice('http://'.length), '--state-dir', home];
  const startedAt = performance.now();
  const daemon = spawn(LINKHOLD, ['run', file, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  children.push(daemon);
  daemon.stderr.pipe(process.stderr);
  while ((await ask(`${base}/api/v1/summary`).catch(() => undefined)) === undefined) {
    if (daemon.exitCode !== null) throw new Error(`the daemon ended with ${daemon.exitCode}`);
    await sleep(20);
  }
  const seconds = () => `${((performance.now() - startedAt) / 1_000).toFixed(1)} s`;
  row('from the start to the first answer of the API', seconds());
  await whenUp(base, links, daemon);
  row(`to ${links} links up`, seconds());
  print('the month was written at once, and its hours and days are made meanwhile …');
  await sleep(MONTH_MADE_MS);
  const begun = await lateness(base);
  const { cores, rssMb, peakMb } = await costOf([daemon.pid ?? 0], REST_SECONDS, () => 0);
  const verdict = rssMb < TARGET.rssMb ? '' : '  MISSED';
  row(
    'memory at rest (RSS), and the most it ever was',
    `${rssMb.toFixed(0)} MB, ${peakMb.toFixed(0)} MB${verdict}`,
  );
  row('processor at rest', `${(cores * 100).toFixed(1)} % of a core`);
  const rested = await lateness(base);
  row('its timers at rest', latenessSince(begun, rested));
  await measurePages(base);
  row(
    'memory after all that',
    `${(await costOf([daemon.pid ?? 0], 1, () => 0)).rssMb.toFixed(0)} MB`,
  );
  row('its timers meanwhile', latenessSince(rested, await lateness(base)));
  await measureHistory(home, names);
}

const [links = 10_000, remembered = 1_000] = process.argv.slice(2).map(Number);
if (!(links >= 10 && links <= 60_000 && remembered >= 10)) {
  process.stderr.write('daemon: write for example: node bench/daemon.ts 10000 1000\n');
  process.exit(2);
}
const children: ChildProcess[] = [];
const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-bench-'));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(home, { recursive: true, force: true });
});
print(`${links} links; ${os.availableParallelism()} cores, Node ${process.version}`);
await measure(home, links, remembered);
print(`\nfor comparison: ${RIVAL}`);
process.exit();
