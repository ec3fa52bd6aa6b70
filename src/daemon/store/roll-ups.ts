/**
 * What happened on each link by the minute, the hour and the day. A minute is written once it is
 * over; an hour is made of its minutes and a day of its hours once they are over, also after a time
 * in which no daemon ran. Buckets are of the wall clock, lengths within them of the monotonic one:
 * a clock that is set makes a bucket too full or too empty, and never wrong.
 *
 * Long work comes as iterators of small steps, for the caller to spread over time.
 * @module
 */

import { DecodeError } from '../../wire/decode-error.ts';
import { decodeStats, emptyStats, encodeStats, type LinkStats, mergeStats } from './link-stats.ts';
import type { Meta } from './meta.ts';
import type { Names } from './names.ts';
import type { DatabaseSync, StatementSync } from './sqlite.ts';

interface Tier {
  readonly table: 'minutes' | 'hours' | 'days';
  readonly lengthMs: number;
  /** How long its rows are kept. */
  readonly keptMs: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** Finest first; the length of each divides the next one's. */
export const TIERS: readonly [Tier, Tier, Tier] = [
  { table: 'minutes', lengthMs: MINUTE_MS, keptMs: DAY_MS },
  { table: 'hours', lengthMs: HOUR_MS, keptMs: 30 * DAY_MS },
  { table: 'days', lengthMs: DAY_MS, keptMs: 730 * DAY_MS },
];
export type TierIndex = 0 | 1 | 2;
const MARKS = { 1: 'hours', 2: 'days' } as const;
const LINKS_A_STEP = 4;
const ROWS_A_STEP = 200;
/** Read at one go: a few milliseconds. */
const ROWS_A_LOOK = 1_000;

/** Rows of buckets of one length: each the link's number, which bucket since 1970, and its bytes. */
export interface RollUpRows {
  readonly lengthMs: number;
  /** Arrays, as they are read in half the time of objects. */
  readonly rows: readonly (readonly [link: number, at: number, body: Uint8Array])[];
}

export class RollUps {
  readonly #meta: Meta;
  readonly #names: Names;
  readonly #tables: readonly TierTable[];
  /** The first bucket of each tier that is not made yet. */
  readonly #made: { [tier in 1 | 2]: number | undefined };

  constructor(db: DatabaseSync, meta: Meta, names: Names) {
    this.#meta = meta;
    this.#names = names;
    this.#tables = TIERS.map(({ table }) => new TierTable(db, table));
    this.#made = { 1: meta.get(MARKS[1]), 2: meta.get(MARKS[2]) };
  }

