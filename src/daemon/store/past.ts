/**
 * How links and groups last stood, and what links learned of their peers: what the next daemon takes
 * up again. A row that is none is left out, since anybody may have written to the file.
 * @module
 */

import { z } from 'zod';
import { LINK_STATES } from '../../keepalive/keepalive.ts';
import type { Learned, LinkBefore } from '../../link/link.ts';
import type { PathInUseBefore } from '../group-runner.ts';
import type { Shape } from '../schema-parts.ts';
import { parsed } from './event-table.ts';
import type { Names } from './names.ts';
import type { DatabaseSync, StatementSync } from './sqlite.ts';

/** A link as it last stood. */
export interface LinkPast extends LinkBefore {
  readonly reason: string;
  /** Its URL, without secrets: another one is another link, of which nothing is known. */
  readonly url: string;
}

/** A group as it last stood. */
export type GroupPast = PathInUseBefore;

const ms = z.number().min(0).optional();

const learned: Shape<Learned> = {
  idleTimeoutMs: ms.describe('The server ends a connection that lies idle for so long.'),
  requestsPerConnection: z
    .int()
    .min(1)
    .optional()
    .describe('The server ends a connection after so many requests; 1: it keeps none.'),
  pushedTimeMs: ms.describe('By the timing that the server pushed: dead after so much silence.'),
  pushedBeatMs: ms.describe('The same: a ping leaves after so much of sending nothing.'),
  localPort: z.int().min(1).max(65_535).optional().describe('The port that the peer knows us by.'),
  echoNeedsLogin: z.boolean().optional().describe('The server has no ECHO without a login.'),
  refusesNegotiate: z
    .boolean()
    .optional()
    .describe('The server ends a session that begins with NEGOTIATE.'),
};

/** What a link learned, as the API and the file have it. */
export const learnedRow: z.ZodType<Learned> = z.object(learned).meta({ id: 'Learned' });

export const linkPast: z.ZodType<LinkPast> = z.object({
  state: z.enum(LINK_STATES),
  since: z.string(),
  reason: z.string(),
  url: z.string(),
  learned: learnedRow.optional().catch(undefined),
});

export const groupPast: z.ZodType<GroupPast> = z.object({
  active: z.string(),
  since: z.string(),
  why: z.string(),
});

/** One of the two tables: a row a name, whose body is JSON. */
export class PastTable<Row> {
  readonly #names: Names;
  readonly #all: StatementSync;
  readonly #put: StatementSync;
  readonly #schema: z.ZodType<Row>;

  constructor(db: DatabaseSync, names: Names, table: 'links' | 'groups', schema: z.ZodType<Row>) {
    this.#names = names;
    this.#schema = schema;
    this.#all = db.prepare(
      `SELECT names.name, ${table}.body FROM ${table} JOIN names ON names.id = ${table}.name`,
    );
    this.#put = db.prepare(`INSERT OR REPLACE INTO ${table} (name, body) VALUES (?, ?)`);
  }

  /** Every row that can be read. */
  all(): Map<string, Row> {
    const rows = new Map<string, Row>();
    for (const { name, body } of this.#all.all()) {
      const row = this.#schema.safeParse(parsed(body));
      if (row.success) rows.set(String(name), row.data);
    }
    return rows;
  }

  put(name: string, row: Row): void {
    this.#put.run(this.#names.idOf(name), JSON.stringify(row));
  }
}
