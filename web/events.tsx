/**
 * Events as sentences, the newest first, each with its evidence.
 * @module
 */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Page } from '../src/daemon/api/rows.ts';
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import { ask, withQuery } from './api.ts';
import { StateIcon } from './icons.tsx';
import { NOTHING_SHOWN, withNewest, withOlder } from './paged.ts';
import { Time } from './time.tsx';
import { useLive } from './use-live.ts';
import { lengthOf, reasonOf, STATES } from './words.ts';

const NEWEST = 50;
const OLDER = 200;

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

/** All events of a link or a group, the newest first. Another one needs another list (`key`). */
export function EventList({ of }: { readonly of: string }): JSX.Element {
  const [shown, setShown] = useState(NOTHING_SHOWN);
  const [asking, setAsking] = useState(false);
  const newest = withQuery('/api/v1/events', { link: of, limit: NEWEST });
  const { data } = useLive<Page<LoggedEvent>>(newest, {
    concerns: (event) => subjectOf(event) === of,
  });
  useEffect(() => {
    if (data !== undefined) setShown((before) => withNewest(before, data.items, NEWEST));
  }, [data]);
  const showOlder = async () => {
    setAsking(true);
    const before = shown.items[0]?.id;
    try {
      const url = withQuery('/api/v1/events', { link: of, limit: OLDER, before });
      const page = await ask<Page<LoggedEvent>>(url);
      setShown((now) => (now.items[0]?.id === before ? withOlder(now, page) : now));
    } catch {
      // Who does not answer is told in the banner; the button stays.
    }
    setAsking(false);
  };
  return (
    <>
      {data !== undefined && data.items.length === 0 && (
        <p class="soft">Nothing has happened yet.</p>
      )}
      <ol class="events" aria-busy={asking}>
        {shown.items.toReversed().map((event) => (
          <li key={event.id}>
            <Time at={event.at} />
            <Happened event={event} />
          </li>
        ))}
      </ol>
      {shown.hasOlder && (
        <button type="button" disabled={asking} onClick={() => void showOlder()}>
          Older events
        </button>
      )}
    </>
  );
}
