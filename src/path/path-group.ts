/**
 * Which of several paths to one destination is in use, and when to change. The theory:
 *
 * - *failover*: the path in use is down, or drained. Candidates are the paths that are up: the
 *   eligible ones by rank (tier, then weight, then order), then those in hold-down; drained ones
 *   only if there is no other. Each is verified in turn. If none can be, a drained path keeps its
 *   traffic and a dead one gives it to the best candidate all the same: nothing is lost by that.
 * - *failback*: a better tier has been eligible for `failbackAfterMs`; it must be verified.
 * - otherwise nothing moves. The last path that works is never taken away.
 *
 * A late observer never moves traffic: whatever expired while nobody looked starts again.
 *
 * Driver: feed every path's results, also the failures to connect (a path in use that never has
 * any result stays in use, `unknown`); after each input drain `pollOutput` and re-arm for
 * `pollTimeout`. The machine knows no sockets, flows or routes.
 * @module
 */
import { earliest, type Instant } from '../time/instant.ts';
import { UsageError } from '../time/usage-error.ts';
import { GroupMember } from './group-member.ts';
import type { PathGroupOutput, PathRow } from './group-output.ts';
import {
  type Cause,
  causeToLeave,
  failbackPool,
  failbackWatch,
  failoverPool,
  rank,
  switchWhy,
} from './path-choice.ts';
import {
  checkPaths,
  type PathGroupConfig,
  type PathOptions,
  readPathOptions,
} from './path-config.ts';

export type { PathGroupOutput, PathRow } from './group-output.ts';
export type { PathConfig, PathGroupConfig, PathOptions } from './path-config.ts';
export { PATH_STATES, PathHealth, type PathHealthConfig, type PathState } from './path-health.ts';

/** An input later than its deadline by more than this means that nobody was observing. */
const SLACK_MS = 1_000;

/** The machine of one group. */
export class PathGroup {
  readonly #options: PathOptions;
  readonly #members: readonly GroupMember[];
  readonly #ranked: readonly GroupMember[];
  readonly #outputs: PathGroupOutput[] = [];
  #active: GroupMember;
  #activeSince: Instant;
  #activeWhy = 'start';
  #observedSince: Instant;
  #cause: Cause | undefined;
  /** Who could not be verified in this round of failover. */
  readonly #rejected = new Set<GroupMember>();
  #nextRoundAt: Instant | undefined;
  #candidate: { readonly member: GroupMember; readonly verifyBy: Instant } | undefined;
  #noted: boolean = false;
  #deadline: Instant | undefined;

  /** Throws `UsageError`: `no-paths`, `bad-path`, `duplicate-path`, `bad-path-option`. */
  constructor(config: PathGroupConfig, now: Instant) {
    checkPaths(config.paths);
    const options = readPathOptions(config);
    this.#options = options;
    this.#members = config.paths.map((path) => new GroupMember(path, options, now));
    this.#ranked = rank(this.#members);
    const inUse = this.#members.find(({ name }) => name === config.inUse);
    this.#active = inUse ?? (this.#ranked[0] as GroupMember);
    this.#activeSince = now;
    this.#observedSince = now;
  }

  /** The path new flows go to. */
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

  /** Every path as configured, in that order. */
  rows(now: Instant): PathRow[] {
    return this.#members.map((member) => ({
      name: member.name,
      tier: member.tier,
      weight: member.weight,
      state: member.health.state,
      since: member.health.since,
      drained: member.drained,
      heldUntil: member.health.heldUntil(now),
      active: member === this.#active,
    }));
  }

  /** Input: a path answered (or not, and `reason` says how). Throws `UsageError` (`unknown-path`). */
  handleResult(path: string, good: boolean, reason: string, now: Instant): void {
    const member = this.#find(path);
    member.handleResult(good, reason, now);
    if (!good && member === this.#candidate?.member) this.#reject(member, now);
    this.#settle(now);
  }

  /** Input: a person drains or resumes a path. Throws `UsageError` (`unknown-path`). */
  handleDrain(path: string, drained: boolean, now: Instant): void {
    this.#find(path).handleDrain(drained, now);
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

  #find(path: string): GroupMember {
    const member = this.#members.find(({ name }) => name === path);
    if (member !== undefined) return member;
    const names = this.#members.map(({ name }) => name).join(', ');
    throw new UsageError('unknown-path', `"${path}" is not a path of this group; use: ${names}`);
  }

  #settle(now: Instant): void {
    if (this.#deadline !== undefined && now > this.#deadline + SLACK_MS) this.#wakeLate(now);
    while (this.#seek(now));
    for (const member of this.#members) {
      if (member.doubtAt !== undefined && now >= member.doubtAt) this.#probe(member, now);
    }
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
      this.#verify(member, now);
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
    const { name } = this.#active;
    if (this.#cause === 'down') {
      const best = pool.find((member) => !member.health.inDoubt) ?? pool[0];
      if (best !== undefined) return this.#switchTo(best, now);
      this.#note(`no path is up; staying on ${name}`);
      return false;
    }
    const reason = pool.length === 0 ? 'no other path is up' : 'no other path could be verified';
    this.#note(`${name} is drained but stays in use: ${reason}`);
    if (pool.length > 0) this.#nextRoundAt ??= now + this.#options.doubtIntervalMs;
    return false;
  }

  /** Verifies before traffic moves: the answer arrives as a result. */
  #verify(member: GroupMember, now: Instant): void {
    this.#candidate = { member, verifyBy: now + this.#options.verifyWithinMs };
    this.#probe(member, now);
  }

  #reject(member: GroupMember, now: Instant): void {
    this.#candidate = undefined;
    member.handleRejection(now);
    if (this.#cause !== undefined) this.#rejected.add(member);
  }

  #probe(member: GroupMember, now: Instant): void {
    member.handleProbe(now);
    this.#outputs.push({ type: 'probe', path: member.name });
  }

  #switchTo(member: GroupMember, now: Instant): true {
    const from = this.#active;
    const why = switchWhy(from, member, this.#cause, now);
    this.#active = member;
    this.#activeSince = now;
    this.#activeWhy = why;
    this.#candidate = undefined;
    this.#rejected.clear();
    this.#nextRoundAt = undefined;
    this.#cause = causeToLeave(member);
    // A switch to a drained path says so itself.
    this.#noted = this.#cause !== undefined;
    this.#outputs.push({ type: 'switch', from: from.name, to: member.name, why });
    return true;
  }

  /** Once for each time the path in use has to be left. */
  #note(text: string): void {
    if (this.#noted) return;
    this.#noted = true;
    this.#outputs.push({ type: 'note', path: this.#active.name, text });
  }

  #nextDeadline(now: Instant): Instant | undefined {
    let next = earliest(this.#candidate?.verifyBy, this.#nextRoundAt);
    for (const member of this.#members) next = earliest(next, member.doubtAt);
    return earliest(next, failbackWatch(this.#ranked, this.#active, this.#observedSince, now));
  }
}
