/**
 * How a path of a group stands, in words: its state in one, and what people should know besides.
 * @module
 */
import type { PathStatus } from '../daemon/group-runner.ts';
import { formatDuration } from '../time/duration.ts';
import { paint } from './output.ts';

type Colour = Parameters<typeof paint>[0];

const COLOURS: Readonly<Record<string, Colour>> = {
  up: 'green',
  down: 'red',
  unknown: 'gray',
  drained: 'blue',
};

function wordFor({ standing, state }: PathStatus): string {
  if (standing === 'unfit' || standing === 'eligible') return state;
  return standing === 'held' ? 'held down' : standing;
}

/** When, and how long that is from now, which is enough for whoever reads it at once. */
function until(at: string, now: number): string {
  const seconds = Math.max(Math.ceil((Date.parse(at) - now) / 1_000), 1);
  return `until ${new Date(at).toLocaleTimeString('en-GB')} (${formatDuration(seconds * 1_000)})`;
}

/** The state, in its colour, and why; `now` in ms since 1970. */
export function describePath(
  path: PathStatus,
  now: number,
): { readonly state: string; readonly why: string } {
  const { silencedBy, poor, heldUntil, flappingUntil, active } = path;
  const facts: string[] = active ? ['in use'] : [];
  if (silencedBy !== null) facts.push(`lies behind ${silencedBy}, which is down`);
  if (poor !== null) facts.push(poor);
  if (heldUntil !== null) facts.push(`held down ${until(heldUntil, now)}`);
  if (flappingUntil !== null) facts.push(`flapping ${until(flappingUntil, now)}, if it stays up`);
  const word = wordFor(path);
  return { state: paint(COLOURS[word] ?? 'yellow', word), why: facts.join('; ') };
}
