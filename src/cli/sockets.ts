/**
 * `linkhold sockets`: this machine's TCP connections, how each would notice a dead peer, and which
 * never would.
 * @module
 */
import { RISKS, type Risk } from '../host/risk.ts';
import { namespaceOf, selector } from '../host/selection.ts';
import { isLoopback, reportSocket, type SocketReport } from '../host/socket-report.ts';
import { readSocketTable, type SocketRecord, type SocketTable } from '../host/socket-table.ts';
import { formatDuration } from '../time/duration.ts';
import { groupConnections } from './connections.ts';
import { type ConnectionFlags, pidOf, portOf } from './flags.ts';
import { columns, paint, print, printJson } from './output.ts';

export interface SocketFlags extends ConnectionFlags {
  readonly risky?: boolean;
  readonly all?: boolean;
}

interface Row {
  readonly record: SocketRecord;
  readonly report: SocketReport;
}

const SAY: Readonly<Record<Risk, string>> = {
  'half-open-suspect': 'may be half-open right now',
  'never-detected': 'would never notice a dead peer while idle',
  'slower-than-middlebox': 'probe later than middleboxes forget',
  'in-flight-hole': 'would hang on data in flight',
  'one-loss-kills': 'would die of one lost probe',
};

/** Answers the exit code: with `--risky` 1 if any is at risk. Throws `UsageError`, `SystemError`. */
export function sockets(flags: SocketFlags): number {
  const [pid, port] = [pidOf(flags.pid), portOf(flags.port)];
  const table = readSocketTable(namespaceOf(flags.netns, pid));
  const selects = selector({ pid, port });
  const rows = table.records
    .filter((record) => selects(record) && (flags.all === true || !isLoopback(record.socket)))
    .map((record) => ({ record, report: reportSocket(record, table.retries2) }))
    .filter(({ report }) => flags.risky !== true || report.risks.length > 0)
    .toSorted(worstFirst);
  if (flags.json === true) printJson(rows.map(({ report }) => report));
  else render(rows, table, flags);
  tellWhatIsMissing(rows, table);
  return flags.risky === true && rows.length > 0 ? 1 : 0;
}

function render(rows: readonly Row[], table: SocketTable, flags: SocketFlags): void {
  const groups = groupConnections(
    rows,
    ({ record }) => record,
    table.listening,
    ({ report: { detection, advice, state } }) => JSON.stringify([detection, advice, state]),
  );
  const byProcess = Map.groupBy(groups, ({ process }) => process);
  const lines: string[][] = [];
  for (const [process, members] of byProcess) {
    for (const [index, { connections, items }] of members.entries()) {
      const { report } = items[0];
      const state = report.state === 'established' ? '' : ` ${report.state}`;
      const name = index === 0 ? process : '';
      lines.push([name, `${connections}${state}`, ...detectionOf(report), adviceFor(report)]);
    }
  }
  if (lines.length > 0) {
    const head = ['PROCESS', 'CONNECTIONS', 'WHEN IDLE', 'IN FLIGHT', 'ADVICE'];
    const [title = '', ...body] = columns([head, ...lines]);
    print(paint('gray', 'A dead peer would be known'));
    for (const line of [paint('gray', title), ...body, '']) print(line);
  }
  for (const line of summary(rows, flags)) print(line);
}

function detectionOf({ detection, keepalive }: SocketReport): [string, string] {
  if (detection === null) return keepalive === null ? ['unknown', 'unknown'] : ['soon', 'soon'];
  const { idleMs, inFlightMs } = detection;
  const idle = idleMs === null ? paint('red', 'never') : formatDuration(idleMs);
  return [idle, formatDuration(inFlightMs)];
}

function adviceFor({ advice, risks, cookie }: SocketReport): string {
  if (advice === null) return '';
  const [worst] = risks;
  const line = worst === 'half-open-suspect' ? `${advice}: linkhold reset ${cookie}` : advice;
  return paint(worst === 'in-flight-hole' || worst === 'one-loss-kills' ? 'yellow' : 'red', line);
}

/** How many there are, what is risky, and the one command that mends it. */
function summary(rows: readonly Row[], { pid, port, netns, all }: SocketFlags): string[] {
  const processes = new Set(rows.flatMap(({ report }) => report.pid ?? []));
  const count = (number: number, noun: string, many: string) =>
    `${number} ${number === 1 ? noun : many}`;
  const total = `${count(rows.length, 'connection', 'connections')} of ${count(processes.size, 'process', 'processes')}`;
  const kinds = RISKS.flatMap((risk) => {
    const number = rows.filter(({ report }) => report.risks.includes(risk)).length;
    return number === 0 ? [] : [`  ${number} ${SAY[risk]}`];
  });
  const loopback = all === true ? '' : '; loopback is listed with --all';
  if (kinds.length === 0) return [`${total}, none at risk${loopback}`];
  const given = Object.entries({ pid, port, netns }).flatMap(([key, value]) =>
    value === undefined ? [] : [`--${key} ${value}`],
  );
  // Connections to come are chosen by control group, not by process.
  const what = pid === undefined && netns === undefined ? ['--existing --new'] : ['--existing'];
  const mend = ['linkhold protect', ...what, ...given].join(' ');
  return [`${total}${loopback}`, ...kinds, `Mend them while they run: ${paint('bold', mend)}`];
}

/** The worst process first, in it the worst connection; alike ones by process. */
function worstFirst(a: Row, b: Row): number {
  return (
    severity(a.report) - severity(b.report) ||
    (a.report.pid ?? Number.POSITIVE_INFINITY) - (b.report.pid ?? Number.POSITIVE_INFINITY)
  );
}

function severity({ risks: [worst] }: SocketReport): number {
  return worst === undefined ? RISKS.length : RISKS.indexOf(worst);
}

function tellWhatIsMissing(rows: readonly Row[], { withoutBpf }: SocketTable): void {
  const hidden = rows.filter(({ report }) => report.keepalive === null);
  if (withoutBpf === undefined || hidden.length === 0) return;
  const reasons = new Set(hidden.map(({ report }) => report.unreadable));
  const text = `the options of ${hidden.length} of ${rows.length} connections cannot be seen`;
  process.stderr.write(`linkhold: ${text}: ${[...reasons].join('; ')} (${withoutBpf.message})\n`);
}
