/**
 * Keeps the `protect` rules of a configuration in force: a policy for each control group named, and the
 * connections that exist treated once. What runs changes live, without a gap.
 * @module
 */
import { cgroupDirectory, cgroupRoot } from '../host/mounts.ts';
import { Policy } from '../host/policy.ts';
import { protectExisting } from '../host/protect.ts';
import type { Rule } from '../host/rule.ts';
import { selector } from '../host/selection.ts';
import { protectRules } from './config.ts';
import type { Config } from './config-schema.ts';

export class Protector {
  readonly #policies = new Map<string, Policy>();

  /**
   * Makes the rules those of `config`, and answers what became of the connections that exist, a line
   * each control group. Throws `SystemError` where the machine cannot do it, `UsageError` for a
   * control group that is not there.
   */
  apply(config: Config): string[] {
    const wanted = new Map<string, readonly Rule[]>();
    for (const [cgroup, rules] of protectRules(config)) {
      const named = cgroup === undefined ? cgroupRoot() : cgroupDirectory(cgroup, 'protect.cgroup');
      wanted.set(named, [...(wanted.get(named) ?? []), ...rules]);
    }
    for (const [cgroup, policy] of this.#policies) {
      if (wanted.has(cgroup)) continue;
      policy.close();
      this.#policies.delete(cgroup);
    }
    for (const [cgroup, rules] of wanted) {
      const policy = this.#policies.get(cgroup) ?? new Policy(cgroup);
      this.#policies.set(cgroup, policy);
      policy.replace(rules);
    }
    // As in the kernel, the outer control group has the last word.
    const inside = [...wanted].toSorted(([a], [b]) => b.length - a.length);
    return inside.map(([cgroup, rules]) => treat(cgroup, rules));
  }
}

function treat(cgroup: string, rules: readonly Rule[]): string {
  const within = selector(cgroup === cgroupRoot() ? {} : { cgroup });
  const { treated } = protectExisting({
    rules,
    namespace: undefined,
    // Links of ours have options of their own.
    selects: (record) => record.owner?.pid !== process.pid && within(record),
    dryRun: false,
  });
  const failures = new Set(treated.flatMap(({ failure }) => failure ?? []));
  const failed = failures.size === 0 ? '' : `; not all of them: ${[...failures].join(', ')}`;
  const count = treated.length;
  const noun = count === 1 ? 'connection is' : 'connections are';
  return `${count} ${noun} protected under ${cgroup}${failed}`;
}
