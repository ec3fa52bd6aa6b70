/**
 * One link's health from a stream of results: hysteresis on both sides. The theory:
 *
 *     unknown --1 good--> up --`fall` bad--> down --`rise` good--> up
 *     unknown --`fall` bad--> down
 *
 * One that is up may be poor besides; see `quality.ts`. It does not know which paths it speaks for,
 * nor where results come from; see `path-health.ts`.
 * @module
 */
import type { Instant } from '../time/instant.ts';
import type { PathOptions } from './path-config.ts';
import { QualityWindow } from './quality.ts';

/** What is known of a link or path; `unknown` only until the first verdict. */
export const PATH_STATES = ['unknown', 'up', 'down'] as const;
/** See `PATH_STATES`. */
export type PathState = (typeof PATH_STATES)[number];

/** The options that concern one link alone. */
export type LinkHealthOptions = Pick<PathOptions, 'fall' | 'rise' | 'doubtIntervalMs' | 'quality'>;

/** Health of one link. */
export class LinkHealth {
  readonly name: string;
  readonly #options: LinkHealthOptions;
  readonly #quality: QualityWindow | undefined;
  #state: PathState = 'unknown';
  #goods = 0;
  #bads = 0;
  #lastGoodAt: Instant | undefined;
  #lastBadReason = '';
  #askAt: Instant | undefined;

  constructor(name: string, options: LinkHealthOptions) {
    this.name = name;
    this.#options = options;
    if (options.quality !== undefined) this.#quality = new QualityWindow(options.quality);
  }

  /** The verdict. */
  get state(): PathState {
    return this.#state;
  }

  /** When the last good result came, counted or not. */
  get lastGoodAt(): Instant | undefined {
    return this.#lastGoodAt;
  }

  /** What the last bad result said, however long ago. */
  get lastBadReason(): string {
    return this.#lastBadReason;
  }

  /** What is poor about a link that is up, or `undefined`. */
  get poor(): string | undefined {
    return this.#quality?.poor;
  }

  /** Whether some results in a row, but not enough of them, speak against the present state. */
  get inDoubt(): boolean {
    return this.#state === 'down' ? this.#goods > 0 : this.#bads > 0;
  }

  /** When doubt asks for the next probe, or `undefined` without doubt. */
  get askAt(): Instant | undefined {
    return this.#askAt;
  }

  /** Whether its last result was good and not before `since`. */
  isVerified(since: Instant): boolean {
    return this.#state === 'up' && this.#bads === 0 && (this.#lastGoodAt ?? -Infinity) >= since;
  }

  /** Input: one result; `reason` is remembered if it is bad. */
  handleResult(good: boolean, reason: string, now: Instant): void {
    if (good) this.#handleGood(now);
    else this.#handleBad(reason);
    this.handleProbe(now);
  }

  /** Input: the fate of one probe, for quality alone: its round trip, or `undefined` if lost. */
  handleSample(rttMs: number | undefined, now: Instant): void {
    if (this.#state !== 'up') return;
    this.#quality?.handleSample(rttMs);
    if (this.poor !== undefined) this.#askAt ??= now + this.#options.doubtIntervalMs;
  }

  /** Input: it is being probed, or has just been heard of: no need to ask for a while. */
  handleProbe(now: Instant): void {
    const asks = this.inDoubt || this.poor !== undefined;
    this.#askAt = asks ? now + this.#options.doubtIntervalMs : undefined;
  }

  #handleGood(now: Instant): void {
    this.#bads = 0;
    this.#goods += 1;
    this.#lastGoodAt = now;
    // Nobody should wait at start: the first verdict needs one good result only.
    const enough = this.#state === 'unknown' ? 1 : this.#options.rise;
    if (this.#state !== 'up' && this.#goods >= enough) this.#state = 'up';
  }

  #handleBad(reason: string): void {
    this.#goods = 0;
    this.#bads += 1;
    this.#lastBadReason = reason;
    if (this.#state === 'down' || this.#bads < this.#options.fall) return;
    this.#state = 'down';
    // The losses that took it down would hold it back long after it is mended.
    this.#quality?.handleBreak();
  }
}
