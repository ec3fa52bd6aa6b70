/**
 * The times that may be looked at, and the buttons to choose one.
 * @module
 */
import type { JSX } from 'preact';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export interface Span {
  readonly label: string;
  /** After "the last". */
  readonly words: string;
  readonly ms: number;
  /** Of bars: whole units of what is kept, so that they are cheap. */
  readonly cells: number;
  /** Of a chart, as the API takes it. */
  readonly step: string;
}

export const SPANS: readonly [Span, Span, Span, Span] = [
  { label: '1 h', words: 'hour', ms: HOUR_MS, cells: 60, step: '1m' },
  { label: '24 h', words: '24 hours', ms: DAY_MS, cells: 24, step: '10m' },
  { label: '30 d', words: '30 days', ms: 30 * DAY_MS, cells: 30, step: '4h' },
  { label: '2 y', words: 'two years', ms: 730 * DAY_MS, cells: 73, step: '72h' },
];

/** The span in whole minutes up to now: the minute under way is not written yet. */
export function rangeOf({ ms }: Span): { readonly fromMs: number; readonly toMs: number } {
  const toMs = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
  return { fromMs: toMs - ms, toMs };
}

/** Of bars, without an end, so that the address stays the same. */
export function spanQuery(span: Span): Readonly<Record<string, string | number>> {
  const { fromMs, toMs } = rangeOf(span);
  return {
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    cells: span.cells,
  };
}

interface SpanButtonsProps {
  readonly spans?: readonly Span[];
  readonly chosen: Span;
  readonly choose: (span: Span) => void;
  readonly of: string;
}

export function SpanButtons({ spans = SPANS, chosen, choose, of }: SpanButtonsProps): JSX.Element {
  return (
    <fieldset class="segments">
      <legend class="sr-only">Time shown of {of}</legend>
      {spans.map((span) => (
        <button
          key={span.label}
          type="button"
          aria-pressed={span === chosen}
          onClick={() => choose(span)}
        >
          {span.label}
        </button>
      ))}
    </fieldset>
  );
}

const KEY = 'linkhold-span';

export function rememberedSpan(): Span {
  try {
    const label = localStorage.getItem(KEY);
    return SPANS.find((span) => span.label === label) ?? SPANS[1];
  } catch {
    return SPANS[1];
  }
}

export function rememberSpan({ label }: Span): void {
  try {
    localStorage.setItem(KEY, label);
  } catch {
    // It holds for this page then.
  }
}
