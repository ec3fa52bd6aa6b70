/**
 * What is remembered of links: the series of one, with round trips, loss and availability; and bars
 * of states for many, which cost little enough for a list of them.
 * @module
 */
import { z } from 'zod';
import { parseDuration } from '../../time/duration.ts';
import { type BarCell, PERCENTILES, type Series, type Span } from '../store/history.ts';
import type { ApiContext } from './context.ts';
import { type Endpoint, endpoint } from './endpoint.ts';
import { text, wholeNumber } from './lists.ts';
import { ProblemError } from './problem.ts';

/** Links whose bars are asked for at once: what fits on a screen, several times. */
const MOST_LINKS = 100;
const LONGEST_LIST = 4_000;
const MOST_CELLS = 500;
const DEFAULT_CELLS = 60;
const DAY_MS = 86_400_000;
const DEFAULT_STEP = '1m';

/** Bars of several links over the same time. */
export interface Bars {
  readonly from: string;
  readonly to: string;
  readonly bars: Readonly<Record<string, readonly BarCell[]>>;
}

const ms = z.number().describe('Milliseconds.');
const part = z.number().min(0).max(1);
const count = z.int().min(0);

const percentiles = z.object(
  Object.fromEntries(PERCENTILES.map((percent) => [percent, ms])),
) as unknown as z.ZodType<NonNullable<Series['total']['rttMs']>['percentiles']>;

const cell: z.ZodType<Series['total']> = z
  .object({
    at: z.iso.datetime().describe('When the step begins.'),
    stateMs: z.object({ up: ms, suspect: ms, down: ms, drained: ms, notObserved: ms }),
    availability: part.nullable().describe('Of the time observed; null where there was none.'),
    probes: count,
    losses: count,
    loss: part.nullable(),
    rttMs: z.object({ count, max: ms, percentiles }).nullable().describe('Each within 3 %.'),
  })
  .meta({ id: 'HistoryCell' });

const seriesRow: z.ZodType<Series> = z.object({
  stepMs: ms.describe('At least the one asked for, and as long as what is kept of that time.'),
  total: cell.describe('The whole time as one.'),
  cells: z.array(cell),
});

const barsRow: z.ZodType<Bars> = z.object({
  from: z.iso.datetime(),
  to: z.iso.datetime(),
  bars: z
    .record(z.string(), z.array(z.tuple([part, part, part, part])))
    .describe('Of each link the shares of a cell: up, suspect, down, drained; else not observed.'),
});

const instant = z.iso.datetime('write a time in UTC: 2026-11-24T12:00:00Z').optional();
const span = {
  from: instant.describe('When it begins, in UTC (ISO 8601). Default: a day before its end.'),
  to: instant.describe('When it ends. Default: now.'),
};

export function historyRoutes({ supervisor, history }: ApiContext): Endpoint[] {
  return [
    endpoint({
      method: 'GET',
      path: '/api/v1/links/:name/history',
      summary: 'The past of one link in steps: states, loss and percentiles of round trips.',
      query: z.object({
        ...span,
        step: text()
          .optional()
          .describe(`Length of a step, for example 10m; made longer as needed. Default 1m.`),
      }),
      answer: seriesRow,
      problems: [404, 503],
      run: ({ name, query }) => {
        const { step = DEFAULT_STEP } = query;
        const stepMs = parseDuration(step, 'step');
        if (supervisor.link(name) === undefined) {
          throw new ProblemError(404, `there is no link "${name.slice(0, 64)}"`);
        }
        const series = history.series(name, spanOf(query), stepMs);
        if (series === undefined) throw new ProblemError(503, 'the past cannot be read now', 5);
        return series;
      },
    }),
    endpoint({
      method: 'GET',
      path: '/api/v1/history',
      summary: 'Bars of several links: which part of each cell they spent in which state.',
      query: z.object({
        ...span,
        links: z
          .string('write it once')
          .max(LONGEST_LIST, `write at most ${LONGEST_LIST} characters`)
          .optional()
          .describe(`Names with commas between them, at most ${MOST_LINKS}. Default: none.`),
        cells: wholeNumber(1, MOST_CELLS)
          .optional()
          .describe(`Most cells of a bar. Default ${DEFAULT_CELLS}.`),
      }),
      answer: barsRow,
      run: async ({ query }) => {
        const { cells = DEFAULT_CELLS, links = '' } = query;
        const names = links === '' ? [] : [...new Set(links.split(','))];
        if (names.length > MOST_LINKS) {
          throw new ProblemError(400, `links: at most ${MOST_LINKS} names at once`);
        }
        const wanted = spanOf(query);
        const known = names.filter((name) => supervisor.link(name) !== undefined);
        return {
          from: new Date(wanted.fromMs).toISOString(),
          to: new Date(wanted.toMs).toISOString(),
          bars: Object.fromEntries(await history.bars(known, wanted, cells)),
        };
      },
    }),
  ];
}

/** Throws `ProblemError` (400). */
function spanOf(query: {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}): Span {
  const toMs = query.to === undefined ? Date.now() : Date.parse(query.to);
  const fromMs = query.from === undefined ? toMs - DAY_MS : Date.parse(query.from);
  if (fromMs >= toMs) throw new ProblemError(400, 'from: write a time before "to"');
  return { fromMs, toMs };
}
