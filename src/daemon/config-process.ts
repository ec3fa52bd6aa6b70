/**
 * The program of the process that reads a large configuration file, and tells its parent what it found.
 * @module
 */
import { UsageError } from '../time/usage-error.ts';
import { loadConfig } from './config.ts';
import type { Config } from './config-schema.ts';

/** What it tells: the file's content, or why it is refused. */
export type Reading =
  | { readonly config: Config }
  | { readonly refused: { readonly code: string; readonly message: string } };

function read(file: string): Reading {
  try {
    return { config: loadConfig(file) };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { refused: { code: error.code, message: error.message } };
  }
}

// Who ends all processes of a service means the daemon, which then waits for this one no longer.
process.on('SIGTERM', () => undefined);
process.send?.(read(process.argv[2] ?? ''), () => process.disconnect?.());
