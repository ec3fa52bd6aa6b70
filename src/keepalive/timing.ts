/**
 * The timing of a keepalive, its named profiles and the arithmetic of its promises. One vocabulary
 * for every kind of link: time, interval, probes, user timeout, beat.
 * @module
 */
import { formatDuration, parseDuration } from '../time/duration.ts';
import { placeOf, UsageError } from '../time/usage-error.ts';

/** A complete timing, in milliseconds. */
export interface Timing {
  /** Quiet before the first probe. Too small: traffic and battery; too large: bindings expire. */
  readonly timeMs: number;
  /** Gap between unanswered probes. Too small: a short outage kills; too large: slow detection. */
  readonly intervalMs: number;
  /** Unanswered probes before the peer is dead; at least 2 (RFC 9293 MUST-29). */
  readonly probes: number;
  /**
   * How long sent data may stay unacknowledged (RFC 5482, TCP_USER_TIMEOUT); 0 leaves it to the
   * kernel, about 15 minutes. Undefined: the detection bound. Too small kills slow readers.
   */
  readonly userTimeoutMs?: number;
  /** Send clock: after this much of sending nothing, send a beat. Undefined: no beats. */
  readonly beatMs?: number;
}

const HOUR = 3_600_000;

/** Name of a profile. */
export type ProfileName =
  | 'rfc9293'
  | 'linux'
  | 'windows'
  | 'windows-legacy'
  | 'macos'
  | 'typical'
  | 'default';

/** A timing that somebody else chose, and where that is written. */
export interface Profile extends Timing {
  /** A document and the place in it, for a person who wants to look. */
  readonly source: string;
}

/** Named timings. What is no system's default says so. */
export const profiles: Readonly<Record<ProfileName, Profile>> = {
  rfc9293: {
    timeMs: 2 * HOUR,
    intervalMs: 75_000,
    probes: 9,
    source: 'RFC 9293 section 3.8.4 (MUST-28: no less than 2 hours); 75 s and 9 are those of Linux',
  },
  linux: {
    timeMs: 2 * HOUR,
    intervalMs: 75_000,
    probes: 9,
    source: 'tcp(7): tcp_keepalive_time, tcp_keepalive_intvl, tcp_keepalive_probes',
  },
  windows: {
    timeMs: 2 * HOUR,
    intervalMs: 1_000,
    probes: 10,
    source: 'Microsoft, SIO_KEEPALIVE_VALS: 2 hours, 1 second, 10 probes since Windows Vista',
  },
  'windows-legacy': {
    timeMs: 2 * HOUR,
    intervalMs: 1_000,
    probes: 5,
    source:
      'Microsoft, KeepAliveTime, KeepAliveInterval, TcpMaxDataRetransmissions of Windows 2003',
  },
  macos: {
    timeMs: 2 * HOUR,
    intervalMs: 75_000,
    probes: 8,
    source: 'xnu, bsd/netinet/tcp_timer.h: TCPTV_KEEP_IDLE, TCPTV_KEEPINTVL, TCPTV_KEEPCNT',
  },
  typical: {
    timeMs: 60_000,
    intervalMs: 60_000,
    probes: 3,
    source:
      'Wikipedia, Keepalive: typically every 45 or 60 seconds, dropped after 3 missed answers',
  },
  default: {
    timeMs: 60_000,
    intervalMs: 10_000,
    probes: 3,
    source: "Linkhold's own: 60 s is a quarter of the 4 minutes of Azure's load balancer",
  },
};

/** Timing as people write it in flags, config files and library options. All keys optional. */
export interface TimingInput {
  /** Starting point; every other key overrides it. Default `default`: 60s/10s/3. */
  readonly profile?: ProfileName | undefined;
  /** Quiet before the first probe, for example `45s`. */
  readonly time?: string | undefined;
  /** Gap between unanswered probes, for example `15s`. */
  readonly interval?: string | undefined;
  /** Unanswered probes before the peer is dead, at least 2. */
  readonly probes?: number | undefined;
  /** Limit for unacknowledged data, for example `90s`; `0s` leaves it to the kernel. */
  readonly userTimeout?: string | undefined;
  /** Send a beat after this much of sending nothing. */
  readonly beat?: string | undefined;
}

