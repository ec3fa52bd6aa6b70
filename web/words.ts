/**
 * What the daemon tells, in words for somebody who sees it for the first time. Pure: no page, no clock.
 * @module
 */
import type { LinkRow } from '../src/daemon/api/rows.ts';
import type { PathStatus } from '../src/daemon/group-runner.ts';
import type { Risk } from '../src/host/risk.ts';
import type { Evidence, LinkState, Reason } from '../src/keepalive/keepalive.ts';

/** What a state is called: as a label, and in a sentence after the name. */
export const STATES: Readonly<
  Record<LinkState, { readonly label: string; readonly is: string; readonly about: string }>
> = {
  up: { label: 'Up', is: 'is up', about: 'The peer answers.' },
  suspect: {
    label: 'In doubt',
    is: 'is in doubt',
    about: 'A probe has no answer yet; one lost probe proves nothing, so it is asked again.',
  },
  down: { label: 'Dead', is: 'is dead', about: 'So many probes had no answer that it is certain.' },
  drained: {
    label: 'Drained',
    is: 'is drained',
    about: 'A person took it out. It is watched on, and carries no new traffic.',
  },
  unknown: {
    label: 'Not known',
    is: 'is not known yet',
    about: 'Nobody has observed it yet, so nothing is claimed.',
  },
};

/** The worst first. */
export const STATE_ORDER: readonly LinkState[] = ['down', 'suspect', 'unknown', 'drained', 'up'];

const UNITS = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'm'],
  [1_000, 's'],
] as const;
const NO_BREAK = '\u00a0';

/** A length of time, its two largest units: `1 m 30 s`, `250 ms`, `3 d 4 h`. */
export function lengthOf(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))}${NO_BREAK}ms`;
  if (ms < 9_950 && ms % 1_000 >= 50) return `${(ms / 1_000).toFixed(1)}${NO_BREAK}s`;
  let rest = Math.round(ms / 1_000) * 1_000;
  const first = UNITS.findIndex(([unit]) => rest >= unit);
  const parts: string[] = [];
  for (const [unit, sign] of UNITS.slice(first, first + 2)) {
    const value = Math.floor(rest / unit);
    rest -= value * unit;
    if (value > 0) parts.push(`${value}${NO_BREAK}${sign}`);
  }
  return parts.join(NO_BREAK);
}

/** A round trip: three digits are enough. */
export function roundTripOf(ms: number | null): string {
  if (ms === null) return '–';
  if (ms < 1) return `${(ms * 1_000).toFixed(0)}${NO_BREAK}µs`;
  if (ms < 1_000) return `${ms.toPrecision(3)}${NO_BREAK}ms`;
  return `${(ms / 1_000).toPrecision(3)}${NO_BREAK}s`;
}

/** A part of one as percent, never rounded up to a whole that it was not. */
export function percentOf(part: number): string {
  return `${(Math.floor(part * 100_000) / 1_000).toFixed(part < 1 && part > 0.99 ? 3 : 1).replace(/\.0+$/, '')}${NO_BREAK}%`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString()}${NO_BREAK}${count === 1 ? one : many}`;
}

const REASONS: Readonly<Record<Reason, string>> = {
  heard: 'the peer answered',
  'no-answer': 'no answer',
  silent: 'nothing was heard',
  refused: 'the peer refuses the connection: nobody listens there',
  reset: 'the peer reset the connection',
  unreachable: 'there is no way to it',
  closed: 'the peer closed the connection',
  'protocol-error': 'what it answers is not this protocol',
  'not-authentic': 'answers came, and they do not prove who sent them',
  drained: 'a person took it out',
  resumed: 'a person took it back in',
  'not-observed': 'nobody has observed it yet',
  'name-not-found': 'its name leads to no address',
};

/** Why a link is as it is: `no answer to 3 probes, silent for 1 m 30 s`. */
export function reasonOf(reason: Reason, { probes, silentMs, errno }: Evidence): string {
  const parts: string[] = [];
  if (probes !== undefined && probes > 0) parts.push(`no answer to ${plural(probes, 'probe')}`);
  if (reason !== 'no-answer' || parts.length === 0) parts.unshift(REASONS[reason] ?? reason);
  if (silentMs !== undefined) parts.push(`silent for ${lengthOf(silentMs)}`);
  if (errno !== undefined) parts.push(errno);
  return parts.join(', ');
}

