/**
 * A lane for each path of a group, filled while it carried the traffic, and hatched while nobody
 * observed it.
 * @module
 */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Bars } from '../src/daemon/api/history-routes.ts';
import type { Page } from '../src/daemon/api/rows.ts';
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import type { GroupStatus } from '../src/daemon/group-runner.ts';
import { withQuery } from './api.ts';
import { gapsOf, observedOf, type Range, type Stretch, stretchesOf } from './carried.ts';
import { subjectOf } from './events.tsx';
import { SPANS, type Span, SpanButtons } from './spans.tsx';
import { useNow, wallTime } from './time.tsx';
import { useLive } from './use-live.ts';
import { lengthOf } from './words.ts';

const MOST_EVENTS = 1_000;
const WIDTH = 1_000;
const LANE = 22;
const MOST_CELLS = 500;
/** A stretch is seen, however short it was. */
const LEAST = 3;
const RENEWED_MS = 5_000;
const GAPS_EVERY_MS = 60_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

interface LaneProps {
  readonly path: string;
  readonly stretches: readonly Stretch[];
  readonly gaps: readonly Range[];
  readonly fromMs: number;
  readonly toMs: number;
}

const timeOf = (ms: number) => wallTime(new Date(ms).toISOString());

function tell({ path, fromMs, toMs, why }: Stretch): string {
  const [from, to] = [timeOf(fromMs), timeOf(toMs)];
  if (why === undefined) return `${path} carried traffic until ${to}; since when is not known`;
  return `${path} carried traffic from ${from} for ${lengthOf(toMs - fromMs)}; ${why}`;
}

function tellGap({ fromMs, toMs }: Range): string {
  return `Not observed from ${timeOf(fromMs)} to ${timeOf(toMs)}: no daemon ran, or it knew no path yet. Neither up nor down.`;
}

/** When nobody observed any path of the group. */
function useGaps(group: GroupStatus, span: Span, nowMs: number): Range[] {
  // Whole units of what is kept, so that no cell is half of one.
  const unitMs = span.ms > DAY_MS ? HOUR_MS : MINUTE_MS;
  const toMs = Math.floor(nowMs / unitMs) * unitMs;
  const fromMs = toMs - span.ms;
  const url = withQuery('/api/v1/history', {
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    cells: span.ms / unitMs / Math.ceil(span.ms / unitMs / MOST_CELLS),
    links: group.paths.map(({ link }) => link).join(','),
  });
  const { data } = useLive<Bars>(url, { concerns: () => false, everyMs: GAPS_EVERY_MS });
  if (data === undefined) return [];
  const told = { fromMs: Date.parse(data.from), toMs: Date.parse(data.to) };
  return gapsOf(Object.values(data.bars), told).filter((gap) => gap.toMs > nowMs - span.ms);
}

function Lane({ path, stretches, gaps, fromMs, toMs }: LaneProps): JSX.Element {
  const x = (ms: number) => Math.max(0, ((ms - fromMs) / (toMs - fromMs)) * WIDTH);
  const carried = stretches.reduce((sum, stretch) => sum + stretch.toMs - stretch.fromMs, 0);
  const label =
    carried === 0 ? `${path} carried nothing` : `${path} carried traffic for ${lengthOf(carried)}`;
  return (
    <div class="lane">
      <span>{path}</span>
      <svg
        viewBox={`0 0 ${WIDTH} ${LANE}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={label}
      >
        {observedOf([{ path, fromMs, toMs, why: undefined }], gaps).map((part) => (
          <rect
            key={part.fromMs}
            x={x(part.fromMs)}
            width={x(part.toMs) - x(part.fromMs)}
            height={LANE}
            class="ground"
          />
        ))}
        {stretches.map((stretch) => (
          <rect
            key={stretch.fromMs}
            x={x(stretch.fromMs)}
            width={Math.max(LEAST, x(stretch.toMs) - x(stretch.fromMs))}
            height={LANE}
            class={stretch.why === undefined ? 'carried unsure' : 'carried'}
          >
            <title>{tell(stretch)}</title>
          </rect>
        ))}
        {gaps.map((gap) => (
          <rect
            key={gap.fromMs}
            x={x(gap.fromMs)}
            width={Math.max(LEAST, x(gap.toMs) - x(gap.fromMs))}
            height={LANE}
            class="pointed"
          >
            <title>{tellGap(gap)}</title>
          </rect>
        ))}
      </svg>
    </div>
  );
}

export function Timeline({ group }: { readonly group: GroupStatus }): JSX.Element {
  const [span, setSpan] = useState(SPANS[0]);
  const toMs = useNow(RENEWED_MS);
  const fromMs = toMs - span.ms;
  const { name, active, paths } = group;
  const url = withQuery('/api/v1/events', { link: name, limit: MOST_EVENTS });
  const { data } = useLive<Page<LoggedEvent>>(url, {
    concerns: (event) => subjectOf(event) === name,
  });
  const gaps = useGaps(group, span, toMs);
  const all = stretchesOf(data?.items ?? [], active, { fromMs, toMs });
  const stretches = observedOf(all, gaps);
  return (
    <>
      <div class="section-head">
        <h2 id="timeline-head">Which path carried traffic, the last {span.words}</h2>
        <SpanButtons of="the timeline" spans={SPANS.slice(0, 3)} chosen={span} choose={setSpan} />
      </div>
      <div class="card timeline">
        {paths.map(({ link }) => (
          <Lane
            key={link}
            path={link}
            stretches={stretches.filter(({ path }) => path === link)}
            gaps={gaps}
            fromMs={fromMs}
            toMs={toMs}
          />
        ))}
        <div class="lane ends soft">
          <span />
          <span>{wallTime(new Date(fromMs).toISOString())}</span>
          <span>now</span>
        </div>
        <p class="key">
          <span>
            <i class="swatch up" />
            carried traffic
          </span>
          <span>
            <i class="swatch raised" />
            carried none
          </span>
          <span>
            <i class="swatch not-observed" />
            not observed: neither up nor down
          </span>
        </p>
      </div>
    </>
  );
}
