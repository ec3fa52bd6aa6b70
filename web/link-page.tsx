/**
 * One link: how it stands and why, what it promises and what it proves, its past, and what may be done.
 * @module
 */
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import type { LinkRow } from '../src/daemon/api/rows.ts';
import type { BarCell, Series, StateTimes } from '../src/daemon/store/history.ts';
import { Action, DrainOrResume } from './actions.tsx';
import { pathOf, withQuery } from './api.ts';
import { EventList } from './events.tsx';
import { BarKey, HistoryBar } from './history-bar.tsx';
import { StateMark } from './icons.tsx';
import { Missing } from './missing.tsx';
import { Go } from './router.tsx';
import { SmokeChart } from './smoke-chart.tsx';
import { rangeOf, SPANS, SpanButtons } from './spans.tsx';
import { LinkStory } from './story.tsx';
import { useLive } from './use-live.ts';
import {
  classOf,
  learnedOf,
  lengthOf,
  percentOf,
  plural,
  promiseOf,
  proofOf,
  reasonOf,
  roundTripOf,
} from './words.ts';

const MINUTE_MS = 60_000;
const OFTEN_MS = 3_000;

function Fact({
  name,
  children,
}: {
  readonly name: string;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Promises({ link }: { readonly link: LinkRow }): JSX.Element {
  const proof = proofOf(link.proves);
  return (
    <section class="card promises" aria-label="What it promises">
      <dl class="facts big">
        <Fact name="A dead peer is known within">{lengthOf(link.detectsWithinMs)}</Fact>
        <Fact name="Never silent for longer than">{lengthOf(link.largestSilenceMs)}</Fact>
        <Fact name="Last round trip">{roundTripOf(link.rttMs)}</Fact>
      </dl>
      <p class="sr-only">{promiseOf(link).join(' ')}</p>
      <dl class="facts proof">
        <Fact name="“Up” proves">{proof.proves}.</Fact>
        {proof.not !== undefined && <Fact name="It does not prove">{proof.not}.</Fact>}
        <Fact name="How it is held">{classOf(link)}</Fact>
      </dl>
    </section>
  );
}

function Details({ link }: { readonly link: LinkRow }): JSX.Element {
  const { url, kind, local, remote, tags, mptcp } = link;
  const learned = learnedOf(link);
  return (
    <dl class="facts small">
      <Fact name="Address">
        <span class="mono">{url}</span>
      </Fact>
      <Fact name="Kind">{kind}</Fact>
      {local !== null && (
        <Fact name="From">
          <span class="mono">{local}</span>
        </Fact>
      )}
      {remote !== null && (
        <Fact name="To">
          <span class="mono">{remote}</span>
        </Fact>
      )}
      {mptcp !== undefined && (
        <Fact name="Multipath TCP">
          {mptcp.inUse ? plural(mptcp.subflows, 'subflow') : 'not in use: the peer has plain TCP'}
        </Fact>
      )}
      {learned.length > 0 && (
        <Fact name="Found out">
          {learned.map((sentence) => (
            <div key={sentence}>{sentence}</div>
          ))}
        </Fact>
      )}
      {tags.length > 0 && (
        <Fact name="Tags">
          {tags.map((tag) => (
            <Go key={tag} to={withQuery('/', { tag })} class="tag">
              {tag}
            </Go>
          ))}
        </Fact>
      )}
    </dl>
  );
}

function barOf({ cells, stepMs }: Series, toMs: number): BarCell[] {
  return cells.map(({ at, stateMs }) => {
    const lengthMs = Math.max(1, Math.min(stepMs, toMs - Date.parse(at)));
    const { up, suspect, down, drained } = stateMs;
    const whole = Math.max(lengthMs, up + suspect + down + drained);
    return [up / whole, suspect / whole, down / whole, drained / whole];
  });
}

const TIMES = [
  ['up', 'up'],
  ['suspect', 'in doubt'],
  ['down', 'dead'],
  ['drained', 'drained'],
  ['notObserved', 'not observed'],
] as const;

/** How long it was in each state, those it was in. */
function timesOf(spent: StateTimes): string {
  const told = TIMES.filter(([key]) => spent[key] >= 1);
  const text = told.map(([key, word]) => `${word} ${lengthOf(spent[key])}`).join(', ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function Past({ name }: { readonly name: string }): JSX.Element {
  const [span, setSpan] = useState(SPANS[0]);
  const [minute, setMinute] = useState(() => Math.floor(Date.now() / MINUTE_MS));
  useEffect(() => {
    const timer = setInterval(() => setMinute(Math.floor(Date.now() / MINUTE_MS)), OFTEN_MS);
    return () => clearInterval(timer);
  }, []);
  const { fromMs, toMs } = useMemo(() => rangeOf(span), [span, minute]);
  const url = withQuery(`${pathOf('links', name)}/history`, {
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    step: span.step,
  });
  const { data: series } = useLive<Series>(url, { concerns: () => false, everyMs: MINUTE_MS / 4 });
  const bar = useMemo(
    () => (series === undefined ? undefined : barOf(series, toMs)),
    [series, toMs],
  );
  const total = series?.total;
  const spent = total?.stateMs;
  return (
    <section aria-labelledby="past-head">
      <div class="section-head">
        <h2 id="past-head">The last {span.words}</h2>
        <SpanButtons of={name} chosen={span} choose={setSpan} />
      </div>
      <div class="card past">
        <dl class="facts big">
          <Fact name="Up, of the time observed">
            {total?.availability == null ? '–' : percentOf(total.availability)}
          </Fact>
          <Fact name="Median round trip">{roundTripOf(total?.rttMs?.percentiles[50] ?? null)}</Fact>
          <Fact name="95 % faster than">{roundTripOf(total?.rttMs?.percentiles[95] ?? null)}</Fact>
          <Fact name="Probes lost">{total?.loss == null ? '–' : percentOf(total.loss)}</Fact>
        </dl>
        <HistoryBar
          cells={bar}
          what={`${name}, the last ${span.words}`}
          begins={series?.cells.map(({ at }) => at)}
        />
        <SmokeChart series={series} fromMs={fromMs} toMs={toMs} words={span.words} />
        {spent !== undefined && <p class="soft">{timesOf(spent)}.</p>}
        <BarKey />
      </div>
    </section>
  );
}

export function LinkPage({ name }: { readonly name: string }): JSX.Element {
  const {
    data: link,
    refusal,
    renew,
  } = useLive<LinkRow>(pathOf('links', name), { everyMs: OFTEN_MS });
  if (refusal?.status === 404) return <Missing what={`link ${name}`} />;
  if (link === undefined) return <p aria-busy="true" />;
  return (
    <>
      <p class="crumbs">
        <Go to="/">Links</Go>
      </p>
      <header class="title">
        <h1>{link.name}</h1>
        <StateMark state={link.state} />
        <span class="actions">
          <Action link={name} verb="probe" done={renew} />
          <DrainOrResume link={name} drained={link.state === 'drained'} done={renew} />
        </span>
      </header>
      <p class="lead" title={reasonOf(link.reason, link.evidence)}>
        <LinkStory link={link} />
      </p>
      <Promises link={link} />
      <Past name={name} />
      <section aria-labelledby="details-head">
        <h2 id="details-head">Details</h2>
        <Details link={link} />
      </section>
      <section aria-labelledby="events-head">
        <h2 id="events-head">What happened</h2>
        <EventList key={name} of={name} />
      </section>
    </>
  );
}
