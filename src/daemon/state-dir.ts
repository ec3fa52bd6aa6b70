/**
 * The daemon's directory for what outlives it, and the token in it that proves to the API that a
 * caller may change things: whoever can read the file.
 * @module
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { SystemError } from '../sys/system-error.ts';

/** `/var/lib/linkhold` for root, else `linkhold` under XDG_STATE_HOME (`~/.local/state`). */
export function defaultStateDir(): string {
  if (process.getuid?.() === 0) return '/var/lib/linkhold';
  const home = process.env['XDG_STATE_HOME'] ?? path.join(os.homedir(), '.local', 'state');
  return path.join(home, 'linkhold');
}

/** The token of a daemon on this machine: LINKHOLD_TOKEN, or the file in its state directory. */
export function findToken(directory: string): string | undefined {
  const given = process.env['LINKHOLD_TOKEN'];
  if (given !== undefined && given !== '') return given;
  try {
    return readFileSync(tokenFile(directory), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** As `findToken`, but makes a token where there is none. Throws `SystemError`. */
export function ensureToken(directory: string): string {
  const found = findToken(directory);
  if (found !== undefined && found !== '') return found;
  const token = randomBytes(32).toString('hex');
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeFileSync(tokenFile(directory), `${token}\n`, { mode: 0o600 });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new SystemError(
      code,
      `the state directory ${directory} cannot be written (${code}); choose one with --state-dir`,
    );
  }
  return token;
}

function tokenFile(directory: string): string {
  return path.join(directory, 'token');
}
