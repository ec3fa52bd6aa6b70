/**
 * How links and groups last stood: what the next daemon takes up again.
 * @module
 */

import type { LinkState } from '../../keepalive/keepalive.ts';
import type { PathInUseBefore } from '../group-runner.ts';
import { parsed } from './event-table.ts';
import type { Names } from './names.ts';
import type { DatabaseSync, StatementSync } from './sqlite.ts';

/** A link as it last stood. */
export interface LinkPast {
  readonly state: LinkState;
  readonly since: string;
  readonly reason: string;
  /** Its URL, without secrets: another one is another link, of which nothing is known. */
  readonly url: string;
}

/** A group as it last stood. */
export type GroupPast = PathInUseBefore;

/** One of the two tables: a row a name, whose body is JSON. */
export class PastTable<Row> {
  readonly #names: Names;
  readonly #all: StatementSync;
  readonly #put: StatementSync;

  constructor(db: DatabaseSync, names: Names, table: 'links' | 'groups') {
    this.#names = names;
    this.#all = db.prepare(
      `SELECT names.name, ${table}.body FROM ${table} JOIN names ON names.id = ${table}.name`,
    );
    this.#put = db.prepare(`INSERT OR REPLACE INTO ${table} (name, body) VALUES (?, ?)`);
  }

  /** Every row that can be read. */
  all(): Map<string, Row> {
    const rows = new Map<string, Row>();
    for (const { name, body } of this.#all.all()) {
      const row = parsed(body);
      if (row !== undefined) rows.set(String(name), row as Row);
    }
    return rows;
  }

  put(name: string, row: Row): void {
    this.#put.run(this.#names.idOf(name), JSON.stringify(row));
  }
}
