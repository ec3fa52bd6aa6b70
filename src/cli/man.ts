/**
 * `linkhold man`: the manual page (man(7)), made of the commands themselves.
 * @module
 */
import type { Command } from 'commander';
import { type CommandShape, shapeOf, withAllBelow } from './command-shape.ts';
import { print } from './output.ts';

const EXIT_CODES = [
  ['0', 'Good: all links are up, the request was carried out.'],
  ['1', 'Bad news: a link is down, a connection is at risk or refused.'],
  ['2', 'Wrong usage or a wrong configuration; the line on standard error says how to mend it.'],
  ['3', 'This machine cannot do it, or no daemon answers.'],
] as const;

const ENVIRONMENT = [
  ['LINKHOLD_KEY', 'The shared key of \\fBlinkhold respond\\fR.'],
  ['LINKHOLD_TOKEN', "The token for a daemon's API, in place of that in its state directory."],
  ['XDG_STATE_HOME', 'Where the state directory of a user is; by default ~/.local/state.'],
  ['NO_COLOR', 'If set, nothing is coloured.'],
  ['NOTIFY_SOCKET, WATCHDOG_USEC', 'Set by systemd for \\fBlinkhold run\\fR; see sd_notify(3).'],
] as const;

const FILES = [
  ['linkhold.yaml', 'The configuration; \\fBlinkhold schema\\fR says what may stand in it.'],
  ['/var/lib/linkhold', "The state directory of root's daemon."],
] as const;

/** Prints the page; answers 0. */
export function man(program: Command, version: string): number {
  print(manPage(shapeOf(program), version));
  return 0;
}

/** The page's source. */
export function manPage(program: CommandShape, version: string): string {
  const name = escaped(program.name);
  const runnable = withAllBelow(program).filter(({ commands }) => commands.length === 0);
  const lines = [
    `.TH ${name.toUpperCase()} 1 "" "${name} ${escaped(version)}" "User Commands"`,
    '.SH NAME',
    `${name} \\- ${escaped(decapitalized(program.description))}`,
    '.SH SYNOPSIS',
    ...runnable.flatMap(synopsis),
    '.SH DESCRIPTION',
    escaped(program.description),
    'Durations are written with a unit: 500ms, 45s, 10m, 2h.',
    '.SH COMMANDS',
    ...runnable.flatMap(section),
    '.SH "EXIT STATUS"',
    ...EXIT_CODES.flatMap(([code, text]) => entry(code, text)),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([variable, text]) => entry(variable, text)),
    '.SH FILES',
    ...FILES.flatMap(([file, text]) => entry(escaped(file), text)),
    '.SH "SEE ALSO"',
    '.BR tcp (7),',
    '.BR ss (8),',
    '.BR capabilities (7),',
    '.BR systemd.service (5)',
  ];
  return lines.join('\n');
}

function synopsis({ words, usage }: CommandShape, index: number): string[] {
  const line = `\\fB${escaped(words.join(' '))}\\fR ${escaped(usage)}`.trimEnd();
  return index === 0 ? [line] : ['.br', line];
}

function section({ words, usage, description, options, example }: CommandShape): string[] {
  const shown = options.filter(({ long }) => long !== '--help');
  const examples =
    example === undefined
      ? []
      : ['.PP', 'Example:', '.PP', '.nf', `.RS\n${escaped(example)}`, '.RE', '.fi'];
  return [
    `.SS "${escaped(`${words.slice(1).join(' ')} ${usage}`.trim())}"`,
    `${escaped(capitalized(description))}.`,
    ...shown.flatMap((option) => entry(escaped(option.flags), escaped(option.description))),
    ...examples,
  ];
}

function entry(term: string, text: string): string[] {
  return ['.TP', `\\fB${term}\\fR`, text];
}

/** Text that troff leaves alone. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replace(/^[.']/, '\\&$&');
}

function capitalized(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

function decapitalized(text: string): string {
  return (text.slice(0, 1).toLowerCase() + text.slice(1)).replace(/\.$/, '');
}
