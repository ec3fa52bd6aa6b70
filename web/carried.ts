/**
 * Which path carried a group's traffic when, from its switches, and when nobody observed it, from the
 * past of its links. Pure.
 * @module
 */
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import type { BarCell } from '../src/daemon/store/history.ts';

/** From when to when, in milliseconds since 1970. */
export interface Range {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface Stretch extends Range {
  readonly path: string;
  /** Why it began; `undefined` before the first switch that is known, and so also since when. */
  readonly why: string | undefined;
}

/**
 * Stretches within the time, oldest first. `events` are oldest first; `active` carries since `sinceMs`,
 * which is all there is where no switch is known.
 */
export function stretchesOf(
  events: readonly LoggedEvent[],
  active: string,
  span: Range,
): Stretch[] {
  const switches = events.filter((event) => event.type === 'switch');
  const stretches: Stretch[] = [];
  let path = switches[0]?.from ?? active;
  let fromMs = Number.NEGATIVE_INFINITY;
  let why: string | undefined;
  const end = (toMs: number) => {
    const [first, last] = [Math.max(fromMs, span.fromMs), Math.min(toMs, span.toMs)];
    if (last > first) stretches.push({ path, fromMs: first, toMs: last, why });
  };
  for (const event of switches) {
    const at = Date.parse(event.at);
    end(at);
    [path, fromMs, why] = [event.to, at, event.why];
  }
  end(Number.POSITIVE_INFINITY);
  return stretches;
}

/** A cell of which less than this was observed counts as not observed. */
const LEAST_OBSERVED = 0.5;
/** The minute under way, and the one before it, may not be written yet. */
const NOT_YET_MS = 150_000;

/** Times of which nobody observed any of the paths: `bars` has the cells of each over the time. */
export function gapsOf(bars: readonly (readonly BarCell[])[], { fromMs, toMs }: Range): Range[] {
  const count = Math.max(0, ...bars.map((cells) => cells.length));
  const cellMs = (toMs - fromMs) / Math.max(count, 1);
  const gaps: Range[] = [];
  for (let index = 0; index < count; index += 1) {
    const isObserved = bars.some((cells) => {
      return (cells[index] ?? []).reduce((sum, share) => sum + share, 0) >= LEAST_OBSERVED;
    });
    if (isObserved) continue;
    const cell = { fromMs: fromMs + index * cellMs, toMs: fromMs + (index + 1) * cellMs };
    const last = gaps.at(-1);
    if (last !== undefined && cell.fromMs - last.toMs < cellMs / 2) {
      gaps[gaps.length - 1] = { fromMs: last.fromMs, toMs: cell.toMs };
    } else gaps.push(cell);
  }
  const last = gaps.at(-1);
  const isYetToCome =
    last !== undefined && last.toMs === toMs && last.toMs - last.fromMs < NOT_YET_MS;
  return isYetToCome ? gaps.slice(0, -1) : gaps;
}

/** What is left of stretches without the gaps, oldest first. */
export function observedOf(stretches: readonly Stretch[], gaps: readonly Range[]): Stretch[] {
  return stretches.flatMap((stretch) => {
    const parts: Stretch[] = [];
    let { fromMs } = stretch;
    for (const gap of gaps) {
      if (gap.toMs <= fromMs || gap.fromMs >= stretch.toMs) continue;
      if (gap.fromMs > fromMs) parts.push({ ...stretch, fromMs, toMs: gap.fromMs });
      fromMs = gap.toMs;
    }
    return fromMs < stretch.toMs ? [...parts, { ...stretch, fromMs }] : parts;
  });
}
