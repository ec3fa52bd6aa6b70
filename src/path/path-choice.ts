/**
 * Pure choices over the paths of a group: why the one in use must be left, who may follow and in
 * which order, and the line that tells people why. Nothing here remembers anything.
 * @module
 */
import { formatDuration } from '../time/duration.ts';
import { earliest, type Instant } from '../time/instant.ts';
import type { GroupMember, Standing } from './group-member.ts';

/** The longest gap in ms between two looks at a wait, so that a sleeping observer is noticed. */
export const WATCH_MS = 1_000;

/** Why traffic must leave the path in use. */
export type Cause = 'down' | 'drained' | 'poor';

/** Best first: tier ascending, weight descending, then the order given. */
export function rank(members: readonly GroupMember[]): readonly GroupMember[] {
  return members.toSorted((a, b) => a.tier - b.tier || b.weight - a.weight);
}

/** The cause that holds for the path in use, or `undefined` if it may stay. */
export function causeToLeave(active: GroupMember): Cause | undefined {
  if (active.health.state === 'down') return 'down';
  if (active.drained) return 'drained';
  return active.health.poor === undefined ? undefined : 'poor';
}

/** The cause, for people. */
export function tellCause({ name, health }: GroupMember, cause: Cause): string {
  if (cause === 'down') return `${name} is down: ${health.badReason}`;
  return cause === 'drained' ? `${name} is drained` : `${name} is poor: it ${health.poor}`;
}

/** Who may replace a path that must be left, in this order. */
const MAY_FOLLOW: { readonly [cause in Cause]: readonly Standing[] } = {
  down: ['eligible', 'flapping', 'held', 'poor', 'drained'],
  drained: ['eligible', 'flapping', 'held', 'poor'],
  // A poor path works: it is left for a good one only, and so not more often than damping allows.
  poor: ['eligible'],
};

/**
 * Who may take over from `active`, best first: by standing, then by rank. Drained ones only replace
 * a dead path, and only if nothing else is up.
 */
export function failoverPool(
  ranked: readonly GroupMember[],
  active: GroupMember,
  cause: Cause,
  now: Instant,
): readonly GroupMember[] {
  const pool: GroupMember[] = [];
  for (const standing of MAY_FOLLOW[cause]) {
    for (const member of ranked) {
      if (member !== active && member.standing(now) === standing) pool.push(member);
    }
    if (standing === 'poor' && pool.length > 0) break;
  }
  return pool;
}

/** The paths of a better tier than `active` that have waited long enough to be returned to. */
export function failbackPool(
  ranked: readonly GroupMember[],
  active: GroupMember,
  observedSince: Instant,
  now: Instant,
): readonly GroupMember[] {
  return ranked.filter((member) => {
    if (member.tier >= active.tier) return false;
    const at = member.failbackAt(observedSince);
    return at !== undefined && now >= at;
  });
}

/** When to look again while a wait before failback runs, or `undefined` if none does. */
export function failbackWatch(
  ranked: readonly GroupMember[],
  active: GroupMember,
  observedSince: Instant,
  now: Instant,
): Instant | undefined {
  let next: Instant | undefined;
  for (const member of ranked) {
    if (member.tier >= active.tier) continue;
    const at = member.failbackAt(observedSince);
    if (at === undefined) continue;
    next = earliest(next, at > now ? Math.min(at, now + WATCH_MS) : now + WATCH_MS);
  }
  return next;
}

/** One line for people: why traffic moves from `from` to `to`. */
export function switchWhy(
  from: GroupMember,
  to: GroupMember,
  cause: Cause | undefined,
  now: Instant,
): string {
  if (cause === undefined) {
    const good = formatDuration(now - (to.eligibleSince() ?? now));
    return `${to.name} is back: preferred tier ${to.tier}, good for ${good}`;
  }
  const why = tellCause(from, cause);
  const standing = to.standing(now);
  if (standing === 'drained') return `${why}; ${to.name} is drained but nothing else is up`;
  if (!to.isVerified(now)) return `${why}; ${to.name} could not be verified but nothing is lost`;
  if (standing === 'poor') return `${why}; ${to.name} is poor but nothing better answered`;
  if (standing === 'held') return `${why}; ${to.name} is held down but nothing better answered`;
  if (standing === 'flapping') return `${why}; ${to.name} is flapping but nothing calmer answered`;
  return why;
}
