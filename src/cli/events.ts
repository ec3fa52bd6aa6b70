/**
 * `linkhold events`: what happened to a running daemon's links and groups.
 * @module
 */
import type { LoggedEvent } from '../daemon/event-log.ts';
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
  if (flags.since !== undefined) query.set('since', String(wholeNumber(flags.since, '--since')));
  const items = await listFromDaemon<LoggedEvent>(flags, `/api/v1/events?${query}`);
  for (const event of items) {
    if (flags.json === true) printJson(event);
    else print(eventLine(event));
  }
  return 0;
}
