/**
 * `linkhold export [FILE]`: everything a daemon remembers, as lines of JSON; also while it runs.
 * @module
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { defaultStateDir } from '../daemon/state-dir.ts';
import { DATABASE_NAME } from '../daemon/store/database.ts';
import { exportLines } from '../daemon/store/portable.ts';
import { SystemError } from '../sys/system-error.ts';
import { print, printJson } from './output.ts';

export interface MoveFlags {
  readonly json?: boolean;
  readonly stateDir?: string;
}

/** Resolves with 0. Throws `SystemError`. */
export async function exportState(file: string | undefined, flags: MoveFlags): Promise<number> {
  const database = path.join(flags.stateDir ?? defaultStateDir(), DATABASE_NAME);
  const lines = exportLines(database);
  if (file === undefined) {
    await write(lines, process.stdout);
    return 0;
  }
  // What is wrong with the database is told before a file is made.
  const first = lines.next();
  const out = createWriteStream(file, { mode: 0o600, flags: 'wx' });
  try {
    await once(out, 'open');
    out.write(`${first.value}\n`);
    const written = await write(lines, out);
    out.end();
    await once(out, 'finish');
    if (flags.json === true) printJson({ file, lines: written + 1 });
    else print(`${file}: ${written + 1} lines`);
    return 0;
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    if (error instanceof SystemError) throw error;
    const mend = code === 'EEXIST' ? 'it is there already' : code;
    throw new SystemError(code, `${file} cannot be written: ${mend}; choose another place`);
  }
}

async function write(lines: Iterable<string>, out: Writable): Promise<number> {
  let written = 0;
  for (const line of lines) {
    written += 1;
    if (!out.write(`${line}\n`)) await once(out, 'drain');
  }
  return written;
}
