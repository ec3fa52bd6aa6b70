/**
 * Tokens with names and scopes, and the file that holds their hashes. A token is 256 random bits: nobody
 * finds it by trying, so a plain SHA-256 keeps it as well as a slow password hash would. The first
 * token is that of the state directory's `token` file and may operate.
 * @module
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';
import type { Caller } from './api/guard.ts';
import { SCOPES, type Scope } from './api/rows.ts';
import { NAME } from './schema-parts.ts';

/** A token as it is kept: who can read the file cannot use it. */
export interface TokenEntry {
  readonly name: string;
  readonly scope: Scope;
  /** Of the token's text, in hexadecimal. */
  readonly sha256: string;
  readonly createdAt: string;
}

/** The name of the token in the `token` file. */
export const FIRST_TOKEN = 'first';
const MOST_TOKENS = 1_000;

const fileSchema: z.ZodType<{ tokens: TokenEntry[] }> = z.object({
  tokens: z
    .array(
      z.object({
        name: z.string().regex(NAME),
        scope: z.enum(SCOPES),
        sha256: z.string().regex(/^[\da-f]{64}$/),
        createdAt: z.string(),
      }),
    )
    .max(MOST_TOKENS),
});

/** The tokens of a running daemon. The file is looked at again when it changed. */
export class Tokens {
  readonly #directory: string;
  readonly #first: Buffer;
  #entries: readonly TokenEntry[] = [];
  #stamp = '';
  #trouble: string | undefined;

  /** `first`: the text of the first token. */
  constructor(directory: string, first: string) {
    this.#directory = directory;
    this.#first = hash(first);
  }

  /** Why the named tokens are not valid at present, or `undefined`. */
  get trouble(): string | undefined {
    this.#refresh();
    return this.#trouble;
  }

  /** Whose token it is. Each comparison takes the same time, right or wrong. */
  find(text: string): Caller | undefined {
    this.#refresh();
    const given = hash(text);
    if (timingSafeEqual(given, this.#first)) return { name: FIRST_TOKEN, scope: 'operate' };
    const entry = this.#entries.find(({ sha256 }) =>
      timingSafeEqual(given, Buffer.from(sha256, 'hex')),
    );
    return entry && { name: entry.name, scope: entry.scope };
  }

  /** The token of that name, if there still is one. */
  named(name: string): Caller | undefined {
    if (name === FIRST_TOKEN) return { name, scope: 'operate' };
    this.#refresh();
    const entry = this.#entries.find((one) => one.name === name);
    return entry && { name: entry.name, scope: entry.scope };
  }

  #refresh(): void {
    const stat = statSync(tokensFile(this.#directory), { throwIfNoEntry: false });
    const stamp = stat === undefined ? '' : `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    try {
      this.#entries = readTokens(this.#directory);
      this.#trouble = undefined;
    } catch (error) {
      // Whether one was removed cannot be known then: none of them is valid.
      this.#entries = [];
      this.#trouble = (error as Error).message;
    }
  }
}

/** The tokens of a state directory; none where there is no file. Throws `SystemError`. */
export function readTokens(directory: string): readonly TokenEntry[] {
  const file = tokensFile(directory);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    if (code === 'ENOENT') return [];
    throw new SystemError(code, `${file}: cannot be read (${code})`);
  }
  try {
    return fileSchema.parse(JSON.parse(text)).tokens;
  } catch {
    throw new SystemError('bad-tokens', `${file}: is damaged; mend or remove it`);
  }
}

/** Makes a token and keeps its hash; the text is told this once. Throws `UsageError`, `SystemError`. */
export function addToken(directory: string, name: string, scope: Scope): string {
  if (!NAME.test(name)) {
    throw new UsageError('bad-name', `"${name}" is no name; write letters, digits, "_" and "-"`);
  }
  const text = randomBytes(32).toString('hex');
  change(directory, (tokens) => {
    if (name === FIRST_TOKEN || tokens.some((one) => one.name === name)) {
      throw new UsageError('bad-name', `there is a token "${name}" already; choose another name`);
    }
    if (tokens.length >= MOST_TOKENS) {
      throw new UsageError('too-many', `there are ${MOST_TOKENS} tokens already; remove some`);
    }
    const entry = { name, scope, sha256: hash(text).toString('hex') };
    return [...tokens, { ...entry, createdAt: new Date().toISOString() }];
  });
  return text;
}

/** Ends a token: the daemon refuses it from now on. Throws `UsageError`, `SystemError`. */
export function removeToken(directory: string, name: string): void {
  change(directory, (tokens) => {
    if (tokens.some((one) => one.name === name)) return tokens.filter((one) => one.name !== name);
    throw new UsageError('bad-name', `there is no token "${name}"; see linkhold token list`);
  });
}

/**
 * One change at a time and each in one step: the new file is there only while somebody writes it, and
 * whoever reads meanwhile sees the old one or the new one, never a half.
 */
function change(
  directory: string,
  edit: (tokens: readonly TokenEntry[]) => readonly TokenEntry[],
): void {
  const file = tokensFile(directory);
  const draft = `${file}.new`;
  let fd: number;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    fd = openSync(draft, 'wx', 0o600);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    const busy = 'somebody else changes the tokens; if nobody does, remove it';
    const text = code === 'EEXIST' ? `is there: ${busy}` : `cannot be written (${code})`;
    throw new SystemError(code, `${draft} ${text}; another directory: --state-dir`);
  }
  try {
    const tokens = edit(readTokens(directory));
    writeFileSync(fd, `${JSON.stringify({ tokens }, null, 2)}\n`);
    renameSync(draft, file);
  } catch (error) {
    unlinkSync(draft);
    throw error;
  } finally {
    closeSync(fd);
  }
}

function tokensFile(directory: string): string {
  return path.join(directory, 'tokens.json');
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
