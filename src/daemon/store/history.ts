/**
 * Answers about the past of links: a series of round trips, loss and availability, and bars of
 * states for many links. Availability is *time up ÷ (time up + suspect + down)*: what nobody
 * observed, and what a person had drained, counts as neither.
 * @module
 */
import { DecodeError } from '../../wire/decode-error.ts';
import {
  COUNTED_STATES,
  decodeStates,
  emptyStats,
  type LinkStats,
  mergeStats,
  type StateMs,
} from './link-stats.ts';
import type { Names } from './names.ts';
import { type RollUps, readStats, TIERS, type TierIndex } from './roll-ups.ts';

/** Percentiles that a series tells, in percent. */
export const PERCENTILES = [5, 25, 50, 75, 90, 95, 99] as const;
const MOST_CELLS = 1_500;
const ROUND = 1_000;

/** How long a link was in each state, and for how long nobody watched it. In milliseconds. */
export interface StateTimes extends StateMs {
  readonly notObserved: number;
}

/** One step of a series. */
export interface SeriesCell {
  /** When the step begins, in UTC (ISO 8601). */
  readonly at: string;
  readonly stateMs: StateTimes;
  /** From 0 to 1; `null` if the link was neither up, suspect nor down. */
  readonly availability: number | null;
  readonly probes: number;
  readonly losses: number;
  /** Losses ÷ probes; `null` without probes. */
  readonly loss: number | null;
  /** `null` without round trips. Each within 3 %, the maximum exact. */
  readonly rttMs: {
    readonly count: number;
    readonly max: number;
    readonly percentiles: { readonly [percent in (typeof PERCENTILES)[number]]: number };
  } | null;
}

export interface Series {
  /** The step it has: at least the one asked for, and as long as what is kept of that time. */
  readonly stepMs: number;
  /** The whole time as one. */
  readonly total: SeriesCell;
  readonly cells: readonly SeriesCell[];
}

/** Which time is wanted: from `fromMs` to before `toMs`, wall clock. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Shares of a cell's time: up, suspect, down, drained, each from 0 to 1; the rest nobody observed. */
export type BarCell = readonly [up: number, suspect: number, down: number, drained: number];

interface Grid extends Span {
  readonly tier: TierIndex;
  readonly stepMs: number;
  readonly count: number;
}

/** Steps of whole buckets that cover the span, as fine as was asked and is kept. */
function gridOf({ fromMs, toMs }: Span, stepMs: number, nowMs: number): Grid {
  const least = Math.max(stepMs, (toMs - fromMs) / MOST_CELLS);
  const fits = TIERS.findLastIndex(({ lengthMs }) => lengthMs <= least);
  // A bucket more than is promised is kept, so that "the last day" may begin with a whole one.
  const kept = TIERS.findIndex(({ keptMs, lengthMs }) => fromMs >= nowMs - keptMs - lengthMs);
  const tier = Math.max(fits, kept === -1 ? TIERS.length - 1 : kept, 0) as TierIndex;
  const { lengthMs } = TIERS[tier];
  const step = Math.ceil(least / lengthMs) * lengthMs || lengthMs;
  const from = Math.floor(fromMs / lengthMs) * lengthMs;
  return { tier, stepMs: step, fromMs: from, toMs, count: Math.ceil((toMs - from) / step) };
}

export class History {
  readonly #rollUps: RollUps;
  readonly #names: Names;

  constructor(rollUps: RollUps, names: Names) {
    this.#rollUps = rollUps;
    this.#names = names;
  }

