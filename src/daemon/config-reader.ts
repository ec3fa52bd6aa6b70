/**
 * Reads the configuration file without being in the way of anything that runs. To read ten thousand
 * links takes a second, and leaves more garbage than they will ever need: a process of its own does it,
 * and takes the garbage with it.
 * @module
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';
import { loadConfig } from './config.ts';
import type { Reading } from './config-process.ts';
import type { Config } from './config-schema.ts';

/** In a checkout it lies beside this file, in the package in the command's folder. */
const PROGRAM: string = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? './config-process.ts' : './config-process.js',
    import.meta.url,
  ),
);
/** Some 400 links, read within 50 ms: less than a process takes to begin. */
const SMALL_BYTES = 32 * 1_024;

/**
 * As `loadConfig`. Throws `UsageError` (`bad-config`), and `SystemError` where the process cannot be
 * started or is ended by somebody.
 */
export async function readConfig(file: string): Promise<Config> {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  const reading = size <= SMALL_BYTES ? { config: loadConfig(file) } : await readApart(file);
  if ('config' in reading) return reading.config;
  throw new UsageError(reading.refused.code, reading.refused.message);
}

async function readApart(file: string): Promise<Reading> {
  // A terminal's Ctrl-C is meant for the daemon.
  const child = fork(PROGRAM, [file], {
    detached: true,
    execArgv: [],
    serialization: 'advanced',
  });
  const ended = new AbortController();
  child.once('close', (code, signal) => ended.abort(signal ?? `exit code ${code}`));
  try {
    const [reading] = (await once(child, 'message', { signal: ended.signal })) as [Reading];
    return reading;
  } catch (error) {
    const why = ended.signal.aborted ? ended.signal.reason : (error as Error).message;
    throw new SystemError('ECHILD', `${file}: the process that reads it ended: ${why}`);
  }
}
