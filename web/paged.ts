/**
 * Events as they are shown: the newest, renewed as they happen, with older pages before them. Pure.
 * @module
 */
import type { LoggedEvent } from '../src/daemon/event-log.ts';

/** Without a gap, oldest first. */
export interface Shown {
  readonly items: readonly LoggedEvent[];
  /** Whether there are older ones that are not shown. */
  readonly hasOlder: boolean;
}

export const NOTHING_SHOWN: Shown = { items: [], hasOlder: false };

/**
 * The newest events came, as many as were asked for or all there are. What was shown goes on where
 * they overlap; where they do not, more happened meanwhile than was asked for, and it begins anew.
 */
export function withNewest(shown: Shown, newest: readonly LoggedEvent[], asked: number): Shown {
  const [first] = newest;
  const last = shown.items.at(-1);
  if (first === undefined || newest.length < asked || last === undefined || first.id > last.id) {
    return { items: newest, hasOlder: newest.length >= asked };
  }
  const older = shown.items.filter(({ id }) => id < first.id);
  return { items: [...older, ...newest], hasOlder: older.length === 0 || shown.hasOlder };
}

/** The page before the oldest that was shown came; `next` is that of the API. */
export function withOlder(
  shown: Shown,
  page: { readonly items: readonly LoggedEvent[]; readonly next: number | null },
): Shown {
  const [first] = shown.items;
  const older = page.items.filter(({ id }) => first === undefined || id < first.id);
  return { items: [...older, ...shown.items], hasOlder: page.next !== null };
}