  /** The link's story in steps; empty for a link of which nothing is known. */
  series(link: string, span: Span, stepMs: number, nowMs: number): Series {
    const grid = gridOf(span, stepMs, nowMs);
    const id = this.#names.find(link);
    const cells = Array.from({ length: id === undefined ? 0 : grid.count }, emptyStats);
    if (id !== undefined) {
      const all = this.#rollUps.rows([id], grid.tier, grid.fromMs, grid.toMs);
      for (const { lengthMs, rows } of all) {
        for (const [, at, body] of rows) {
          const cell = cells[Math.floor((at * lengthMs - grid.fromMs) / grid.stepMs)];
          const stats = readStats(body);
          if (cell !== undefined && stats !== undefined) mergeStats(cell, stats);
        }
      }
    }
    const total = emptyStats();
    for (const cell of cells) mergeStats(total, cell);
    const lengthOf = (fromMs: number, toMs: number) => Math.min(toMs, nowMs) - fromMs;
    return {
      stepMs: grid.stepMs,
      total: seriesCell(total, grid.fromMs, lengthOf(grid.fromMs, grid.toMs)),
      cells: cells.map((stats, index) => {
        const at = grid.fromMs + index * grid.stepMs;
        return seriesCell(stats, at, lengthOf(at, Math.min(at + grid.stepMs, grid.toMs)));
      }),
    };
  }

  /** For each link at most `cells` cells of state shares, in small steps; those of all come last. */
  *bars(
    links: readonly string[],
    span: Span,
    cells: number,
    nowMs: number,
    into: Map<string, BarCell[]>,
  ): Generator<void> {
    const grid = gridOf(span, (span.toMs - span.fromMs) / cells, nowMs);
    const noTime = () => COUNTED_STATES.map(() => 0);
    const all = links.map((link) => {
      const sums = Array.from({ length: grid.count }, noTime);
      return { link, id: this.#names.find(link), sums };
    });
    const known = new Map(all.flatMap(({ id, sums }) => (id === undefined ? [] : [[id, sums]])));
    const ids = [...known.keys()];
    const looks = this.#rollUps.rows(ids, grid.tier, grid.fromMs, grid.toMs);
    for (const { lengthMs, rows } of looks) {
      for (const [link, at, body] of rows) {
        const sum = known.get(link)?.[Math.floor((at * lengthMs - grid.fromMs) / grid.stepMs)];
        if (sum !== undefined) addStates(sum, body);
      }
      yield;
    }
    for (const { link, sums } of all) {
      const cells = sums.map((sum, index) => {
        const at = grid.fromMs + index * grid.stepMs;
        return sharesOf(sum, Math.min(at + grid.stepMs, grid.toMs, nowMs) - at);
      });
      into.set(link, cells);
    }
  }
}

function addStates(sum: number[], body: Uint8Array): void {
  try {
    const stateMs = decodeStates(body);
    for (const [index, state] of COUNTED_STATES.entries()) {
      sum[index] = (sum[index] ?? 0) + stateMs[state];
    }
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
  }
}

function sharesOf(sum: readonly number[], lengthMs: number): BarCell {
  const observed = sum.reduce((total, ms) => total + ms, 0);
  // A clock that was set back makes a cell hold more time than it has.
  const whole = Math.max(lengthMs, observed, 1);
  const [up = 0, suspect = 0, down = 0, drained = 0] = sum.map((ms) => rounded(ms / whole));
  return [up, suspect, down, drained];
}

function seriesCell(stats: LinkStats, atMs: number, lengthMs: number): SeriesCell {
  const { stateMs, probes, losses, roundTrips } = stats;
  const { up, suspect, down, drained } = stateMs;
  const judged = up + suspect + down;
  return {
    at: new Date(atMs).toISOString(),
    stateMs: { ...stateMs, notObserved: Math.max(0, lengthMs - judged - drained) },
    availability: judged === 0 ? null : up / judged,
    probes,
    losses,
    loss: probes === 0 ? null : Math.min(losses / probes, 1),
    rttMs: roundTrips.total === 0 ? null : roundTripsOf(stats),
  };
}

function roundTripsOf({ roundTrips }: LinkStats): SeriesCell['rttMs'] {
  const values = roundTrips.percentiles(PERCENTILES.map((percent) => percent / 100));
  const named = PERCENTILES.map((percent, index) => [percent, rounded(values[index] ?? 0)]);
  return {
    count: roundTrips.total,
    max: rounded(roundTrips.maxMs),
    percentiles: Object.fromEntries(named),
  };
}

function rounded(value: number): number {
  return Math.round(value * ROUND) / ROUND;
}
