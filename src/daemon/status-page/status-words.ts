/**
 * The words and signs for states on the status page and its badges, and text made fit for markup.
 * @module
 */
import type { LinkState } from '../../keepalive/keepalive.ts';

/** A sign, one word, and a sentence's end. Colour is never the only difference. */
export const STATE_WORDS: Readonly<
  Record<LinkState, { readonly icon: string; readonly short: string; readonly long: string }>
> = {
  up: { icon: '✓', short: 'up', long: 'Up' },
  suspect: { icon: '!', short: 'in doubt', long: 'In doubt' },
  down: { icon: '✕', short: 'down', long: 'Down' },
  drained: { icon: '‖', short: 'maintenance', long: 'In maintenance' },
  unknown: { icon: '?', short: 'not known', long: 'Not known' },
};

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as text of HTML or SVG, also within quotes. */
export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
