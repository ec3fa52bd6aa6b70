/**
 * Who may call the API. Reads are open on a loopback address, everything else needs a token; a page
 * from elsewhere cannot reach a loopback API under a name of its own (DNS rebinding), nor change
 * anything from another site (CSRF).
 * @module
 */
import { isLoopback } from '../address.ts';
import type { Tokens } from '../tokens.ts';
import { ProblemError } from './problem.ts';
import { RateLimit } from './rate-limit.ts';
import type { Scope } from './rows.ts';
import { Sessions } from './sessions.ts';

/** What decides about a request. */
export interface RequestFacts {
  readonly method: string;
  /** What it needs; `nothing` is open to everybody who reaches it. */
  readonly needs: Scope | 'nothing';
  /** Where it comes from. */
  readonly address: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/** Somebody who may ask. */
export interface Caller {
  /** Of its token; `null` for one without, on loopback. */
  readonly name: string | null;
  readonly scope: Scope;
  /** Of its session, in milliseconds since 1970, where it has one. */
  readonly expiresAt?: number | undefined;
}

/** A script that drains a thousand links has the time; one that runs wild does not. */
const WRITES = { burst: 200, perSecond: 50 };
/** Failures of one address before it has to wait; a token of ours cannot be guessed at any rate. */
const FAILURES = { burst: 20, perSecond: 1 };

const MEND = 'send "Authorization: Bearer TOKEN" with a token of this daemon';

/** Decides for requests to an API bound to `boundHost`. */
export class ApiGuard {
  readonly sessions: Sessions;
  readonly #open: boolean;
  readonly #tokens: Tokens;
  readonly #writes = new RateLimit(WRITES);
  readonly #failures = new RateLimit(FAILURES);

  /** `secure`: the API speaks TLS. */
  constructor(boundHost: string, tokens: Tokens, secure = false) {
    this.#open = isLoopback(boundHost);
    this.#tokens = tokens;
    this.sessions = new Sessions(secure);
  }

  /** Who is calling; `undefined` only where everybody may. Throws `ProblemError`. */
  check(facts: RequestFacts, now: number = Date.now()): Caller | undefined {
    const { headers, needs, method } = facts;
    const host = one(headers['host']);
    if (this.#open && !isLoopback(hostName(host))) {
      throw new ProblemError(403, `this API is for this machine only, not for "${host}"`);
    }
    const isRead = method === 'GET' || method === 'HEAD';
    if (!isRead && isCrossSite(facts.headers)) {
      throw new ProblemError(403, 'another site may not change anything here');
    }
    const caller = this.#identify(facts, now) ?? this.#anybody(isRead);
    if (needs === 'nothing') return caller;
    if (caller === undefined) throw this.#refuse(facts, now);
    if (needs === 'operate' && caller.scope !== 'operate') {
      throw new ProblemError(
        403,
        `the token "${caller.name}" may only read; ${MEND} that may operate`,
      );
    }
    if (!isRead && !this.#writes.take(caller.name ?? '', now)) {
      const { perSecond } = WRITES;
      throw new ProblemError(429, `too many changes at once; at most ${perSecond} a second`, 1);
    }
    return caller;
  }

  /** Whoever reaches a loopback address may look. */
  #anybody(isRead: boolean): Caller | undefined {
    return this.#open && isRead ? { name: null, scope: 'read' } : undefined;
  }

  #identify({ headers, address }: RequestFacts, now: number): Caller | undefined {
    const given = one(headers['authorization']);
    const text = /^Bearer (\S+)$/i.exec(given ?? '')?.[1];
    if (text !== undefined) {
      // On loopback everybody has the same address, and must not lock the others out.
      if (!isLoopback(address) && !this.#failures.allows(address, now)) throw tooManyFailures();
      return this.#tokens.find(text);
    }
    if (given !== undefined) return undefined;
    const session = this.sessions.find(one(headers['cookie']), now);
    if (session === undefined) return undefined;
    // A session ends with its token, and may never do more than it.
    const token = this.#tokens.named(session.token);
    return token === undefined ? undefined : { ...token, expiresAt: session.expiresAt };
  }

  #refuse({ headers, address }: RequestFacts, now: number): ProblemError {
    const tried = headers['authorization'] !== undefined && !isLoopback(address);
    if (tried && !this.#failures.take(address, now)) return tooManyFailures();
    return new ProblemError(401, `a token is needed for this; ${MEND}`);
  }
}

function tooManyFailures(): ProblemError {
  return new ProblemError(429, 'too many wrong tokens from this address; wait a moment', 5);
}

/**
 * Whether a browser sends it for another site's page. `Sec-Fetch-Site` is the browser's own word; an
 * older one sends `Origin`, and a program neither.
 */
function isCrossSite(headers: RequestFacts['headers']): boolean {
  const site = one(headers['sec-fetch-site']);
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  const origin = one(headers['origin']);
  if (origin === undefined) return false;
  return !URL.canParse(origin) || new URL(origin).host !== one(headers['host']);
}

/** Of a header that came twice, the first counts: what is checked is what is used. */
function one(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value[0];
}

function hostName(host: string | undefined): string {
  return (host ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
}
