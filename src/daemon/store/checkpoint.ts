/**
 * Lets a database take up its log, on a thread of its own: it waits for the disk twice, and a busy
 * disk would make the timers of all links late meanwhile. Writers are not held up.
 * @module
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** A text, so that there is no second file that a bundle would have to find. */
const THREAD = `
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(require('node:worker_threads').workerData);
  db.exec('PRAGMA wal_checkpoint(PASSIVE)');
  db.close();
`;

/** Resolves once it is done; rejects with what SQLite throws. */
export async function checkpoint(file: string): Promise<void> {
  const worker = new Worker(THREAD, { eval: true, workerData: file, execArgv: [] });
  await once(worker, 'exit');
}
