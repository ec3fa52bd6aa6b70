/**
 * The one machine. Every keepalive protocol is the same two clocks: a *receive clock* (silence →
 * probes → dead, RFC 9293 section 3.8.4) and a *send clock* (nothing sent → a beat). It is sans-I/O:
 * inputs are `handleX(…, now)`, effects come out of `pollOutput()`, and `pollTimeout()` says when to
 * call `handleTimeout`. Early and repeated calls do nothing. It knows no bytes, sockets or clocks.
 *
 * A driver must deliver what has already arrived before it calls `handleTimeout`.
 *
 *     unknown ──heard──▶ up ──first probe unanswered──▶ suspect ──last one unanswered──▶ down
 *        └──────────────▲ ▲────────heard────────────────┘                                 │
 *                         └───────────────────────heard───────────────────────────────────┘
 * @module
 */
import { earliest, type Instant } from '../time/instant.ts';

/** State of a link. `drained` is said by a person, never by the machine. */
export const LINK_STATES = ['unknown', 'up', 'suspect', 'down', 'drained'] as const;
export type LinkState = (typeof LINK_STATES)[number];

/** Why a link changed its state. */
export const REASONS = [
  'heard',
  'no-answer',
  'silent',
  'refused',
  'reset',
  'unreachable',
  'closed',
  'protocol-error',
  'not-authentic',
  'drained',
  'resumed',
  'not-observed',
  'name-not-found',
] as const;
export type Reason = (typeof REASONS)[number];

/** What a state change rests on. */
export interface Evidence {
  /** Probes sent in a row that nobody answered. */
  readonly probes?: number;
  /** How long nothing was heard while we were listening, in milliseconds. */
  readonly silentMs?: number;
  /** The error the kernel reported, for example `ETIMEDOUT`. */
  readonly errno?: string;
}

/** How the two clocks run. Leave out `timeMs` for a one-way link, `beatMs` for no beats. */
export interface KeepaliveConfig {
  /** Receive clock: quiet before the first probe, in milliseconds. Undefined: the clock is off. */
  readonly timeMs?: number;
  /** Gap between unanswered probes, in milliseconds. */
  readonly intervalMs: number;
  /** Unanswered probes before the peer is dead; 0: silence for `timeMs` alone is death. */
  readonly probes: number;
  /** Send clock: after this much of sending nothing, a beat. Undefined: the clock is off. */
  readonly beatMs?: number;
  /**
   * A timeout handled later than this was missed by us, and is not held against the peer. Default:
   * half an interval (a quarter of `timeMs` without probes). Too small: a busy machine never
   * reaches a verdict; too large: our own sleep counts as the peer's silence.
   */
  readonly slackMs?: number;
  /** Uniform in [0, 1): shortens waits to 75–100 %, so that many links spread out. Default: none. */
  readonly random?: () => number;
}

export type KeepaliveOutput =
  | { readonly type: 'probe'; readonly sequence: number }
  | { readonly type: 'beat' }
  | { readonly type: 'reply'; readonly rttMs: number }
  | {
      readonly type: 'state';
      readonly from: LinkState;
      readonly to: LinkState;
      readonly reason: Reason;
      readonly evidence: Evidence;
    };

const SHORTEST_JITTER = 0.75;

export class Keepalive {
  readonly #config: KeepaliveConfig;
  readonly #slackMs: number;
  readonly #outputs: KeepaliveOutput[] = [];
  /** When each of the last probes was sent, by its sequence modulo `probes`. */
  readonly #sentAt: Instant[] = [];
  /** The oldest probe whose answer still counts; all up to `#sequence` do. */
  #oldestPending = 1;
  #state: LinkState = 'unknown';
  #sequence = 0;
  #unanswered = 0;
  #silentSince: Instant;
  #doubt: { readonly reason: Reason; readonly evidence: Evidence } | undefined;
  #receiveDeadline: Instant | undefined;
  #sendDeadline: Instant | undefined;

