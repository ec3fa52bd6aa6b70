/**
 * One endpoint of the API as a value: who may call it, what it takes, what it answers, and what it
 * does. The router and the OpenAPI document are both made of these. Knows no transport but the request.
 * @module
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { Caller } from './guard.ts';
import { ProblemError } from './problem.ts';
import type { Scope } from './rows.ts';

/** What an endpoint is called with. */
export interface Call<Query> {
  /** The last name in the path, decoded; empty where the path has none. */
  readonly name: string;
  readonly query: Query;
  /** `undefined` only where everybody may ask. */
  readonly caller: Caller | undefined;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

interface Described {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** With `:name` where a name stands. */
  readonly path: string;
  /** One sentence for the document. */
  readonly summary: string;
  /** Default: `read` for GET, else `operate`. */
  readonly needs?: Scope | 'nothing';
  /** Media type of the answer. Default JSON. */
  readonly type?: string;
  /** Refusals of its own, beside those of every endpoint. */
  readonly problems?: readonly number[];
}

/** As the router sees it: the query's type is between the endpoint and its schema. */
export interface Endpoint extends Described {
  readonly query: z.ZodObject | undefined;
  readonly answer: z.ZodType;
  run(call: Call<Record<string, unknown>>): unknown;
}

/** Makes an endpoint whose `run` is held against its schemas by the compiler. */
export function endpoint<Answer, Query extends z.ZodObject = z.ZodObject>(
  spec: Described & {
    readonly query?: Query;
    readonly answer: z.ZodType<Answer>;
    readonly run: (call: Call<z.output<Query>>) => Answer | Promise<Answer> | FastifyReply;
  },
): Endpoint {
  const { query, run } = spec;
  return { ...spec, query, run: (call) => run(call as Call<z.output<Query>>) };
}

/** Whether the endpoint changes something. */
export function scopeOf({ needs, method }: Pick<Endpoint, 'needs' | 'method'>): Scope | 'nothing' {
  return needs ?? (method === 'GET' ? 'read' : 'operate');
}

/**
 * A query as its schema says it, from text. Keys that are not known are refused: a mistyped filter
 * would otherwise answer everything. Throws `ProblemError` (400).
 */
export function parseQuery(
  schema: z.ZodObject | undefined,
  given: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const shape = schema?.shape ?? {};
  for (const key of Object.keys(given)) {
    if (Object.hasOwn(shape, key)) continue;
    const known = Object.keys(shape).join(', ');
    const mend = known === '' ? 'there are none here' : `write ${known}`;
    throw new ProblemError(400, `no parameter ${JSON.stringify(key.slice(0, 64))}: ${mend}`);
  }
  if (schema === undefined) return {};
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ProblemError(400, `${issue?.path.join('.')}: ${issue?.message}`);
}
