/**
 * Which paths carry new flows beside the one in use: with `balance`, every fit path of its tier, by
 * weight. One that returns waits and is verified as for failback; then its weight grows from
 * nothing. Without `balance` the path in use carries all. It decides nothing about that one.
 * @module
 */
import { earliest, type Instant } from '../time/instant.ts';
import type { GroupMember } from './group-member.ts';
import { WATCH_MS } from './path-choice.ts';
import type { PathOptions } from './path-config.ts';
import { rendezvous } from './rendezvous.ts';

/** What changed, in the order in which it did. */
export interface ShareChanges {
  readonly joined: readonly GroupMember[];
  readonly left: readonly GroupMember[];
  /** To be probed before they may join. */
  readonly ask: readonly GroupMember[];
}

const NOTHING: ShareChanges = { joined: [], left: [], ask: [] };

/** The carriers of one group. */
export class PathShares {
  readonly #options: PathOptions;
  readonly #members: readonly GroupMember[];
  /** Since when each carrier has been one. */
  readonly #carriers = new Map<GroupMember, Instant>();
  /** When to ask one that is due but silent. */
  readonly #askAt = new Map<GroupMember, Instant>();

  constructor(options: PathOptions, members: readonly GroupMember[]) {
    this.#options = options;
    this.#members = members;
  }

  /** Input: traffic moved from one path to another, which carries its share from now on. */
  handleSwitch(from: GroupMember | undefined, to: GroupMember, now: Instant): void {
    if (from !== undefined) this.#carriers.delete(from);
    if (!this.#carriers.has(to)) this.#carriers.set(to, now);
  }

  /** Input: something may have changed. */
  handleChange(active: GroupMember, observedSince: Instant, now: Instant): ShareChanges {
    if (!this.#options.balance) return NOTHING;
    const changes = { joined: [], left: [], ask: [] } as {
      [kind in keyof ShareChanges]: GroupMember[];
    };
    for (const member of this.#members) {
      if (member === active) {
        this.#keepActive(active, now);
        continue;
      }
      const fits = member.tier === active.tier && member.standing(now) === 'eligible';
      if (!fits) {
        this.#askAt.delete(member);
        if (this.#carriers.delete(member)) changes.left.push(member);
      } else if (!this.#carriers.has(member) && this.#isDue(member, observedSince, now)) {
        if (member.isVerified(now)) {
          this.#askAt.delete(member);
          this.#carriers.set(member, now);
          changes.joined.push(member);
        } else if (now >= (this.#askAt.get(member) ?? now)) {
          this.#askAt.set(member, now + Math.max(1_000, this.#options.doubtIntervalMs));
          changes.ask.push(member);
        }
      }
    }
    return changes;
  }

  /** When to look again. */
  deadline(active: GroupMember, observedSince: Instant, now: Instant): Instant | undefined {
    if (!this.#options.balance) return undefined;
    let next: Instant | undefined;
    for (const member of this.#members) {
      if (member.tier !== active.tier || this.#carriers.has(member)) continue;
      const due = this.#askAt.get(member) ?? this.#dueAt(member, active, observedSince);
      if (due !== undefined && due > now) next = earliest(next, Math.min(due, now + WATCH_MS));
    }
    return next;
  }

  /** The path for a new flow: that of its key among the carriers that are fit. */
  pick(key: string, active: GroupMember, now: Instant): GroupMember {
    if (!this.#options.balance) return active;
    return rendezvous(key, this.#contenders(now))?.member ?? active;
  }

  /** The part of new flows that goes to each path, from 0 to 1. */
  shareOf(member: GroupMember, active: GroupMember, now: Instant): number {
    const contenders = this.#options.balance ? this.#contenders(now) : [];
    const total = contenders.reduce((sum, { weight }) => sum + weight, 0);
    const alone = (contenders[0]?.member ?? active) === member ? 1 : 0;
    if (total === 0) return alone;
    return (contenders.find((one) => one.member === member)?.weight ?? 0) / total;
  }

  /** The path in use carries what the others cannot, and its own share only while it is fit. */
  #keepActive(active: GroupMember, now: Instant): void {
    if (active.standing(now) !== 'eligible') this.#carriers.delete(active);
    else if (!this.#carriers.has(active)) this.#carriers.set(active, now);
  }

  #dueAt(member: GroupMember, active: GroupMember, observedSince: Instant): Instant | undefined {
    if (member === active) return member.eligibleSince();
    return member.returns ? member.failbackAt(observedSince) : undefined;
  }

  #contenders(now: Instant) {
    return [...this.#carriers.keys()].map((member) => ({
      name: member.name,
      member,
      weight: this.#weight(member, now),
    }));
  }

  /** Nobody should take a returned path's word for all it could carry. */
  #weight(member: GroupMember, now: Instant): number {
    const { slowStartMs } = this.#options;
    if (!member.returns || slowStartMs === 0) return member.weight;
    const carriedMs = now - (this.#carriers.get(member) ?? now);
    return member.weight * Math.min(1, carriedMs / slowStartMs);
  }

  #isDue(member: GroupMember, observedSince: Instant, now: Instant): boolean {
    if (!member.returns) return true;
    const at = member.failbackAt(observedSince);
    return at !== undefined && now >= at;
  }
}
