/**
 * Round trips as smoke: the median, and around it where a half and nine tenths of them lie; ticks below
 * for probes that were lost. Drawn by uPlot.
 * @module
 */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import UPlot from 'uplot';
import type { Series, SeriesCell } from '../src/daemon/store/history.ts';
import { themeChanged } from './theme.tsx';
import { wallTime } from './time.tsx';
import { percentOf, roundTripOf } from './words.ts';

const HEIGHT_PX = 240;
const PERCENTS = [95, 75, 50, 25, 5] as const;
const LOSS_PX = 14;

function dataOf(cells: readonly SeriesCell[]): UPlot.AlignedData {
  const at = cells.map((cell) => Date.parse(cell.at) / 1_000);
  const lines = PERCENTS.map((percent) =>
    cells.map(({ rttMs }) => rttMs?.percentiles[percent] ?? null),
  );
  return [at, ...lines];
}

interface Colours {
  readonly ink: string;
  readonly soft: string;
  readonly line: string;
  readonly smoke: string;
  readonly haze: string;
  readonly bad: string;
}

function coloursOf(element: HTMLElement): Colours {
  const style = getComputedStyle(element);
  const value = (name: string) => style.getPropertyValue(name).trim();
  return {
    ink: value('--chart'),
    soft: value('--soft'),
    line: value('--line'),
    smoke: value('--smoke'),
    haze: value('--haze'),
    bad: value('--fill-down'),
  };
}

const HOUR_S = 3_600;
const DAY_S = 24 * HOUR_S;
const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
});
const DAY = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });
const MONTH = new Intl.DateTimeFormat(undefined, { month: 'short', year: 'numeric' });

function timesOf(
  _plot: UPlot,
  seconds: number[],
  _axis: number,
  _space: number,
  step: number,
): string[] {
  const format = step < DAY_S ? CLOCK : step < 28 * DAY_S ? DAY : MONTH;
  return seconds.map((second) => format.format(second * 1_000));
}

function shortTrip(ms: number): string {
  if (ms === 0) return '0';
  if (ms < 1) return `${Number((ms * 1_000).toPrecision(2))} µs`;
  return ms < 1_000
    ? `${Number(ms.toPrecision(3))} ms`
    : `${Number((ms / 1_000).toPrecision(3))} s`;
}

function drawLosses(plot: UPlot, cells: readonly SeriesCell[], colour: string): void {
  const { ctx, bbox } = plot;
  const width = Math.max(2, (bbox.width / Math.max(cells.length, 1)) * 0.6);
  ctx.save();
  ctx.fillStyle = colour;
  for (const { at, loss } of cells) {
    if (loss === null || loss === 0) continue;
    const x = plot.valToPos(Date.parse(at) / 1_000, 'x', true);
    const height = (0.3 + 0.7 * loss) * LOSS_PX * devicePixelRatio;
    ctx.fillRect(x - width / 2, bbox.top + bbox.height - height, width, height);
  }
  ctx.restore();
}

interface Drawn {
  readonly cells: readonly SeriesCell[];
  readonly fromMs: number;
  readonly toMs: number;
}

function optionsOf(
  width: number,
  colours: Colours,
  drawn: () => Drawn,
  point: (index: number | null) => void,
): UPlot.Options {
  const line = { stroke: 'transparent', width: 0, points: { show: false } };
  const axis = {
    stroke: colours.soft,
    font: '12px system-ui, sans-serif',
    grid: { stroke: colours.line, width: 1 },
    ticks: { stroke: colours.line, width: 1 },
  };
  return {
    width,
    height: HEIGHT_PX,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: {
      x: { time: true, range: () => [drawn().fromMs / 1_000, drawn().toMs / 1_000] },
      y: { range: (_plot, _least, most) => [0, (most ?? 1) * 1.15 || 1] },
    },
    axes: [
      { ...axis, values: timesOf },
      { ...axis, size: 70, values: (_plot, values) => values.map(shortTrip) },
    ],
    series: [
      {},
      ...PERCENTS.map((percent) =>
        percent === 50
          ? { stroke: colours.ink, width: 1.75, points: { size: 4, fill: colours.ink } }
          : line,
      ),
    ],
    bands: [
      { series: [1, 5], fill: colours.haze },
      { series: [2, 4], fill: colours.smoke },
    ],
    hooks: {
      draw: [(plot) => drawLosses(plot, drawn().cells, colours.bad)],
      setCursor: [(plot) => point(plot.cursor.idx ?? null)],
    },
  };
}

function Reading({ cell }: { readonly cell: SeriesCell | undefined }): JSX.Element {
  if (cell === undefined) {
    return (
      <p class="reading soft">
        The line is the median; the smoke around it holds half of the round trips, the haze nine
        tenths. Red ticks are lost probes.
      </p>
    );
  }
  const { rttMs, loss, at } = cell;
  const lost = loss === null ? 'no probes' : `${percentOf(loss)} lost`;
  return (
    <p class="reading">
      <b>{wallTime(at)}</b>{' '}
      {rttMs === null
        ? `no round trips, ${lost}`
        : `median ${roundTripOf(rttMs.percentiles[50])}, nine tenths from ${roundTripOf(rttMs.percentiles[5])} to ${roundTripOf(rttMs.percentiles[95])}, at most ${roundTripOf(rttMs.max)}, ${lost}`}
    </p>
  );
}

interface SmokeChartProps {
  readonly series: Series | undefined;
  readonly fromMs: number;
  readonly toMs: number;
  readonly words: string;
}

export function SmokeChart({ series, fromMs, toMs, words }: SmokeChartProps): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | undefined>(undefined);
  const drawn = useRef<Drawn>({ cells: [], fromMs, toMs });
  const [index, setIndex] = useState<number | null>(null);
  drawn.current = { cells: series?.cells ?? [], fromMs, toMs };
  useEffect(() => {
    const { current: element } = place;
    if (element === null) return undefined;
    const make = () => {
      plot.current?.destroy();
      const width = element.clientWidth;
      const options = optionsOf(width, coloursOf(element), () => drawn.current, setIndex);
      plot.current = new UPlot(options, dataOf(drawn.current.cells), element);
    };
    const watch = new ResizeObserver(() => {
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT_PX });
    });
    make();
    watch.observe(element);
    themeChanged.addEventListener('change', make);
    return () => {
      watch.disconnect();
      themeChanged.removeEventListener('change', make);
      plot.current?.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(dataOf(series?.cells ?? [])), [series, fromMs]);
  const rtt = series?.total.rttMs;
  const label =
    rtt == null
      ? `Round trips of the last ${words}: none yet`
      : `Round trips of the last ${words}: median ${roundTripOf(rtt.percentiles[50])}, 95 percent below ${roundTripOf(rtt.percentiles[95])}`;
  return (
    <figure class="chart">
      <div ref={place} role="img" aria-label={label} />
      {series !== undefined && rtt == null && <p class="no-data">No round trips in this time.</p>}
      <figcaption>
        <Reading cell={index === null ? undefined : series?.cells[index]} />
      </figcaption>
    </figure>
  );
}
