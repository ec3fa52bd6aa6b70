/**
 * `GET sockets`: this machine's connections, those at most risk first. To look at all of them takes time
 * in which nothing else is done here, so one look serves everybody for a while.
 * @module
 */
import { z } from 'zod';
import { RISKS, severityOf } from '../../host/risk.ts';
import { isLoopback, judgeOf, reportSocket, type SocketReport } from '../../host/socket-report.ts';
import { readSocketTable, type SocketTable } from '../../host/socket-table.ts';
import { type Endpoint, endpoint } from './endpoint.ts';
import { flag, matcher, oneOf, page, searching } from './lists.ts';
import { socketRow } from './rows.ts';

/** How long a look counts: at least so long, and at least so many times what it took. */
const LEAST_AGE_MS = 5_000;
const AGE_PER_COST = 50;
/** Connections kept of a look, the worst ones. About 1 KB each. */
const MOST_KEPT = 10_000;

interface Seen {
  readonly report: SocketReport;
  readonly loopback: boolean;
}

interface Look {
  readonly seen: readonly Seen[];
  readonly total: number;
  readonly atRisk: number;
  readonly at: string;
  /** What could not be seen, and which right or library that needs. */
  readonly missing: string | null;
  readonly until: number;
}

/** `look` and `now` are replaced by tests. */
export function socketRoutes(
  look: () => SocketTable = readSocketTable,
  now: () => number = () => performance.now(),
): Endpoint[] {
  let last: Look | undefined;
  const answer = z.object({
    items: z.array(socketRow),
    next: z.int().nullable().describe('The cursor of the next page, or null at the end.'),
    total: z.int().describe(`Connections of the machine; the worst ${MOST_KEPT} are listed.`),
    atRisk: z.int().describe('How many of them are at risk.'),
    at: z.iso.datetime().describe('When they were looked at.'),
    missing: z.string().nullable().describe('What cannot be seen here, and what that needs.'),
  });
  return [
    endpoint({
      method: 'GET',
      path: '/api/v1/sockets',
      summary: "This machine's TCP connections, those at most risk first, with advice.",
      query: z.object({
        ...searching,
        risk: oneOf(RISKS).optional().describe('Only connections with this risk.'),
        risky: flag().optional().describe('Only connections at risk.'),
        all: flag().optional().describe('Loopback connections too.'),
      }),
      answer,
      problems: [501, 503],
      run: ({ query }) => {
        if (last === undefined || last.until <= now()) last = lookAt(look, now);
        const { seen, total, atRisk, at, missing } = last;
        const fits = matcher(query.q);
        const rows = seen.filter(({ report, loopback }) => {
          if (loopback && query.all !== true) return false;
          if (query.risky === true && report.risks.length === 0) return false;
          if (query.risk !== undefined && !report.risks.includes(query.risk)) return false;
          return fits(report.local, report.remote, report.process ?? '', String(report.pid ?? ''));
        });
        return { ...page(rows, query, ({ report }) => report), total, atRisk, at, missing };
      },
    }),
  ];
}

function lookAt(look: () => SocketTable, now: () => number): Look {
  const began = now();
  const { records, retries2, withoutBpf } = look();
  const judged = judgeOf(retries2);
  const all = records.map((record) => ({ record, judgement: judged(record) }));
  all.sort((a, b) => severityOf(a.judgement) - severityOf(b.judgement));
  const hidden = records.some(({ options }) => options === undefined);
  const ended = now();
  return {
    seen: all.slice(0, MOST_KEPT).map(({ record, judgement }) => ({
      report: reportSocket(record, judgement),
      loopback: isLoopback(record.socket),
    })),
    total: all.length,
    atRisk: all.filter(({ judgement }) => (judgement?.risks.length ?? 0) > 0).length,
    at: new Date().toISOString(),
    missing: hidden ? (withoutBpf?.message ?? null) : null,
    until: ended + Math.max(LEAST_AGE_MS, (ended - began) * AGE_PER_COST),
  };
}
