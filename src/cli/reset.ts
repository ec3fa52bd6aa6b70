/**
 * `linkhold reset CONNECTION`: destroys one half-open connection of this machine.
 * @module
 */
import { resetSocket } from '../host/reset.ts';
import { namespaceOf, selector } from '../host/selection.ts';
import { judgeOf, localOf, remoteOf, reportSocket } from '../host/socket-report.ts';
import { readSocketTable, type SocketRecord } from '../host/socket-table.ts';
import { UsageError } from '../time/usage-error.ts';
import { processOf } from './connections.ts';
import { type ConnectionFlags, pidOf, portOf } from './flags.ts';
import { print, printJson } from './output.ts';

const MOST_SHOWN = 5;

/**
 * Resolves `text`, a cookie or the ADDRESS:PORT of the far end, to one connection and ends it. Answers
 * 0. Throws `UsageError` if none or several match, and `SystemError`.
 */
export function reset(text: string, flags: ConnectionFlags): number {
  const [pid, port] = [pidOf(flags.pid), portOf(flags.port)];
  const namespace = namespaceOf(flags.netns, pid);
  const { records, retries2 } = readSocketTable(namespace);
  const selects = selector({ pid, port });
  const named = nameTest(text);
  const found = records.filter((record) => named(record) && selects(record));
  const record = theOnly(found, text);
  resetSocket(record, namespace);
  if (flags.json === true) printJson({ reset: reportSocket(record, judgeOf(retries2)(record)) });
  else print(`reset ${describe(record)}`);
  return 0;
}

function nameTest(text: string): (record: SocketRecord) => boolean {
  if (/^[\da-f]{1,14}$/i.test(text)) {
    const cookie = Number.parseInt(text, 16);
    return ({ socket }) => socket.cookie === cookie;
  }
  if (/:\d{1,5}$/.test(text)) {
    return ({ socket }) => remoteOf(socket) === text;
  }
  const hint = 'name a cookie from linkhold sockets --json, or ADDRESS:PORT of its far end';
  throw new UsageError('bad-connection', `"${text}" names no connection; ${hint}`);
}

function theOnly(found: readonly SocketRecord[], text: string): SocketRecord {
  const [first, ...others] = found;
  if (first === undefined) {
    const hint = 'look for it with linkhold sockets --all';
    throw new UsageError('no-connection', `no connection of this machine is ${text}; ${hint}`);
  }
  if (others.length === 0) return first;
  const shown = found.slice(0, MOST_SHOWN).map(({ socket }) => {
    return `${socket.cookie.toString(16)} (${localOf(socket)} → ${remoteOf(socket)})`;
  });
  const more = found.length > MOST_SHOWN ? ` and ${found.length - MOST_SHOWN} more` : '';
  const list = `${shown.join(', ')}${more}`;
  throw new UsageError(
    'ambiguous',
    `${found.length} connections are ${text}; name one by its cookie: ${list}`,
  );
}

function describe(record: SocketRecord): string {
  const { socket } = record;
  return `${localOf(socket)} → ${remoteOf(socket)}, of ${processOf(record)}`;
}
