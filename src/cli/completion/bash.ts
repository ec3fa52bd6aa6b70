/**
 * Completion for bash 4 and later, without the package bash-completion.
 * @module
 */
import { type CommandShape, type ValueShape, withAllBelow } from '../command-shape.ts';
import { quoted } from './quoted.ts';

/** The script. */
export function bashScript(program: CommandShape): string {
  const all = withAllBelow(program);
  const steps = all
    .filter(({ words }) => words.length > 1)
    .map(({ words, name }) => {
      const from = words.slice(0, -1).join(' ');
      return `      ${quoted(`${from}/${name}`)}) at=${quoted(words.join(' '))} ;;`;
    });
  return `# Completion of ${program.name} for bash: source it, or put it where bash looks for it.
_${program.name}() {
  local at=${quoted(program.name)} word words='' kind=other
  local current=\${COMP_WORDS[COMP_CWORD]} last=\${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$at/$word" in
${steps.join('\n')}
    esac
  done
  case "$at $last" in
${all.flatMap(optionCases).join('\n')}
    *)
      case "$at" in
${all.map(commandCase).join('\n')}
      esac
      ;;
  esac
  case "$kind" in
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current") ;;
  esac
}
complete -F _${program.name} ${program.name}`;
}

/** What follows an option that takes a value. */
function optionCases({ words, options }: CommandShape): string[] {
  return options.flatMap(({ short, long, value }) => {
    if (value === undefined) return [];
    const names = [short, long].filter((name) => name !== undefined);
    const patterns = names.map((name) => quoted(`${words.join(' ')} ${name}`));
    return [`    ${patterns.join(' | ')}) ${given(value)} ;;`];
  });
}

/** What else there may be: commands, options, and the first value. */
function commandCase({ words, options, commands, values }: CommandShape): string {
  const [value] = values;
  const names = options.flatMap(({ short, long }) => long ?? short ?? []);
  const first = [...commands.map(({ name }) => name), ...(value?.choices ?? [])];
  const other = value === undefined || value.kind === 'choice' ? 'other' : value.kind;
  const either = [
    `if [[ $current == -* ]]; then words=${quoted(names.join(' '))}`,
    `else words=${quoted(first.join(' '))} kind=${other}; fi`,
  ];
  return `        ${quoted(words.join(' '))}) ${either.join('; ')} ;;`;
}

function given({ kind, choices }: ValueShape): string {
  return kind === 'choice' ? `words=${quoted(choices.join(' '))}` : `kind=${kind}`;
}
