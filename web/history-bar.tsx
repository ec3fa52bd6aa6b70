/**
 * A bar of cells: which part of each a link spent in which state. What nobody observed is hatched and
 * counts neither way. What happened is seen, however short it was.
 * @module
 */
import type { JSX } from 'preact';
import type { BarCell } from '../src/daemon/store/history.ts';
import { wallTime } from './time.tsx';
import { percentOf } from './words.ts';

const PARTS = ['up', 'suspect', 'down', 'drained'] as const;
const WORDS = ['up', 'in doubt', 'dead', 'drained'] as const;
const LEAST_SHARE = 0.1;
const HEIGHT = 20;
const CELL = 4;
const GAP = 1;

/** The part of the observed time that the link was up, or `undefined`. */
export function availabilityOf(cells: readonly BarCell[]): number | undefined {
  let [good, judged] = [0, 0];
  for (const [up, suspect, down] of cells) {
    good += up;
    judged += up + suspect + down;
  }
  return judged === 0 ? undefined : good / judged;
}

interface Rect {
  readonly part: string;
  readonly y: number;
  readonly height: number;
}

function rectsOf(cell: BarCell): Rect[] {
  const shares = cell.map((share) => (share > 0 ? Math.max(share, LEAST_SHARE) : 0));
  const whole = Math.max(
    1,
    shares.reduce((sum, share) => sum + share, 0),
  );
  let y = HEIGHT;
  return PARTS.flatMap((part, index) => {
    const height = ((shares[index] ?? 0) / whole) * HEIGHT;
    y -= height;
    return height === 0 ? [] : [{ part, y, height }];
  });
}

function sentenceOf(what: string, cells: readonly BarCell[]): string {
  const part = availabilityOf(cells);
  if (part === undefined) return `${what}: not observed yet`;
  const sums = WORDS.map((word, index) => {
    const sum = cells.reduce((total, cell) => total + (cell[index] ?? 0), 0);
    return sum === 0 || word === 'up' ? '' : word;
  }).filter((word) => word !== '');
  const others = sums.length === 0 ? '' : `; at times ${sums.join(', ')}`;
  return `${what}: up ${percentOf(part)} of the time observed${others}`;
}

/** One cell, for who points at it. */
export function tellCell(cell: BarCell): string {
  const parts = WORDS.map((word, index) => [word, cell[index] ?? 0] as const);
  const observed = parts.reduce((sum, [, share]) => sum + share, 0);
  const told = [...parts, ['not observed', 1 - observed] as const].filter(
    ([, share]) => share > 0.0005,
  );
  return told.map(([word, share]) => `${word} ${percentOf(Math.min(share, 1))}`).join(', ');
}

interface HistoryBarProps {
  readonly cells: readonly BarCell[] | undefined;
  /** Of which link and time, for those who hear it. */
  readonly what: string;
  /** When each cell begins: then who points at it is told what happened in it. */
  readonly begins?: readonly string[] | undefined;
}

export function HistoryBar({ cells, what, begins }: HistoryBarProps): JSX.Element {
  if (cells === undefined) return <div class="bar waiting" aria-hidden="true" />;
  const width = Math.max(cells.length, 1) * (CELL + GAP) - GAP;
  const label = sentenceOf(what, cells);
  return (
    <svg
      class="bar"
      viewBox={`0 0 ${width} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      {begins === undefined && <title>{label}</title>}
      {cells.map((cell, index) => {
        const x = index * (CELL + GAP);
        const rects = rectsOf(cell);
        const key = `${index}`;
        return (
          <g key={key}>
            {rects.length > 0 && (
              <rect x={x + CELL} y="0" width={GAP} height={HEIGHT} class="gap" />
            )}
            {rects.map(({ part, y, height }) => (
              <rect key={part} x={x} y={y} width={CELL} height={height} class={part} />
            ))}
            {begins?.[index] !== undefined && (
              <rect x={x} width={CELL + GAP} height={HEIGHT} class="pointed">
                <title>{`${wallTime(begins[index])}: ${tellCell(cell)}`}</title>
              </rect>
            )}
          </g>
        );
      })}
    </svg>
  );
}

export function BarKey(): JSX.Element {
  return (
    <p class="key">
      {PARTS.map((part, index) => (
        <span key={part}>
          <i class={`swatch ${part}`} />
          {WORDS[index]}
        </span>
      ))}
      <span>
        <i class="swatch not-observed" />
        not observed: counts neither way
      </span>
    </p>
  );
}
