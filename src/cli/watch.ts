/**
 * `linkhold watch URL…`: keeps links and shows them live until Ctrl-C; lines where there is no
 * terminal.
 * @module
 */
import type { Link, LinkEvent } from '../link/link.ts';
import { createLink } from '../link/registry.ts';
import { formatDuration } from '../time/duration.ts';
import { FLAGS } from '../time/usage-error.ts';
import { describeEvidence, eventLine, proofLines } from './describe.ts';
import { type TimingFlags, timingOf } from './flags.ts';
import { columns, paint, paintState, print, printJson, roundTrip } from './output.ts';
import { toldToStop } from './signals.ts';

const REDRAW_MS = 250;
const NEWEST_EVENTS = 8;
const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
const CLEAR_BELOW = '\u001b[0J';

/** Resolves with 0 when told to stop. Throws `UsageError` and `SystemError`. */
export async function watch(
  urls: readonly string[],
  flags: TimingFlags & { readonly json?: boolean },
): Promise<number> {
  const links = urls.map((url) => createLink(url, timingOf(flags), FLAGS));
  const live = flags.json !== true && process.stdout.isTTY;
  const view = live ? new LiveView(links) : undefined;
  const tell = (event: LinkEvent) => {
    if (view !== undefined) view.add(event);
    else if (flags.json === true) printJson(event);
    else if (event.type !== 'probe' && event.type !== 'reply') print(eventLine(event));
  };
  try {
    for (const link of links) {
      link.on('state', tell).on('note', tell);
      link.on('probe', tell).on('reply', tell);
      link.start();
    }
    await toldToStop();
  } finally {
    view?.close();
    for (const link of links) link.close();
  }
  return 0;
}

/** Redraws itself in place; the screen above stays as it was. */
class LiveView {
  readonly #links: readonly Link[];
  readonly #events: LinkEvent[] = [];
  readonly #timer: NodeJS.Timeout;
  #drawn = 0;

  constructor(links: readonly Link[]) {
    this.#links = links;
    process.stdout.write(HIDE_CURSOR);
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
  }

  add(event: LinkEvent): void {
    if (event.type === 'probe' || event.type === 'reply') return;
    this.#events.push(event);
    if (this.#events.length > NEWEST_EVENTS) this.#events.shift();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#draw();
    process.stdout.write(SHOW_CURSOR);
  }

  #draw(): void {
    const { rows = 24, columns: width = 80 } = process.stdout;
    const lines = this.#render().slice(0, rows - 1);
    const up = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : '';
    // A line that wraps would spoil the count of lines to go up again.
    const body = lines.map((line) => `${cut(line, width)}\u001b[K`).join('\n');
    process.stdout.write(`${up}\r${body}\n${CLEAR_BELOW}`);
    this.#drawn = lines.length;
  }

  #render(): string[] {
    const head = ['STATE', 'FOR', 'ROUND TRIP', 'KNOWS WITHIN', 'LINK', 'WHY'];
    const rows = this.#links.map((link) => {
      const { state, since, rttMs, detectsWithinMs, reason, evidence } = link.status();
      const facts = describeEvidence(evidence);
      return [
        paintState(state),
        formatDuration(Math.floor((Date.now() - Date.parse(since)) / 1_000) * 1_000),
        roundTrip(rttMs),
        formatDuration(detectsWithinMs),
        link.name,
        facts === '' ? reason : `${reason}: ${facts}`,
      ];
    });
    const [title = '', ...body] = columns([head, ...rows]);
    const events = this.#events.map((event) => eventLine(event));
    const proofs = proofLines(this.#links.map(({ facts }) => facts));
    return [paint('gray', title), ...body, ...proofs, '', ...events, paint('gray', 'Ctrl-C ends')];
  }
}

/** The first `width` visible characters of a line, with its colours closed. */
function cut(line: string, width: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control sequences
  const parts = line.split(/(\u001b\[[\d;]*m)/);
  let room = width - 1;
  return parts
    .map((part, index) => {
      if (index % 2 === 1) return part;
      const shown = part.slice(0, Math.max(room, 0));
      room -= part.length;
      return shown;
    })
    .join('');
}
