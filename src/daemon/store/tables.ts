/**
 * An open database with everything that is in it. Thrown away as a whole after a fault, so that
 * nothing remembered in memory differs from what the file says.
 * @module
 */

import { openDatabase } from './database.ts';
import { EventTable } from './event-table.ts';
import { History } from './history.ts';
import { Meta } from './meta.ts';
import { Names } from './names.ts';
import { type GroupPast, groupPast, type LinkPast, linkPast, PastTable } from './past.ts';
import { RollUps } from './roll-ups.ts';
import type { DatabaseSync } from './sqlite.ts';

export interface Tables {
  readonly db: DatabaseSync;
  readonly meta: Meta;
  readonly names: Names;
  readonly events: EventTable;
  readonly links: PastTable<LinkPast>;
  readonly groups: PastTable<GroupPast>;
  readonly rollUps: RollUps;
  readonly history: History;
}

/** Throws as `openDatabase` does. */
export function openTables(file: string, mostEventBytes: number): Tables {
  const db = openDatabase(file);
  try {
    const meta = new Meta(db);
    const names = new Names(db);
    const rollUps = new RollUps(db, meta, names);
    return {
      db,
      meta,
      names,
      events: new EventTable(db, meta, names, mostEventBytes),
      links: new PastTable(db, names, 'links', linkPast),
      groups: new PastTable(db, names, 'groups', groupPast),
      rollUps,
      history: new History(rollUps, names),
    };
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Runs `work` in one transaction: all of it is done or nothing. Throws what `work` throws. */
export function inTransaction(db: DatabaseSync, work: () => void): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    work();
    db.exec('COMMIT');
  } catch (error) {
    // A full disk has ended the transaction already.
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}
