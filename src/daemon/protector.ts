/**
 * Keeps the `protect` rules of a configuration in force: a policy for each control group named, and the
 * connections that exist treated once. What runs changes live, without a gap.
 * @module
 */
import { cgroupDirectory, cgroupId, cgroupRoot } from '../host/mounts.ts';
import { Policy } from '../host/policy.ts';
import { protectExisting } from '../host/protect.ts';
import type { Rule } from '../host/rule.ts';
import { selector } from '../host/selection.ts';
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';
import { protectRules } from './config.ts';
import type { Config } from './config-schema.ts';

/** What a control group's rules come to: notes of what was done, and what could not be. */
export interface ProtectResult {
  readonly notes: readonly string[];
  readonly failures: readonly Error[];
}

export class Protector {
  /** By the number of the control group: one made anew under the same name is another one. */
  readonly #policies = new Map<number, Policy>();

  /** Makes the rules those of `config`. What fails for one control group does not keep the others. */
  apply(config: Config): ProtectResult {
    const notes: string[] = [];
    const failures: Error[] = [];
    const wanted = new Map<string, readonly Rule[]>();
    for (const [cgroup, rules] of protectRules(config)) {
      try {
        const directory = directoryOf(cgroup);
        wanted.set(directory, [...(wanted.get(directory) ?? []), ...rules]);
      } catch (error) {
        failures.push(error as Error);
      }
    }
    this.#closeAllBut([...wanted.keys()].map(cgroupId));
    // As in the kernel, the outer control group has the last word.
    for (const [cgroup, rules] of [...wanted].toSorted(([a], [b]) => b.length - a.length)) {
      try {
        const id = cgroupId(cgroup);
        const policy = this.#policies.get(id) ?? new Policy(cgroup);
        this.#policies.set(id, policy);
        policy.replace(rules);
        notes.push(treat(cgroup, rules));
      } catch (error) {
        failures.push(error as Error);
      }
    }
    return { notes, failures };
  }

  #closeAllBut(wanted: readonly number[]): void {
    for (const [id, policy] of this.#policies) {
      if (wanted.includes(id)) continue;
      policy.close();
      this.#policies.delete(id);
    }
  }
}

/** A control group may come and go: that it is not there is no mistake of the file. */
function directoryOf(cgroup: string | undefined): string {
  if (cgroup === undefined) return cgroupRoot();
  try {
    return cgroupDirectory(cgroup, 'protect');
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new SystemError(error.code, error.message);
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
