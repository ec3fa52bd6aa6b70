/**
 * Asks the daemon's API. What it refuses is a `Refusal` with the daemon's own words; what cannot be
 * reached is `Unreachable`. Knows no page.
 * @module
 */
import type { Problem, SessionRow } from '../src/daemon/api/rows.ts';

/** A daemon that does not answer for so long is not there. */
const PATIENCE_MS = 8_000;

/** The daemon said no. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.name = 'Refusal';
    this.status = status;
  }
}

/** Nobody answered. */
export class Unreachable extends Error {}

interface Asked {
  readonly method?: 'GET' | 'POST' | 'DELETE';
  readonly token?: string;
}

/** Told of every answer and of every silence. */
export const contact = {
  heard: (): void => undefined,
  silent: (): void => undefined,
};

/** Throws `Refusal` and `Unreachable`. */
export async function ask<Answer>(
  url: string,
  { method = 'GET', token }: Asked = {},
): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(PATIENCE_MS),
      credentials: 'same-origin',
    });
  } catch (error) {
    contact.silent();
    throw new Unreachable((error as Error).message);
  }
  contact.heard();
  if (response.ok) return (await response.json()) as Answer;
  const problem = (await response.json().catch(() => ({}))) as Partial<Problem>;
  throw new Refusal(response.status, problem.detail ?? response.statusText);
}

/** The address of a name in the API. */
export function pathOf(kind: 'links' | 'groups', name: string): string {
  return `/api/v1/${kind}/${encodeURIComponent(name)}`;
}

/** An address with the parameters that are not empty. */
export function withQuery(
  path: string,
  query: Readonly<Record<string, string | number | undefined>>,
): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  const text = new URLSearchParams(pairs.map(([key, value]) => [key, String(value)])).toString();
  return text === '' ? path : `${path}?${text}`;
}

export async function signIn(token: string): Promise<SessionRow> {
  return await ask('/api/v1/session', { method: 'POST', token });
}

export async function signOut(): Promise<void> {
  await ask('/api/v1/session', { method: 'DELETE' });
}
