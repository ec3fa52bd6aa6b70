/**
 * Everything in a database as lines of JSON, and back: to move a daemon, to keep a copy, to read it
 * with other programs. The first line names format and version, the last one counts the lines, so
 * that half a file is noticed. Neither way holds more than a line in memory.
 * @module
 */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { z } from 'zod';
import { SystemError } from '../../sys/system-error.ts';
import { UsageError } from '../../time/usage-error.ts';
import type { LoggedEvent } from '../event-log.ts';
import { DATABASE_PARTS, faultOf } from './database.ts';
import { EVENT_BYTES, parsed } from './event-table.ts';
import { BUCKETS_PER_DECADE, LAST_BUCKET, LEAST_MS } from './histogram.ts';
import { COUNTED_STATES, emptyStats, encodeStats, type LinkStats } from './link-stats.ts';
import { STEPS, versionOf } from './migrations.ts';
import type { GroupPast, LinkPast } from './past.ts';
import { readStats, TIERS, type TierIndex } from './roll-ups.ts';
import { DatabaseSync } from './sqlite.ts';
import { inTransaction, openTables, type Tables } from './tables.ts';

const FORMAT = 'linkhold export';
const VERSION = 1;
const LINES_A_TRANSACTION = 1_000;

const count = z.int().min(0);
const text = z.string().max(100_000);
const head = z.object({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  bucketsPerDecade: z.literal(BUCKETS_PER_DECADE),
  leastMs: z.literal(LEAST_MS),
});
const line = z.union([
  z.strictObject({ meta: z.enum(['heartbeat', 'ended', 'hours', 'days']), value: count }),
  z.strictObject({ link: text, stands: z.record(text, z.unknown()) }),
  z.strictObject({ group: text, stands: z.record(text, z.unknown()) }),
  z.strictObject({ event: z.looseObject({ id: z.int().min(1), at: text, type: text }) }),
  z.strictObject({
    of: z.enum(['minutes', 'hours', 'days']),
    at: count,
    link: text,
    stateMs: z.strictObject({ up: count, suspect: count, down: count, drained: count }),
    probes: count,
    losses: count,
    maxMs: z.number().min(0),
    /** Pairs of bucket and count. */
    roundTrips: z.array(z.tuple([z.int().min(0).max(LAST_BUCKET), count])).max(LAST_BUCKET + 1),
  }),
]);
const tail = z.strictObject({ end: count });
type Line = z.infer<typeof line>;

/** The lines, without line ends. Throws `SystemError`; the database is only read. */
export function* exportLines(file: string): Generator<string> {
  if (!existsSync(file)) {
    const mend = 'name the state directory of a daemon with --state-dir';
    throw new SystemError('no-database', `there is no ${file}; ${mend}`);
  }
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { readOnly: true });
    const version = versionOf(db, file);
    if (version < STEPS.length) {
      const mend = 'let this linkhold run with it once';
      throw new SystemError('older-database', `${file} is of version ${version}; ${mend}`);
    }
    // One look at the whole, whatever a daemon writes meanwhile.
    db.exec('BEGIN');
    const format = { format: FORMAT, version: VERSION };
    yield JSON.stringify({ ...format, bucketsPerDecade: BUCKETS_PER_DECADE, leastMs: LEAST_MS });
    let lines = 0;
    for (const one of allLines(db)) {
      yield JSON.stringify(one);
      lines += 1;
    }
    yield JSON.stringify({ end: lines });
  } catch (error) {
    if (error instanceof SystemError) throw error;
    throw new SystemError('database', faultOf(error, file));
  } finally {
    db?.close();
  }
}

