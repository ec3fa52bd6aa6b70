/**
 * The error for bytes a peer sent. Knows nothing of sockets or sessions.
 * @module
 */

/**
 * Bytes a peer sent that cannot be decoded. Never thrown for our own mistakes. `code` is stable;
 * what to do is always the same: drop the message, count it, go on.
 */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
  /** Which format, for example `beat`. */
  readonly format: string;
  /** Stable identifier, for example `bad-length`. */
  readonly code: string;

  constructor(format: string, code: string, value: number) {
    super(`${format}: ${code} (${value})`);
    this.format = format;
    this.code = code;
  }
}
