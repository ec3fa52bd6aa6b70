/**
 * One HTTP request to a receiver of messages, by Node's own fetch: bounded in time and in what is
 * read, never led to another host, and without its address in any error.
 * @module
 */
import { UsageError } from '../../time/usage-error.ts';
import { DeliveryError, quote } from './channel.ts';
import type { HttpEntry } from './notify-schema.ts';
import { readSecret } from './secret.ts';

/** Where requests go. */
export interface Target {
  readonly url: URL;
  readonly headers: Headers;
  /** What must not be seen in logs. */
  readonly secrets: readonly string[];
}

export interface HttpRequest {
  readonly method: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const MOST_ANSWER = 16 * 1_024;
const MOST_REDIRECTS = 3;
const LONGEST_PATIENCE_MS = 300_000;
/** The message is at fault: Bad Request, Content Too Large, Unsupported Media Type, Unprocessable. */
const REFUSED = [400, 413, 415, 422];

/** Reads where an entry leads. Throws `UsageError`. */
export function targetOf(entry: HttpEntry, where: string, defaultUrl?: string): Target {
  const text = readSecret(entry, 'url', where) ?? defaultUrl;
  const place = entry.urlFile === undefined ? `${where}.url` : `${where}.urlFile`;
  if (text === undefined) {
    throw new UsageError('bad-config', `${where}: give url, or urlFile with a file that holds it`);
  }
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new UsageError('bad-config', `${place}: not a URL; write https://HOST/PATH`);
  }
  const headers = new Headers({ 'user-agent': 'linkhold' });
  // Short pieces such as `api` are no secrets and would make answers unreadable.
  const pieces = [text, url.pathname + url.search, ...url.pathname.split('/'), url.search];
  const secrets = pieces.filter((piece) => piece.length >= 8);
  const token = readSecret(entry, 'token', where);
  if (url.username !== '' || url.password !== '') {
    const login = decoded(`${url.username}:${url.password}`);
    if (login === undefined) {
      throw new UsageError('bad-config', `${place}: write a % in a login as %25`);
    }
    headers.set('authorization', `Basic ${Buffer.from(login).toString('base64')}`);
    secrets.push(url.password, login);
    url.username = '';
    url.password = '';
  }
  if (token !== undefined) {
    if (!/^[\x21-\x7e]+$/.test(token)) {
      throw new UsageError('bad-config', `${where}.token: a token is one printable ASCII word`);
    }
    headers.set('authorization', `Bearer ${token}`);
    secrets.push(token);
  }
  return { url, headers, secrets };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Resolves with the answer in one line, if it is one of success. Rejects with `DeliveryError`. */
export async function post(
  { url, headers, secrets }: Target,
  request: HttpRequest,
  signal: AbortSignal,
): Promise<string> {
  const all = new Headers(headers);
  for (const [name, value] of Object.entries(request.headers ?? {})) all.set(name, value);
  let target = url;
  for (let redirects = 0; ; redirects += 1) {
    const { method, body } = request;
    const response = await fetch(target, {
      ...{ method, body, headers: all, signal },
      redirect: 'manual',
    }).catch((error: Error) => {
      throw new DeliveryError(`${url.host}: ${describeFailure(error, signal, secrets)}`);
    });
    const answer = quote(await readSome(response), secrets);
    const { status } = response;
    const said = `${url.host} answered ${status}${answer === '' ? '' : `: ${answer}`}`;
    if (response.ok) return said;
    if (status < 300 || status > 399) {
      throw new DeliveryError(said, REFUSED.includes(status), patienceOf(response));
    }
    const next = URL.parse(response.headers.get('location') ?? '', target);
    const same = next?.origin === url.origin && (status === 307 || status === 308);
    if (next === null || !same || redirects === MOST_REDIRECTS) {
      const text = 'a redirect is not followed to another host, nor by another method';
      throw new DeliveryError(`${url.host} answered ${status}; ${text}`);
    }
    target = next;
  }
}

function describeFailure(error: Error, signal: AbortSignal, secrets: readonly string[]): string {
  if (signal.aborted) return 'no answer in time';
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  return cause?.code ?? quote(cause?.message ?? 'no answer', secrets);
}

async function readSome(response: Response): Promise<string> {
  if (response.body === null) return '';
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of response.body) {
      chunks.push(chunk);
      length += chunk.byteLength;
      if (length >= MOST_ANSWER) break;
    }
  } catch {
    // The status is what counts; an answer that breaks off takes nothing from it.
  }
  return Buffer.concat(chunks).toString('utf8', 0, MOST_ANSWER);
}

/** `Retry-After`, in seconds or as a date. */
function patienceOf(response: Response): number | undefined {
  const text = response.headers.get('retry-after');
  if (text === null) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return ms > 0 ? Math.min(ms, LONGEST_PATIENCE_MS) : undefined;
}