  /** Throws `RangeError` for `probes` = 1: one lost probe is no proof (RFC 9293 MUST-29). */
  constructor(config: KeepaliveConfig, now: Instant) {
    const { probes, intervalMs, timeMs } = config;
    if (!Number.isInteger(probes) || probes < 0 || probes === 1) {
      throw new RangeError(`probes must be 0 or at least 2, got ${probes}`);
    }
    for (const ms of [intervalMs, timeMs ?? 1, config.beatMs ?? 1]) {
      if (!(ms > 0)) throw new RangeError(`time, interval and beat must be over 0 ms, got ${ms}`);
    }
    this.#config = config;
    this.#slackMs = config.slackMs ?? (probes === 0 ? (timeMs ?? 0) / 4 : intervalMs / 2);
    this.#silentSince = now;
    this.#restartReceiveClock(now);
    this.#restartSendClock(now);
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Input: something authentic arrived from the peer. It is alive, whatever we thought. */
  handleReceived(now: Instant): void {
    this.#unanswered = 0;
    this.#doubt = undefined;
    this.#silentSince = now;
    this.#restartReceiveClock(now);
    this.#enter('up', 'heard', {});
  }

  /**
   * Input: the authentic answer to probe `sequence` arrived. An answer that was already taken, or
   * to a probe too old to count, does nothing: a duplicate or a replay is no sign of life.
   */
  handleAnswer(sequence: number, now: Instant): void {
    if (!(sequence >= this.#oldestPending && sequence <= this.#sequence)) return;
    this.#oldestPending = sequence + 1;
    const sentAt = this.#sentAt[sequence % this.#config.probes] ?? now;
    this.#outputs.push({ type: 'reply', rttMs: now - sentAt });
    this.handleReceived(now);
  }

  /** Input: we sent something other than a probe or beat of this machine. */
  handleSent(now: Instant): void {
    this.#restartSendClock(now);
  }

  /** Input: somebody wants evidence now. Does nothing while a probe is in flight. */
  handleProbeRequest(now: Instant): void {
    if (this.#unanswered === 0 && this.#config.probes > 0) this.#sendProbe(now, now);
  }

  /**
   * Input: we were asleep (a suspended machine) and saw nothing of what happened. The silence is
   * not counted: the link is probed afresh, or given a whole `timeMs` again.
   */
  handleWake(now: Instant): void {
    this.#silentSince = now;
    this.#unanswered = 0;
    if (this.#receiveDeadline === undefined) return;
    if (this.#config.probes === 0) this.#restartReceiveClock(now);
    else this.#sendProbe(now, now);
  }

  /**
   * Input: the transport hints that the peer is gone (an ICMP error), which anybody can forge. A
   * link never heard of is down, one that was up is suspect until its probes decide.
   */
  handleDoubt(reason: Reason, evidence: Evidence): void {
    this.#doubt = { reason, evidence };
    if (this.#state === 'unknown') this.#enter('down', reason, evidence);
    if (this.#state === 'up') this.#enter('suspect', reason, evidence);
  }

  /**
   * Input: the transport proved that the connection is over (RST, timeout, FIN) or cannot be made.
   * The next probe, which is to make it anew, is due in one interval.
   */
  handleFailure(reason: Reason, evidence: Evidence, now: Instant): void {
    this.#enter('down', reason, evidence);
    this.#unanswered = 0;
    if (this.#config.probes > 0)
      this.#receiveDeadline = now + this.#jittered(this.#config.intervalMs);
  }

  /** Input: the clock reached `now`. */
  handleTimeout(now: Instant): void {
    if (this.#sendDeadline !== undefined && now >= this.#sendDeadline) {
      this.#outputs.push({ type: 'beat' });
      this.#restartSendClock(now);
    }
    const due = this.#receiveDeadline;
    if (due === undefined || now < due) return;
    if (now - due > this.#slackMs) this.handleWake(now);
    else if (this.#unanswered < this.#config.probes) this.#sendProbe(due, now);
    else this.#declareDead(now);
  }

  /** Output: the next effect to perform, or `undefined` when drained. */
  pollOutput(): KeepaliveOutput | undefined {
    return this.#outputs.shift();
  }

  /** Output: when to call `handleTimeout` next, or `undefined` for never. */
  pollTimeout(): Instant | undefined {
    return earliest(this.#receiveDeadline, this.#sendDeadline);
  }

  /** A probe due at `due` leaves at `now`; the difference is ours and must not add up. */
  #sendProbe(due: Instant, now: Instant): void {
    if (this.#unanswered > 0 && this.#state === 'up') {
      this.#enter('suspect', 'no-answer', this.#silence(now));
    }
    const { probes, intervalMs } = this.#config;
    this.#sequence += 1;
    const counted = this.#unanswered === 0 ? 1 : probes;
    this.#oldestPending = Math.max(this.#oldestPending, this.#sequence - counted + 1);
    this.#sentAt[this.#sequence % probes] = now;
    this.#unanswered = Math.min(this.#unanswered + 1, probes);
    this.#outputs.push({ type: 'probe', sequence: this.#sequence });
    this.#restartSendClock(now);
    // The last probe gets its whole interval from when it really left; the others may be hurried.
    const last = this.#unanswered === probes;
    this.#receiveDeadline = last ? now + intervalMs : due + this.#jittered(intervalMs);
  }

  /** Dead is an output, not an end: a peer that can be probed is probed on, to see it return. */
  #declareDead(now: Instant): void {
    const reason = this.#config.probes === 0 ? 'silent' : 'no-answer';
    const evidence = { ...this.#doubt?.evidence, ...this.#silence(now) };
    this.#enter('down', this.#doubt?.reason ?? reason, evidence);
    if (this.#config.probes === 0) this.#receiveDeadline = undefined;
    else this.#sendProbe(now, now);
  }

  #silence(now: Instant): Evidence {
    return { probes: this.#unanswered, silentMs: Math.round(now - this.#silentSince) };
  }

  #restartReceiveClock(now: Instant): void {
    const { timeMs, probes } = this.#config;
    if (timeMs === undefined) this.#receiveDeadline = undefined;
    // Without probes the silence itself kills, and hurrying it would break the promise.
    else this.#receiveDeadline = now + (probes === 0 ? timeMs : this.#jittered(timeMs));
  }

  #restartSendClock(now: Instant): void {
    const { beatMs } = this.#config;
    if (beatMs !== undefined) this.#sendDeadline = now + this.#jittered(beatMs);
  }

  #jittered(ms: number): number {
    const { random } = this.#config;
    return random === undefined ? ms : ms * (SHORTEST_JITTER + (1 - SHORTEST_JITTER) * random());
  }

  #enter(to: LinkState, reason: Reason, evidence: Evidence): void {
    const from = this.#state;
    if (from === to) return;
    this.#state = to;
    this.#outputs.push({ type: 'state', from, to, reason, evidence });
  }
}
