/**
 * A message in words, as plain text of printable lines. Each channel escapes it for its own markup.
 * @module
 */
import type { Evidence } from '../../keepalive/keepalive.ts';
import { formatDuration } from '../../time/duration.ts';
import type { Message, Notice } from './message.ts';

const MOST_LINES = 20;
const MOST_NAMES = 10;
const LONGEST_LINE = 400;

/** `db-a is down`, or `3 down, 1 up again: db-a, db-b, db-c and 1 more`. */
export function titleOf({ notices }: Message): string {
  const [only] = notices;
  if (notices.length === 1 && only !== undefined) return line(headOf(only));
  const counts = new Map<string, number>();
  for (const notice of notices) {
    const what = WORDS[notice.kind];
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  const parts = [...counts].map(([what, count]) => `${count} ${what}`);
  const names = [...new Set(notices.map(({ name }) => name))];
  return line(`${parts.join(', ')}: ${listOf(names.slice(0, 3), names.length)}`);
}

/** A line for each fact, and for what lies behind it; so many at most. */
export function linesOf({ notices, afterQuiet }: Message): string[] {
  const lines = afterQuiet ? ['After a quiet time:'] : [];
  for (const notice of notices.slice(0, MOST_LINES)) {
    lines.push(sentenceOf(notice));
    const { behind } = notice;
    if (behind === undefined) continue;
    lines.push(line(`behind it: ${listOf(behind.names.slice(0, MOST_NAMES), behind.count)}`));
  }
  if (notices.length > MOST_LINES) lines.push(`and ${notices.length - MOST_LINES} more`);
  return lines;
}

/** The gravest of what it says. */
export function gravityOf({ notices }: Message): 'bad' | 'warning' | 'good' {
  if (notices.some(({ kind }) => kind === 'down')) return 'bad';
  const good = ['back', 'gone', 'test'];
  return notices.every(({ kind }) => good.includes(kind)) ? 'good' : 'warning';
}

/** One fact as a sentence with its evidence. */
export function sentenceOf(notice: Notice): string {
  return line(sentence(notice));
}

function sentence(notice: Notice): string {
  const { kind, since, reason, evidence, why, ended } = notice;
  const head = `${notice.of} ${headOf(notice)}`;
  if (kind === 'test') return 'This is a test message; nothing has happened.';
  if (kind === 'switch') return `${head} since ${wall(since)}: ${why ?? ''}`;
  if (kind === 'gone') return `${head}; it was told as in trouble`;
  if (kind === 'back') {
    const began = Object.values(ended ?? {}).toSorted()[0] ?? since;
    const lastedMs = Date.parse(since) - Date.parse(began);
    const lasted = lastedMs >= 0 ? `, after ${formatDuration(lastedMs)}` : '';
    return `${head} since ${wall(since)}${lasted}`;
  }
  const because = [reason ?? '', describeEvidence(evidence ?? {})].filter((part) => part !== '');
  return `${head} since ${wall(since)}${because.length > 0 ? `: ${because.join(', ')}` : ''}`;
}

/** At most so many characters, and never half of one. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  return `${text.slice(0, most - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

const WORDS: Readonly<Record<Notice['kind'], string>> = {
  down: 'down',
  suspect: 'in doubt',
  flapping: 'flapping',
  switch: 'switched',
  back: 'up again',
  gone: 'watched no more',
  test: 'test',
};

function headOf({ kind, of, name, reminder, from, to }: Notice): string {
  if (kind === 'test') return 'Linkhold: test message';
  if (kind === 'switch') return `${name}: ${from} → ${to}`;
  const state = kind === 'down' && of === 'group' ? 'down, no path is up' : WORDS[kind];
  return `${name} is ${reminder ? 'still ' : ''}${state}`;
}

function describeEvidence({ probes, silentMs, errno }: Evidence): string {
  const parts: string[] = [];
  if (probes) parts.push(`${probes} ${probes === 1 ? 'probe' : 'probes'} unanswered`);
  if (silentMs !== undefined) parts.push(`silent for ${formatDuration(silentMs)}`);
  if (errno !== undefined) parts.push(errno);
  return parts.join(', ');
}

function listOf(names: readonly string[], count: number): string {
  const more = count - names.length;
  return more > 0 ? `${names.join(', ')} and ${more} more` : names.join(', ');
}

/** `2026-11-24 12:00:03 UTC` */
function wall(iso: string): string {
  return `${iso.slice(0, 19).replace('T', ' ')} UTC`;
}

/** One line without anything that steers a terminal, a protocol or the direction of writing. */
function line(text: string): string {
  return cut(text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' '), LONGEST_LINE);
}
