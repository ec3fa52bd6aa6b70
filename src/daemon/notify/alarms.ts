/**
 * Messages for programs that keep alarms open until they are told of the end: PagerDuty (Events API
 * v2) and Alertmanager (API v2), as their documentation describes them.
 * @module
 */
import os from 'node:os';
import { type Message, type Notice, TROUBLES, type Trouble } from './message.ts';
import { cut, gravityOf, linesOf, sentenceOf, titleOf } from './text.ts';

/**
 * Alertmanager takes an alarm for over when nobody repeats it, or at its own end. Ours is over when
 * we say so, and by itself only when it was forgotten.
 */
const FORGOTTEN_MS = 365 * 86_400_000;
/** A switch is a moment; it is shown for so long. */
const SWITCH_SHOWN_MS = 300_000;

/**
 * One event for each incident that begins or goes on, and one for each that ended. What is a moment
 * and no incident (a switch, a test) begins and ends at once.
 */
export function pagerDutyEvents(message: Message, routingKey: string): object[] {
  const event = { routing_key: routingKey, client: 'Linkhold' };
  const byIncident = new Map<string, Notice[]>();
  for (const notice of message.notices) {
    if (notice.kind === 'back' || notice.kind === 'gone') continue;
    const key = notice.incident ?? message.id;
    byIncident.set(key, [...(byIncident.get(key) ?? []), notice]);
  }
  const triggers = [...byIncident].map(([incident, notices]) => {
    const part: Message = { ...message, notices };
    const gravity = gravityOf(part);
    return {
      ...event,
      event_action: 'trigger',
      dedup_key: incident,
      payload: {
        summary: cut(titleOf(part), 1_024),
        source: os.hostname(),
        severity: gravity === 'bad' ? 'critical' : gravity === 'warning' ? 'warning' : 'info',
        timestamp: message.at,
        component: cut(notices[0]?.name ?? '', 255),
        group: message.rule,
        class: notices[0]?.kind,
        custom_details: { id: message.id, lines: linesOf(part) },
      },
    };
  });
  const moments = byIncident.has(message.id) ? [message.id] : [];
  const ends = [...message.closed, ...moments].map((incident) => {
    return { ...event, event_action: 'resolve', dedup_key: incident };
  });
  return [...triggers, ...ends];
}

/** One alert for each trouble of each thing, with its end when it is over. */
export function alertmanagerAlerts(message: Message): object[] {
  return message.notices.flatMap((notice): object[] => {
    const { kind, since, ended = {} } = notice;
    const later = (ms: number) => new Date(Date.parse(message.at) + ms).toISOString();
    const annotations = { summary: sentenceOf(notice), id: message.id };
    if (kind === 'back' || kind === 'gone') {
      return TROUBLES.flatMap((trouble) => {
        const startsAt = ended[trouble];
        if (startsAt === undefined) return [];
        const labels = labelsOf(notice, trouble, message.rule);
        return [{ labels, annotations, startsAt, endsAt: message.at }];
      });
    }
    const labels = labelsOf(notice, kind, message.rule);
    if (kind === 'test') return [{ labels, annotations, startsAt: since, endsAt: later(1_000) }];
    const lasts = kind === 'switch' ? SWITCH_SHOWN_MS : FORGOTTEN_MS;
    return [{ labels, annotations, startsAt: since, endsAt: later(lasts) }];
  });
}

/** They identify an alert, so an end has the labels of its beginning. */
function labelsOf({ of, name }: Notice, kind: Trouble | 'switch' | 'test', rule: string): object {
  const alertname = `Linkhold${kind.charAt(0).toUpperCase()}${kind.slice(1)}`;
  const severity = kind === 'down' ? 'critical' : kind === 'test' ? 'none' : 'warning';
  return { alertname, severity, [of]: name, rule };
}
