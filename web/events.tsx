/**
 * Events as sentences, the newest first, each with its evidence.
 * @module
 */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Page } from '../src/daemon/api/rows.ts';
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import { withQuery } from './api.ts';
import { StateIcon } from './icons.tsx';
import { Time } from './time.tsx';
import { useLive } from './use-live.ts';
import { lengthOf, reasonOf, STATES } from './words.ts';

const FIRST = 50;
const MORE = 20;
const MOST = 10_000;

/** An event as one sentence, for reading and for hearing. */
export function sentenceOf(event: LoggedEvent): string {
  if (event.type === 'note') return event.text;
  if (event.type === 'switch') {
    return `Traffic of ${event.group} goes by ${event.to} instead of ${event.from}: ${event.why}`;
  }
  const { link, to, reason, evidence } = event;
  return `${link} ${STATES[to].is}: ${reasonOf(reason, evidence)}`;
}

/** The link or group of an event. */
export function subjectOf(event: LoggedEvent): string | undefined {
  return 'link' in event ? event.link : event.group;
}

function Happened({ event }: { readonly event: LoggedEvent }): JSX.Element {
  if (event.type !== 'state') {
    const sign = event.type === 'switch' ? '→' : '·';
    return (
      <>
        <span class="sign" aria-hidden="true">
          {sign}
        </span>
        <span>{sentenceOf(event)}</span>
      </>
    );
  }
  const { from, to, reason, evidence, detectsWithinMs } = event;
  return (
    <>
      <StateIcon state={to} />
      <span>
        <b>{STATES[to].label}</b>, was {STATES[from].label.toLowerCase()}:{' '}
        {reasonOf(reason, evidence)}.
        {to === 'down' && (
          <span class="soft"> It was to be known within {lengthOf(detectsWithinMs)}.</span>
        )}
      </span>
    </>
  );
}

/** All events of a link or a group. */
export function EventList({ of }: { readonly of: string }): JSX.Element {
  const [limit, setLimit] = useState(FIRST);
  const { data } = useLive<Page<LoggedEvent>>(withQuery('/api/v1/events', { link: of, limit }), {
    concerns: (event) => subjectOf(event) === of,
  });
  const items = data?.items.toReversed() ?? [];
  return (
    <>
      {data !== undefined && items.length === 0 && <p class="soft">Nothing has happened yet.</p>}
      <ol class="events">
        {items.map((event) => (
          <li key={event.id}>
            <Time at={event.at} />
            <Happened event={event} />
          </li>
        ))}
      </ol>
      {items.length === limit && limit < MOST && (
        <button type="button" onClick={() => setLimit(Math.min(limit * MORE, MOST))}>
          Older events
        </button>
      )}
    </>
  );
}
