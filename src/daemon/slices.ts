/**
 * Long work over many things, a few milliseconds at a time, so that timers and sockets have their turn
 * in between. It knows nothing of the work.
 * @module
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Shorter: more turns for the same work; longer: whatever is due meanwhile is that much late. */
const SLICE_MS = 5;

/** Does `work` on each of `items`, in their order. Rejects with what `work` throws. */
export async function inSlices<Item>(
  items: Iterable<Item>,
  work: (item: Item) => void,
  now: () => number = () => performance.now(),
): Promise<void> {
  let until = now() + SLICE_MS;
  for (const item of items) {
    work(item);
    if (now() < until) continue;
    await nextTurn();
    until = now() + SLICE_MS;
  }
}
