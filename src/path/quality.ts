/**
 * Whether a link that answers answers well enough: loss and mean latency over its last probes, with
 * a dead band between the limit that makes it poor and the one that makes it good again. It says
 * nothing until the window is full. It does not know whether the link is up.
 * @module
 */
import { formatDuration } from '../time/duration.ts';
import { UsageError } from '../time/usage-error.ts';

/** The limits of a group's quality. Each pair is off unless its first is given. */
export interface QualityOptions {
  /**
   * Probes judged together, default 20. Too small and one lost probe is a verdict; too large and
   * trouble is noticed, and forgiven, that many probes late.
   */
  readonly window?: number | undefined;
  /**
   * Loss in percent that makes a link poor. Too small and a single lost probe moves traffic (the
   * least loss a window can see is 100 / `window`); too large and users suffer first.
   */
  readonly lossBad?: number | undefined;
  /**
   * Loss in percent at or below which it is good again, default half of `lossBad`. Close to
   * `lossBad` and traffic wavers; 0 and a path with a little loss never comes back.
   */
  readonly lossGood?: number | undefined;
  /** Mean latency in ms that makes a link poor. Too small and a busy hour moves traffic. */
  readonly latencyBadMs?: number | undefined;
  /** Mean latency in ms at or below which it is good again, default half of `latencyBadMs`. */
  readonly latencyGoodMs?: number | undefined;
}

/** The limits settled; `Infinity` where there is none. */
export interface QualityLimits {
  readonly window: number;
  readonly lossBad: number;
  readonly lossGood: number;
  readonly latencyBadMs: number;
  readonly latencyGoodMs: number;
}

const DEFAULT_WINDOW = 20;
const LARGEST_WINDOW = 1_000;

function refuse(key: string, text: string): never {
  throw new UsageError('bad-path-option', `quality.${key}: ${text}`);
}

/** A pair of limits with something between them. */
function band(options: QualityOptions, badKey: 'lossBad' | 'latencyBadMs'): [number, number] {
  const goodKey = badKey === 'lossBad' ? 'lossGood' : 'latencyGoodMs';
  const bad = options[badKey];
  const good = options[goodKey];
  if (bad === undefined) {
    if (good === undefined) return [Infinity, Infinity];
    refuse(goodKey, `there is no ${badKey} to return from; give both or leave it out`);
  }
  if (!(bad > 0) || !Number.isFinite(bad)) refuse(badKey, `${bad} is not above 0; leave it out`);
  const settled = good ?? bad / 2;
  if (!(settled >= 0 && settled < bad)) {
    refuse(goodKey, `${settled} is not from 0 to below ${badKey}, ${bad}; leave it out for half`);
  }
  return [bad, settled];
}

/** Throws `UsageError` (`bad-path-option`). */
export function readQuality(options: QualityOptions): QualityLimits {
  const { window = DEFAULT_WINDOW } = options;
  if (!Number.isSafeInteger(window) || window < 2 || window > LARGEST_WINDOW) {
    const hint = `leave it out for ${DEFAULT_WINDOW}`;
    refuse('window', `${window} is not a whole number from 2 to ${LARGEST_WINDOW}; ${hint}`);
  }
  const [lossBad, lossGood] = band(options, 'lossBad');
  const [latencyBadMs, latencyGoodMs] = band(options, 'latencyBadMs');
  if (lossBad === Infinity && latencyBadMs === Infinity) {
    refuse('window', 'nothing is limited; give lossBad or latencyBad, or leave quality out');
  }
  if (lossBad !== Infinity && lossBad > 100) {
    refuse('lossBad', `${lossBad} % is never reached; use at most 100`);
  }
  return { window, lossBad, lossGood, latencyBadMs, latencyGoodMs };
}

/** The last probes of one link. */
export class QualityWindow {
  readonly #limits: QualityLimits;
  /** Round trips, `undefined` for a lost probe; a ring once it is full. */
  #samples: (number | undefined)[] = [];
  #next = 0;
  #poor: string | undefined;

  constructor(limits: QualityLimits) {
    this.#limits = limits;
  }

  /** What is poor about it, for people, or `undefined`. */
  get poor(): string | undefined {
    return this.#poor;
  }

  /** Input: the fate of one probe. */
  handleSample(rttMs: number | undefined): void {
    const { window, lossBad, lossGood, latencyBadMs, latencyGoodMs } = this.#limits;
    this.#samples[this.#next] = rttMs;
    this.#next = (this.#next + 1) % window;
    if (this.#samples.length < window) return;
    const answered = this.#samples.filter((sample) => sample !== undefined);
    const loss = (100 * (window - answered.length)) / window;
    const latencyMs = answered.reduce((sum, sample) => sum + sample, 0) / (answered.length || 1);
    const lossLimit = this.#poor === undefined ? lossBad : lossGood;
    const latencyLimit = this.#poor === undefined ? latencyBadMs : latencyGoodMs;
    // Entering, the limit itself is too much; leaving, it is good enough.
    const over = (value: number, limit: number): boolean =>
      this.#poor === undefined ? value >= limit : value > limit;
    if (over(loss, lossLimit)) this.#poor = `loses ${Math.round(loss)} % of its probes`;
    else if (over(latencyMs, latencyLimit)) this.#poor = `answers in ${formatDuration(latencyMs)}`;
    else this.#poor = undefined;
  }

  /** Input: what was seen says nothing about what comes. */
  handleBreak(): void {
    this.#samples = [];
    this.#next = 0;
    this.#poor = undefined;
  }
}
