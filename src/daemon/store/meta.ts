/**
 * Whole numbers of which the database has one each: when the daemon last gave a sign of life, up to
 * where roll-ups are made.
 * @module
 */
import type { DatabaseSync, StatementSync } from './sqlite.ts';

/**
 * `heartbeat`: the wall clock in ms at the last sign of life. `ended`: 1 after a stop that was told.
 * `events`: bytes that events take. `hours`, `days`: the first bucket not yet rolled up.
 */
export type MetaKey = 'heartbeat' | 'ended' | 'events' | 'hours' | 'days';

export class Meta {
  readonly #get: StatementSync;
  readonly #set: StatementSync;

  constructor(db: DatabaseSync) {
    this.#get = db.prepare('SELECT value FROM meta WHERE key = ?');
    this.#set = db.prepare('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)');
  }

  get(key: MetaKey): number | undefined {
    const value = this.#get.get(key)?.['value'];
    return typeof value === 'number' ? value : undefined;
  }

  set(key: MetaKey, value: number): void {
    this.#set.run(key, Math.round(value));
  }
}
