/**
 * `node test/support/compared-table.ts`: prints the table of docs/keepalive-compared.md, every kind of
 * link in a row. What the code knows comes from the code: class, bounds, what it proves, the lengths of
 * codecs. What servers do by themselves, and how long an answer of HTTP is, was measured.
 * @module
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createLink } from '../../src/link/registry.ts';
import { HEARTBEAT_PAYLOAD_LENGTH } from '../../src/link/tls/heartbeat-exchange.ts';
import { RecordProtection } from '../../src/link/tls/record-protection.ts';
import { formatDuration } from '../../src/time/duration.ts';
import { BEAT_LENGTH } from '../../src/wire/beat.ts';
import { encodeHeartbeat, HEARTBEAT_LEAST_PADDING } from '../../src/wire/heartbeat.ts';
import { encodeNbssKeepalive, encodeNbssMessage } from '../../src/wire/nbss.ts';
import { encodeDataHead, TAG_LENGTH } from '../../src/wire/openvpn-packet.ts';
import { encodePing } from '../../src/wire/openvpn-payload.ts';
import { encodeEcho } from '../../src/wire/smb2.ts';

/** Headers of Ethernet, IPv4 and TCP with timestamps, or UDP: what a frame has besides its payload. */
const TCP_FRAME = 66;
const UDP_FRAME = 42;

interface Row {
  readonly url: string;
  /** What tells it from another row of its kind. */
  readonly variant?: string;
  /** Payload of a probe or beat, and of its answer, in bytes. */
  readonly bytes: string;
  readonly frame: number;
  readonly answeredBy: string;
  /** What the other side does unless it is told otherwise. */
  readonly others: string;
}

const beat = `${BEAT_LENGTH} / ${BEAT_LENGTH}`;
const echo = encodeNbssMessage(encodeEcho({ messageId: 1n, credits: 1 })).length;

const heartbeat = encodeHeartbeat(
  { type: 'request', payload: new Uint8Array(HEARTBEAT_PAYLOAD_LENGTH) },
  new Uint8Array(HEARTBEAT_LEAST_PADDING),
).length;

/** A heartbeat in a record, there and back. */
function sealed(version: 'TLSv1.3' | 'DTLSv1.2'): string {
  const nobody = {
    traffic: () => ({ key: new Uint8Array(32), iv: new Uint8Array(12) }),
    sequence: () => 0n,
    continueAt: () => undefined,
  };
  const length = heartbeat + new RecordProtection(version, 'aes-256-gcm', nobody).overhead;
  return `${length} / ${length}`;
}

const ping = encodeDataHead(0, 0, 1).length + TAG_LENGTH + encodePing().length;

const ROWS: readonly Row[] = [
  {
    url: 'tcp://host:5432',
    bytes: '0 / 0',
    frame: TCP_FRAME,
    answeredBy: "the peer's kernel",
    others: 'off; turned on 2h/75s/9 (Linux), 2h/1s/10 (Windows), 2h/75s/8 (macOS), 15s/15s/9 (Go)',
  },
  {
    url: 'beat://host:7200?key=k',
    bytes: beat,
    frame: UDP_FRAME,
    answeredBy: "the process of `linkhold respond` or of a daemon's `respond:`",
    others: '–',
  },
  {
    url: 'http://host',
    bytes: '92 / 103 to 226',
    frame: TCP_FRAME,
    answeredBy: "the server's process",
    others: 'an idle connection is ended after 75 s (nginx), 5 s (Apache), 6 s (Node)',
  },
  {
    url: 'https://host',
    bytes: '114 / 125 to 248',
    frame: TCP_FRAME,
    answeredBy: "the server's process",
    others: 'the same',
  },
  {
    url: 'smb://host',
    bytes: `${echo} / ${echo}`,
    frame: TCP_FRAME,
    answeredBy: "the server's process",
    others: 'an ECHO each 5 s (smbclient) or 60 s (cifs.ko); smbd sends nothing on SMB 2',
  },
  {
    url: 'nbss://host',
    bytes: `${encodeNbssKeepalive().length} / –`,
    frame: TCP_FRAME,
    answeredBy: "nobody; the peer's kernel acknowledges",
    others: 'one each 300 s (smbd, on SMB 1 only)',
  },
  {
    url: 'tls+heartbeat://host:4433',
    bytes: sealed('TLSv1.3'),
    frame: TCP_FRAME,
    answeredBy: "the peer's TLS stack, in its process",
    others: 'off; gnutls-serv and gnutls-cli answer with `--heartbeat`',
  },
  {
    url: 'dtls+heartbeat://host:4433',
    bytes: sealed('DTLSv1.2'),
    frame: UDP_FRAME,
    answeredBy: "the peer's DTLS stack, in its process",
    others: 'the same',
  },
  {
    url: 'openvpn://host?config=FILE',
    bytes: `${ping} / –`,
    frame: UDP_FRAME,
    answeredBy: 'nobody; the peer sends its own',
    others: 'off; usually `keepalive 10 60`, and then the server itself waits for 120 s',
  },
  {
    url: 'openvpn://host?probe=handshake',
    variant: ' with `probe=handshake`',
    bytes: '14 / 26',
    frame: UDP_FRAME,
    answeredBy: "the server's process",
    others: '–',
  },
];

/** The options of a peer, for a link that is only looked at. */
const OPENVPN_FILE = `cipher AES-256-CBC
<secret>
-----BEGIN OpenVPN Static key V1-----
${'00'.repeat(256)}
-----END OpenVPN Static key V1-----
</secret>
`;

/** Kinds that share a page with another, or are called otherwise there. */
const PAGES: Readonly<Record<string, string>> = {
  https: 'http',
  'tls+heartbeat': 'tls-heartbeat',
  'dtls+heartbeat': 'tls-heartbeat',
};

const HEAD = [
  'kind',
  'class',
  'answered by',
  'up proves',
  'bytes',
  'frame adds',
  'dead peer known within',
  'silent at most',
  'others by themselves',
];

/** The table in Markdown, a line a kind. */
export function comparedTable(): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-table-'));
  const file = path.join(directory, 'client.ovpn');
  writeFileSync(file, OPENVPN_FILE);
  const rows = ROWS.map(({ url, variant = '', bytes, frame, answeredBy, others }) => {
    const link = createLink(url.replace('FILE', file));
    const { kind, proves, detectsWithinMs, largestSilenceMs } = link.status();
    link.close();
    const page = PAGES[kind] ?? kind;
    return [
      `[${kind}](protocols/${page}.md)${variant}`,
      link.facts.class,
      answeredBy,
      proves,
      bytes,
      `${frame}`,
      formatDuration(detectsWithinMs),
      formatDuration(largestSilenceMs),
      others,
    ];
  });
  rmSync(directory, { recursive: true });
  return [HEAD, HEAD.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

if (import.meta.main) process.stdout.write(`${comparedTable()}\n`);
