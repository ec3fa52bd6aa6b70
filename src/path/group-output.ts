/**
 * What a group tells: effects for its driver, rows for people.
 * @module
 */
import type { Instant } from '../time/instant.ts';
import type { Standing } from './group-member.ts';
import type { PathState } from './link-health.ts';

/** What the driver is to do. */
export type PathGroupOutput =
  /** Probe this link of the path now and report the result. */
  | { readonly type: 'probe'; readonly path: string; readonly link: string }
  /** Send new flows to `to`; then, and only then, deal with the old flows of `from`. */
  | { readonly type: 'switch'; readonly from: string; readonly to: string; readonly why: string }
  /** With `balance`: this path carries a share of new flows, beside the one in use. */
  | { readonly type: 'join'; readonly path: string; readonly why: string }
  /** With `balance`: it carries no new flows any more; deal with its old ones. */
  | { readonly type: 'leave'; readonly path: string; readonly why: string }
  /** Deal with the old flows of a path that was left, and report how many there still are. */
  | { readonly type: 'audit'; readonly path: string }
  /** Something a person should know that changes nothing. */
  | { readonly type: 'note'; readonly path: string; readonly text: string };

/** One path of the group, for people. Instants are on the caller's clock. */
export interface PathRow {
  readonly name: string;
  readonly tier: number;
  readonly weight: number;
  readonly state: PathState;
  readonly since: Instant;
  /** How willingly traffic is put on it. */
  readonly standing: Standing;
  readonly drained: boolean;
  readonly heldUntil: Instant | undefined;
  /** When traffic returns to it, if it stays as it is and then answers. */
  readonly failbackAt: Instant | undefined;
  /** Until when it counts as flapping, if it stays up. */
  readonly flappingUntil: Instant | undefined;
  /** What is poor about it. */
  readonly poor: string | undefined;
  /** The dead uplink that explains why it is down. */
  readonly silencedBy: string | undefined;
  /** The part of new flows that goes there, from 0 to 1. */
  readonly share: number;
  readonly active: boolean;
}
