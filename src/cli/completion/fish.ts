/**
 * Completion for fish.
 * @module
 */
import { type CommandShape, type ValueShape, withAllBelow } from '../command-shape.ts';
import { quotedForFish as quoted } from './quoted.ts';

/** The script. */
export function fishScript(program: CommandShape): string {
  const head = [
    `# Completion of ${program.name} for fish: put it in ~/.config/fish/completions, or source it.`,
    `complete -c ${program.name} -f`,
  ];
  return [...head, ...withAllBelow(program).flatMap((shape) => linesOf(program, shape))].join('\n');
}

function linesOf(program: CommandShape, shape: CommandShape): string[] {
  const { commands, options, values } = shape;
  const line = (when: string, rest: string) =>
    `complete -c ${program.name} -n ${quoted(when)} ${rest}`;
  const here = whenIn(shape);
  const before = whenBefore(shape);
  return [
    ...commands.map(({ name, description }) =>
      line(before, `-a ${name} -d ${quoted(description)}`),
    ),
    ...options.map(({ short, long, description, value }) => {
      const names = [
        short === undefined ? '' : `-s ${short.slice(1)}`,
        long === undefined ? '' : `-l ${long.slice(2)}`,
      ];
      const words = [...names, value === undefined ? '' : given(value)].filter(Boolean);
      return line(here, `${words.join(' ')} -d ${quoted(description)}`);
    }),
    ...values.flatMap((value) => {
      if (value.kind === 'file') return [line(here, '-F')];
      return value.kind === 'choice' ? [line(here, `-a ${quoted(value.choices.join(' '))}`)] : [];
    }),
  ];
}

/** Where its words have been typed. */
function whenIn({ words }: CommandShape): string {
  const typed = words.slice(1).map((word) => `__fish_seen_subcommand_from ${word}`);
  return typed.length === 0 ? '__fish_use_subcommand' : typed.join('; and ');
}

/** The same, and no command below it. */
function whenBefore(shape: CommandShape): string {
  if (shape.words.length === 1) return whenIn(shape);
  const below = shape.commands.map(({ name }) => name).join(' ');
  return `${whenIn(shape)}; and not __fish_seen_subcommand_from ${below}`;
}

function given({ kind, choices }: ValueShape): string {
  if (kind === 'file') return '-r -F';
  if (kind === 'directory') return `-x -a ${quoted('(__fish_complete_directories)')}`;
  return kind === 'choice' ? `-x -a ${quoted(choices.join(' '))}` : '-x';
}
