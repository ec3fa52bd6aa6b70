/**
 * What a group tells: effects for its driver, rows for people.
 * @module
 */
import type { Instant } from '../time/instant.ts';
import type { PathState } from './path-health.ts';

/** What the driver is to do. */
export type PathGroupOutput =
  /** Probe this path now and report the result. */
  | { readonly type: 'probe'; readonly path: string }
  /** Send new flows to `to`; then, and only then, deal with the old flows of `from`. */
  | { readonly type: 'switch'; readonly from: string; readonly to: string; readonly why: string }
  /** Something a person should know that changes nothing. */
  | { readonly type: 'note'; readonly path: string; readonly text: string };

/** One path of the group, for people. Instants are on the caller's clock. */
export interface PathRow {
  readonly name: string;
  readonly tier: number;
  readonly weight: number;
  readonly state: PathState;
  readonly since: Instant;
  readonly drained: boolean;
  readonly heldUntil: Instant | undefined;
  readonly active: boolean;
}
