/**
 * What becomes of a connection whose peer dies: when its kernel notices, what is risky about that,
 * and one line of advice. Pure: options and state in, judgement out.
 * @module
 */
import {
  idleBoundMs,
  inFlightBoundMs,
  oneLossKills,
  type TcpLimits,
} from '../keepalive/tcp-limits.ts';
import { leastUserTimeoutMs, profiles } from '../keepalive/timing.ts';
import { formatDuration } from '../time/duration.ts';

/** From the worst to the least. */
export const RISKS = [
  'half-open-suspect',
  'never-detected',
  'slower-than-middlebox',
  'in-flight-hole',
  'one-loss-kills',
] as const;
export type Risk = (typeof RISKS)[number];

export interface RiskInput extends TcpLimits {
  /** SO_KEEPALIVE. */
  readonly enabled: boolean;
  /** net.ipv4.tcp_retries2 of its network namespace; 15 by default. */
  readonly retries2: number;
  /** Probes and retransmissions in a row without an answer, and how long nothing was heard. */
  readonly unanswered?: Unanswered | undefined;
}

export interface Unanswered {
  readonly probes: number;
  readonly retransmits: number;
  readonly silentMs: number;
  readonly rtoMs: number;
}

/** When a dead peer is known, in the worst case. */
export interface Detection {
  /** While nothing is sent; `null`: never. */
  readonly idleMs: number | null;
  /** While sent data is unacknowledged. */
  readonly inFlightMs: number;
}

export interface Judgement {
  readonly detection: Detection;
  readonly risks: readonly Risk[];
  /** One line, or `null` where nothing is to be mended. */
  readonly advice: string | null;
}

/** The shortest idle timeout that is common on the way: 350 s (load balancers of AWS). */
export const MIDDLEBOX_IDLE_MS = 350_000;
const DOUBTFUL_RETRANSMITS = 2;
/** RFC 9293 MUST-29: one lost probe proves nothing. */
const LEAST_PROBES = 2;

/** Judges one connection. */
export function judge(input: RiskInput): Judgement {
  const detection = {
    idleMs: input.enabled ? idleBoundMs(input) : null,
    inFlightMs: inFlightBoundMs(input.userTimeoutMs, input.retries2),
  };
  const risks = RISKS.filter((risk) => IS_AT_RISK[risk](input));
  return {
    detection,
    risks,
    advice: risks.length === 0 ? null : adviceFor(input, risks).join('; '),
  };
}

/** Where a judgement stands from the worst, 0, to none at risk. */
export function severityOf(judgement: Judgement | undefined): number {
  const [worst] = judgement?.risks ?? [];
  return worst === undefined ? RISKS.length : RISKS.indexOf(worst);
}

const IS_AT_RISK: Readonly<Record<Risk, (input: RiskInput) => boolean>> = {
  'half-open-suspect': ({ unanswered, enabled, timeMs }) => {
    if (unanswered === undefined) return false;
    const { probes, retransmits, silentMs, rtoMs } = unanswered;
    if (retransmits >= DOUBTFUL_RETRANSMITS) return true;
    return probes > 0 && silentMs > (enabled ? timeMs : 0) + rtoMs;
  },
  'never-detected': ({ enabled }) => !enabled,
  'slower-than-middlebox': ({ enabled, timeMs }) => enabled && timeMs > MIDDLEBOX_IDLE_MS,
  'in-flight-hole': ({ userTimeoutMs }) => userTimeoutMs === 0,
  'one-loss-kills': (input) => input.enabled && oneLossKills(input),
};

/** What mends the risks, in their order. Whoever does all of it has none of them left. */
function adviceFor(input: RiskInput, risks: readonly Risk[]): string[] {
  const { enabled, userTimeoutMs } = input;
  const slow = risks.includes('slower-than-middlebox');
  const fewProbes = enabled && !slow && userTimeoutMs === 0 && oneLossKills(input);
  // What it will have by then: the user timeout must suit that.
  const kept = { ...input, probes: Math.max(input.probes, LEAST_PROBES) };
  const { timeMs, intervalMs, probes } = enabled && !slow ? kept : profiles.default;
  const limits = `${formatDuration(timeMs)}/${formatDuration(intervalMs)}/${probes}`;
  const least = leastUserTimeoutMs({ timeMs, intervalMs });
  const bound = formatDuration(Math.max(timeMs + intervalMs * probes, least));
  const short = userTimeoutMs > 0 && oneLossKills({ timeMs, intervalMs, probes, userTimeoutMs });
  return [
    risks.includes('half-open-suspect') ? 'nobody answers; if the peer is gone, reset it' : [],
    enabled ? [] : `turn keepalive on (${limits})`,
    slow ? `probe sooner than middleboxes forget (${limits})` : [],
    userTimeoutMs === 0 ? `set a user timeout of ${bound}` : [],
    fewProbes ? `allow at least ${LEAST_PROBES} probes` : [],
    short ? `raise the user timeout to ${bound}, so that one lost probe is survived` : [],
  ].flat();
}
