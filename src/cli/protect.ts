/**
 * `linkhold protect`: gives keepalive to connections of programs that set none, those that exist and
 * those to come, without restarting or changing the program.
 * @module
 */
import { cgroupDirectory, cgroupRoot } from '../host/mounts.ts';
import { Policy, pinRules } from '../host/policy.ts';
import { type Protected, protectExisting, type Treated } from '../host/protect.ts';
import { describeMatch, type Rule } from '../host/rule.ts';
import { namespaceOf, type Selection, selector } from '../host/selection.ts';
import { localOf, remoteOf } from '../host/socket-report.ts';
import { tcpLimitsOf } from '../keepalive/tcp-limits.ts';
import { resolveTiming } from '../keepalive/timing.ts';
import { FLAGS, UsageError } from '../time/usage-error.ts';
import { describeOptions, groupConnections } from './connections.ts';
import { type ConnectionFlags, pidOf, type TimingFlags, timingOf } from './flags.ts';
import { columns, paint, print, printJson } from './output.ts';
import {
  listRules,
  matchOf,
  type PolicyFlags,
  type RuleReport,
  removeRules,
  reportRule,
} from './policies.ts';
import { toldToStop } from './signals.ts';

export interface ProtectFlags extends ConnectionFlags, PolicyFlags, TimingFlags {
  readonly existing?: boolean;
  readonly new?: boolean;
  readonly lock?: boolean;
  readonly pin?: boolean;
  readonly list?: boolean;
  readonly remove?: boolean;
  readonly dryRun?: boolean;
}

const NOTHING: Protected = { treated: [], listening: new Set() };

/** Resolves with 0, or 1 if a connection refused. Throws `UsageError` and `SystemError`. */
export async function protect(flags: ProtectFlags): Promise<number> {
  refuseContradictions(flags);
  if (flags.list === true) return listRules(flags);
  if (flags.remove === true) return removeRules(flags);
  const rule = ruleOf(flags);
  const cgroup = flags.cgroup === undefined ? undefined : cgroupDirectory(flags.cgroup, '--cgroup');
  const policy = flags.new === true ? startPolicy(flags, rule, cgroup) : undefined;
  try {
    const { treated, listening } = flags.existing === true ? treat(flags, rule, cgroup) : NOTHING;
    const where = flags.new === true ? (cgroup ?? cgroupRoot()) : null;
    if (flags.json === true) printResult(treated, [reportRule(rule, where, flags.pin === true)]);
    else render({ treated, listening }, rule, where, flags);
    if (policy !== undefined) await toldToStop();
    return treated.some(({ failure }) => failure !== undefined) ? 1 : 0;
  } finally {
    policy?.close();
  }
}

function refuseContradictions(flags: ProtectFlags): void {
  const refuse = (text: string): never => {
    throw new UsageError('bad-flags', text);
  };
  const { existing, pid, lock, pin, netns } = flags;
  const verbs = [flags.list, flags.remove, existing === true || flags.new === true];
  const given = verbs.filter((verb) => verb === true).length;
  if (given === 0) refuse('say what to do: --existing, --new (or both), --list or --remove');
  if (given > 1) refuse('--list and --remove go alone, without --existing and --new');
  if (flags.new !== true && (lock === true || pin === true)) {
    refuse(`${lock === true ? '--lock' : '--pin'} is for connections to come; add --new`);
  }
  if (flags.new === true && pid !== undefined) {
    refuse("--new cannot choose by --pid; name the process's control group with --cgroup");
  }
  if (flags.new === true && netns !== undefined) {
    refuse('--new cannot choose by --netns; name a control group with --cgroup');
  }
}

/** The one rule that the flags describe. Throws `UsageError`. */
function ruleOf(flags: ProtectFlags): Rule {
  const options = { enabled: true, ...tcpLimitsOf(resolveTiming(timingOf(flags), FLAGS), FLAGS) };
  return { ...matchOf(flags), options, lock: flags.lock === true };
}

/** In force until it is closed; a pinned one is for the kernel to keep, and nothing is to be closed. */
function startPolicy(
  flags: ProtectFlags,
  rule: Rule,
  cgroup: string | undefined,
): Policy | undefined {
  if (flags.dryRun === true) return undefined;
  const directory = cgroup ?? cgroupRoot();
  if (flags.pin === true) {
    pinRules(directory, [rule]);
    return undefined;
  }
  const policy = new Policy(directory);
  policy.replace([rule]);
  return policy;
}

function treat(flags: ProtectFlags, rule: Rule, cgroup: string | undefined): Protected {
  const pid = pidOf(flags.pid);
  const selection: Selection = { pid, cgroup };
  return protectExisting({
    rules: [rule],
    namespace: namespaceOf(flags.netns, pid),
    selects: selector(selection),
    dryRun: flags.dryRun === true,
  });
}

function changed({ record, after, failure }: Treated): boolean {
  return failure === undefined && describeOptions(record.options) !== describeOptions(after);
}

function printResult(treated: readonly Treated[], rules: readonly RuleReport[]): void {
  printJson({
    matched: treated.length,
    changed: treated.filter(changed).length,
    failed: treated.filter(({ failure }) => failure !== undefined).length,
    rules,
    sockets: treated.map(({ record, after, failure }) => ({
      local: localOf(record.socket),
      remote: remoteOf(record.socket),
      cookie: record.socket.cookie.toString(16),
      pid: record.owner?.pid ?? null,
      process: record.owner?.name ?? null,
      before: record.options ?? null,
      after: after ?? null,
      ...(failure === undefined ? {} : { failure }),
    })),
  });
}

function render(
  { treated, listening }: Protected,
  rule: Rule,
  cgroup: string | null,
  flags: ProtectFlags,
): void {
  const would = flags.dryRun === true ? 'would be ' : '';
  if (flags.existing === true) {
    for (const line of treatedLines(treated, listening)) print(line);
    const failed = treated.filter(({ failure }) => failure !== undefined).length;
    const good = treated.length - failed - treated.filter(changed).length;
    const parts = [`${treated.filter(changed).length} ${would}changed`, `${good} good already`];
    if (failed > 0) parts.push(paint('red', `${failed} failed`));
    const noun = treated.length === 1 ? 'connection' : 'connections';
    const everyone = rule.port === 0 && rule.to === undefined;
    const matched = everyone ? '' : ` matched ${describeMatch(rule)}`;
    print(`${treated.length} ${noun}${matched}: ${parts.join(', ')}`);
  }
  if (cgroup === null) return;
  const locked = rule.lock ? ', locked' : '';
  const lasting = flags.pin === true ? 'until linkhold protect --remove' : 'until Ctrl-C';
  const what = `${describeMatch(rule)} gets ${describeOptions(rule.options)}${locked}`;
  print(`new connections under ${cgroup}: ${what}, ${would === '' ? lasting : 'not in force'}`);
}

function change({ record, after }: Treated): string {
  const [was, is] = [describeOptions(record.options), describeOptions(after)];
  return was === is ? `${is} already` : `${was} → ${paint('green', is)}`;
}

/** Before and after, alike ones counted. */
function treatedLines(treated: readonly Treated[], listening: ReadonlySet<number>): string[] {
  const groups = groupConnections(
    treated,
    ({ record }) => record,
    listening,
    ({ record, after, failure }) => [
      describeOptions(record.options),
      describeOptions(after),
      failure,
    ],
  );
  return columns(
    groups.map(({ process, connections, items: [one] }) => [
      process,
      connections,
      one.failure === undefined ? change(one) : paint('red', one.failure),
    ]),
  );
}
