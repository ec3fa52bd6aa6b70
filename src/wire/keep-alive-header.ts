/**
 * What HTTP/1 says about a connection's future: whether it persists (RFC 9112 section 9.3) and the
 * `Keep-Alive` header (RFC 2068 section 19.7.1), which is a hint and no promise. Reads text that a
 * parser of HTTP has already taken out of its message; it knows no other header.
 * @module
 */

/** What a server says it will do. Nothing of it binds the server. */
export interface KeepAliveHint {
  /** How long it says that it keeps an idle connection, in milliseconds. */
  readonly timeoutMs?: number;
  /** How many more requests it says that it takes on this connection. */
  readonly max?: number;
}

/** Longer headers are not looked at: an honest one has 30 characters. */
const LONGEST_HEADER = 256;
/** A day; what claims more is no better than this. */
const LONGEST_TIMEOUT_S = 86_400;
const MOST_REQUESTS = 1_000_000;

/** A value of digits alone, capped. Anything else is no number. */
function wholeNumber(text: string, most: number): number | undefined {
  const digits = text.replace(/^"(.*)"$/, '$1');
  if (!/^\d+$/.test(digits)) return undefined;
  return digits.length > 9 ? most : Math.min(Number(digits), most);
}

/**
 * The hint in a `Keep-Alive` header. Never throws: what cannot be read is left out, the first of
 * several values counts.
 */
export function parseKeepAlive(header: string | undefined): KeepAliveHint {
  const hint: { timeoutMs?: number; max?: number } = {};
  if (header === undefined || header.length > LONGEST_HEADER) return hint;
  for (const part of header.split(',')) {
    const at = part.indexOf('=');
    if (at < 0) continue;
    const name = part.slice(0, at).trim().toLowerCase();
    const value = part.slice(at + 1).trim();
    if (name === 'timeout') {
      const seconds = wholeNumber(value, LONGEST_TIMEOUT_S);
      if (seconds !== undefined) hint.timeoutMs ??= seconds * 1_000;
    } else if (name === 'max') {
      const max = wholeNumber(value, MOST_REQUESTS);
      if (max !== undefined) hint.max ??= max;
    }
  }
  return hint;
}

/**
 * Whether the connection is kept after this message: `close` ends it in any version, 1.1 keeps it
 * unless told otherwise, 1.0 only with `keep-alive` (RFC 9112 section 9.3).
 */
export function isPersistent(version: string, connection: string | undefined): boolean {
  const options = (connection ?? '').toLowerCase().split(',');
  if (options.some((option) => option.trim() === 'close')) return false;
  if (version === '1.1') return true;
  return version === '1.0' && options.some((option) => option.trim() === 'keep-alive');
}
