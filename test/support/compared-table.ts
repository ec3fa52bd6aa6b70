/**
 * `node test/support/compared-table.ts`: prints the table of docs/keepalive-compared.md, every kind of
 * link in a row. What the code knows comes from the code: class, bounds, what it proves, the lengths of
 * codecs. What servers do by themselves, and how long an answer of HTTP is, was measured.
 * @module
 */
import { createLink } from '../../src/link/registry.ts';
import { formatDuration } from '../../src/time/duration.ts';
import { BEAT_LENGTH } from '../../src/wire/beat.ts';
import { encodeNbssKeepalive, encodeNbssMessage } from '../../src/wire/nbss.ts';
import { encodeEcho } from '../../src/wire/smb2.ts';

/** Headers of Ethernet, IPv4 and TCP with timestamps, or UDP: what a frame has besides its payload. */
const TCP_FRAME = 66;
const UDP_FRAME = 42;

interface Row {
  readonly url: string;
  /** Payload of a probe or beat, and of its answer, in bytes. */
  readonly bytes: string;
  readonly frame: number;
  readonly answeredBy: string;
  /** What the other side does unless it is told otherwise. */
  readonly others: string;
}

const beat = `${BEAT_LENGTH} / ${BEAT_LENGTH}`;
const echo = encodeNbssMessage(encodeEcho({ messageId: 1n, credits: 1 })).length;

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
];

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
  const rows = ROWS.map(({ url, bytes, frame, answeredBy, others }) => {
    const link = createLink(url);
    const { kind, proves, detectsWithinMs, largestSilenceMs } = link.status();
    link.close();
    const page = kind === 'https' ? 'http' : kind;
    return [
      `[${kind}](protocols/${page}.md)`,
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
  return [HEAD, HEAD.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

if (import.meta.main) process.stdout.write(`${comparedTable()}\n`);
