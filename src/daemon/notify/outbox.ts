/**
 * What must survive the daemon: messages that wait to be delivered, and what was told and is not
 * over. One SQLite file in the state directory; a message and what it changes are kept in one step.
 * @module
 */
import { renameSync } from 'node:fs';
import path from 'node:path';
import { SystemError } from '../../sys/system-error.ts';
import { DatabaseSync, type StatementSync } from '../store/sqlite.ts';
import type { Message } from './message.ts';
import type { Memory, Told } from './rule.ts';

/** A message on its way by one channel. */
export interface Queued {
  /** Rises; `undefined` if it could not be kept. */
  readonly number: number | undefined;
  /** Wall clock, milliseconds. */
  readonly queuedAt: number;
  readonly message: Message;
}

const TABLES = `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE IF NOT EXISTS queue (
  number INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, queued_at INTEGER NOT NULL,
  message TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS queue_channel ON queue (channel, number);
CREATE TABLE IF NOT EXISTS told (
  rule TEXT NOT NULL, thing TEXT NOT NULL, told TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (rule, thing)) STRICT, WITHOUT ROWID;
BEGIN EXCLUSIVE;
COMMIT;
`;
/** Of SQLite: the file is damaged, or no database. */
const DAMAGED = [11, 26];

type Name =
  | 'add'
  | 'queued'
  | 'remove'
  | 'channels'
  | 'drop'
  | 'told'
  | 'keep'
  | 'forget'
  | 'rules';

const STATEMENTS: Readonly<Record<Name, string>> = {
  add: 'INSERT INTO queue (channel, queued_at, message) VALUES (?, ?, ?)',
  queued: 'SELECT number, queued_at, message FROM queue WHERE channel = ? ORDER BY number',
  remove: 'DELETE FROM queue WHERE number = ?',
  channels: 'SELECT channel, count(*) AS count FROM queue GROUP BY channel',
  drop: 'DELETE FROM queue WHERE channel = ?',
  told: 'SELECT thing, told, at FROM told WHERE rule = ?',
  keep: 'INSERT OR REPLACE INTO told (rule, thing, told, at) VALUES (?, ?, ?, ?)',
  forget: 'DELETE FROM told WHERE rule = ? AND thing = ?',
  rules: 'DELETE FROM told WHERE rule NOT IN (SELECT value FROM json_each(?))',
};

export class Outbox {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<Name, StatementSync>();

  /** Throws `SystemError`. A damaged file is put aside and told by `note`. */
  constructor(directory: string, note: (text: string) => void) {
    const file = path.join(directory, 'notify.sqlite');
    try {
      this.#database = open(file);
    } catch (error) {
      if (!DAMAGED.includes(codeOf(error))) throw refused(file, error);
      for (const end of ['', '-wal', '-shm']) moveAside(`${file}${end}`);
      note(`notify: ${file} was damaged and lies in ${file}.damaged; messages in it are lost`);
      this.#database = open(file);
    }
  }

  /** Keeps a message for each channel, and what is told from now on; all of it or nothing. */
  keep(
    message: Message | undefined,
    channels: readonly string[],
    rule: string,
    memory: readonly (readonly [string, Told | undefined])[],
  ): (Queued & { readonly channel: string })[] {
    const at = Date.now();
    this.#database.exec('BEGIN');
    try {
      for (const [thing, told] of memory) {
        if (told === undefined) this.#run('forget', rule, thing);
        else this.#run('keep', rule, thing, JSON.stringify(told), at);
      }
      const queued = message === undefined ? [] : channels;
      const text = JSON.stringify(message) ?? '';
      const added = queued.map((channel) => Number(this.#run('add', channel, at, text)));
      this.#database.exec('COMMIT');
      if (message === undefined) return [];
      return queued.map((channel, index) => {
        return { channel, number: added[index], queuedAt: at, message };
      });
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  /** What waits for a channel, the oldest first. */
  queued(channel: string): Queued[] {
    return this.#prepared('queued')
      .all(channel)
      .map((row) => ({
        number: Number(row['number']),
        queuedAt: Number(row['queued_at']),
        message: JSON.parse(String(row['message'])) as Message,
      }));
  }

  /** It was delivered, or is given up. */
  remove(number: number): void {
    this.#run('remove', number);
  }

  /** What a rule told before, and how long ago. */
  memory(rule: string): Map<string, Memory> {
    const rows = this.#prepared('told').all(rule);
    return new Map(
      rows.map(({ thing, told, at }) => {
        const agoMs = Math.max(0, Date.now() - Number(at));
        return [String(thing), { told: JSON.parse(String(told)) as Told, agoMs }];
      }),
    );
  }

  /** Forgets what belongs to other channels and rules; how many messages each channel had. */
  keepOnly(channels: readonly string[], rules: readonly string[]): Map<string, number> {
    this.#run('rules', JSON.stringify(rules));
    const dropped = new Map<string, number>();
    for (const { channel, count } of this.#prepared('channels').all()) {
      if (channels.includes(String(channel))) continue;
      this.#run('drop', String(channel));
      dropped.set(String(channel), Number(count));
    }
    return dropped;
  }

  close(): void {
    this.#database.close();
  }

  #run(name: Name, ...values: (string | number)[]): number | bigint {
    return this.#prepared(name).run(...values).lastInsertRowid;
  }

  #prepared(name: Name): StatementSync {
    const statement = this.#statements.get(name) ?? this.#database.prepare(STATEMENTS[name]);
    this.#statements.set(name, statement);
    return statement;
  }
}

function open(file: string): DatabaseSync {
  const database = new DatabaseSync(file);
  try {
    database.exec(TABLES);
    const found = database.prepare('PRAGMA quick_check(1)').get()?.['quick_check'];
    if (found !== 'ok') throw Object.assign(new Error(`${found}`), { errcode: DAMAGED[0] });
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function codeOf(error: unknown): number {
  return Number((error as { errcode?: number }).errcode ?? 0) & 0xff;
}

function refused(file: string, error: unknown): SystemError {
  const text = (error as Error).message;
  const mend = codeOf(error) === 5 ? 'another daemon uses this state directory' : text;
  return new SystemError('EIO', `notify: ${file} cannot be used: ${mend}`);
}

function moveAside(file: string): void {
  try {
    renameSync(file, `${file}.damaged`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
