/**
 * Learns how long a server keeps an idle connection, from its hints and from the closes that were
 * seen, and says how long one may lie idle and still be used. It knows no sockets and no clock.
 *
 * The lower word counts at once: a close that was seen lowers the limit, whatever came before it.
 * The limit rises by evidence alone, when a connection outlives what was learned. So that there can
 * be such evidence, one connection, the *scout*, is left idle beyond its use now and then.
 * @module
 */
import type { Instant } from '../time/instant.ts';

/** A connection is used up to its idle timeout less a second, or a tenth where that is more. */
const MARGIN_MS = 1_000;
const MARGIN_SHARE = 0.1;
/** Below that margin nothing would be left: then only what is used again at once. */
const AT_ONCE_MS = 100;
const AT_ONCE_SHARE = 0.25;

/** Two closes this near to each other in length are the same timeout. */
const SAME_MS = 100;
const SAME_SHARE = 0.1;
/** Closes of differing lengths within this time are a restart, not a timeout. */
const TOGETHER_MS = 250;
/** How many lengths are remembered. */
const MOST_LENGTHS = 8;
/** A length that was seen so often by halves needs as many connections that outlive it. */
const MOST_DOUBLINGS = 6;
/** What was confirmed is looked at anew after this: a server may have become more generous. */
const CONFIRMED_FOR_MS = 600_000;

/** What is known of a server. All in milliseconds. */
export interface IdleKnowledge {
  /** What it says itself, in the last answer. */
  readonly hintMs: number | undefined;
  /** The shortest silence after which it was seen to close, and that nothing has disproved. */
  readonly learnedMs: number | undefined;
  /** The longest silence that a connection was seen to outlive. */
  readonly provenMs: number;
}

/** A silence after which the server was seen to close. */
interface Length {
  idleMs: number;
  seen: number;
  /** Connections that have outlived it since. */
  outlived: number;
  disproved: boolean;
}

/** How far two lengths may lie apart and be the same. */
function toleranceMs(idleMs: number): number {
  return Math.max(SAME_MS, idleMs * SAME_SHARE);
}

/**
 * How long a connection may lie idle and still be used, for a server that closes after
 * `idleTimeoutMs`: a second or a tenth less, and a quarter of it, at most 100 ms, where that is
 * nothing.
 */
export function usableMs(idleTimeoutMs: number): number {
  const margin = Math.max(MARGIN_MS, idleTimeoutMs * MARGIN_SHARE);
  const atOnce = Math.min(AT_ONCE_MS, idleTimeoutMs * AT_ONCE_SHARE);
  return Math.max(idleTimeoutMs - margin, atOnce);
}

export class IdleTimeoutLearner {
  readonly #longestMs: number;
  #hintMs: number | undefined;
  #lengths: Length[] = [];
  #provenMs = 0;
  #confirmedAt: Instant | undefined;
  /** The last close, and what was known before it and its neighbours in time. */
  #lastClose: { readonly idleMs: number; readonly at: Instant } | undefined;
  #before: { readonly lengths: Length[]; readonly provenMs: number } | undefined;
  #togetherUntil: Instant = Number.NEGATIVE_INFINITY;

  /** `longestMs` caps every answer, whatever a server promises. */
  constructor(longestMs: number) {
    if (!(longestMs > 0)) throw new RangeError(`the longest idle must be over 0, not ${longestMs}`);
    this.#longestMs = longestMs;
  }

  /** Input: an answer came, with this hint or with none. */
  handleHint(timeoutMs: number | undefined): void {
    this.#hintMs = timeoutMs;
  }

