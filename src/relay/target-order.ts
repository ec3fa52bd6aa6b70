/**
 * By which path a flow goes first, and by which next if that one does not take it.
 * @module
 */
import { rendezvous } from '../path/rendezvous.ts';
import type { PlannedTarget } from './relay-plan.ts';

/** A name may have several addresses, of which each is a target of its own. */
export function targetKey({ path, address }: PlannedTarget): string {
  return `${path} ${address}`;
}

/**
 * The next target for a flow that has tried some (`targetKey`) already. Among those with a share the key decides, so
 * that a client comes back to the path it had; those without are tried in their order.
 */
export function nextTarget(
  targets: readonly PlannedTarget[],
  key: () => string,
  tried: readonly string[],
): PlannedTarget | undefined {
  const left =
    tried.length === 0 ? targets : targets.filter((target) => !tried.includes(targetKey(target)));
  const [first] = left;
  if (first === undefined || first.share >= 1) return first;
  const sharing = left.filter(({ share }) => share > 0);
  if (sharing.length === 0) return first;
  const contenders = sharing.map((target) => ({ name: target.path, weight: target.share, target }));
  return rendezvous(key(), contenders)?.target;
}
