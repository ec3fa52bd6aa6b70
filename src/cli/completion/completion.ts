/**
 * `linkhold completion SHELL`: a script that has a shell complete the command line. It asks no daemon:
 * to start this program for every Tab would take longer than to type a name.
 * @module
 */
import type { Command } from 'commander';
import { type CommandShape, shapeOf } from '../command-shape.ts';
import { print } from '../output.ts';
import { bashScript } from './bash.ts';
import { fishScript } from './fish.ts';
import { zshScript } from './zsh.ts';

const SCRIPTS: Readonly<Record<string, (program: CommandShape) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** Prints it; answers 0. `shell` is one of those that the program offers. */
export function completion(program: Command, shell: string): number {
  print(SCRIPTS[shell]?.(shapeOf(program)) ?? '');
  return 0;
}