  /** Input: the server ended a connection that had been idle so long. */
  handleIdleClose(idleMs: number, now: Instant): void {
    if (now < this.#togetherUntil) {
      this.#togetherUntil = now + TOGETHER_MS;
      return;
    }
    const last = this.#lastClose;
    const near = last !== undefined && now - last.at < TOGETHER_MS;
    if (!near) {
      const lengths = this.#lengths.map((length) => ({ ...length }));
      this.#before = { lengths, provenMs: this.#provenMs };
    } else if (Math.abs(last.idleMs - idleMs) > toleranceMs(Math.min(last.idleMs, idleMs))) {
      this.#forgetTogether(now);
      return;
    }
    this.#lastClose = { idleMs, at: now };
    this.#outlive(idleMs);
    this.#provenMs = Math.min(this.#provenMs, idleMs);
    this.#add(idleMs, now);
  }

  /** Input: a connection that had been idle so long turned out to be good, or is being given up. */
  handleSurvival(idleMs: number, now: Instant): void {
    if (idleMs >= this.#longestMs) this.#confirmedAt = now;
    this.#outlive(idleMs);
    this.handleOpen(idleMs);
  }

  /** Input: a connection is still open after so long, and goes on being idle. */
  handleOpen(idleMs: number): void {
    if (idleMs > this.#provenMs) this.#provenMs = idleMs;
  }

  get knowledge(): IdleKnowledge {
    return { hintMs: this.#hintMs, learnedMs: this.#learnedMs(), provenMs: this.#provenMs };
  }

  /**
   * How long a connection may lie idle and still be used. Where neither a hint nor a close is
   * known, a request that can be sent again may try any (`repeatable`); every other one only what
   * is proven.
   */
  limitMs(repeatable: boolean): number {
    const learned = this.#learnedMs() ?? Number.POSITIVE_INFINITY;
    const timeout = Math.min(this.#hintMs ?? Number.POSITIVE_INFINITY, learned);
    if (Number.isFinite(timeout)) return Math.min(usableMs(timeout), this.#longestMs);
    if (repeatable) return this.#longestMs;
    return Math.min(Math.max(usableMs(this.#provenMs), AT_ONCE_MS), this.#longestMs);
  }

  /** A connection that is still open after so long has outlived what was learned. */
  outlivedAfterMs(): number | undefined {
    const learned = this.#learnedMs();
    return learned === undefined ? undefined : learned + toleranceMs(learned) + 1;
  }

  /** Whether it is time to leave a connection idle until the server ends it. */
  wantsScout(now: Instant): boolean {
    return this.#confirmedAt === undefined || now - this.#confirmedAt > CONFIRMED_FOR_MS;
  }

  #learnedMs(): number | undefined {
    let shortest: number | undefined;
    for (const { idleMs, disproved } of this.#lengths) {
      if (!disproved && (shortest === undefined || idleMs < shortest)) shortest = idleMs;
    }
    return shortest;
  }

  /** Connections that lay idle for differing times ended at one moment: nothing to learn. */
  #forgetTogether(now: Instant): void {
    this.#togetherUntil = now + TOGETHER_MS;
    this.#lengths = this.#before?.lengths ?? [];
    this.#provenMs = this.#before?.provenMs ?? 0;
    this.#lastClose = undefined;
  }

  #outlive(idleMs: number): void {
    for (const length of this.#lengths) {
      if (length.disproved || idleMs <= length.idleMs + toleranceMs(length.idleMs)) continue;
      length.outlived += 1;
      const needed = 2 ** Math.min(length.seen - 1, MOST_DOUBLINGS);
      if (length.outlived >= needed) length.disproved = true;
    }
  }

  #add(idleMs: number, now: Instant): void {
    const known = this.#lengths.find(
      (length) => Math.abs(length.idleMs - idleMs) <= toleranceMs(length.idleMs),
    );
    if (known === undefined) {
      this.#confirmedAt = undefined;
      this.#lengths.push({ idleMs, seen: 1, outlived: 0, disproved: false });
      if (this.#lengths.length > MOST_LENGTHS) this.#lengths.shift();
      return;
    }
    known.seen += 1;
    known.outlived = 0;
    known.disproved = false;
    // The shortest counts, and what comes later may lengthen it by and by.
    known.idleMs += (idleMs - known.idleMs) * (idleMs < known.idleMs ? 1 : 0.25);
    this.#confirmedAt = now;
  }
}
