/**
 * `GET /healthz`: the daemon itself, for supervisors and load balancers. Links that are down are its
 * work and no illness.
 * @module
 */
import type { ApiContext } from './context.ts';
import { type Endpoint, endpoint } from './endpoint.ts';
import { type Health, healthRow } from './rows.ts';

export function health({ supervisor, version, troubles }: ApiContext): Endpoint {
  return endpoint({
    method: 'GET',
    path: '/healthz',
    summary: 'How the daemon itself is, and what is wrong with it. Open to everybody.',
    needs: 'nothing',
    answer: healthRow,
    run: ({ caller }): Health => {
      const wrong = troubles();
      const status = wrong.length === 0 ? 'ok' : 'degraded';
      if (caller === undefined) return { status };
      return {
        status,
        troubles: wrong,
        version,
        pid: process.pid,
        uptimeMs: Math.round(process.uptime() * 1_000),
        links: supervisor.links().length,
      };
    },
  });
}
