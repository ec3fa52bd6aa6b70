/**
 * `linkhold drain NAME` and `linkhold resume NAME`: take a link out gently, and back in.
 * @module
 */
import type { LinkStatus } from '../link/link.ts';
import { callDaemon, type DaemonFlags } from './api-client.ts';
import { paintState, print, printJson } from './output.ts';

/** Resolves with 0. Throws `SystemError` and `UsageError`. */
export async function drainOrResume(
  verb: 'drain' | 'resume',
  name: string,
  flags: DaemonFlags & { readonly json?: boolean },
): Promise<number> {
  const path = `/api/v1/links/${encodeURIComponent(name)}/${verb}`;
  const link = (await callDaemon(flags, 'POST', path)) as LinkStatus;
  if (flags.json === true) printJson(link);
  else print(`${link.name} is ${paintState(link.state)}`);
  return 0;
}