/** Probes a person may ask for; TCP_KEEPCNT's range is the narrowest of the systems. */
const MOST_PROBES = 127;

/**
 * The timing a person asked for. `where` names the place in errors, for example `links.db`.
 * Throws `UsageError` (`bad-profile`, `bad-duration`, `bad-timing`).
 */
export function resolveTiming(input: TimingInput, where: string): Timing {
  const name = input.profile ?? 'default';
  if (!Object.hasOwn(profiles, name)) {
    const known = Object.keys(profiles).join(', ');
    throw new UsageError(
      'bad-profile',
      `${placeOf(where, 'profile')}: no profile "${name}"; choose one of ${known}`,
    );
  }
  const base: Timing = profiles[name];
  const read = (key: 'time' | 'interval' | 'userTimeout' | 'beat'): number | undefined => {
    const text = input[key];
    return text === undefined ? undefined : parseDuration(text, placeOf(where, key));
  };
  const userTimeoutMs = read('userTimeout');
  const beatMs = read('beat');
  const timing: Timing = {
    timeMs: read('time') ?? base.timeMs,
    intervalMs: read('interval') ?? base.intervalMs,
    probes: input.probes ?? base.probes,
    ...(userTimeoutMs === undefined ? {} : { userTimeoutMs }),
    ...(beatMs === undefined ? {} : { beatMs }),
  };
  refuseImpossible(timing, where);
  return timing;
}

function refuseImpossible(timing: Timing, where: string): void {
  const refuse = (key: string, text: string) => {
    throw new UsageError('bad-timing', `${placeOf(where, key)}: ${text}`);
  };
  const { timeMs, intervalMs, probes, userTimeoutMs, beatMs } = timing;
  if (timeMs <= 0) refuse('time', 'must be longer than 0; for example 60s');
  if (intervalMs <= 0) refuse('interval', 'must be longer than 0; for example 10s');
  if (beatMs !== undefined && beatMs <= 0) refuse('beat', 'must be longer than 0; for example 20s');
  if (!Number.isInteger(probes) || probes < 2 || probes > MOST_PROBES) {
    refuse(
      'probes',
      `${probes} is not a whole number from 2 to ${MOST_PROBES}; one lost probe proves nothing (RFC 9293)`,
    );
  }
  const least = leastUserTimeoutMs(timing);
  if (userTimeoutMs !== undefined && userTimeoutMs > 0 && userTimeoutMs < least) {
    refuse(
      'userTimeout',
      `${formatDuration(userTimeoutMs)} would let one lost probe kill; choose at least ${formatDuration(least)}, or 0s to leave it to the kernel`,
    );
  }
}

/** Linux's timer wheel fires up to 8 slots of 63 late, and its lateness counts as silence. */
const LATEST = 71 / 63;

/**
 * The shortest user timeout with which the first lost probe does not end a TCP connection (RFC 9293
 * MUST-29), in whole seconds: it must outlast the second probe's time also where the kernel is late.
 */
export function leastUserTimeoutMs({
  timeMs,
  intervalMs,
}: Pick<Timing, 'timeMs' | 'intervalMs'>): number {
  return (Math.floor(((timeMs + intervalMs) * LATEST) / 1_000) + 1) * 1_000;
}

/** The bound stated to the user: a dead idle peer is known after time + interval × probes. */
export function detectionBoundMs(timing: Timing): number {
  return timing.timeMs + timing.intervalMs * timing.probes;
}

/** The longest silence that the link's own traffic ever leaves on the path while it is up. */
export function largestSilenceMs(timing: Timing): number {
  return Math.min(timing.timeMs, timing.beatMs ?? Number.POSITIVE_INFINITY);
}
