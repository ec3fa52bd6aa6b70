/**
 * What a message says: facts about links and groups, as data. It knows nothing of how a channel
 * words them.
 * @module
 */
import type { Evidence } from '../../keepalive/keepalive.ts';

/** What may be wrong with a link or group for as long as it lasts, the mildest first. */
export const TROUBLES = ['suspect', 'flapping', 'down'] as const;
export type Trouble = (typeof TROUBLES)[number];

/** When each trouble that was told began (ISO 8601). */
export type ToldTroubles = Partial<Readonly<Record<Trouble, string>>>;

/** What lies behind a dead uplink and is down with it. */
export interface Behind {
  readonly count: number;
  /** The first hundred of them. */
  readonly names: readonly string[];
}

/** One fact. */
export interface Notice {
  /** `back`: up again; `gone`: told as in trouble, and now no longer in the configuration. */
  readonly kind: Trouble | 'switch' | 'back' | 'gone' | 'test';
  readonly of: 'link' | 'group';
  readonly name: string;
  /** Since when, ISO 8601. */
  readonly since: string;
  readonly reason?: string;
  readonly evidence?: Evidence;
  /** It was told before, and is still so. */
  readonly reminder?: true;
  readonly behind?: Behind;
  /** Names what belongs together: everything that was told at once, until all of it is over. */
  readonly incident?: string;
  /** Of `back` and `gone`: what ends by that. */
  readonly ended?: ToldTroubles;
  /** Of `switch`: the paths, and why. */
  readonly from?: string;
  readonly to?: string;
  readonly why?: string;
}

/** What a channel is given. */
export interface Message {
  /** The same at each attempt, so that a receiver can tell a repetition. */
  readonly id: string;
  /** When it was decided, ISO 8601. */
  readonly at: string;
  readonly rule: string;
  readonly notices: readonly Notice[];
  /** Incidents of which nothing is left. */
  readonly closed: readonly string[];
  /** It waited for the end of a quiet time. */
  readonly afterQuiet: boolean;
}
