/**
 * One path's health from that of its links: up while at least `atLeast` of them are, poor while
 * fewer of them are good. A path that goes down or becomes poor pays for it (`damping.ts`), unless
 * what it lies behind is dead: then the fault is not its own. It does not know the other paths.
 * @module
 */
import { earliest, type Instant } from '../time/instant.ts';
import { Damping } from './damping.ts';
import type { LinkHealth, PathState } from './link-health.ts';
import type { PathOptions } from './path-config.ts';

/** Health of one path. */
export class PathHealth {
  readonly links: readonly LinkHealth[];
  readonly damping: Damping;
  readonly #atLeast: number;
  readonly #uplink: LinkHealth | undefined;
  #state: PathState = 'unknown';
  #since: Instant;
  #poor: string | undefined;
  #wellSince: Instant | undefined;
  #badReason = '';
  #fallen = false;

  constructor(
    links: readonly LinkHealth[],
    atLeast: number,
    uplink: LinkHealth | undefined,
    options: Pick<PathOptions, 'holdDownMs'>,
    now: Instant,
  ) {
    this.links = links;
    this.#atLeast = atLeast;
    this.#uplink = uplink;
    this.damping = new Damping(options.holdDownMs);
    this.#since = now;
  }

  /** The verdict. */
  get state(): PathState {
    return this.#state;
  }

  /** When the present state began. */
  get since(): Instant {
    return this.#since;
  }

  /** What is poor about a path that is up, or `undefined`. */
  get poor(): string | undefined {
    return this.#poor;
  }

  /** Whether it ever was down or poor. */
  get fallen(): boolean {
    return this.#fallen;
  }

  /** What took it down. */
  get badReason(): string {
    const uplink = this.silencedBy;
    return uplink === undefined ? this.#badReason : `it lies behind ${uplink}, which is down`;
  }

  /** The dead uplink that explains why it is down, or `undefined`. */
  get silencedBy(): string | undefined {
    if (this.#state !== 'down' || this.#uplink?.state !== 'down') return undefined;
    return this.#uplink.name;
  }

  /** Whether any of its links is in doubt. */
  get inDoubt(): boolean {
    return this.links.some((link) => link.inDoubt);
  }

  /** When doubt asks for the next probe of one of its links. */
  get askAt(): Instant | undefined {
    let next: Instant | undefined;
    for (const link of this.links) next = earliest(next, link.askAt);
    return next;
  }

  /** When it was or will be up, good, out of hold-down and calm; `undefined` unless up and good. */
  get freeSince(): Instant | undefined {
    if (this.#wellSince === undefined) return undefined;
    return Math.max(this.#wellSince, this.damping.freeAt);
  }

  /** Whether enough of its links had a good result since then, and nothing bad after it. */
  isVerified(since: Instant): boolean {
    return this.#state === 'up' && this.#has((link) => link.isVerified(since));
  }

  /** Whether enough of its links are up and without doubt, however long ago they were heard. */
  get isPlausible(): boolean {
    return this.#has((link) => link.state === 'up' && !link.inDoubt);
  }

  /** Input: one of its links, or its uplink, had a result or a sample. */
  handleChange(link: LinkHealth, now: Instant): void {
    if (link === this.#uplink) this.#handleUplink(link);
    if (this.links.includes(link)) this.#judge(link, now);
  }

  #judge(link: LinkHealth, now: Instant): void {
    const state = this.#verdict();
    if (state === 'down' && this.#state !== 'down') this.#badReason = link.lastBadReason;
    const poor = state === 'up' ? this.#flaw() : undefined;
    const wasWell = this.#wellSince !== undefined;
    if (state !== this.#state) this.#since = now;
    this.#state = state;
    this.#poor = poor;
    if (state === 'up' && poor === undefined) this.#wellSince ??= now;
    else this.#wellSince = undefined;
    if (this.#wellSince !== undefined || !wasWell) return;
    this.#fallen = true;
    this.damping.handleFlap(now);
    if (this.#uplink?.state === 'down') this.damping.handleExcuse();
  }

  #verdict(): PathState {
    if (this.#has(({ state }) => state === 'up')) return 'up';
    let alive = 0;
    for (const { state } of this.links) if (state !== 'down') alive += 1;
    return alive < this.#atLeast ? 'down' : this.#state;
  }

  #flaw(): string | undefined {
    if (this.#has(({ state, poor }) => state === 'up' && poor === undefined)) return undefined;
    return this.links.find(({ poor }) => poor !== undefined)?.poor;
  }

  /** The path may be found dead before its uplink is: what matters is who was heard last. */
  #handleUplink({ state, lastGoodAt = -Infinity }: LinkHealth): void {
    if (state === 'down' && this.#state === 'down' && this.#since >= lastGoodAt) {
      this.damping.handleExcuse();
    }
  }

  #has(holds: (link: LinkHealth) => boolean): boolean {
    let count = 0;
    for (const link of this.links) if (holds(link)) count += 1;
    return count >= this.#atLeast;
  }
}
