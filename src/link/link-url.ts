/**
 * The URL that names a link, taken apart and checked: scheme, host, port and the parameters its
 * kind knows. Secrets in it are for the kind's eyes only; `redacted` is what others may see.
 * @module
 */
import { isIP } from 'node:net';
import { FLAGS, placeOf, UsageError } from '../time/usage-error.ts';

/** A link's URL, checked. */
export interface LinkUrl {
  readonly scheme: string;
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** What is asked for, percent-encoded and with its slash; only where the kind has paths. */
  readonly path?: string;
  /** Local address to bind, from `?source=`. */
  readonly source: string | undefined;
  readonly parameters: ReadonlyMap<string, string>;
  /** The URL with its secrets replaced by `***`. */
  readonly redacted: string;
}

/** What a kind allows in its URLs. */
export interface UrlRules {
  readonly defaultPort?: number;
  /** Whether its URLs may name a path. Default: no. */
  readonly path?: boolean;
  /** A parameter that may name the host in its stead: `host` is empty then. Default: none. */
  readonly hostFrom?: string;
  readonly parameters: readonly string[];
}

const SECRETS = ['key'];
const LONGEST = 2_048;

/** `host:port` with brackets where IPv6 needs them. */
export function hostPort(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Where a URL stands: the argument of a command, or `links.db.url`. */
export function placeOfUrl(where: string): string {
  return where === FLAGS ? 'URL' : placeOf(where, 'url');
}

/** A URL that may be wrong anywhere, fit for an error: one line, without what may be a secret. */
function shownOf(text: string): string {
  const plain = text.replace(/\p{C}|[^\S ]/gu, '�').replace(/\/\/[^/?#]*@/, '//***@');
  return plain
    .replace(/[?#].*$/u, '?***')
    .replace(/(key\w*=)[^&\s]*/gi, '$1***')
    .slice(0, 200);
}

function fail(where: string, text: string): never {
  throw new UsageError('bad-url', `${where}: ${text}`);
}

/** The scheme of a URL, before anything else of it is believed. Throws `UsageError` (`bad-url`). */
export function schemeOf(text: string, where: string): string {
  if (text.length > LONGEST) fail(where, `the URL is longer than ${LONGEST} characters`);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1];
  if (scheme !== undefined) return scheme.toLowerCase();
  return fail(where, `"${shownOf(text)}" is no link URL; write tcp://host:port`);
}

/** Takes a link's URL apart by the rules of its kind. Throws `UsageError` (`bad-url`). */
export function parseLinkUrl(text: string, where: string, rules: UrlRules): LinkUrl {
  const scheme = schemeOf(text, where);
  const shown = shownOf(text);
  let url: URL;
  let host: string;
  try {
    url = new URL(text);
    host = decodeURIComponent(url.hostname.replace(/^\[(.*)\]$/, '$1'));
  } catch {
    return fail(where, `"${shown}" is no valid URL; write ${scheme}://host:port`);
  }
  if (host === '' && !(rules.hostFrom !== undefined && url.searchParams.has(rules.hostFrom))) {
    fail(where, `"${shown}" names no host; write ${scheme}://host:port`);
  }
  if (/[\s\p{C}/?#@%]/u.test(host)) fail(where, `"${shownOf(host)}" is no host name`);
  const port = url.port === '' ? rules.defaultPort : Number(url.port);
  if (port === undefined)
    fail(where, `"${shown}" names no port; write ${scheme}://${url.hostname}:port`);
  if (port === 0) fail(where, `"${shown}": port 0 cannot be connected to`);
  if (url.username !== '' || url.password !== '') fail(where, `"${shown}": no login goes in there`);
  if (rules.path === true && url.hash !== '') fail(where, `"${shown}": no fragment goes in there`);
  if (rules.path !== true && ((url.pathname !== '' && url.pathname !== '/') || url.hash !== '')) {
    fail(where, `"${shown}": a ${scheme} link has no path; write ${scheme}://host:port`);
  }
  const allowed = ['source', ...rules.parameters];
  const parameters = new Map<string, string>();
  // A key in base64 has a plus that stands for itself; only forms mean a space by it.
  for (const [name, value] of new URLSearchParams(url.search.replaceAll('+', '%2B'))) {
    if (!allowed.includes(name)) {
      fail(
        where,
        `"${shown}": no parameter "${shownOf(name)}"; ${scheme} knows ${allowed.join(', ')}`,
      );
    }
    parameters.set(name, value);
  }
  const source = parameters.get('source');
  if (source !== undefined && isIP(source) === 0) {
    fail(where, `source=${shownOf(source)} is no IP address of this machine`);
  }
  for (const name of SECRETS) if (url.searchParams.has(name)) url.searchParams.set(name, '***');
  const path = rules.path === true ? { path: url.pathname } : {};
  // A URL of these schemes has a slash that nobody wrote.
  const redacted = url.toString().replace(/^(https?:\/\/[^/?#]+)\/$/, '$1');
  return { scheme, host, port, source, parameters, redacted, ...path };
}