/** What a link promises. */
export function promiseOf({ detectsWithinMs, largestSilenceMs }: LinkRow): readonly string[] {
  return [
    `A dead peer is known within ${lengthOf(detectsWithinMs)}.`,
    `The link is never silent for longer than ${lengthOf(largestSilenceMs)}, so nothing on the way forgets it.`,
  ];
}

/** What a link found out about its peer, a sentence each. */
export function learnedOf({ learned = {} }: Pick<LinkRow, 'learned'>): readonly string[] {
  const { idleTimeoutMs, requestsPerConnection, pushedTimeMs, pushedBeatMs, localPort } = learned;
  const all = [
    idleTimeoutMs !== undefined &&
      `The server ends a connection that is idle for ${lengthOf(idleTimeoutMs)}.`,
    requestsPerConnection === 1 && 'The server keeps no connection.',
    requestsPerConnection !== undefined &&
      requestsPerConnection > 1 &&
      `The server ends a connection after ${plural(requestsPerConnection, 'request')}.`,
    pushedTimeMs !== undefined &&
      pushedBeatMs !== undefined &&
      `The server pushes its timing: a ping each ${lengthOf(pushedBeatMs)}, dead after ${lengthOf(pushedTimeMs)}.`,
    localPort !== undefined && `The peer knows us by port ${localPort}.`,
    learned.echoNeedsLogin === true && 'The server answers no ECHO without a login.',
    learned.refusesNegotiate === true && 'The server ends a session that begins with NEGOTIATE.',
  ];
  return all.filter((sentence) => sentence !== false);
}

const CLASSES: Readonly<Record<LinkRow['class'], string>> = {
  answered: 'We ask, the peer answers.',
  'two-sided': 'Both ends send, and both listen.',
  'one-way': 'We send; death shows in the transport.',
};

export function classOf(link: LinkRow): string {
  return CLASSES[link.class];
}

/** `proves` is one sentence, and what is not proved stands after "not that". */
export function proofOf(proves: string): {
  readonly proves: string;
  readonly not: string | undefined;
} {
  const [first = '', ...rest] = proves.split('; not ');
  return { proves: first, not: rest.length === 0 ? undefined : rest.join('; not ') };
}

/** Where a path stands, beside its state. Times are told by the caller. */
export function standingOf(path: PathStatus): string | undefined {
  if (path.silencedBy !== null) return `lies behind ${path.silencedBy}, which is dead`;
  if (path.poor !== null) return `works poorly: it ${path.poor}`;
  if (path.standing === 'held') return 'fell more than once, and is last choice';
  if (path.standing === 'flapping') return 'comes and goes, and is chosen only after calmer ones';
  if (path.drained) return 'taken out by a person or by the file';
  return undefined;
}

/** What a path is, as a state of a link is. */
export function pathState(path: PathStatus): LinkState {
  if (path.drained) return 'drained';
  if (path.state === 'up' && (path.poor !== null || path.standing === 'flapping')) return 'suspect';
  return path.state;
}

/** Names of risks, and what they mean. */
export const RISK_WORDS: Readonly<Record<Risk, string>> = {
  'half-open-suspect': 'The peer does not answer: it may be gone already.',
  'never-detected': 'While idle, a dead peer is never noticed.',
  'slower-than-middlebox': 'A firewall may forget it before the first probe.',
  'in-flight-hole': 'With data on its way, a dead peer is noticed only after many minutes.',
  'one-loss-kills': 'One lost probe ends it.',
};

/** The command that mends a connection, or `undefined` where none does. */
export function commandFor(socket: {
  readonly pid: number | null;
  readonly cookie: string;
  readonly remote: string;
  readonly risks: readonly Risk[];
}): string | undefined {
  const { pid, cookie, remote, risks } = socket;
  if (risks.length === 0) return undefined;
  if (risks[0] === 'half-open-suspect') return `linkhold reset ${cookie}`;
  if (pid !== null) return `linkhold protect --existing --pid ${pid}`;
  return `linkhold protect --existing --port ${remote.slice(remote.lastIndexOf(':') + 1)}`;
}
