/**
 * The HTTP API, `/api/v1`: its endpoints on a server, with the guard before them and problem documents
 * for whatever goes wrong. What there is to see is in the files beside this one.
 * @module
 */
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ApiContext } from './context.ts';
import { type Endpoint, endpoint, parseQuery, scopeOf } from './endpoint.ts';
import type { Caller } from './guard.ts';
import { health } from './health.ts';
import { historyRoutes } from './history-routes.ts';
import { openApi } from './openapi.ts';
import { ProblemError, sendProblem, toProblem } from './problem.ts';
import { reads } from './reads.ts';
import type { Scope } from './rows.ts';
import { createServer } from './server.ts';
import { sessionRoutes } from './session-routes.ts';
import { socketRoutes } from './socket-routes.ts';
import { statusRoutes } from './status-routes.ts';
import { EventStream } from './stream.ts';
import { streamRoutes } from './stream-routes.ts';
import { addWeb } from './web-routes.ts';
import { writes } from './writes.ts';

const LARGEST_BODY = 16 * 1_024;
const LONGEST_URL = 4_096;

/** On every answer: nothing guesses types, frames it, or reads it from another site. */
const HEADERS = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
};

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a route needs; what has no route needs what its method would. */
    readonly needs?: Scope | 'nothing';
  }
}

/** The API, not yet listening. */
export function buildApi(context: ApiContext): FastifyInstance {
  const app = Fastify({
    bodyLimit: LARGEST_BODY,
    forceCloseConnections: true,
    // What is too long is refused by the length of the whole.
    routerOptions: { maxParamLength: Number.MAX_SAFE_INTEGER },
    serverFactory: (handler) => createServer(handler, context.tls),
    frameworkErrors: (error, _request, reply) =>
      sendProblem(reply, new ProblemError(400, error.message)),
  });
  const callers = new WeakMap<FastifyRequest, Caller>();
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS);
    admit(context, request, callers);
  });
  // What is asked for is in the path; a body of any kind is read (within the limit) and ignored.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, _body, done) => done(null));
  app.setNotFoundHandler((request, reply) => {
    const text = `there is no ${request.method} ${request.url.slice(0, 200)}`;
    return sendProblem(reply, new ProblemError(404, text));
  });
  app.setErrorHandler((error: Error, request, reply) => {
    const problem = toProblem(error);
    if (problem.status === 500) tellMistake(context, request, error);
    return sendProblem(reply, problem);
  });
  const stream = new EventStream(context.log);
  app.addHook('preClose', async () => stream.close());
  for (const one of endpointsOf(context, stream)) mount(app, one, callers);
  addWeb(app);
  return app;
}

/** What a caller is not told is told to whoever runs the daemon. */
function tellMistake({ log }: ApiContext, { method, url }: FastifyRequest, error: Error): void {
  const text = `a mistake of ours: ${method} ${url.slice(0, 200)} failed: ${error.message}`;
  log.append({ at: new Date().toISOString(), type: 'note', text });
}

/** Every endpoint, the document of them included. */
function endpointsOf(context: ApiContext, stream: EventStream): Endpoint[] {
  const endpoints = [
    health(context),
    ...reads(context),
    ...historyRoutes(context),
    ...writes(context),
    ...socketRoutes(),
    ...streamRoutes(stream),
    ...sessionRoutes(context.guard),
    ...statusRoutes(context),
    metricsEndpoint(context, stream),
  ];
  let document: Record<string, unknown> | undefined;
  endpoints.push(
    endpoint({
      method: 'GET',
      path: '/api/v1/openapi.json',
      summary: 'This document.',
      answer: z.record(z.string(), z.unknown()),
      run: () => {
        document ??= openApi(endpoints, context.version);
        return document;
      },
    }),
  );
  return endpoints;
}

function metricsEndpoint({ metrics }: ApiContext, stream: EventStream): Endpoint {
  metrics.follow(stream);
  return endpoint({
    method: 'GET',
    path: '/metrics',
    summary: 'Figures for Prometheus.',
    type: metrics.contentType,
    answer: z.string(),
    run: () => metrics.render(),
  });
}

/** Throws `ProblemError`. */
function admit(
  { guard }: ApiContext,
  request: FastifyRequest,
  callers: WeakMap<FastifyRequest, Caller>,
): void {
  const { method, headers, ip, url, routeOptions } = request;
  const isRead = method === 'GET' || method === 'HEAD';
  const needs = routeOptions.config.needs ?? (isRead ? 'read' : 'operate');
  const caller = guard.check({ method, needs, address: ip, headers });
  if (caller !== undefined) callers.set(request, caller);
  if (url.length > LONGEST_URL) {
    throw new ProblemError(414, `the address is longer than ${LONGEST_URL} characters`);
  }
}

function mount(
  app: FastifyInstance,
  one: Endpoint,
  callers: WeakMap<FastifyRequest, Caller>,
): void {
  app.route({
    method: one.method,
    url: one.path,
    config: { needs: scopeOf(one) },
    exposeHeadRoute: one.type !== 'text/event-stream',
    handler: async (request: FastifyRequest, reply: FastifyReply) => {
      const query = parseQuery(one.query, request.query as Record<string, unknown>);
      const { name = '' } = request.params as { readonly name?: string };
      if (one.type !== 'text/event-stream') {
        reply.header('cache-control', 'no-store').type(one.type ?? 'application/json');
      }
      return await one.run({ name, query, caller: callers.get(request), request, reply });
    },
  });
}
