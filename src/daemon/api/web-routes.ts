/**
 * The dashboard: one page under every address that it shows, and the files it loads. They hold nothing
 * of this daemon, so everybody who reaches it may load them; what they show, they ask the API for.
 * @module
 */
import type { FastifyInstance, FastifyReply } from 'fastify';
import { WEB_FILE_NAMES, type WebFileName, webFile } from '../web-files.ts';
import { ProblemError } from './problem.ts';

const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:"],
  ...["connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ');

/** What the dashboard itself tells apart. */
const PAGES = ['/', '/links/:name', '/groups', '/groups/:name', '/machine'];

export function addWeb(app: FastifyInstance): void {
  const config = { needs: 'nothing' } as const;
  for (const url of PAGES) {
    app.get(url, { config }, async (request, reply) => {
      reply.header('content-security-policy', POLICY);
      return sendFile(reply, 'index.html', request.headers['if-none-match']);
    });
  }
  for (const name of WEB_FILE_NAMES) {
    app.get(`/${name}`, { config }, async (request, reply) =>
      sendFile(reply, name, request.headers['if-none-match']),
    );
  }
}

/** Asked for again each time, and sent again only where it has changed. */
function sendFile(reply: FastifyReply, name: WebFileName, known: string | undefined): FastifyReply {
  const file = webFile(name);
  if (file === undefined) throw new ProblemError(404, `${name} is not built; run make dashboard`);
  reply.header('cache-control', 'no-cache').header('etag', file.tag);
  if (known === file.tag) return reply.code(304).send();
  return reply.type(file.type).send(file.body);
}
