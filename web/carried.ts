/**
 * Which path carried a group's traffic when, from its switches. Pure.
 * @module
 */
import type { LoggedEvent } from '../src/daemon/event-log.ts';

export interface Stretch {
  readonly path: string;
  readonly fromMs: number;
  readonly toMs: number;
  /** Why it began; `undefined` before the first switch that is known, and so also since when. */
  readonly why: string | undefined;
}

/**
 * Stretches within the time, oldest first. `events` are oldest first; `active` carries since `sinceMs`,
 * which is all there is where no switch is known.
 */
export function stretchesOf(
  events: readonly LoggedEvent[],
  active: string,
  span: { readonly fromMs: number; readonly toMs: number },
): Stretch[] {
  const switches = events.filter((event) => event.type === 'switch');
  const stretches: Stretch[] = [];
  let path = switches[0]?.from ?? active;
  let fromMs = Number.NEGATIVE_INFINITY;
  let why: string | undefined;
  const end = (toMs: number) => {
    const [first, last] = [Math.max(fromMs, span.fromMs), Math.min(toMs, span.toMs)];
    if (last > first) stretches.push({ path, fromMs: first, toMs: last, why });
  };
  for (const event of switches) {
    const at = Date.parse(event.at);
    end(at);
    [path, fromMs, why] = [event.to, at, event.why];
  }
  end(Number.POSITIVE_INFINITY);
  return stretches;
}
