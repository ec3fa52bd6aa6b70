/**
 * The shape of the database, as the steps that lead there. A released step is never changed: a new
 * shape is one more step. Each runs in a transaction with the version it leads to, so that a kill
 * between two of them leaves a database of either version and nothing between.
 * @module
 */

import { SystemError } from '../../sys/system-error.ts';
import type { DatabaseSync } from './sqlite.ts';

/**
 * Rows of `minutes`, `hours` and `days` are ordered by time first: a minute of ten thousand links is
 * then one stretch of the file and not ten thousand pages. `at` counts minutes, hours or days since
 * 1970; `body` is that of `link-stats.ts`.
 */
const FIRST = `
  CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
  CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE events (id INTEGER PRIMARY KEY, subject INTEGER, body TEXT NOT NULL) STRICT;
  CREATE INDEX events_of ON events (subject, id) WHERE subject IS NOT NULL;
  CREATE TABLE links (name INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
  CREATE TABLE groups (name INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
  CREATE TABLE minutes (at INTEGER, link INTEGER, body BLOB NOT NULL, PRIMARY KEY (at, link))
    STRICT, WITHOUT ROWID;
  CREATE TABLE hours (at INTEGER, link INTEGER, body BLOB NOT NULL, PRIMARY KEY (at, link))
    STRICT, WITHOUT ROWID;
  CREATE TABLE days (at INTEGER, link INTEGER, body BLOB NOT NULL, PRIMARY KEY (at, link))
    STRICT, WITHOUT ROWID;
`;

/** `STEPS[n]` leads from version n to n + 1. */
export const STEPS: readonly string[] = [FIRST];

/** The version of a database, which a program older than it must not touch. Throws `SystemError`. */
export function versionOf(db: DatabaseSync, file: string, known: number = STEPS.length): number {
  const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version']);
  if (version <= known) return version;
  const text = `${file} is of version ${version}, and this linkhold knows ${known} at most`;
  throw new SystemError(
    'newer-database',
    `${text}; use the newer linkhold, or choose another directory with --state-dir`,
  );
}

/** Brings it to the newest version. Throws `SystemError` (`newer-database`) and changes nothing then. */
export function migrate(db: DatabaseSync, file: string, steps: readonly string[] = STEPS): void {
  for (let version = versionOf(db, file, steps.length); version < steps.length; version += 1) {
    db.exec(`BEGIN IMMEDIATE; ${steps[version]}; PRAGMA user_version = ${version + 1}; COMMIT`);
  }
}
