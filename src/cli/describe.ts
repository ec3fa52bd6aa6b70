/**
 * Events and evidence as a person reads them, one line each.
 * @module
 */
import type { LoggedEvent } from '../daemon/event-log.ts';
import type { Evidence } from '../keepalive/keepalive.ts';
import type { LinkEvent } from '../link/link.ts';
import { formatDuration } from '../time/duration.ts';
import { paint, paintState, plain, roundTrip } from './output.ts';

/** What a state rests on, for example `3 probes unanswered, silent for 30s, ETIMEDOUT`. */
export function describeEvidence({ probes, silentMs, errno }: Evidence): string {
  const parts: string[] = [];
  if (probes) parts.push(`${probes} ${probes === 1 ? 'probe' : 'probes'} unanswered`);
  if (silentMs !== undefined) parts.push(`silent for ${formatDuration(silentMs)}`);
  if (errno !== undefined) parts.push(plain(errno));
  return parts.join(', ');
}

/** An event without its time and name. */
export function describeEvent(event: LinkEvent | LoggedEvent): string {
  if (event.type === 'probe') return paint('gray', 'probe');
  if (event.type === 'reply') return paint('gray', `reply after ${roundTrip(event.rttMs)}`);
  if (event.type === 'note') return plain(event.text);
  if (event.type === 'switch') {
    return `${paint('bold', `${event.from} → ${event.to}`)}  ${plain(event.why)}`;
  }
  const evidence = describeEvidence(event.evidence);
  const because = evidence === '' ? event.reason : `${event.reason}: ${evidence}`;
  return `${paintState(event.from)} → ${paintState(event.to)}  ${because}`;
}

/** Whom an event is about. */
export function subjectOf(event: LinkEvent | LoggedEvent): string {
  if ('link' in event) return event.link;
  return event.group ?? 'linkhold';
}

/** A whole event as a line: local time, name, what happened. */
export function eventLine(event: LinkEvent | LoggedEvent): string {
  const time = new Date(event.at).toLocaleTimeString('en-GB');
  const ms = event.at.slice(19, 23);
  return `${time}${ms}  ${plain(subjectOf(event))}  ${describeEvent(event)}`;
}

/** What `up` proves and what not, a line for each kind among the links. */
export function proofLines(links: readonly { kind: string; proves: string }[]): string[] {
  const kinds = new Map(links.map(({ kind, proves }) => [kind, proves]));
  return [...kinds].map(([kind, proves]) => paint('gray', `${kind}: up proves ${proves}`));
}
