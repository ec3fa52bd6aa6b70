/**
 * Which of several paths to one destination is in use, and when to change. The theory:
 *
 * - *failover*: the path in use is down, drained or poor. Candidates are the paths that are up, by
 *   standing (`path-choice.ts`), then by rank (tier, weight, order). Each is verified in turn. If
 *   none can be, a dead path gives its traffic to the best candidate all the same: nothing is lost
 *   by that; any other keeps it.
 * - *failback*: a better tier has been eligible for `failbackAfterMs`; it must be verified, and an
 *   audit follows the flows of the path that was left (`flow-audit.ts`).
 * - otherwise nothing moves. The last path that works is never taken away.
 *
 * With `balance` the other paths of the tier carry their share beside it (`path-shares.ts`).
 *
 * A late observer never moves traffic: whatever expired while nobody looked starts again.
 *
 * Driver: feed every link's results, also the failures to connect (a path in use that never has
 * any result stays in use, `unknown`); after each input drain `pollOutput` and re-arm for
 * `pollTimeout`. The machine knows no sockets, flows or routes.
 * @module
 */
import { earliest, type Instant } from '../time/instant.ts';
import { UsageError } from '../time/usage-error.ts';
import { FlowAudit } from './flow-audit.ts';
import { GroupMember } from './group-member.ts';
import type { PathGroupOutput, PathRow } from './group-output.ts';
import { LinkHealth } from './link-health.ts';
import {
  type Cause,
  causeToLeave,
  failbackPool,
  failbackWatch,
  failoverPool,
  rank,
  switchWhy,
  tellCause,
} from './path-choice.ts';
import {
  checkPaths,
  type PathGroupConfig,
  type PathOptions,
  readPathOptions,
} from './path-config.ts';
import { PathShares } from './path-shares.ts';

export { STANDINGS, type Standing } from './group-member.ts';
export type { PathGroupOutput, PathRow } from './group-output.ts';
export { PATH_STATES, type PathState } from './link-health.ts';
export type { PathConfig, PathGroupConfig, PathOptions } from './path-config.ts';
export type { QualityLimits, QualityOptions } from './quality.ts';

/** An input later than its deadline by more than this means that nobody was observing. */
const SLACK_MS = 1_000;

/** The machine of one group. */
export class PathGroup {
  readonly #options: PathOptions;
  readonly #links = new Map<string, LinkHealth>();
  readonly #members: readonly GroupMember[];
  readonly #ranked: readonly GroupMember[];
  readonly #shares: PathShares;
  readonly #audit = new FlowAudit();
  readonly #outputs: PathGroupOutput[] = [];
  #active: GroupMember;
  #activeSince: Instant;
  #activeWhy: string;
  #observedSince: Instant;
  #cause: Cause | undefined;
  /** Who could not be verified in this round of failover. */
  readonly #rejected = new Set<GroupMember>();
  readonly #flapping = new Set<GroupMember>();
  #nextRoundAt: Instant | undefined;
  #candidate: { readonly member: GroupMember; readonly verifyBy: Instant } | undefined;
  #noted: boolean = false;
  #deadline: Instant | undefined;

  /** Throws `UsageError`: `no-paths`, `bad-path`, `duplicate-path`, `bad-path-option`. */
  constructor(config: PathGroupConfig, now: Instant) {
    checkPaths(config.paths);
    const options = readPathOptions(config);
    this.#options = options;
    const linkOf = (name: string): LinkHealth => {
      const link = this.#links.get(name) ?? new LinkHealth(name, options);
      this.#links.set(name, link);
      return link;
    };
    this.#members = config.paths.map((path) => new GroupMember(path, options, linkOf, now));
    this.#ranked = rank(this.#members);
    const inUse = this.#members.find(({ name }) => name === config.inUse);
    const best = this.#ranked.find(({ drained }) => !drained);
    this.#active = inUse ?? (best as GroupMember);
    this.#activeSince = (inUse && config.inUseSince) ?? now;
    this.#activeWhy = (inUse && config.inUseWhy) ?? 'start';
    this.#observedSince = now;
    this.#shares = new PathShares(options, this.#members);
    this.#shares.handleSwitch(undefined, this.#active, now);
  }

  /** The path in use; without `balance` the one that new flows go to. */
  get active(): string {
    return this.#active.name;
  }

  /** Since when. */
  get activeSince(): Instant {
    return this.#activeSince;
  }

  /** Why, in one line: `start`, or the `why` of the last switch. */
  get activeWhy(): string {
    return this.#activeWhy;
  }

