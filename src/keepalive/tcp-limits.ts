/**
 * The limits after which Linux gives a silent TCP peer up: what can be asked for, and the arithmetic
 * of its keepalive timer, its user timeout and its retransmissions (net/ipv4/tcp_timer.c; tcp(7); RFC
 * 9293 section 3.8.3).
 * @module
 */
import { formatDuration } from '../time/duration.ts';
import { placeOf, UsageError } from '../time/usage-error.ts';
import { detectionBoundMs, leastUserTimeoutMs, type Timing } from './timing.ts';

/** The options that decide, in milliseconds. */
export interface TcpLimits {
  readonly timeMs: number;
  readonly intervalMs: number;
  readonly probes: number;
  /** 0: none. */
  readonly userTimeoutMs: number;
}

/** TCP_RTO_MIN and TCP_RTO_MAX: the kernel's model counts from the former, doubling to the latter. */
const SHORTEST_RTO_MS = 200;
const LONGEST_RTO_MS = 120_000;
/** net.ipv4.tcp_retries2 unless somebody changed it. */
const USUAL_RETRIES2 = 15;
/** TCP_KEEPIDLE and TCP_KEEPINTVL count whole seconds up to this. */
const MOST_SECONDS = 32_767;
/** TCP_USER_TIMEOUT is a signed 32-bit number of milliseconds: 24 days. */
const LONGEST_USER_TIMEOUT_MS = 2 ** 31 - 1;

/** The kernel's options for a timing. Throws `UsageError` (`bad-timing`) for what TCP cannot count. */
export function tcpLimitsOf(timing: Timing, where: string): TcpLimits {
  for (const key of ['time', 'interval'] as const) {
    const seconds = timing[`${key}Ms`] / 1_000;
    if (Number.isInteger(seconds) && seconds >= 1 && seconds <= MOST_SECONDS) continue;
    const asked = formatDuration(timing[`${key}Ms`]);
    const text = `TCP counts whole seconds from 1s to ${MOST_SECONDS}s, not ${asked}`;
    throw new UsageError('bad-timing', `${placeOf(where, key)}: ${text}`);
  }
  if (timing.beatMs !== undefined) {
    const text = 'TCP has no send clock; a shorter `time` holds the link';
    throw new UsageError('bad-timing', `${placeOf(where, 'beat')}: ${text}`);
  }
  const { timeMs, intervalMs, probes } = timing;
  if ((timing.userTimeoutMs ?? 0) > LONGEST_USER_TIMEOUT_MS) {
    const text = 'the kernel counts to 596h at most; 0s leaves it to the kernel';
    throw new UsageError('bad-timing', `${placeOf(where, 'userTimeout')}: ${text}`);
  }
  const userTimeoutMs = timing.userTimeoutMs ?? defaultUserTimeoutMs(timing);
  return { timeMs, intervalMs, probes, userTimeoutMs };
}

/**
 * The detection bound, or somewhat more where a late kernel would let one lost probe kill. None where
 * the kernel by itself is faster than that.
 */
function defaultUserTimeoutMs(timing: Timing): number {
  const wanted = Math.max(detectionBoundMs(timing), leastUserTimeoutMs(timing));
  return wanted > inFlightBoundMs(0, USUAL_RETRIES2) ? 0 : wanted;
}

/**
 * An idle dead peer is known so long after the last segment heard, where keepalive is on. A user
 * timeout overrides the count of probes, and is looked at when a probe is due.
 */
export function idleBoundMs({ timeMs, intervalMs, probes, userTimeoutMs }: TcpLimits): number {
  if (userTimeoutMs === 0) return timeMs + intervalMs * probes;
  return timeMs + intervalMs * Math.max(1, Math.ceil((userTimeoutMs - timeMs) / intervalMs));
}

/**
 * With data in flight keepalive is silent. The user timeout ends the connection, or else `retries2`
 * (net.ipv4.tcp_retries2) retransmissions as the kernel's model counts them: 924.6 s for 15. It
 * looks when one is due, which may be two minutes later.
 */
export function inFlightBoundMs(userTimeoutMs: number, retries2: number): number {
  if (userTimeoutMs > 0) return userTimeoutMs;
  let total = 0;
  for (let count = 0; count <= retries2; count += 1) {
    total += Math.min(SHORTEST_RTO_MS * 2 ** count, LONGEST_RTO_MS);
  }
  return total;
}

/** Whether a single lost probe would end the connection, against RFC 9293 MUST-29. */
export function oneLossKills(limits: TcpLimits): boolean {
  const { probes, userTimeoutMs } = limits;
  return userTimeoutMs === 0 ? probes < 2 : userTimeoutMs < leastUserTimeoutMs(limits);
}
