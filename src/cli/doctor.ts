/**
 * `linkhold doctor`: what this machine can do, what each of it is for, and how to come by the rest. It
 * tries everything and leaves nothing behind.
 * @module
 */
import os from 'node:os';
import { baseTrials } from '../daemon/base-abilities.ts';
import { defaultStateDir } from '../daemon/state-dir.ts';
import { type Ability, tryAbility } from '../host/ability.ts';
import { capabilities } from '../host/capabilities.ts';
import { HOST_TRIALS } from '../host/host-abilities.ts';
import { RELAY_TRIALS } from '../host/relay-abilities.ts';
import { columns, paint, plain, print, printJson } from './output.ts';
import { version } from './version.ts';

const CANNOT = 3;

/** Resolves with 0, or 3 where the daemon cannot run at all. */
export async function doctor(flags: {
  readonly json?: boolean;
  readonly stateDir?: string;
}): Promise<number> {
  const abilities: Ability[] = [];
  const trials = [
    ...baseTrials(flags.stateDir ?? defaultStateDir()),
    ...RELAY_TRIALS,
    ...HOST_TRIALS,
  ];
  // One after the other: some end connections or list all of them.
  for (const trial of trials) abilities.push(await tryAbility(trial));
  const machine = { version: version(), kernel: `${os.type()} ${os.release()}`, arch: os.arch() };
  if (flags.json === true) printJson({ ...machine, capabilities: capabilities(), abilities });
  else render(abilities, Object.values(machine).join(', '));
  return abilities.some(({ there, essential }) => essential && !there) ? CANNOT : 0;
}

function render(abilities: readonly Ability[], machine: string): void {
  print(paint('gray', `linkhold ${machine}`));
  const rows = abilities.map((ability) => {
    const { name, serves, detail } = ability;
    return [markOf(ability), name, serves, plain(detail)];
  });
  for (const line of columns(rows)) print(line);
  const rights = capabilities().join(', ');
  print(paint('gray', `capabilities of use: ${rights === '' ? 'none' : rights}`));
  const missing = abilities.filter(({ there }) => !there);
  const essential = missing.filter((ability) => ability.essential).length;
  if (essential > 0) print(paint('red', 'the daemon cannot run here until ✗ is mended'));
  else if (missing.length > 0) print(`the daemon can run; ${missing.length} (–) are not to be had`);
  else print('nothing is missing');
}

function markOf({ there, essential }: Ability): string {
  if (there) return paint('green', '✓');
  return essential ? paint('red', '✗') : paint('yellow', '–');
}
