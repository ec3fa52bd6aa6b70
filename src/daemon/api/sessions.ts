/**
 * Sessions of browsers: a page cannot send a header with an event stream, but a cookie goes by itself.
 * They are in memory and end with the daemon, with their token, or after 12 hours.
 * @module
 */
import { createHash, randomBytes } from 'node:crypto';

/** Of the cookie. With TLS the browser itself holds it to this host and to TLS (`__Host-`). */
const COOKIE = 'linkhold';
const SECURE_COOKIE = '__Host-linkhold';
const LIFETIME_S = 12 * 3_600;
const MOST_SESSIONS = 1_000;

/** A session that lives. */
export interface Session {
  /** The name of the token that opened it. */
  readonly token: string;
  readonly expiresAt: number;
}

export class Sessions {
  /** By the hash of the secret, so that comparing them leaks nothing of it. */
  readonly #sessions = new Map<string, Session>();
  readonly #secure: boolean;

  constructor(secure: boolean) {
    this.#secure = secure;
  }

  /** Opens one; the oldest goes where there are too many. */
  open(token: string, now: number): { readonly session: Session; readonly cookie: string } {
    const secret = randomBytes(32).toString('base64url');
    const session = { token, expiresAt: now + LIFETIME_S * 1_000 };
    this.#sessions.set(hashOf(secret), session);
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size > MOST_SESSIONS && oldest !== undefined) this.#sessions.delete(oldest);
    return { session, cookie: this.#cookie(secret, LIFETIME_S) };
  }

  /** The session that a `Cookie` header names, if it lives. */
  find(header: string | undefined, now: number): Session | undefined {
    const secret = this.#secretIn(header);
    if (secret === undefined) return undefined;
    const session = this.#sessions.get(hashOf(secret));
    if (session === undefined || session.expiresAt > now) return session;
    this.#sessions.delete(hashOf(secret));
    return undefined;
  }

  /** Ends the session; answers the cookie that makes the browser forget it. */
  close(header: string | undefined): string {
    const secret = this.#secretIn(header);
    if (secret !== undefined) this.#sessions.delete(hashOf(secret));
    return this.#cookie('', 0);
  }

  get #name(): string {
    return this.#secure ? SECURE_COOKIE : COOKIE;
  }

  #secretIn(header: string | undefined): string | undefined {
    const prefix = `${this.#name}=`;
    const pairs = (header ?? '').split(';').map((pair) => pair.trim());
    return pairs.find((pair) => pair.startsWith(prefix))?.slice(prefix.length);
  }

  #cookie(value: string, seconds: number): string {
    const secure = this.#secure ? '; Secure' : '';
    return `${this.#name}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${seconds}${secure}`;
  }
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64');
}