  /** Every link whose results the group wants. */
  get links(): readonly string[] {
    return [...this.#links.keys()];
  }

  /** The path for a new flow. A `key` gives the same path while the carriers are the same. */
  pathFor(key: string, now: Instant): string {
    return this.#shares.pick(key, this.#active, now).name;
  }

  /** Every path as configured, in that order. */
  rows(now: Instant): PathRow[] {
    return this.#members.map((member) => ({
      name: member.name,
      tier: member.tier,
      weight: member.weight,
      state: member.health.state,
      since: member.health.since,
      standing: member.standing(now),
      drained: member.drained,
      heldUntil: member.health.damping.heldUntil(now),
      failbackAt:
        member.tier < this.#active.tier ? member.failbackAt(this.#observedSince) : undefined,
      flappingUntil: member.health.damping.flappingUntil(now),
      poor: member.health.poor,
      silencedBy: member.health.silencedBy,
      share: this.#shares.shareOf(member, this.#active, now),
      active: member === this.#active,
    }));
  }

  /** Input: a link answered (or not: `reason` says how). Throws `UsageError` (`unknown-link`). */
  handleResult(link: string, good: boolean, reason: string, now: Instant): void {
    const health = this.#find(link);
    health.handleResult(good, reason, now);
    this.#pass(health, now);
    const candidate = this.#candidate?.member;
    if (!good && candidate?.health.links.includes(health) && !candidate.health.isPlausible) {
      this.#reject(candidate, now);
    }
    this.#settle(now);
  }

  /**
   * Input, for quality alone: a probe of a link was answered after `rttMs`, or lost (`undefined`).
   * Throws `UsageError` (`unknown-link`).
   */
  handleSample(link: string, rttMs: number | undefined, now: Instant): void {
    if (this.#options.quality === undefined) return;
    const health = this.#find(link);
    health.handleSample(rttMs, now);
    this.#pass(health, now);
    this.#settle(now);
  }

  /** Input: a person drains or resumes a link. Throws `UsageError` (`unknown-link`). */
  handleDrain(link: string, drained: boolean, now: Instant): void {
    const health = this.#find(link);
    for (const member of this.#members) {
      if (member.health.links.includes(health)) member.handleDrain(link, drained, now);
    }
    this.#settle(now);
  }

  /** Input, asked for by `audit`: so many flows are on this path. */
  handleFlows(path: string, flows: number, now: Instant): void {
    const text = this.#audit.handleFlows(path, flows, now);
    if (text !== undefined) this.#outputs.push({ type: 'note', path, text });
    this.#settle(now);
  }

  /** Input: the clock reached `now`. Early or repeated calls do nothing. */
  handleTimeout(now: Instant): void {
    this.#settle(now);
  }

  /** Output: the next effect to perform, or `undefined` when drained. */
  pollOutput(): PathGroupOutput | undefined {
    return this.#outputs.shift();
  }

  /** Output: when to call `handleTimeout` next, or `undefined` for never. */
  pollTimeout(): Instant | undefined {
    return this.#deadline;
  }

  #find(link: string): LinkHealth {
    const health = this.#links.get(link);
    if (health !== undefined) return health;
    const names = this.links.join(', ');
    throw new UsageError('unknown-link', `"${link}" is not a link of this group; use: ${names}`);
  }

  #pass(link: LinkHealth, now: Instant): void {
    for (const { health } of this.#members) health.handleChange(link, now);
  }

  #settle(now: Instant): void {
    if (this.#deadline !== undefined && now > this.#deadline + SLACK_MS) this.#wakeLate(now);
    while (this.#seek(now));
    this.#share(now);
    for (const member of this.#members) {
      const { askAt } = member.health;
      if (askAt !== undefined && now >= askAt) this.#probe(member, now, askAt);
      this.#tellFlapping(member, now);
    }
    for (const path of this.#audit.due(now)) this.#outputs.push({ type: 'audit', path });
    this.#deadline = this.#nextDeadline(now);
  }

  /** A wait nobody watched proves nothing, and the candidate's answer may lie unread: ask again. */
  #wakeLate(now: Instant): void {
    this.#observedSince = now;
    this.#candidate = undefined;
  }

  /** One look for a better path than the one in use; true if traffic moved. */
  #seek(now: Instant): boolean {
    this.#startRound(now);
    if (this.#candidate !== undefined && now >= this.#candidate.verifyBy) {
      const { member } = this.#candidate;
      if (!member.isVerified(now)) this.#reject(member, now);
    }
    const pool =
      this.#cause === undefined
        ? failbackPool(this.#ranked, this.#active, this.#observedSince, now)
        : failoverPool(this.#ranked, this.#active, this.#cause, now);
    if (!pool.some((member) => member === this.#candidate?.member)) this.#candidate = undefined;
    for (const member of pool) {
      if (member.isVerified(now)) return this.#switchTo(member, now);
      if (member === this.#candidate?.member) return false;
      if (this.#candidate !== undefined || this.#rejected.has(member)) continue;
      this.#candidate = { member, verifyBy: now + this.#options.verifyWithinMs };
      this.#probe(member, now);
      return false;
    }
    return this.#concludeRound(pool, now);
  }

  #startRound(now: Instant): void {
    const cause = causeToLeave(this.#active);
    const over = this.#nextRoundAt !== undefined && now >= this.#nextRoundAt;
    if (cause === this.#cause && !over) return;
    if (cause !== this.#cause) this.#noted = false;
    this.#cause = cause;
    this.#rejected.clear();
    this.#nextRoundAt = undefined;
  }

  /** Nobody in the pool is verified, and nobody is left to ask. */
  #concludeRound(pool: readonly GroupMember[], now: Instant): boolean {
    if (this.#cause === undefined) return false;
    const { name, health } = this.#active;
    if (this.#cause === 'down') {
      const best = pool.find((member) => !member.health.inDoubt) ?? pool[0];
      if (best !== undefined) return this.#switchTo(best, now);
      const { silencedBy } = health;
      const why =
        silencedBy === undefined ? 'no path is up' : `${silencedBy} is down, no path is up`;
      this.#note(`${why}; staying on ${name}`);
      return false;
    }
    const other = this.#cause === 'poor' ? 'no good path' : 'no other path';
    const reason = pool.length === 0 ? `${other} is up` : `${other} could be verified`;
    this.#note(`${tellCause(this.#active, this.#cause)} but stays in use: ${reason}`);
    if (pool.length > 0) this.#nextRoundAt ??= now + this.#options.doubtIntervalMs;
    return false;
  }

  #reject(member: GroupMember, now: Instant): void {
    this.#candidate = undefined;
    member.handleRejection(now);
    if (this.#cause !== undefined) this.#rejected.add(member);
  }

  /** Probes the links that are due to be asked, or all of them: the answer arrives as a result. */
  #probe(member: GroupMember, now: Instant, askAt?: Instant): void {
    for (const link of member.health.links) {
      if (askAt !== undefined && (link.askAt === undefined || link.askAt > now)) continue;
      link.handleProbe(now);
      this.#outputs.push({ type: 'probe', path: member.name, link: link.name });
    }
  }

  #switchTo(member: GroupMember, now: Instant): true {
    const from = this.#active;
    const why = switchWhy(from, member, this.#cause, now);
    if (this.#cause === undefined) this.#audit.handleLeft(from.name, now);
    this.#audit.handleUsed(member.name);
    this.#shares.handleSwitch(from, member, now);
    this.#active = member;
    this.#activeSince = now;
    this.#activeWhy = why;
    this.#candidate = undefined;
    this.#rejected.clear();
    this.#nextRoundAt = undefined;
    this.#cause = causeToLeave(member);
    // A switch to a drained or poor path says so itself.
    this.#noted = this.#cause !== undefined;
    this.#outputs.push({ type: 'switch', from: from.name, to: member.name, why });
    return true;
  }

  /** What happens beside the path in use. */
  #share(now: Instant): void {
    const { joined, left, ask } = this.#shares.handleChange(this.#active, this.#observedSince, now);
    for (const { name, tier } of left) {
      // Of another tier and still fit: left because traffic went back to a better one.
      if (tier > this.#active.tier) this.#audit.handleLeft(name, now);
      this.#outputs.push({ type: 'leave', path: name, why: `${name} carries no new flows` });
    }
    for (const { name } of joined) {
      this.#audit.handleUsed(name);
      this.#outputs.push({ type: 'join', path: name, why: `${name} carries its share` });
    }
    for (const member of ask) this.#probe(member, now);
  }

  #tellFlapping(member: GroupMember, now: Instant): void {
    const flaps = member.health.damping.flappingUntil(now) !== undefined;
    if (flaps === this.#flapping.has(member)) return;
    const { name } = member;
    if (flaps) this.#flapping.add(member);
    else this.#flapping.delete(member);
    const text = flaps ? `${name} is flapping` : `${name} is not flapping any more`;
    this.#outputs.push({ type: 'note', path: name, text });
  }

  /** Once for each time the path in use has to be left. */
  #note(text: string): void {
    if (this.#noted) return;
    this.#noted = true;
    this.#outputs.push({ type: 'note', path: this.#active.name, text });
  }

  #nextDeadline(now: Instant): Instant | undefined {
    let next = earliest(this.#candidate?.verifyBy, this.#nextRoundAt);
    next = earliest(next, this.#audit.deadline);
    for (const member of this.#members) {
      next = earliest(next, member.health.askAt);
      if (this.#flapping.has(member)) {
        next = earliest(next, member.health.damping.flappingUntil(now));
      }
    }
    next = earliest(next, this.#shares.deadline(this.#active, this.#observedSince, now));
    return earliest(next, failbackWatch(this.#ranked, this.#active, this.#observedSince, now));
  }
}
