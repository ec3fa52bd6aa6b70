import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, test } from 'node:test';
import { openDatabase } from './database.ts';
import { migrate, STEPS } from './migrations.ts';
import { DatabaseSync } from './sqlite.ts';

function versionIn(db: DatabaseSync): unknown {
  return db.prepare('PRAGMA user_version').get()?.['user_version'];
}

suite('the steps to the newest shape of the database', () => {
  test('from nothing to the newest version, and once there nothing changes', () => {
    const db = new DatabaseSync(':memory:');
    migrate(db, 'x');
    assert.equal(versionIn(db), STEPS.length);
    migrate(db, 'x');
    assert.equal(versionIn(db), STEPS.length);
  });

  test('from every version, with what is in it: a row of version 1 is there in version 3', () => {
    const steps = [...STEPS.slice(0, 1), 'ALTER TABLE events ADD COLUMN more TEXT', 'SELECT 1'];
    const db = new DatabaseSync(':memory:');
    migrate(db, 'x', steps.slice(0, 1));
    db.exec("INSERT INTO events (id, body) VALUES (7, '{}')");
    migrate(db, 'x', steps);
    assert.equal(versionIn(db), 3);
    assert.deepEqual({ ...db.prepare('SELECT id, more FROM events').get() }, { id: 7, more: null });
  });

  test('a step that fails half-way leaves the version before it, with nothing of the step', () => {
    const file = path.join(mkdtempSync(path.join(os.tmpdir(), 'linkhold-')), 'x.db');
    const db = new DatabaseSync(file);
    const steps = [...STEPS.slice(0, 1), 'CREATE TABLE half (a); SELECT no_such_function()'];
    assert.throws(() => migrate(db, file, steps), /no such function/);
    db.close();
    const again = new DatabaseSync(file);
    assert.equal(versionIn(again), 1);
    assert.throws(() => again.prepare('SELECT * FROM half'), /no such table/);
    again.close();
    rmSync(path.dirname(file), { recursive: true });
  });

  test('a database of version 99 is refused by name and version, and not one byte of it changes', () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    const file = path.join(directory, 'x.db');
    const db = new DatabaseSync(file);
    db.exec('PRAGMA journal_mode = WAL; CREATE TABLE future (a); PRAGMA user_version = 99');
    db.close();
    const before = readFileSync(file);
    assert.throws(() => openDatabase(file), {
      name: 'SystemError',
      code: 'newer-database',
      message: new RegExp(`^${file} is of version 99, and this linkhold knows ${STEPS.length} at`),
    });
    assert.deepEqual(readFileSync(file), before);
    rmSync(directory, { recursive: true });
  });
});
