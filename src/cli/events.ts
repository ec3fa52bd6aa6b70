/**
 * `linkhold events`: what happened to a running daemon's links and groups.
 * @module
 */
import type { LoggedEvent } from '../daemon/event-log.ts';
import { UsageError } from '../time/usage-error.ts';
import { type DaemonFlags, listFromDaemon } from './api-client.ts';
import { eventLine } from './describe.ts';
import { wholeNumber } from './flags.ts';
import { print, printJson } from './output.ts';

export interface EventFlags extends DaemonFlags {
  readonly json?: boolean;
  readonly link?: string;
  readonly limit?: string;
  readonly since?: string;
}

/** Resolves with 0. Throws `SystemError` and `UsageError`. */
export async function events(flags: EventFlags): Promise<number> {
  const query = new URLSearchParams();
  if (flags.link !== undefined) query.set('link', flags.link);
  if (flags.limit !== undefined) query.set('limit', String(wholeNumber(flags.limit, '--limit')));
  if (flags.since !== undefined) query.set('since', String(eventId(flags.since)));
  const items = await listFromDaemon<LoggedEvent>(flags, `/api/v1/events?${query}`);
  for (const event of items) {
    if (flags.json === true) printJson(event);
    else print(eventLine(event));
  }
  return 0;
}

/** Ids grow longer than other numbers. Throws `UsageError`. */
function eventId(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new UsageError('bad-number', `--since: "${text}" is not the id of an event`);
}
