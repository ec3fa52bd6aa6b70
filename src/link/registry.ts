/**
 * The kinds of links, by URL scheme. A new kind is one line here.
 * @module
 */
import { resolveTiming, type Timing, type TimingInput } from '../keepalive/timing.ts';
import { UsageError } from '../time/usage-error.ts';
import { BeatLink } from './beat.ts';
import { HttpLink } from './http/http.ts';
import type { Link } from './link.ts';
import { type LinkUrl, parseLinkUrl, placeOfUrl, schemeOf, type UrlRules } from './link-url.ts';
import { NbssLink } from './nbss.ts';
import { createOpenvpnLink, DEFAULT_PORT } from './openvpn/openvpn.ts';
import { SmbLink } from './smb.ts';
import { TcpLink } from './tcp.ts';
import { HeartbeatLink } from './tls/heartbeat-link.ts';

const HTTP = ['method'];
const CERTIFICATES = ['ca', 'servername'];
const HTTPS = [...HTTP, ...CERTIFICATES];

interface LinkKind extends UrlRules {
  readonly make: (name: string, url: LinkUrl, timing: Timing, where: string) => Link;
}

const KINDS: Readonly<Record<string, LinkKind>> = {
  tcp: { parameters: ['mptcp'], make: (...args) => new TcpLink(...args) },
  beat: { parameters: ['key', 'keyFile'], make: (...args) => new BeatLink(...args) },
  http: {
    defaultPort: 80,
    path: true,
    parameters: HTTP,
    make: (...args) => new HttpLink(...args),
  },
  https: {
    defaultPort: 443,
    path: true,
    parameters: HTTPS,
    make: (...args) => new HttpLink(...args),
  },
  'tls+heartbeat': {
    parameters: CERTIFICATES,
    make: (...args) => new HeartbeatLink(...args),
  },
  'dtls+heartbeat': {
    parameters: CERTIFICATES,
    make: (...args) => new HeartbeatLink(...args),
  },
  smb: { defaultPort: 445, parameters: [], make: (...args) => new SmbLink(...args) },
  nbss: { defaultPort: 139, parameters: ['called'], make: (...args) => new NbssLink(...args) },
  openvpn: {
    defaultPort: DEFAULT_PORT,
    hostFrom: 'config',
    parameters: ['config', 'probe', 'proto'],
    make: (...args) => createOpenvpnLink(...args),
  },
};

/** Where a link leads: what a relay connects to unless its path says otherwise. */
export interface LinkTarget {
  readonly host: string;
  readonly port: number;
  readonly source: string | undefined;
}

function readUrl(url: string, where: string): { kind: LinkKind; parsed: LinkUrl } {
  const scheme = schemeOf(url, where);
  const kind = Object.hasOwn(KINDS, scheme) ? KINDS[scheme] : undefined;
  if (kind === undefined) {
    const known = Object.keys(KINDS).join(', ');
    throw new UsageError(
      'bad-url',
      `${where}: no link kind "${scheme}"; this version has ${known}`,
    );
  }
  return { kind, parsed: parseLinkUrl(url, where, kind) };
}

/** The host and port in a link's URL. Throws `UsageError`. */
export function linkTarget(url: string, where: string): LinkTarget {
  const { host, port, source } = readUrl(url, where).parsed;
  if (host === '') throw new UsageError('bad-url', `${where}: the link's URL names no host itself`);
  return { host, port, source };
}

/**
 * A link, not yet started. `where` names the place of the URL and timing in errors. Without a name
 * it is called by its URL. Throws `UsageError`.
 */
export function createLink(
  url: string,
  timing: TimingInput = {},
  where = 'createLink',
  name?: string | undefined,
): Link {
  const { kind, parsed } = readUrl(url, placeOfUrl(where));
  return kind.make(name ?? parsed.redacted, parsed, resolveTiming(timing, where), where);
}
