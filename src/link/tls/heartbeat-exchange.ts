/**
 * Both sides of RFC 6520's exchange, sans I/O: at most one request of ours in flight, repeated where
 * the transport may lose it (section 3), its answer compared in full; and the peer's requests answered,
 * at a bounded rate. Whatever does not fit is discarded silently and counted.
 *
 * Repetitions come as DTLS has them for flights, each gap twice the one before, and all of them within
 * the time that a request is given: eight tries let one of 3,500 fail by chance alone where 20 % of
 * packets are lost each way.
 * @module
 */
import type { Instant } from '../../time/instant.ts';
import { decodeHeartbeat, encodeHeartbeat, HEARTBEAT_LEAST_PADDING } from '../../wire/heartbeat.ts';

/** How a request is made. */
export interface HeartbeatRequest {
  /** How long an answer is waited for, all repetitions included, in milliseconds. */
  readonly withinMs: number;
  /** How often it is sent, if nobody answers. Over TLS 1, over DTLS 8. */
  readonly tries?: number;
  /** Bytes that make it longer than its answer, to measure a path; at least 16. Default: 16. */
  readonly padding?: number;
}

export type ExchangeOutput =
  | { readonly type: 'send'; readonly message: Uint8Array }
  /** The answer. The round trip is from the first sending, for nobody knows which one it answers. */
  | { readonly type: 'answered'; readonly rttMs: number }
  | { readonly type: 'unanswered' };

/** How often something happened. */
export interface HeartbeatCounts {
  readonly asked: number;
  readonly repeated: number;
  readonly answered: number;
  /** The peer's requests that were answered. */
  readonly peerAnswered: number;
  /** The peer's requests beyond the rate. */
  readonly overRate: number;
  /** Messages that RFC 6520 has discarded. */
  readonly discarded: number;
}

/** Unpredictable, so that nobody answers what he has not read. */
export const HEARTBEAT_PAYLOAD_LENGTH = 16;
/** Answers a second and at once: far more than one request at a time can need, and little work. */
const MOST_ANSWERS_A_SECOND = 500;
export const DTLS_TRIES = 8;

interface InFlight {
  readonly payload: Uint8Array;
  readonly padding: number;
  readonly tries: number;
  readonly askedAt: Instant;
  readonly gapMs: number;
  readonly lateAt: Instant;
  sent: number;
}

export class HeartbeatExchange {
  readonly #random: (length: number) => Uint8Array;
  readonly #mayAnswer: () => boolean;
  readonly #outputs: ExchangeOutput[] = [];
  #inFlight: InFlight | undefined;
  #allowance = MOST_ANSWERS_A_SECOND;
  #allowedAt: Instant = Number.NEGATIVE_INFINITY;
  #counts = { asked: 0, repeated: 0, answered: 0, peerAnswered: 0, overRate: 0, discarded: 0 };

  /** `mayAnswer` says whether there is room for an answer: a peer that reads nothing gets none. */
  constructor(random: (length: number) => Uint8Array, mayAnswer: () => boolean = () => true) {
    this.#random = random;
    this.#mayAnswer = mayAnswer;
  }

  get counts(): HeartbeatCounts {
    return { ...this.#counts };
  }

  /** Whether a request waits for its answer. */
  get inFlight(): boolean {
    return this.#inFlight !== undefined;
  }

  /**
   * Input: somebody wants an answer. Throws `Error` while a request is in flight, and `RangeError` for
   * padding that does not fit.
   */
  handleRequest(request: HeartbeatRequest, now: Instant): void {
    if (this.#inFlight !== undefined) throw new Error('a heartbeat request is in flight already');
    const { withinMs, tries = 1, padding = HEARTBEAT_LEAST_PADDING } = request;
    const inFlight: InFlight = {
      payload: this.#random(HEARTBEAT_PAYLOAD_LENGTH),
      padding,
      tries,
      askedAt: now,
      gapMs: withinMs / (2 ** tries - 1),
      lateAt: now + withinMs,
      sent: 0,
    };
    this.#send(inFlight);
    this.#inFlight = inFlight;
    this.#counts.asked += 1;
  }

  /** Input: nobody waits for the answer any more. */
  handleCancel(): void {
    this.#inFlight = undefined;
  }

  /** Input: the content of an authentic heartbeat record. */
  handleContent(content: Uint8Array, now: Instant): void {
    let message: ReturnType<typeof decodeHeartbeat>;
    try {
      message = decodeHeartbeat(content);
    } catch (error) {
      if ((error as Error).name !== 'DecodeError') throw error;
      this.#counts.discarded += 1;
      return;
    }
    if (message.type === 'request') this.#answer(message.payload, now);
    else this.#takeAnswer(message.payload, now);
  }

  handleTimeout(now: Instant): void {
    const request = this.#inFlight;
    const due = this.pollTimeout();
    if (request === undefined || due === undefined || now < due) return;
    if (now >= request.lateAt) {
      this.#inFlight = undefined;
      this.#outputs.push({ type: 'unanswered' });
      return;
    }
    // What was due meanwhile leaves once, not all at once.
    while (request.sent < request.tries && now >= this.#dueAt(request)) request.sent += 1;
    request.sent -= 1;
    this.#counts.repeated += 1;
    this.#send(request);
  }

  pollOutput(): ExchangeOutput | undefined {
    return this.#outputs.shift();
  }

  pollTimeout(): Instant | undefined {
    const request = this.#inFlight;
    if (request === undefined) return undefined;
    return request.sent < request.tries ? this.#dueAt(request) : request.lateAt;
  }

  /** When the next repetition is due. */
  #dueAt({ askedAt, gapMs, sent }: InFlight): Instant {
    return askedAt + gapMs * (2 ** sent - 1);
  }

  #send(request: InFlight): void {
    request.sent += 1;
    const { payload, padding } = request;
    const message = encodeHeartbeat({ type: 'request', payload }, this.#random(padding));
    this.#outputs.push({ type: 'send', message });
  }

  #takeAnswer(payload: Uint8Array, now: Instant): void {
    const request = this.#inFlight;
    if (request === undefined || !equal(request.payload, payload)) {
      this.#counts.discarded += 1;
      return;
    }
    this.#inFlight = undefined;
    this.#counts.answered += 1;
    this.#outputs.push({ type: 'answered', rttMs: now - request.askedAt });
  }

  #answer(payload: Uint8Array, now: Instant): void {
    if (!this.#mayAnswer() || !this.#withinRate(now)) {
      this.#counts.overRate += 1;
      return;
    }
    this.#counts.peerAnswered += 1;
    const padding = this.#random(HEARTBEAT_LEAST_PADDING);
    this.#outputs.push({
      type: 'send',
      message: encodeHeartbeat({ type: 'response', payload }, padding),
    });
  }

  /** A bucket that a second fills. */
  #withinRate(now: Instant): boolean {
    const gained = ((now - this.#allowedAt) / 1_000) * MOST_ANSWERS_A_SECOND;
    this.#allowance = Math.min(MOST_ANSWERS_A_SECOND, this.#allowance + gained);
    this.#allowedAt = now;
    if (this.#allowance < 1) return false;
    this.#allowance -= 1;
    return true;
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
