/**
 * Errors as RFC 9457 problem documents. Every answer that is no success is one of them.
 * @module
 */
import { STATUS_CODES } from 'node:http';
import type { FastifyReply } from 'fastify';
import { SystemError } from '../../sys/system-error.ts';
import { UsageError } from '../../time/usage-error.ts';
import type { Problem } from './rows.ts';

/** Thrown where a request cannot be answered; becomes a problem document. */
export class ProblemError extends Error {
  readonly status: number;
  /** After how many seconds it may be tried again, where that helps. */
  readonly retryAfterS: number | undefined;

  constructor(status: number, detail: string, retryAfterS?: number) {
    super(detail);
    this.name = 'ProblemError';
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** Longest text of a caller's that an answer repeats. */
const LONGEST_QUOTE = 64;

/** A caller's text, cut to what an answer may repeat. */
export function quote(text: string): string {
  return `"${text.slice(0, LONGEST_QUOTE)}"`;
}

export function problemOf(status: number, detail: string): Problem {
  return { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, detail };
}

/** Sends a problem. Who still sends a body meanwhile is not listened to any longer. */
export function sendProblem(reply: FastifyReply, error: ProblemError): FastifyReply {
  const { status, message, retryAfterS } = error;
  if (retryAfterS !== undefined) reply.header('retry-after', Math.ceil(retryAfterS));
  const { raw, headers } = reply.request;
  const hasBody =
    headers['transfer-encoding'] !== undefined || Number(headers['content-length']) > 0;
  if (hasBody && !raw.complete) reply.header('connection', 'close');
  if (status === 401) reply.header('www-authenticate', 'Bearer realm="linkhold"');
  return reply
    .code(status)
    .type('application/problem+json')
    .header('cache-control', 'no-store')
    .send(JSON.stringify(problemOf(status, message)));
}

/** What went wrong as a problem: a mistake of ours is a 500 whose text is not told. */
export function toProblem(error: Error & { readonly statusCode?: number }): ProblemError {
  if (error instanceof ProblemError) return error;
  if (error instanceof UsageError) return new ProblemError(400, error.message);
  if (error instanceof SystemError) {
    // What the machine lacks for good is told apart from what it refuses now.
    const status = error.code === 'ffi-missing' || error.code === 'bad-architecture' ? 501 : 503;
    return new ProblemError(status, error.message);
  }
  const { statusCode = 500 } = error;
  if (statusCode < 500) return new ProblemError(statusCode, error.message);
  return new ProblemError(500, 'a mistake of the daemon; its log has more');
}
