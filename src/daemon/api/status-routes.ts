/**
 * `GET /status` and its badges: for everybody where the configuration says so, and else for whoever
 * may read.
 * @module
 */
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { REFRESH_S, STATUS_POLICY } from '../status-page/status-html.ts';
import type { ApiContext } from './context.ts';
import { type Call, type Endpoint, endpoint } from './endpoint.ts';
import { ProblemError } from './problem.ts';

const EXTENSION = '.svg';

export function statusRoutes({ statusPage }: ApiContext): Endpoint[] {
  const admit = ({ caller }: Pick<Call<unknown>, 'caller'>): void => {
    if (statusPage.isPublic) return;
    if (caller === undefined) throw new ProblemError(401, 'a token is needed for this');
    if (!statusPage.exists) {
      const mend = 'add a section statusPage to the configuration';
      throw new ProblemError(404, `there is no status page; ${mend}`);
    }
  };
  const secure = (reply: FastifyReply) => reply.header('content-security-policy', STATUS_POLICY);
  return [
    endpoint({
      method: 'GET',
      path: '/status',
      summary: 'The status page of chosen links, as HTML without scripts.',
      needs: 'nothing',
      type: 'text/html; charset=utf-8',
      answer: z.string(),
      run: async (call) => {
        admit(call);
        const html = await statusPage.html();
        secure(call.reply).header('refresh', String(REFRESH_S));
        return html;
      },
    }),
    endpoint({
      method: 'GET',
      path: '/status/badge/:name',
      summary: 'A badge of a chosen link: its name with ".svg" after it.',
      needs: 'nothing',
      type: 'image/svg+xml',
      answer: z.string(),
      problems: [404],
      run: (call) => {
        admit(call);
        const { name, reply } = call;
        const link = name.endsWith(EXTENSION) ? name.slice(0, -EXTENSION.length) : '';
        const badge = statusPage.badge(link);
        if (badge === undefined) throw new ProblemError(404, 'there is no such badge');
        secure(reply).header('cross-origin-resource-policy', 'cross-origin');
        return badge;
      },
    }),
  ];
}
