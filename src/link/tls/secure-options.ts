/**
 * What a program says of a TLS or DTLS connection, by the names that Node's `tls` has for it, checked.
 * @module
 */
import { isIP } from 'node:net';
import { resolveTiming, type Timing, type TimingInput } from '../../keepalive/timing.ts';
import { GnutlsCredentials, systemCredentials } from '../../sys/gnutls-credentials.ts';
import { readPriority, type SessionOptions } from '../../sys/gnutls-session.ts';
import { TlsError } from '../../sys/tls-error.ts';
import { UsageError } from '../../time/usage-error.ts';

/** What clients and servers have in common. */
export interface SecureOptions {
  /** Certificates to trust, in PEM. Default, for clients: those that this machine trusts. */
  readonly ca?: string | Uint8Array | undefined;
  /** Our certificate with what leads to its authority, in PEM. Servers need one. */
  readonly cert?: string | Uint8Array | undefined;
  /** The key of `cert`, in PEM. Default: it is in `cert`. */
  readonly key?: string | Uint8Array | undefined;
  /** Protocols to offer or to choose from, the best first (ALPN, RFC 7301). Default: none. */
  readonly alpnProtocols?: readonly string[] | undefined;
  /**
   * Heartbeats (RFC 6520): offered, the peer's answered, and ours sent by this timing if the peer
   * allows them; a peer that answers none ends the connection. Default: `true`, which is 60s/10s/3.
   * `false`: none of it.
   */
  readonly heartbeat?: boolean | TimingInput | undefined;
  /** A GnuTLS priority string. Only AES-GCM and ChaCha20-Poly1305 can be held. Default: those. */
  readonly priority?: string | undefined;
}

/** What a client may say. */
export interface SecureClientOptions extends SecureOptions {
  /** Default: `localhost`. */
  readonly host?: string | undefined;
  readonly port: number;
  /** Local address to send from. */
  readonly localAddress?: string | undefined;
  /** The name that the certificate must have. Default: `host`. */
  readonly servername?: string | undefined;
  /** Whether the certificate must be good. Default: `true`; without it anybody can be the peer. */
  readonly rejectUnauthorized?: boolean | undefined;
}

/** What a server may say. */
export interface SecureServerOptions extends SecureOptions {
  /** Whether clients must show a certificate that `ca` vouches for. Default: `false`. */
  readonly requestCert?: boolean | undefined;
  /** Connections at once; more are turned away. Default: 10,000. */
  readonly maxConnections?: number | undefined;
}

/** Options that were checked: what a session needs, and how it is kept. */
export interface Checked {
  readonly session: Omit<SessionOptions, 'datagram'>;
  /** The timing of heartbeats, or of the default profile where there are none. */
  readonly timing: Timing;
}

export const MOST_CONNECTIONS = 10_000;

function pem(text: string | Uint8Array | undefined): Uint8Array | undefined {
  return typeof text === 'string' ? Buffer.from(text) : text;
}

/** Turns what GnuTLS says of an option into a `UsageError`. */
function read<Result>(where: string, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof TlsError)) throw error;
    throw new UsageError('bad-options', `${where}: ${error.message}`);
  }
}

function credentialsOf(options: SecureOptions, where: string, system: boolean): GnutlsCredentials {
  const { ca, cert, key } = options;
  if (ca === undefined && cert === undefined) return systemCredentials();
  const pems = { ca: pem(ca), cert: pem(cert), key: pem(key) };
  return read(where, () => new GnutlsCredentials({ ...pems, system: system && ca === undefined }));
}

function common({ alpnProtocols, heartbeat = true, priority }: SecureOptions, where: string) {
  const timing = resolveTiming(typeof heartbeat === 'object' ? heartbeat : {}, where);
  if (priority !== undefined) read(where, () => readPriority(priority));
  const session = { alpn: alpnProtocols, heartbeat: heartbeat !== false, priority };
  return { timing, session };
}

/** Throws `UsageError`, and `SystemError` without GnuTLS. */
export function checkClient(options: SecureClientOptions, where: string): Checked {
  const { host = 'localhost', servername = host, rejectUnauthorized = true } = options;
  const { timing, session } = common(options, where);
  return {
    timing,
    session: {
      ...session,
      server: false,
      credentials: credentialsOf(options, where, rejectUnauthorized),
      verify: rejectUnauthorized,
      hostname: servername,
      serverName: isIP(servername) === 0 ? servername : undefined,
    },
  };
}

/** Throws `UsageError`, and `SystemError` without GnuTLS. */
export function checkServer(options: SecureServerOptions, where: string): Checked {
  const { requestCert = false, ca, cert } = options;
  if (cert === undefined) throw new UsageError('no-certificate', `${where}: a server needs a cert`);
  if (requestCert && ca === undefined) {
    const text = 'requestCert needs the `ca` that vouches for clients';
    throw new UsageError('no-ca', `${where}: ${text}`);
  }
  const { timing, session } = common(options, where);
  const credentials = credentialsOf(options, where, false);
  return { timing, session: { ...session, server: true, credentials, verify: requestCert } };
}
