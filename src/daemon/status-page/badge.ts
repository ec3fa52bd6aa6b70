/**
 * A badge: a link's name and its state as a small SVG image, for a README or an intranet page.
 * @module
 */
import type { LinkState } from '../../keepalive/keepalive.ts';
import { escaped, STATE_WORDS } from './status-words.ts';

/** Dark enough for white text (WCAG AA). */
const COLOURS: Readonly<Record<LinkState, string>> = {
  up: '#17784a',
  suspect: '#8f5a00',
  down: '#b3202a',
  drained: '#4655b0',
  unknown: '#5b6168',
};
/** Of the usual sans-serif at 11 px; text is fitted to its width, so that no font breaks it. */
const CHARACTER_WIDTH = 6.6;
const PADDING = 7;
const HEIGHT = 20;
const BASELINE = 14;

export function renderBadge(name: string, state: LinkState): string {
  const word = `${STATE_WORDS[state].icon} ${STATE_WORDS[state].short}`;
  const [left, right] = [widthOf(name), widthOf(word)];
  const width = left + right;
  const label = escaped(`${name}: ${STATE_WORDS[state].short}`);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${HEIGHT}" role="img"
 aria-label="${label}"><title>${label}</title>
<clipPath id="r"><rect width="${width}" height="${HEIGHT}" rx="4"/></clipPath>
<g clip-path="url(#r)"><rect width="${left}" height="${HEIGHT}" fill="#33373d"/>
<rect x="${left}" width="${right}" height="${HEIGHT}" fill="${COLOURS[state]}"/></g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
${fitted(name, 0, left)}
${fitted(word, left, right)}</g></svg>
`;
}

function widthOf(text: string): number {
  return Math.round([...text].length * CHARACTER_WIDTH + 2 * PADDING);
}

function fitted(text: string, x: number, width: number): string {
  const inner = width - 2 * PADDING;
  const place = `x="${x + PADDING}" y="${BASELINE}" textLength="${inner}"`;
  return `<text ${place} lengthAdjust="spacingAndGlyphs">${escaped(text)}</text>`;
}
