/**
 * `linkhold sockets`: this machine's TCP connections, how each would notice a dead peer, and which
 * never would.
 * @module
 */
import { type Judgement, RISKS, type Risk, severityOf } from '../host/risk.ts';
import { namespaceOf, selector } from '../host/selection.ts';
import { isLoopback, judgeOf, reportSocket } from '../host/socket-report.ts';
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
  readonly judgement: Judgement | undefined;
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
  const judged = judgeOf(table.retries2);
  const rows = table.records
    .filter((record) => selects(record) && (flags.all === true || !isLoopback(record.socket)))
    .map((record) => ({ record, judgement: judged(record) }))
    .filter(({ judgement }) => flags.risky !== true || isRisky(judgement));
  if (flags.json === true) {
    const sorted = rows.toSorted(worstFirst);
    printJson(sorted.map(({ record, judgement }) => reportSocket(record, judgement)));
  } else {
    render(rows, table, flags);
  }
  tellWhatIsMissing(rows, table);
  return flags.risky === true && rows.length > 0 ? 1 : 0;
}

function isRisky(judgement: Judgement | undefined): boolean {
  return judgement !== undefined && judgement.risks.length > 0;
}

/** Alike connections in a row, the worst process first and its worst connections first in it. */
function render(rows: readonly Row[], table: SocketTable, flags: SocketFlags): void {
  const groups = groupConnections(
    rows,
    ({ record }) => record,
    table.listening,
    ({ record: { socket }, judgement }) => [
      socket.state,
      judgement?.detection.idleMs,
      judgement?.detection.inFlightMs,
      judgement?.advice,
      // One that is to be reset is named.
      judgement?.risks[0] === 'half-open-suspect' ? socket.cookie : undefined,
    ],
  );
  groups.sort((a, b) => worstFirst(a.items[0], b.items[0]));
  const byProcess = Map.groupBy(groups, ({ process }) => process);
  const lines: string[][] = [];
  for (const [process, members] of byProcess) {
    for (const [index, { connections, items }] of members.entries()) {
      const [row] = items;
      const { state } = row.record.socket;
      const where = state === 'established' ? connections : `${connections} ${state}`;
      lines.push([index === 0 ? process : '', where, ...detectionOf(row), adviceFor(row)]);
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

function detectionOf({ record, judgement }: Row): [string, string] {
  if (judgement === undefined) {
    return record.options === undefined ? ['unknown', 'unknown'] : ['soon', 'soon'];
  }
  const { idleMs, inFlightMs } = judgement.detection;
  const idle = idleMs === null ? paint('red', 'never') : formatDuration(idleMs);
  return [idle, formatDuration(inFlightMs)];
}

function adviceFor({ record, judgement }: Row): string {
  if (judgement === undefined || judgement.advice === null) return '';
  const { advice, risks } = judgement;
  const [worst] = risks;
  const cookie = record.socket.cookie.toString(16);
  const suspect = worst === 'half-open-suspect';
  const line = suspect ? advice.replace('reset it', `$&: linkhold reset ${cookie}`) : advice;
  return paint(worst === 'in-flight-hole' || worst === 'one-loss-kills' ? 'yellow' : 'red', line);
}

/** How many there are, what is risky, and the one command that mends it. */
function summary(rows: readonly Row[], { pid, port, netns, all }: SocketFlags): string[] {
  const processes = new Set(rows.map(({ record }) => record.owner?.pid));
  processes.delete(undefined);
  const count = (number: number, noun: string, many: string) =>
    `${number} ${number === 1 ? noun : many}`;
  const total = `${count(rows.length, 'connection', 'connections')} of ${count(processes.size, 'process', 'processes')}`;
  const kinds = RISKS.flatMap((risk) => {
    const number = rows.filter(({ judgement }) => judgement?.risks.includes(risk)).length;
    return number === 0 ? [] : [`  ${number} ${SAY[risk]}`];
  });
  const loopback = all === true ? '' : '; loopback is listed with --all';
  const hidden = rows.some(({ record }) => record.options === undefined);
  const none = hidden ? 'none of those that can be seen at risk' : 'none at risk';
  if (kinds.length === 0) return [`${total}, ${none}${loopback}`];
  const given = Object.entries({ pid, port, netns }).flatMap(([key, value]) =>
    value === undefined ? [] : [`--${key} ${value}`],
  );
  // Connections to come are chosen by control group, not by process.
  const what = pid === undefined && netns === undefined ? ['--existing --new'] : ['--existing'];
  const mend = ['linkhold protect', ...what, ...given].join(' ');
  return [`${total}${loopback}`, ...kinds, `Mend them while they run: ${paint('bold', mend)}`];
}

function worstFirst(a: Row, b: Row): number {
  const worse = severityOf(a.judgement) - severityOf(b.judgement);
  return worse || (a.record.owner?.pid ?? 0) - (b.record.owner?.pid ?? 0);
}

function tellWhatIsMissing(rows: readonly Row[], { withoutBpf }: SocketTable): void {
  const hidden = rows.filter(({ record }) => record.options === undefined);
  if (withoutBpf === undefined || hidden.length === 0) return;
  const reasons = new Set(hidden.map(({ record }) => record.unreadable));
  // What a right is missing for is told by each connection; another reason is the machine's.
  const why = withoutBpf.code === 'EPERM' ? '' : ` (${withoutBpf.message})`;
  const text = `the options of ${hidden.length} of ${rows.length} connections cannot be seen`;
  process.stderr.write(`linkhold: ${text}: ${[...reasons].join('; ')}${why}\n`);
}
