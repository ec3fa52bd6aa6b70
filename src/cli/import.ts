/**
 * `linkhold import FILE`: what `linkhold export` wrote becomes the memory of a daemon to come.
 * @module
 */
import { createReadStream, mkdirSync } from 'node:fs';
import path from 'node:path';
import { defaultStateDir } from '../daemon/state-dir.ts';
import { DATABASE_NAME } from '../daemon/store/database.ts';
import { importLines } from '../daemon/store/portable.ts';
import { lockState } from '../daemon/store/state-lock.ts';
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';
import type { MoveFlags } from './export.ts';
import { print, printJson } from './output.ts';

/** Far more than a line of an export has. */
const MOST_CHARACTERS = 1_024 * 1_024;

/** Resolves with 0. Throws `UsageError` and `SystemError`; nothing is imported then. */
export async function importState(file: string, flags: MoveFlags): Promise<number> {
  const directory = flags.stateDir ?? defaultStateDir();
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    const mend = 'choose another with --state-dir';
    throw new SystemError(code, `${directory} cannot be made (${code}); ${mend}`);
  }
  const lock = lockState(directory);
  try {
    const database = path.join(directory, DATABASE_NAME);
    const lines = await importLines(database, linesOf(file), file);
    if (flags.json === true) printJson({ file, lines, database });
    else print(`${file}: ${lines} lines are now in ${database}`);
    return 0;
  } finally {
    lock.release();
  }
}

async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = '';
  try {
    for await (const chunk of createReadStream(file, 'utf8')) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
      if (rest.length > MOST_CHARACTERS) {
        throw new UsageError('bad-export', `${file}: a line of over a million characters`);
      }
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof UsageError || error instanceof SystemError) throw error;
    throw new UsageError('bad-export', `${file} cannot be read (${code ?? 'unknown'})`);
  }
  if (rest !== '') yield rest;
}
