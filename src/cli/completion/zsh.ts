/**
 * Completion for zsh, by its own `_arguments`: one function a command.
 * @module
 */
import {
  type CommandShape,
  type OptionShape,
  type ValueShape,
  withAllBelow,
} from '../command-shape.ts';
import { quoted } from './quoted.ts';

/** The script, for a folder in `fpath` or to be sourced. */
export function zshScript(program: CommandShape): string {
  const name = functionOf(program);
  return `#compdef ${program.name}
# Completion of ${program.name} for zsh: put it as _${program.name} in a folder of fpath, or source it.
${withAllBelow(program).map(functionFor).join('\n')}
if [[ $funcstack[1] == ${name} ]]; then
  ${name} "$@"
else
  compdef ${name} ${program.name}
fi`;
}

function functionOf({ words }: CommandShape): string {
  return `_${words.join('_')}`;
}

function functionFor(shape: CommandShape): string {
  const specs = shape.options.flatMap(optionSpecs);
  if (shape.commands.length === 0) {
    // One that zsh cannot help with would keep it from completing options in its place.
    const helped = shape.values.filter(({ kind }) => kind !== 'other');
    const values = helped.map((value) => quoted(`*:${described(value)}`));
    return `${functionOf(shape)}() {\n  ${call('_arguments', [...specs, ...values])}\n}`;
  }
  const commands = shape.commands.map(({ name, description }) =>
    quoted(`${name}:${description.replaceAll(':', '\\:')}`),
  );
  const cases = shape.commands.map((one) => `    ${one.name}) ${functionOf(one)} ;;`);
  return `${functionOf(shape)}() {
  local curcontext=$curcontext state line
  ${call('_arguments -C', [...specs, quoted('1: :->command'), quoted('*:: :->rest')])}
  case $state in
  command)
    local -a commands=(${commands.map((one) => `\n      ${one}`).join('')}
    )
    _describe command commands
    ;;
  rest)
    case $words[1] in
${cases.join('\n')}
    esac
    ;;
  esac
}`;
}

function call(command: string, args: readonly string[]): string {
  return [command, ...args].join(' \\\n    ');
}

function optionSpecs({ short, long, description, value }: OptionShape): string[] {
  const text = description.replaceAll(/[[\]:\\]/g, '\\$&');
  const after = value === undefined ? '' : `:${described(value)}`;
  return [short, long].flatMap((name) =>
    name === undefined ? [] : [quoted(`${name}[${text}]${after}`)],
  );
}

/** A value's name and what completes it. */
function described({ name, kind, choices }: ValueShape): string {
  const label = name.replaceAll(':', '\\:');
  if (kind === 'file') return `${label}:_files`;
  if (kind === 'directory') return `${label}:_directories`;
  return `${label}:${kind === 'choice' ? `(${choices.join(' ')})` : ''}`;
}
