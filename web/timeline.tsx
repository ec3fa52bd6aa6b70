/**
 * A lane for each path of a group, filled while it carried the traffic.
 * @module
 */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Page } from '../src/daemon/api/rows.ts';
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import type { GroupStatus } from '../src/daemon/group-runner.ts';
import { withQuery } from './api.ts';
import { type Stretch, stretchesOf } from './carried.ts';
import { subjectOf } from './events.tsx';
import { SPANS, SpanButtons } from './spans.tsx';
import { useNow, wallTime } from './time.tsx';
import { useLive } from './use-live.ts';
import { lengthOf } from './words.ts';

const MOST_EVENTS = 1_000;
const WIDTH = 1_000;
const LANE = 22;
/** A stretch is seen, however short it was. */
const LEAST = 3;
const RENEWED_MS = 5_000;

interface LaneProps {
  readonly path: string;
  readonly stretches: readonly Stretch[];
  readonly fromMs: number;
  readonly toMs: number;
}

function tell({ path, fromMs, toMs, why }: Stretch): string {
  const [from, to] = [fromMs, toMs].map((ms) => wallTime(new Date(ms).toISOString()));
  if (why === undefined) return `${path} carried traffic until ${to}; since when is not known`;
  return `${path} carried traffic from ${from} for ${lengthOf(toMs - fromMs)}; ${why}`;
}

function Lane({ path, stretches, fromMs, toMs }: LaneProps): JSX.Element {
  const x = (ms: number) => ((ms - fromMs) / (toMs - fromMs)) * WIDTH;
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
        <rect width={WIDTH} height={LANE} class="ground" />
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
  const stretches = stretchesOf(data?.items ?? [], active, { fromMs, toMs });
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
            fromMs={fromMs}
            toMs={toMs}
          />
        ))}
        <div class="lane ends soft">
          <span />
          <span>{wallTime(new Date(fromMs).toISOString())}</span>
          <span>now</span>
        </div>
      </div>
    </>
  );
}