  /** Adds to the minute that `atMs` lies in, and to the hour and day if those are made already. */
  addMinute(atMs: number, link: string, stats: LinkStats): void {
    const id = this.#names.idOf(link);
    const body = encodeStats(stats);
    this.#table(0).add(bucket(0, atMs), id, body);
    for (const tier of [1, 2] as const) {
      if (atMs < this.#madeUntilMs(tier)) this.#table(tier).add(bucket(tier, atMs), id, body);
    }
  }

  /** As it was written elsewhere. */
  put(tier: TierIndex, at: number, link: string, body: Uint8Array): void {
    this.#table(tier).put(at, this.#names.idOf(link), body);
  }

  /** Makes the hours, then the days, that are over by `nowMs` and not yet made. */
  *make(nowMs: number): Generator<void> {
    yield* this.#makeTier(1, nowMs);
    yield* this.#makeTier(2, nowMs);
  }

  /** Forgets what is older than it is kept. */
  *trim(nowMs: number): Generator<void> {
    for (const [index, { keptMs }] of TIERS.entries()) {
      const tier = index as TierIndex;
      const oldest = bucket(tier, nowMs - keptMs) - 1;
      while (this.#table(tier).forget(oldest)) yield;
    }
  }

  /**
   * The rows of links within a time, of a tier as far as it is made and of the finer ones beyond
   * that; oldest first, some at a time. Bucket by bucket for all of them: rows of a bucket lie
   * together, those of a link each on a page of its own.
   */
  *rows(
    links: readonly number[],
    tier: TierIndex,
    fromMs: number,
    toMs: number,
  ): Generator<RollUpRows> {
    const made = tier === 0 ? toMs : Math.min(this.#madeUntilMs(tier), toMs);
    const { lengthMs } = TIERS[tier];
    if (fromMs < made) {
      const end = Math.ceil(made / lengthMs);
      const step = Math.ceil(ROWS_A_LOOK / Math.max(links.length, 1));
      const table = this.#table(tier);
      const first = Math.max(bucket(tier, fromMs), table.oldest() ?? end);
      for (let at = first; at < end; at += step) {
        yield { lengthMs, rows: table.ofAll(links, at, Math.min(at + step, end)) };
      }
    }
    if (tier !== 0) {
      yield* this.rows(links, (tier - 1) as TierIndex, Math.max(fromMs, made), toMs);
    }
  }

  *#makeTier(tier: 1 | 2, nowMs: number): Generator<void> {
    const end = bucket(tier, nowMs);
    const kept = bucket(tier, nowMs - TIERS[tier === 1 ? 0 : 1].keptMs);
    const first = Math.max(this.#made[tier] ?? kept, kept);
    for (let at = first; at < end; at += 1) {
      yield* this.#makeBucket(tier, at);
      this.#setMade(tier, at + 1);
      yield;
    }
    if (this.#made[tier] === undefined) this.#setMade(tier, end);
  }

  /** From the finer rows alone, so that it may be done again after a kill. */
  *#makeBucket(tier: 1 | 2, at: number): Generator<void> {
    const finerTier = tier === 1 ? 0 : 1;
    const finer = this.#table(finerTier);
    const ratio = TIERS[tier].lengthMs / TIERS[finerTier].lengthMs;
    if (!finer.hasAny(at * ratio, (at + 1) * ratio)) return;
    for (let last = 0; ; ) {
      const links = this.#names.after(last, LINKS_A_STEP);
      for (const link of links) {
        const stats = mergedRows(finer.of(link, at * ratio, (at + 1) * ratio));
        if (stats !== undefined) this.#table(tier).put(at, link, encodeStats(stats));
        last = link;
      }
      if (links.length < LINKS_A_STEP) return;
      yield;
    }
  }

  #table(tier: TierIndex): TierTable {
    return this.#tables[tier] as TierTable;
  }

  #setMade(tier: 1 | 2, at: number): void {
    this.#made[tier] = at;
    this.#meta.set(MARKS[tier], at);
  }

  #madeUntilMs(tier: 1 | 2): number {
    return (this.#made[tier] ?? 0) * TIERS[tier].lengthMs;
  }
}

function bucket(tier: TierIndex, ms: number): number {
  return Math.floor(ms / TIERS[tier].lengthMs);
}

/** A damaged row counts as not observed. */
export function readStats(body: Uint8Array): LinkStats | undefined {
  try {
    return decodeStats(body);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function mergedRows(rows: readonly { readonly body: Uint8Array }[]): LinkStats | undefined {
  if (rows.length === 0) return undefined;
  const stats = emptyStats();
  for (const { body } of rows) {
    const more = readStats(body);
    if (more !== undefined) mergeStats(stats, more);
  }
  return stats;
}

/** One table of rows by time and link. */
class TierTable {
  readonly #get: StatementSync;
  readonly #put: StatementSync;
  readonly #new: StatementSync;
  readonly #of: StatementSync;
  readonly #ofAll: StatementSync;
  readonly #oldest: StatementSync;
  readonly #any: StatementSync;
  readonly #forget: StatementSync;

  constructor(db: DatabaseSync, table: Tier['table']) {
    this.#get = db.prepare(`SELECT body FROM ${table} WHERE at = ? AND link = ?`);
    this.#put = db.prepare(`INSERT OR REPLACE INTO ${table} (at, link, body) VALUES (?, ?, ?)`);
    this.#new = db.prepare(
      `INSERT INTO ${table} (at, link, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
    );
    // One place to look for each bucket: a link's rows lie far from each other.
    const each = (columns: string) => `WITH RECURSIVE time (at) AS
       (SELECT ?1 UNION ALL SELECT at + 1 FROM time WHERE at + 1 < ?2)
       SELECT ${columns} FROM time CROSS JOIN ${table} AS row
       ON row.at = time.at AND row.link`;
    this.#of = db.prepare(`${each('row.body')} = ?3`);
    this.#ofAll = db.prepare(
      `${each('row.link, row.at, row.body')} IN (SELECT value FROM json_each(?3))`,
    );
    this.#ofAll.setReturnArrays(true);
    this.#oldest = db.prepare(`SELECT at FROM ${table} ORDER BY at LIMIT 1`);
    this.#any = db.prepare(`SELECT 1 FROM ${table} WHERE at >= ? AND at < ? LIMIT 1`);
    this.#forget = db.prepare(
      `DELETE FROM ${table} WHERE (at, link) IN
       (SELECT at, link FROM ${table} WHERE at < ? ORDER BY at, link LIMIT ${ROWS_A_STEP})`,
    );
  }

  put(at: number, link: number, body: Uint8Array): void {
    this.#put.run(at, link, body);
  }

  /** Adds to what is there. */
  add(at: number, link: number, body: Uint8Array): void {
    if (this.#new.run(at, link, body).changes !== 0) return;
    const kept = this.#get.get(at, link)?.['body'] as Uint8Array;
    this.put(at, link, encodeStats(mergedRows([{ body: kept }, { body }]) ?? emptyStats()));
  }

  /** The rows of one link, from bucket `from` to before `to`. */
  of(link: number, from: number, to: number): { readonly body: Uint8Array }[] {
    if (from >= to) return [];
    return this.#of.all(from, to, link) as unknown as { readonly body: Uint8Array }[];
  }

  /** The rows of these links, by time, from bucket `from` to before `to`. */
  ofAll(links: readonly number[], from: number, to: number): RollUpRows['rows'] {
    if (from >= to) return [];
    return this.#ofAll.all(from, to, JSON.stringify(links)) as unknown as RollUpRows['rows'];
  }

  /** The first bucket that has a row. */
  oldest(): number | undefined {
    return this.#oldest.get()?.['at'] as number | undefined;
  }

  hasAny(from: number, to: number): boolean {
    return this.#any.get(from, to) !== undefined;
  }

  /** Forgets some of the rows before a bucket; false if there were none. */
  forget(before: number): boolean {
    return this.#forget.run(before).changes !== 0;
  }
}
