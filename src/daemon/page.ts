/**
 * The plain page at `/`: groups, links and the newest events as tables, without scripts.
 * @module
 */
import { describeMptcp } from '../link/held-tcp.ts';
import { formatDuration } from '../time/duration.ts';
import type { LoggedEvent } from './event-log.ts';
import type { Supervisor } from './supervisor.ts';

/** Rows of links on the page; the API has the rest. */
const MOST_LINKS = 500;

const STYLE = `
  :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
  body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
  table { border-collapse: collapse; width: 100%; margin-bottom: 2rem }
  th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8884 }
  th { font-weight: 600; opacity: .7 } td { vertical-align: top; font-variant-numeric: tabular-nums }
  td:first-child { white-space: nowrap }
  .up { color: #1a8a4a } .down { color: #d1373f } .suspect { color: #b97b00 }
  .unknown, .drained { opacity: .7 }
`;

/** Text as HTML text. */
function escaped(text: unknown): string {
  const entities: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
  };
  return String(text).replace(/[&<>"]/g, (character) => entities[character] ?? '');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '<p>None.</p>';
  const cells = (tag: string, row: readonly string[]) =>
    `<tr>${row.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;
  const body = rows.map((row) => cells('td', row)).join('');
  return `<table><thead>${cells('th', head)}</thead><tbody>${body}</tbody></table>`;
}

function state(text: string): string {
  return `<span class="${escaped(text)}">${escaped(text)}</span>`;
}

function describe(event: LoggedEvent): string {
  if (event.type === 'switch') return escaped(`${event.from} → ${event.to}: ${event.why}`);
  if (event.type === 'note') return escaped(event.text);
  const { from, to, reason, evidence } = event;
  const facts = Object.keys(evidence).length === 0 ? '' : ` ${JSON.stringify(evidence)}`;
  return `${escaped(from)} → ${state(to)} ${escaped(reason + facts)}`;
}

/** The page as it is now. `events` are oldest first and shown newest first. */
export function renderPage(supervisor: Supervisor, events: readonly LoggedEvent[]): string {
  const groups = supervisor
    .groupStatuses()
    .map(({ name, active, since, why, paths }) => [
      escaped(name),
      `<b>${escaped(active)}</b>`,
      escaped(since),
      escaped(why),
      paths
        .map((path) => `${escaped(path.link)} ${state(path.drained ? 'drained' : path.state)}`)
        .join(', '),
    ]);
  const relays = supervisor.relayStatuses().map(({ name, listen, group, flows, mptcp }) => [
    escaped(name),
    escaped(listen),
    escaped(group),
    Object.entries(flows)
      .map(([path, count]) => `${escaped(path)} ${count}`)
      .join(', ') || '0',
    mptcp === undefined ? '–' : `${mptcp.inUse} by it, ${mptcp.fellBack} by plain TCP`,
  ]);
  const routes = supervisor
    .routeStatuses()
    .map(({ name, destination, table, group, path, hop, held, foreign, failure }) => [
      escaped(name),
      escaped(`${destination} in table ${table}`),
      escaped(group),
      escaped(path ?? '–'),
      escaped(hop ?? '–'),
      escaped(foreign ?? failure ?? (held ? 'held' : 'not yet')),
    ]);
  const all = supervisor.links();
  const links = all.slice(0, MOST_LINKS).map((link) => {
    const row = link.status();
    return [
      escaped(row.name),
      state(row.state),
      escaped([row.reason, describeMptcp(row.mptcp)].filter(Boolean).join('; ')),
      row.rttMs === null ? '–' : `${row.rttMs.toFixed(1)} ms`,
      formatDuration(row.detectsWithinMs),
      formatDuration(row.largestSilenceMs),
      escaped(row.url),
      escaped(row.proves),
    ];
  });
  const more = all.length > MOST_LINKS ? `<p>${all.length - MOST_LINKS} more by the API.</p>` : '';
  const happened = events
    .toReversed()
    .map((event) => [
      escaped(event.at),
      escaped('link' in event ? event.link : (event.group ?? '')),
      describe(event),
    ]);
  const linkHead = [
    'Link',
    'State',
    'Reason',
    'Round trip',
    'Knows within',
    'Silent at most',
    'URL',
    'Up proves',
  ];
  return `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Linkhold</title><style>${STYLE}</style>
</head><body><h1>Linkhold</h1>
<h2>Groups</h2>${table(['Group', 'In use', 'Since', 'Why', 'Paths'], groups)}
<h2>Relays</h2>${table(['Relay', 'Listens on', 'Group', 'Flows', 'Multipath TCP'], relays)}
<h2>Routes</h2>${table(['Route', 'Leads', 'Group', 'Path', 'By', 'State'], routes)}
<h2>Links</h2>${table(linkHead, links)}${more}
<h2>Events</h2>${table(['When', 'Who', 'What'], happened)}
</body></html>`;
}
