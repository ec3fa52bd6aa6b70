/**
 * `GET stream`: where a reader joins the stream of events.
 * @module
 */
import { z } from 'zod';
import { type Endpoint, endpoint } from './endpoint.ts';
import { wholeNumber } from './lists.ts';
import type { EventStream } from './stream.ts';

export function streamRoutes(stream: EventStream): Endpoint[] {
  return [
    endpoint({
      method: 'GET',
      path: '/api/v1/stream',
      summary: 'Events as they happen, as server-sent events; Last-Event-ID resumes.',
      type: 'text/event-stream',
      query: z.object({
        since: wholeNumber(0, Number.MAX_SAFE_INTEGER)
          .optional()
          .describe('Begins after this event, where there is no Last-Event-ID.'),
      }),
      answer: z.string(),
      problems: [503],
      run: ({ query, request, reply }) => {
        stream.requireRoom();
        const { raw } = reply;
        for (const [name, value] of Object.entries(reply.getHeaders())) {
          if (value !== undefined) raw.setHeader(name, value);
        }
        reply.hijack();
        raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
        const last = request.headers['last-event-id'];
        const id = typeof last === 'string' && /^\d{1,15}$/.test(last) ? Number(last) : undefined;
        stream.open(raw, id ?? query.since);
        return reply;
      },
    }),
  ];
}
