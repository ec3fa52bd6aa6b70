/**
 * The policies that are in force, whoever made them: shown, and the pinned ones removed.
 * @module
 */
import { cgroupDirectory } from '../host/mounts.ts';
import { listPolicies, unpinRules } from '../host/policy.ts';
import { type CountedRule, describeMatch, parseTo, type Rule } from '../host/rule.ts';
import { formatPrefix } from '../wire/ip-address.ts';
import { describeOptions } from './connections.ts';
import { portOf } from './flags.ts';
import { columns, print, printJson } from './output.ts';

/** Which rules are meant. */
export interface PolicyFlags {
  readonly port?: string;
  readonly to?: string;
  readonly cgroup?: string;
  readonly json?: boolean;
}

/** A rule as programs read it. */
export interface RuleReport {
  readonly cgroup: string | null;
  readonly port: number | null;
  readonly to: string | null;
  readonly timeMs: number;
  readonly intervalMs: number;
  readonly probes: number;
  readonly userTimeoutMs: number;
  readonly lock: boolean;
  readonly pinned: boolean;
  /** New connections it was applied to, and those that refused it. */
  readonly applied: number;
  readonly failed: number;
}

/** What a rule is for. Throws `UsageError`. */
export function matchOf(flags: PolicyFlags): Pick<Rule, 'port' | 'to'> {
  const to = flags.to === undefined ? undefined : parseTo(flags.to, '--to');
  return { port: portOf(flags.port) ?? 0, to };
}

export function reportRule(
  { port, to, options, lock, applied, failed }: Rule & Partial<CountedRule>,
  cgroup: string | null,
  pinned: boolean,
): RuleReport {
  const { timeMs, intervalMs, probes, userTimeoutMs } = options;
  return {
    cgroup,
    port: port === 0 ? null : port,
    to: to === undefined ? null : formatPrefix(to),
    ...{ timeMs, intervalMs, probes, userTimeoutMs },
    lock,
    pinned,
    applied: applied ?? 0,
    failed: failed ?? 0,
  };
}

/** Every rule for new connections that is in force. Answers 0. */
export function listRules({ json }: PolicyFlags): number {
  const policies = listPolicies();
  const rows = policies.flatMap(({ rules, cgroup, pinned }) =>
    rules.map((rule) => ({ rule, report: reportRule(rule, cgroup, pinned) })),
  );
  if (json === true) {
    printJson({ matched: 0, changed: 0, failed: 0, rules: rows.map(({ report }) => report) });
    return 0;
  }
  if (rows.length === 0) print('no policy for new connections is in force');
  else for (const line of columns([LIST_HEAD, ...rows.map(listRow)])) print(line);
  return 0;
}

const LIST_HEAD = ['CONTROL GROUP', 'NEW CONNECTIONS', 'GET', 'LASTS', 'APPLIED'];

function listRow({ rule, report }: { rule: CountedRule; report: RuleReport }): string[] {
  const failed = rule.failed === 0 ? '' : `, ${rule.failed} failed`;
  return [
    report.cgroup ?? '',
    describeMatch(rule),
    `${describeOptions(rule.options)}${rule.lock ? ', locked' : ''}`,
    report.pinned ? 'until removed' : 'while its process runs',
    `${rule.applied}${failed}`,
  ];
}

/** Removes pinned rules: all, or those that the flags name. Answers 0. */
export function removeRules(flags: PolicyFlags): number {
  const cgroup = flags.cgroup === undefined ? undefined : cgroupDirectory(flags.cgroup, '--cgroup');
  const { port, to } = matchOf(flags);
  const same = (rule: Rule) =>
    (flags.port === undefined || rule.port === port) &&
    (to === undefined || (rule.to !== undefined && formatPrefix(rule.to) === formatPrefix(to)));
  const removed = unpinRules(cgroup, same);
  if (flags.json === true) printJson({ matched: 0, changed: 0, failed: 0, rules: [], removed });
  else if (removed === 0) print('no pinned rule matched');
  else print(`${removed} pinned ${removed === 1 ? 'rule' : 'rules'} removed`);
  return 0;
}
