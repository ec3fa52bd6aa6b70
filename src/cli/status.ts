/**
 * `linkhold status`: what a running daemon holds, how it stands, and who carries the traffic.
 * @module
 */
import type { GroupStatus } from '../daemon/group-runner.ts';
import type { RelayStatus } from '../daemon/relays.ts';
import type { RouteStatus } from '../daemon/route-runner.ts';
import { describeMptcp } from '../link/held-tcp.ts';
import type { LinkStatus } from '../link/link.ts';
import { formatDuration } from '../time/duration.ts';
import { allFromDaemon, type DaemonFlags } from './api-client.ts';
import { describeEvidence, proofLines } from './describe.ts';
import { describePath } from './describe-path.ts';
import { columns, paint, paintState, plain, print, printJson, roundTrip } from './output.ts';

/** Resolves with 0 if no link is down, else 1. Throws `SystemError` and `UsageError`. */
export async function status(flags: DaemonFlags & { readonly json?: boolean }): Promise<number> {
  const [links, groups, relays, routes] = await Promise.all([
    allFromDaemon<LinkStatus>(flags, '/api/v1/links'),
    allFromDaemon<GroupStatus>(flags, '/api/v1/groups'),
    allFromDaemon<RelayStatus>(flags, '/api/v1/relays'),
    allFromDaemon<RouteStatus>(flags, '/api/v1/routes'),
  ]);
  if (flags.json === true) printJson({ links, groups, relays, routes });
  else render(links, groups, relays, routes);
  return links.some(({ state }) => state === 'down') ? 1 : 0;
}

function render(
  links: readonly LinkStatus[],
  groups: readonly GroupStatus[],
  relays: readonly RelayStatus[],
  routes: readonly RouteStatus[],
): void {
  const section = (head: readonly string[], rows: readonly (readonly string[])[]) => {
    if (rows.length === 0) return;
    const [title = '', ...body] = columns([head, ...rows]);
    print(paint('gray', title));
    for (const line of [...body, '']) print(line);
  };
  const age = (since: string) =>
    formatDuration(Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 1_000) * 1_000));
  section(
    ['LINK', 'STATE', 'FOR', 'ROUND TRIP', 'KNOWS WITHIN', 'WHY'],
    links.map((link) => [
      link.name,
      paintState(link.state),
      age(link.since),
      roundTrip(link.rttMs),
      formatDuration(link.detectsWithinMs),
      [
        [link.reason, describeEvidence(link.evidence)].filter(Boolean).join(': '),
        describeMptcp(link.mptcp),
      ]
        .filter(Boolean)
        .join('; '),
    ]),
  );
  if (links.length > 0) for (const line of [...proofLines(links), '']) print(line);
  section(
    ['GROUP', 'IN USE', 'FOR', 'WHY'],
    groups.map((group) => [group.name, group.active, age(group.since), plain(group.why)]),
  );
  section(
    ['PATH', 'GROUP', 'TIER', 'STATE', 'FOR', 'NEW FLOWS', 'WHY'],
    groups.flatMap((group) =>
      group.paths.map((path) => {
        const { state, why } = describePath(path, Date.now());
        const share = path.share === 0 ? '–' : `${Math.round(path.share * 100)} %`;
        const tier = String(path.tier);
        return [path.link, group.name, tier, state, age(path.since), share, plain(why)];
      }),
    ),
  );
  section(
    ['RELAY', 'LISTENS ON', 'GROUP', 'FLOWS', 'MULTIPATH TCP', 'PID'],
    relays.map((relay) => [
      relay.name,
      relay.failure === null ? relay.listen : paint('red', plain(relay.failure)),
      relay.group,
      Object.entries(relay.flows)
        .map(([path, flows]) => `${path} ${flows}`)
        .join(', ') || '0',
      relay.mptcp === undefined
        ? '–'
        : `${relay.mptcp.inUse} by it, ${relay.mptcp.fellBack} by plain TCP`,
      String(relay.pid),
    ]),
  );
  section(
    ['ROUTE', 'TABLE', 'GROUP', 'IN USE', 'FOR', 'HELD', 'WHY'],
    routes.map(({ destination, table, group, path, since, held, foreign, failure, why }) => [
      destination,
      String(table),
      group,
      path ?? '–',
      since === null ? '–' : age(since),
      held ? 'yes' : paint('red', 'no'),
      plain(foreign ?? failure ?? why ?? 'no path has proved itself yet'),
    ]),
  );
}