function* allLines(db: DatabaseSync): Generator<object> {
  yield* db.prepare("SELECT key AS meta, value FROM meta WHERE key != 'events'").iterate();
  for (const kind of ['link', 'group']) {
    const rows = db.prepare(
      `SELECT names.name, body FROM ${kind}s JOIN names ON names.id = ${kind}s.name`,
    );
    for (const { name, body } of rows.iterate()) {
      const stands = parsed(body);
      if (stands !== undefined) yield { [kind]: name, stands };
    }
  }
  for (const { id, body } of db.prepare('SELECT id, body FROM events ORDER BY id').iterate()) {
    const event = parsed(body);
    if (event !== undefined) yield { event: { id, ...event } };
  }
  for (const { table } of TIERS) {
    const rows = db.prepare(
      `SELECT at, name, body FROM ${table} JOIN names ON names.id = link ORDER BY at, link`,
    );
    for (const { at, name, body } of rows.iterate()) {
      const stats = readStats(body as Uint8Array);
      if (stats === undefined) continue;
      const { roundTrips, ...rest } = stats;
      const buckets = { maxMs: roundTrips.maxMs, roundTrips: roundTrips.entries() };
      yield { of: table, at, link: name, ...rest, ...buckets };
    }
  }
}

/**
 * Makes the database out of an export, all of it or nothing. Returns the number of its lines.
 * Throws `UsageError` (`bad-export`: where and what; `not-empty`) and `SystemError`.
 */
export async function importLines(
  file: string,
  lines: AsyncIterable<string>,
  source: string,
): Promise<number> {
  if (existsSync(file)) {
    const mend = 'import into another directory with --state-dir, or move that file away';
    throw new UsageError('not-empty', `${file} is there already; ${mend}`);
  }
  const draft = `${file}.importing`;
  remove(draft);
  try {
    const count = await fill(draft, lines, source);
    renameSync(draft, file);
    return count;
  } catch (error) {
    if (error instanceof UsageError || error instanceof SystemError) throw error;
    throw new SystemError('database', faultOf(error, draft));
  } finally {
    remove(draft);
  }
}

async function fill(file: string, lines: AsyncIterable<string>, source: string): Promise<number> {
  const tables = openTables(file, EVENT_BYTES);
  try {
    let batch: Line[] = [];
    let number = 0;
    let end: number | undefined;
    const write = () => {
      inTransaction(tables.db, () => batch.forEach((one) => void put(tables, one)));
      batch = [];
    };
    for await (const one of lines) {
      number += 1;
      const value = parsed(one);
      if (number === 1) {
        const text = `this is no export of version ${VERSION}`;
        if (!head.safeParse(value).success) throw badExport(source, number, text);
      } else if (end !== undefined) throw badExport(source, number, 'more after its end');
      else if (tail.safeParse(value).success) end = tail.parse(value).end;
      else {
        if (!line.safeParse(value).success) {
          throw badExport(source, number, 'this is no line of an export');
        }
        batch.push(value as Line);
        if (batch.length >= LINES_A_TRANSACTION) write();
      }
    }
    if (end !== number - 2) throw badExport(source, number, 'it is not whole: its end is missing');
    write();
    return end;
  } finally {
    tables.db.close();
  }
}

function put(tables: Tables, one: Line): void {
  if ('meta' in one) tables.meta.set(one.meta, one.value);
  else if ('event' in one) tables.events.add([one.event as unknown as LoggedEvent]);
  else if ('group' in one) tables.groups.put(one.group, one.stands as unknown as GroupPast);
  else if ('stands' in one) tables.links.put(one.link, one.stands as unknown as LinkPast);
  else {
    const tier = TIERS.findIndex(({ table }) => table === one.of) as TierIndex;
    tables.rollUps.put(tier, one.at, one.link, encodeStats(statsOf(one)));
  }
}

function statsOf(one: Extract<Line, { of: string }>): LinkStats {
  const stats = emptyStats();
  for (const state of COUNTED_STATES) stats.stateMs[state] = one.stateMs[state];
  stats.probes = one.probes;
  stats.losses = one.losses;
  stats.roundTrips.raiseMax(one.maxMs);
  for (const [bucket, count] of one.roundTrips) stats.roundTrips.addBucket(bucket, count);
  return stats;
}

function badExport(source: string, number: number, text: string): UsageError {
  return new UsageError('bad-export', `${source}:${number}: ${text}; export it again`);
}

function remove(file: string): void {
  for (const part of DATABASE_PARTS) rmSync(file + part, { force: true });
}
