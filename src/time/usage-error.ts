/**
 * The error for what a caller, a flag or a config file got wrong. It lies in the lowest room so
 * that every room can refuse its input in the same words.
 * @module
 */

/**
 * The caller asked for something impossible. The message is one line that names the place, what is
 * wrong and how to mend it; `code` is stable for programs. Commands exit with 2.
 */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  /** Stable identifier, for example `bad-duration`. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Place of what was typed as a flag, so that errors speak of `--time` and not of a path. */
export const FLAGS = '--';

/** The place of `key` within `where`, for errors: `links.db.time`, or `--user-timeout`. */
export function placeOf(where: string, key: string): string {
  if (where !== FLAGS) return `${where}.${key}`;
  return `--${key.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`)}`;
}
