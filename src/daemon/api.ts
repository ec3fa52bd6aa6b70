/**
 * The HTTP API, `/api/v1`: how links, groups, relays and routes stand, what happened, and a live stream.
 * Lists answer `{items, next}`, errors are problem documents (RFC 9457).
 * @module
 */
import { STATUS_CODES } from 'node:http';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Link } from '../link/link.ts';
import { UsageError } from '../time/usage-error.ts';
import type { ApiGuard } from './api-guard.ts';
import type { EventLog, LoggedEvent } from './event-log.ts';
import { renderPage } from './page.ts';
import type { Supervisor } from './supervisor.ts';

/** What the API shows and may do. */
export interface ApiContext {
  readonly supervisor: Supervisor;
  readonly log: EventLog;
  readonly guard: ApiGuard;
  readonly version: string;
  /** Reads the configuration file anew. Throws `UsageError` and changes nothing then. */
  reload(): Promise<void>;
}

const LARGEST_BODY = 16 * 1_024;
const DEFAULT_LIMIT = 500;
const LARGEST_LIMIT = 10_000;
/** A stream reader that leaves so much unread is dropped; it can come back with its last id. */
const MOST_UNREAD = 1_024 * 1_024;
/** A comment now and then holds the stream through whatever lies between. */
const STREAM_BEAT_MS = 15_000;

type Query = Readonly<Record<string, string | undefined>>;

/** The API, not yet listening. */
export function buildApi(context: ApiContext): FastifyInstance {
  const app = Fastify({
    bodyLimit: LARGEST_BODY,
    forceCloseConnections: true,
    // A name too long to exist is a name that is not there.
    routerOptions: { maxParamLength: LARGEST_BODY },
    frameworkErrors: (error, _request, reply) => problem(reply, 400, error.message),
  });
  app.addHook('onRequest', async (request, reply) => {
    const { method, url, headers } = request;
    const { host, authorization } = headers;
    const path = url.split('?', 1)[0] ?? '';
    const refusal = context.guard.check({ method, path, host, authorization });
    if (refusal !== undefined) return problem(reply, refusal.status, refusal.detail);
    return undefined;
  });
  // What is asked for is in the path; a body of any kind is read (within the limit) and ignored.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, _body, done) => done(null));
  app.setNotFoundHandler((request, reply) =>
    problem(reply, 404, `there is no ${request.method} ${request.url.slice(0, 200)}`),
  );
  app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) =>
    problem(reply, error instanceof UsageError ? 400 : (error.statusCode ?? 500), error.message),
  );
  addReads(app, context);
  addWrites(app, context);
  return app;
}

function addReads(app: FastifyInstance, { supervisor, log, version }: ApiContext): void {
  app.get('/healthz', async () => ({
    status: 'ok',
    version,
    pid: process.pid,
    uptimeMs: Math.round(process.uptime() * 1_000),
    links: supervisor.links().length,
  }));
  app.get('/', async (_request, reply) => {
    reply.header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'");
    reply.header('refresh', '2').type('text/html; charset=utf-8');
    return renderPage(supervisor, log.query({ limit: 20 }).items);
  });
  app.get('/api/v1/links', async (request) =>
    page(supervisor.links(), request, (link) => link.status()),
  );
  app.get('/api/v1/links/:name', async (request) => findLink(supervisor, request).status());
  app.get('/api/v1/groups', async (request) =>
    page(supervisor.groupStatuses(), request, (group) => group),
  );
  app.get('/api/v1/relays', async (request) =>
    page(supervisor.relayStatuses(), request, (relay) => relay),
  );
  app.get('/api/v1/routes', async (request) =>
    page(supervisor.routeStatuses(), request, (route) => route),
  );
  app.get('/api/v1/events', async (request) => {
    const query = request.query as Query;
    return log.query({
      since: wholeNumber(query, 'since', 0, Number.MAX_SAFE_INTEGER),
      limit: limitOf(query),
      link: query['link'],
    });
  });
  app.get('/api/v1/stream', { exposeHeadRoute: false }, (request, reply) =>
    stream(log, request, reply),
  );
}

function addWrites(app: FastifyInstance, { supervisor, reload }: ApiContext): void {
  for (const verb of ['drain', 'resume', 'probe'] as const) {
    app.post(`/api/v1/links/:name/${verb}`, async (request) => {
      const link = findLink(supervisor, request);
      link[verb]();
      return link.status();
    });
  }
  app.post('/api/v1/reload', async () => {
    await reload();
    return { reloaded: true };
  });
}

function problem(reply: FastifyReply, status: number, detail: string): FastifyReply {
  const title = STATUS_CODES[status] ?? 'Error';
  return reply
    .code(status)
    .type('application/problem+json')
    .send(JSON.stringify({ type: 'about:blank', title, status, detail }));
}

function fail(statusCode: number, text: string): never {
  throw Object.assign(new Error(text), { statusCode });
}

function findLink(supervisor: Supervisor, request: FastifyRequest): Link {
  const { name = '' } = request.params as Query;
  return supervisor.link(name) ?? fail(404, `there is no link "${name.slice(0, 64)}"`);
}

function wholeNumber(query: Query, key: string, least: number, most: number): number | undefined {
  const text = query[key];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d{1,16}$/.test(text) && value >= least && value <= most) return value;
  return fail(400, `${key}: write a whole number from ${least} to ${most}`);
}

function limitOf(query: Query): number {
  return wholeNumber(query, 'limit', 1, LARGEST_LIMIT) ?? DEFAULT_LIMIT;
}

/** One page of a list; `next` is the `cursor` of the following one. */
function page<Item, Row>(
  items: readonly Item[],
  request: FastifyRequest,
  show: (item: Item) => Row,
): { items: Row[]; next: number | null } {
  const query = request.query as Query;
  const from = wholeNumber(query, 'cursor', 0, Number.MAX_SAFE_INTEGER) ?? 0;
  const to = from + limitOf(query);
  return { items: items.slice(from, to).map(show), next: to < items.length ? to : null };
}

/** Server-sent events, resumable by `Last-Event-ID`. */
function stream(log: EventLog, request: FastifyRequest, reply: FastifyReply): void {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let mostUnread = Number.POSITIVE_INFINITY;
  const send = (text: string) => {
    raw.write(text);
    if (raw.writableLength > mostUnread) raw.destroy();
  };
  const tell = (event: LoggedEvent) => {
    send(`id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  };
  send(': linkhold\n\n');
  const last = request.headers['last-event-id'];
  if (typeof last === 'string' && /^\d{1,15}$/.test(last)) {
    for (const event of log.query({ since: Number(last), limit: LARGEST_LIMIT }).items) tell(event);
  }
  // What it missed is bounded by the log, and it must be given the time to read that.
  mostUnread = raw.writableLength + MOST_UNREAD;
  log.on('event', tell);
  const beat = setInterval(() => send(':\n\n'), STREAM_BEAT_MS);
  raw.on('close', () => {
    clearInterval(beat);
    log.off('event', tell);
  });
  raw.on('error', () => raw.destroy());
}
