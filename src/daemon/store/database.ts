/**
 * Opens the database file, and tells what is wrong with it in words. It knows no table.
 * @module
 */
import { chmodSync, existsSync, renameSync } from 'node:fs';
import { migrate, versionOf } from './migrations.ts';
import { DatabaseSync } from './sqlite.ts';

export const DATABASE_NAME = 'linkhold.db';
/** The file and what SQLite keeps beside it. */
export const DATABASE_PARTS: readonly string[] = ['', '-wal', '-shm'];

/**
 * `synchronous = NORMAL`: a commit is in the kernel's hands, which a kill cannot undo; only a power
 * cut loses what came after the last checkpoint (one a minute), and never damages the file. Waiting
 * for the disk at each commit would make the timers of all links late. The checkpoint that SQLite
 * itself makes in the middle of a commit is left for floods.
 */
const SETTINGS = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA wal_autocheckpoint = 16000;
  PRAGMA journal_size_limit = 67108864;
  PRAGMA trusted_schema = OFF;
`;

/** SQLite's primary result codes that we tell apart. */
const CODE = { busy: 5, locked: 6, readonly: 8, corrupt: 11, full: 13, cantOpen: 14, notADb: 26 };
const PRIMARY = 0xff;

/**
 * Opens it, makes it if there is none, and brings it to the newest version. Throws `SystemError`
 * (`newer-database`) and leaves that one untouched; else what SQLite throws: see `faultOf`.
 */
export function openDatabase(file: string): DatabaseSync {
  if (existsSync(file)) {
    // One that only reads leaves the file and its log as they are when it is closed.
    const reader = new DatabaseSync(file, { readOnly: true });
    try {
      versionOf(reader, file);
    } finally {
      reader.close();
    }
  }
  const isNew = !existsSync(file);
  const db = new DatabaseSync(file);
  try {
    // What SQLite keeps beside it gets the same rights.
    if (isNew) chmodSync(file, 0o600);
    db.exec(SETTINGS);
    migrate(db, file);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Whether the file's content is damaged; if not, it may work again later. */
export function isCorrupt(error: unknown): boolean {
  const code = codeOf(error);
  return code === CODE.corrupt || code === CODE.notADb;
}

/** What is wrong, as the start of a sentence. */
export function faultOf(error: unknown, file: string): string {
  switch (codeOf(error)) {
    case CODE.full:
      return `the disk of ${file} is full`;
    case CODE.readonly:
      return `${file} cannot be written: it or its directory is read-only`;
    case CODE.cantOpen:
      return `${file} cannot be opened or made`;
    case CODE.busy:
    case CODE.locked:
      return `${file} is locked by another process`;
    default:
      return `${file} does not work (${(error as Error).message})`;
  }
}

function codeOf(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) & PRIMARY;
}

/** Puts a damaged database out of the way, for a person to look at. Returns its new name. */
export function moveAside(file: string, nowMs: number): string {
  const date = new Date(nowMs).toISOString().replaceAll(':', '-');
  const aside = `${file}.corrupt-${date}`;
  for (const part of DATABASE_PARTS) {
    if (existsSync(file + part)) renameSync(file + part, aside + part);
  }
  return aside;
}
