/**
 * What commands print: colour only on a terminal and never with NO_COLOR, columns that line up.
 * Nothing but the result goes to stdout.
 * @module
 */
import { stripVTControlCharacters, styleText } from 'node:util';
import type { LinkState } from '../keepalive/keepalive.ts';

const COLOURS: Readonly<Record<LinkState, 'green' | 'red' | 'yellow' | 'gray' | 'blue'>> = {
  up: 'green',
  down: 'red',
  suspect: 'yellow',
  unknown: 'gray',
  drained: 'blue',
};

/** A state in its colour. */
export function paintState(state: LinkState): string {
  return paint(COLOURS[state], state);
}

/** Text in a colour, where that is wanted. */
export function paint(colour: Parameters<typeof styleText>[0], text: string): string {
  return styleText(colour, text, { stream: process.stdout, validateStream: true });
}

/** Rows as lines whose columns line up; the last column is as wide as it likes. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const width = (cell: string) => stripVTControlCharacters(cell).length;
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => width(row[column] ?? ''))),
  );
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === row.length - 1 ? cell : cell + ' '.repeat((widths[column] ?? 0) - width(cell)),
      )
      .join('  ')
      .trimEnd(),
  );
}

/** One line on stdout. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A value as one line of JSON on stdout. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** A round trip for people. */
export function roundTrip(rttMs: number | null): string {
  return rttMs === null ? '–' : `${rttMs < 10 ? rttMs.toFixed(1) : Math.round(rttMs)} ms`;
}

/** The control characters of a peer's or file's text must not steer the terminal. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it is for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '�');
}
