/**
 * Two ends of a TLS or DTLS connection in one process, with a wire in memory between them on which
 * everything can be seen, changed, lost and repeated.
 * @module
 */
import { type ChannelOutcome, SecureChannel } from '../../src/link/tls/secure-channel.ts';
import { GnutlsCredentials } from '../../src/sys/gnutls-credentials.ts';
import type { SessionOptions } from '../../src/sys/gnutls-session.ts';

/** GnuTLS priorities by the names of versions and ciphers. */
export const SUITES: Readonly<Record<string, string>> = {
  'TLS 1.2 AES-128-GCM': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM',
  'TLS 1.2 AES-256-GCM': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-GCM',
  'TLS 1.2 CHACHA20': 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+CHACHA20-POLY1305',
  'TLS 1.3 AES-128-GCM': 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM',
  'TLS 1.3 CHACHA20': 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305',
  'DTLS 1.2 AES-128-GCM': 'NORMAL:-VERS-ALL:+VERS-DTLS1.2:-CIPHER-ALL:+AES-128-GCM',
  'DTLS 1.2 CHACHA20': 'NORMAL:-VERS-ALL:+VERS-DTLS1.2:-CIPHER-ALL:+CHACHA20-POLY1305',
};

export function isDatagram(priority: string): boolean {
  return priority.includes('DTLS');
}

/** What a session of either end needs, for certificates in PEM. */
export function sessionOptions(
  pem: { ca: Uint8Array; cert: Uint8Array; key: Uint8Array },
  priority: string,
  server: boolean,
): SessionOptions {
  const { ca, cert, key } = pem;
  return {
    server,
    datagram: isDatagram(priority),
    credentials: new GnutlsCredentials(server ? { cert, key } : { ca }),
    priority,
    heartbeat: true,
    verify: !server,
    hostname: server ? undefined : 'localhost',
    retransmitMs: 100,
  };
}

/** An end that keeps what it is told. */
export class Witness implements ChannelOutcome {
  readonly heartbeats: Uint8Array[] = [];
  readonly received: Uint8Array[] = [];
  heardCount = 0;
  secure = false;
  over: { error: Error | undefined } | undefined;
  /** The wire to the other end. */
  to: (bytes: Uint8Array) => void = () => {};
  /** Called after each thing told. */
  changed: () => void = () => {};

  send(bytes: Uint8Array): void {
    this.to(bytes);
  }

  secured(): void {
    this.secure = true;
    this.changed();
  }

  heard(): void {
    this.heardCount += 1;
  }

  data(bytes: Uint8Array): void {
    this.received.push(bytes);
    this.changed();
  }

  heartbeat(content: Uint8Array): void {
    this.heartbeats.push(content);
    this.changed();
  }

  ended(error: Error | undefined): void {
    this.over = { error };
    this.changed();
  }

  get text(): string {
    return Buffer.concat(this.received).toString();
  }
}

/** Both ends, connected and in their handshake. */
export interface SecurePair {
  readonly client: SecureChannel;
  readonly server: SecureChannel;
  readonly atClient: Witness;
  readonly atServer: Witness;
  close(): void;
}

/** Delivers in order and later, as a wire does, what `wire` makes of it. */
export function join(
  from: Witness,
  to: () => { receive(bytes: Uint8Array): void },
  wire: (bytes: Uint8Array) => readonly Uint8Array[] = (bytes) => [bytes],
): void {
  from.to = (bytes) => {
    for (const piece of wire(bytes)) setImmediate(() => to().receive(piece));
  };
}

/** Two channels, joined. */
export function securePair(
  pem: { ca: Uint8Array; cert: Uint8Array; key: Uint8Array },
  priority: string,
): SecurePair {
  const atClient = new Witness();
  const atServer = new Witness();
  const client = new SecureChannel(sessionOptions(pem, priority, false), atClient);
  const server = new SecureChannel(sessionOptions(pem, priority, true), atServer);
  join(atClient, () => server);
  join(atServer, () => client);
  server.start();
  client.start();
  const close = () => {
    client.close();
    server.close();
  };
  return { client, server, atClient, atServer, close };
}

const BOUND_MS = 10_000;

/** Waits until `fits`, looking after each thing that one of the witnesses is told. */
export function until(
  what: string,
  witnesses: readonly Witness[],
  fits: () => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      const seen = witnesses.map(({ over, secure }) =>
        JSON.stringify({ secure, over: over?.error?.message }),
      );
      reject(new Error(`not within ${BOUND_MS} ms: ${what}; ${seen.join(' ')}`));
    }, BOUND_MS);
    const look = () => {
      if (!fits()) return;
      clearTimeout(late);
      for (const witness of witnesses) witness.changed = () => {};
      resolve();
    };
    for (const witness of witnesses) witness.changed = look;
    look();
  });
}
