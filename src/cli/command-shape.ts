/**
 * The commands as plain values, read from the program that parses them: what completion and the manual
 * page are made of. It knows neither.
 * @module
 */
import type { Command, Option } from 'commander';

/** What a value is, as far as a shell can help with it. */
export type ValueKind = 'file' | 'directory' | 'choice' | 'other';

export interface ValueShape {
  /** As the usage names it: `duration`. */
  readonly name: string;
  readonly kind: ValueKind;
  /** Of a choice. */
  readonly choices: readonly string[];
}

export interface OptionShape {
  /** `--state-dir <dir>`. */
  readonly flags: string;
  /** `-V` and `--version`: one or both. */
  readonly short: string | undefined;
  readonly long: string | undefined;
  readonly description: string;
  /** `undefined`: it takes none. */
  readonly value: ValueShape | undefined;
}

export interface CommandShape {
  /** The words that call it: `linkhold token add`. */
  readonly words: readonly string[];
  readonly name: string;
  readonly description: string;
  /** What follows its words: `[options] <name>`. */
  readonly usage: string;
  readonly values: readonly ValueShape[];
  readonly options: readonly OptionShape[];
  readonly commands: readonly CommandShape[];
  readonly example: string | undefined;
}

/** A program or one of its commands, with all below it. */
export function shapeOf(command: Command, above: readonly string[] = []): CommandShape {
  const help = command.createHelp();
  const words = [...above, command.name()];
  const below = help.visibleCommands(command).filter((one) => one.name() !== 'help');
  return {
    words,
    name: command.name(),
    description: command.description(),
    usage: command.usage(),
    values: command.registeredArguments.map((argument) =>
      valueShape(argument.name(), argument.argChoices),
    ),
    options: help.visibleOptions(command).map((option) => ({
      ...optionShape(option),
      description: help.optionDescription(option),
    })),
    commands: below.map((one) => shapeOf(one, words)),
    example: exampleOf(command),
  };
}

function optionShape({ flags, short, long, argChoices }: Option): Omit<OptionShape, 'description'> {
  const [, name] = /[<[]([^>\]]+)[>\]]/.exec(flags) ?? [];
  return {
    flags,
    short: short ?? undefined,
    long: long ?? undefined,
    value: name === undefined ? undefined : valueShape(name, argChoices),
  };
}

function valueShape(name: string, choices: readonly string[] | undefined): ValueShape {
  if (choices !== undefined) return { name, kind: 'choice', choices };
  const kind = name === 'dir' ? 'directory' : name === 'file' ? 'file' : 'other';
  return { name, kind, choices: [] };
}

/** The help ends with it. */
function exampleOf(command: Command): string | undefined {
  let text = '';
  const { writeOut } = command.configureOutput();
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  if (writeOut !== undefined) command.configureOutput({ writeOut });
  return /\nExample:\n {2}(.+)\n/.exec(text)?.[1];
}

/** A command and all below it. */
export function withAllBelow(shape: CommandShape): CommandShape[] {
  return [shape, ...shape.commands.flatMap(withAllBelow)];
}
