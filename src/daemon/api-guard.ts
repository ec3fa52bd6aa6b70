/**
 * Who may call the API. Reads are open on a loopback address, everything else needs the token; and
 * a page from elsewhere cannot reach a loopback API under a name of its own (DNS rebinding).
 * @module
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isLoopback } from './address.ts';

/** What decides about a request. */
export interface RequestFacts {
  readonly method: string;
  readonly path: string;
  readonly host: string | undefined;
  readonly authorization: string | undefined;
}

/** Why a request is refused. */
export interface Refusal {
  readonly status: 401 | 403;
  readonly detail: string;
}

/** Decides for requests to an API bound to `boundHost`. */
export class ApiGuard {
  readonly #open: boolean;
  readonly #tokenHash: Buffer;

  constructor(boundHost: string, token: string) {
    this.#open = isLoopback(boundHost);
    this.#tokenHash = hash(token);
  }

  /** The refusal, or `undefined` if the request may go on. */
  check({ method, path, host, authorization }: RequestFacts): Refusal | undefined {
    if (this.#open && !isLoopback(hostName(host))) {
      return { status: 403, detail: `this API is for this machine only, not for "${host}"` };
    }
    const reads = method === 'GET' || method === 'HEAD';
    if (reads && (this.#open || path === '/healthz')) return undefined;
    const token = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1];
    if (token !== undefined && timingSafeEqual(hash(token), this.#tokenHash)) return undefined;
    const mend = 'send "Authorization: Bearer TOKEN" with the token from the state directory';
    return { status: 401, detail: `a token is needed for this; ${mend}` };
  }
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function hostName(host: string | undefined): string {
  return (host ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
}
