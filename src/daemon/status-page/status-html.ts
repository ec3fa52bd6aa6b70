/**
 * The status page as HTML without scripts: how the chosen links stand, a bar of a day for each, and
 * when they were down. Its style is within it, and is the only one its policy allows.
 * @module
 */
import { createHash } from 'node:crypto';
import { formatDuration } from '../../time/duration.ts';
import type { BarCell } from '../store/history.ts';
import type { Incident, ShownLink, ShownStatus } from './status-page.ts';
import { STYLE } from './status-style.ts';
import { escaped, STATE_WORDS } from './status-words.ts';

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/** What a browser may load for the page: its own style, by its hash, and nothing else. */
export const STATUS_POLICY: string = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

/** Seconds after which a browser asks for it again. */
export const REFRESH_S = 30;

const CELL = 10;
const GAP = 2;
const BAR_HEIGHT = 28;
/** What happened is seen, however short it was. */
const LEAST_SHARE = 0.08;
const PARTS = ['up', 'suspect', 'down', 'drained'] as const;

export function renderStatus(status: ShownStatus): string {
  const { title, at, links, incidents, hours } = status;
  const rows = links.map((link) => renderLink(link, hours)).join('\n');
  const past = incidents.length === 0 ? '<p class="none">None in 14 days.</p>' : listOf(incidents);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title><style>${STYLE}</style></head>
<body><svg width="0" height="0" aria-hidden="true"><defs><pattern id="hatch" width="5" height="5"
 patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="1.5" height="5"
 class="stripe"/></pattern></defs></svg>
<main><h1>${escaped(title)}</h1>
${renderVerdict(links)}
<h2>Now, and the last ${hours} hours</h2>
<ul class="links">
${rows}
</ul>
<p class="key"><span class="up">▮</span> up <span class="suspect">▮</span> in doubt
<span class="down">▮</span> down <span class="drained">▮</span> maintenance
<span class="unknown">▨</span> not observed, which counts as neither</p>
<h2>Incidents</h2>
${past}
</main><footer>As of ${renderTime(at)}. Renewed every ${REFRESH_S} seconds.</footer></body></html>
`;
}

function renderVerdict(links: readonly ShownLink[]): string {
  const down = links.filter(({ state }) => state === 'down').length;
  const doubtful = links.filter(({ state }) => state === 'suspect').length;
  const known = links.filter(({ state }) => state === 'up').length;
  if (down > 0) return verdict('down', `${down} of ${links.length} down`);
  if (doubtful > 0) return verdict('suspect', `${doubtful} of ${links.length} in doubt`);
  if (links.length === 0 || known === 0) return verdict('unknown', 'Nothing is known yet');
  return verdict('up', known === links.length ? 'Everything is up' : `${known} up, none down`);
}

function verdict(state: keyof typeof STATE_WORDS, text: string): string {
  return `<p class="verdict ${state}"><b aria-hidden="true">${STATE_WORDS[state].icon}</b> ${text}</p>`;
}

function renderLink({ name, state, since, bar }: ShownLink, hours: number): string {
  const { icon, long } = STATE_WORDS[state];
  return `<li><div class="head"><strong>${escaped(name)}</strong>
<span class="state ${state}"><b aria-hidden="true">${icon}</b> ${long}</span></div>
${renderBar(name, bar, hours)}
<div class="foot"><span>${availability(bar)}</span><span>since ${renderTime(since)}</span></div></li>`;
}

function renderBar(name: string, bar: readonly BarCell[], hours: number): string {
  const width = hours * (CELL + GAP) - GAP;
  // The oldest hour is not whole: bars end now, at the right.
  const cells = bar.slice(-hours);
  const offset = hours - cells.length;
  const shapes = cells.map((cell, index) => renderCell(cell, (offset + index) * (CELL + GAP)));
  const label = `${name}, the last ${hours} hours: ${availability(bar)}`;
  return `<svg class="bar" viewBox="0 0 ${width} ${BAR_HEIGHT}" preserveAspectRatio="none" role="img"
 aria-label="${escaped(label)}">${shapes.join('')}</svg>`;
}

function renderCell(cell: BarCell, x: number): string {
  const shares = cell.map((share) => (share > 0 ? Math.max(share, LEAST_SHARE) : 0));
  const whole = Math.max(
    1,
    shares.reduce((sum, share) => sum + share, 0),
  );
  const rect = (y: number, height: number, look: string) =>
    `<rect x="${x}" y="${y.toFixed(1)}" width="${CELL}" height="${height.toFixed(1)}" ${look}/>`;
  let y = BAR_HEIGHT;
  const parts = [rect(0, BAR_HEIGHT, 'fill="url(#hatch)"')];
  for (const [index, part] of PARTS.entries()) {
    const height = ((shares[index] ?? 0) / whole) * BAR_HEIGHT;
    if (height === 0) continue;
    y -= height;
    parts.push(rect(y, height, `class="${part}"`));
  }
  return parts.join('');
}

/** Of the time that somebody watched. */
function availability(bar: readonly BarCell[]): string {
  let [good, judged] = [0, 0];
  for (const [up, suspect, down] of bar) {
    good += up;
    judged += up + suspect + down;
  }
  if (judged === 0) return 'not observed yet';
  // Never rounded up to a whole that it was not.
  const percent = Math.floor((good / judged) * 10_000) / 100;
  return `up ${percent} % of the time observed`;
}

function listOf(incidents: readonly Incident[]): string {
  const items = incidents.map(({ link, from, until }) => {
    const length = Date.parse(until ?? '') - Date.parse(from);
    const lasted = `was down for ${formatDuration(Math.max(length, 0))}, from`;
    const words = until === undefined ? 'is down since' : lasted;
    return `<li><strong>${escaped(link)}</strong> ${words} ${renderTime(from)}</li>`;
  });
  return `<ul class="incidents">\n${items.join('\n')}\n</ul>`;
}

/** In UTC: the page does not know where its reader is. */
function renderTime(iso: string): string {
  const text = `${iso.slice(0, 16).replace('T', ' ')} UTC`;
  return `<time datetime="${escaped(iso)}">${escaped(text)}</time>`;
}
