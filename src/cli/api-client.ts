/**
 * Talks to a running daemon's API, for the commands that ask or tell it something.
 * @module
 */
import { parseAddress } from '../daemon/address.ts';
import { defaultStateDir, findToken } from '../daemon/state-dir.ts';
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';

/** Which daemon, and how to prove oneself to it. */
export interface DaemonFlags {
  /** `ADDRESS:PORT` of its API, or `https://NAME:PORT` where it speaks TLS. */
  readonly daemon: string;
  readonly stateDir?: string;
}

interface Problem {
  readonly detail?: string;
}

const TIMEOUT_MS = 10_000;
const PAGE = 10_000;
const NOT_OURS = 'answers, but is no Linkhold daemon; name another with --daemon';

/** The JSON answer. Throws `SystemError` if nobody answers, `UsageError` if the daemon refuses. */
export async function callDaemon(
  flags: DaemonFlags,
  method: 'GET' | 'POST',
  path: string,
): Promise<unknown> {
  const base = baseOf(flags.daemon);
  let response: Response;
  try {
    const ask = (headers: Record<string, string>) => {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      return fetch(`${base}${path}`, { method, headers, signal });
    };
    // Whoever listens there gets the token only if it is needed.
    response = await (method === 'GET' ? ask({}) : ask(authorization(flags)));
    if (method === 'GET' && response.status === 401) response = await ask(authorization(flags));
  } catch (error) {
    const cause = (error as Error & { cause?: NodeJS.ErrnoException }).cause?.code ?? String(error);
    throw new SystemError(
      'no-daemon',
      `no daemon answers on ${flags.daemon} (${cause}); start one with linkhold run, or name it with --daemon`,
    );
  }
  const type = response.headers.get('content-type') ?? '';
  const body = (await response.json().catch(() => undefined)) as Problem | undefined;
  if (!/^application\/(problem\+)?json\b/.test(type) || typeof body !== 'object') {
    throw new SystemError('no-daemon', `${flags.daemon} ${NOT_OURS}`);
  }
  if (response.ok) return body;
  throw new UsageError('refused', `the daemon refused: ${body.detail ?? response.statusText}`);
}

/** Throws `UsageError`. */
function baseOf(daemon: string): string {
  const [, scheme = 'http://', address = ''] = /^(https?:\/\/)?(.*?)\/?$/.exec(daemon) ?? [];
  parseAddress(address, '--daemon');
  return scheme + address;
}

function authorization(flags: DaemonFlags): Record<string, string> {
  const token = findToken(flags.stateDir ?? defaultStateDir());
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** Every item of a list, page by page. Throws as `listFromDaemon`. */
export async function allFromDaemon<Row>(flags: DaemonFlags, path: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (;;) {
    const page = await listFromDaemon<Row>(flags, `${path}?limit=${PAGE}&cursor=${rows.length}`);
    rows.push(...page);
    if (page.length < PAGE) return rows;
  }
}

/** The items of a list. Throws as `callDaemon`, and `SystemError` for what is no daemon of ours. */
export async function listFromDaemon<Row>(flags: DaemonFlags, path: string): Promise<Row[]> {
  const { items } = (await callDaemon(flags, 'GET', path)) as { items?: Row[] };
  if (Array.isArray(items)) return items;
  throw new SystemError('no-daemon', `${flags.daemon} ${NOT_OURS}`);
}
