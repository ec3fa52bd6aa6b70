/**
 * `node bench/store.ts [links=10000]`: what the daemon's memory costs. Writes minutes of that many
 * links (a round trip a second each, from a seed), an hour of them, and prints the time each took
 * and the longest that the event loop was held up; bytes a link and year; and the medians of what
 * an API would ask. Nothing is asserted.
 * @module
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { emptyStats, encodeStats, type LinkStats } from '../src/daemon/store/link-stats.ts';
import { TIERS } from '../src/daemon/store/roll-ups.ts';
import { DatabaseSync } from '../src/daemon/store/sqlite.ts';
import { Store } from '../src/daemon/store/store.ts';
import { Prng } from '../test/support/prng.ts';

const links = Number(process.argv[2] ?? 10_000);
const MINUTES = 61;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const HOUR_MS = 60 * MINUTE_MS;
const START_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS;
const ROUNDS = 101;
const TIMER_MS = 2;
const IDLE_MS = 3_000;

const random = new Prng(1);
const names = Array.from({ length: links }, (_, index) => `link-${index}`);

/** A link's time: a round trip a second about a base of its own, one in 500 lost. */
function statsOf(index: number, seconds: number): LinkStats {
  const stats = emptyStats();
  stats.stateMs.up = seconds * 1_000;
  stats.probes = seconds;
  for (let second = 0; second < seconds; second += 1) {
    if (random.chance(0.002)) stats.losses += 1;
    else stats.roundTrips.record((1 + (index % 80)) * Math.exp(random.next() ** 4 * 2));
  }
  return stats;
}

function minute(): Map<string, LinkStats> {
  return new Map(names.map((name, index) => [name, statsOf(index, 60)]));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** In milliseconds: how long it took, the processor's part of that, how late a timer was. */
interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
  readonly lateMs: number;
}

async function held(work: () => Promise<unknown>): Promise<Cost> {
  let lateMs = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    lateMs = Math.max(lateMs, now - last - TIMER_MS);
    last = now;
  }, TIMER_MS);
  const from = performance.now();
  const cpu = process.cpuUsage();
  await work();
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(cpu);
  await new Promise((resolve) => setTimeout(resolve, 2 * TIMER_MS));
  clearInterval(timer);
  return { ms, cpuMs: (user + system) / 1_000, lateMs };
}

async function medianOf(work: () => unknown): Promise<string> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const from = performance.now();
    await work();
    times.push(performance.now() - from);
  }
  return `${median(times).toFixed(2)} ms`;
}

function tell(what: string, costs: readonly Cost[]): void {
  const of = (key: keyof Cost) => median(costs.map((cost) => cost[key])).toFixed(0);
  const late = median(costs.map(({ lateMs }) => lateMs)).toFixed(1);
  const latest = Math.max(...costs.map(({ lateMs }) => lateMs)).toFixed(1);
  print(what, `${of('ms')} ms, ${of('cpuMs')} ms of a processor`);
  print('  a timer was late meanwhile by, median and most', `${late} ms, ${latest} ms`);
}

function print(what: string, value: string): void {
  process.stdout.write(`${what.padEnd(58)}${value}\n`);
}

async function measure(directory: string): Promise<void> {
  let wallMs = START_MS;
  const note = (text: string) => process.stdout.write(`note: ${text}\n`);
  const store = new Store({ directory, note, wallMs: () => wallMs });
  store.open();
  await store.tidy();
  const writes: Cost[] = [];
  const tidies: Cost[] = [];
  for (let round = 0; round < MINUTES; round += 1) {
    const stats = minute();
    writes.push(await held(() => store.putMinute(wallMs, stats)));
    wallMs += MINUTE_MS;
    tidies.push(await held(() => store.tidy()));
  }
  const idle = await held(() => new Promise((resolve) => setTimeout(resolve, IDLE_MS)));
  print('a timer of an idle process was late by at most', `${idle.lateMs.toFixed(1)} ms`);
  const hour = tidies.toSorted((a, b) => b.ms - a.ms)[0] ?? idle;
  tell(`writing a minute of ${links} links, median`, writes);
  tell(
    'forgetting and taking up the log, each minute, median',
    tidies.filter((t) => t !== hour),
  );
  tell(`making an hour of ${links} links`, [hour]);
  const span = { fromMs: wallMs - HOUR_MS, toMs: wallMs };
  print(
    'series of an hour by the minute, median',
    await medianOf(() => store.series('link-7', span, MINUTE_MS)),
  );
  const day = { fromMs: wallMs - DAY_MS, toMs: wallMs };
  print(
    'bars of 24 cells for 100 links, median',
    await medianOf(() => store.bars(names.slice(0, 100), day, 24)),
  );
  print('the newest 100 events, median', await medianOf(() => store.find({ limit: 100 })));
  store.close();
  const db = new DatabaseSync(path.join(directory, 'linkhold.db'));
  db.exec('VACUUM');
  db.close();
  const bytes = statSync(path.join(directory, 'linkhold.db')).size;
  print(`bytes of a link's minute in the file`, (bytes / links / (MINUTES + 1)).toFixed(1));
}

/** What a link's rows take once it has been there for a year: what is kept of each tier. */
function bytesOfAYear(): void {
  const ROW_BYTES = 10;
  let total = 0;
  for (const { table, lengthMs, keptMs } of TIERS) {
    const rows = Math.min(keptMs, 365 * DAY_MS) / lengthMs;
    const row = encodeStats(statsOf(7, lengthMs / 1_000)).length + ROW_BYTES;
    print(`${table}: rows a link × bytes`, `${rows} × ${row}`);
    total += rows * row;
  }
  print('bytes a link after a year', String(Math.round(total)));
}

const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-bench-'));
try {
  await measure(directory);
  bytesOfAYear();
} finally {
  rmSync(directory, { recursive: true });
}
