/**
 * `linkhold token add NAME`, `token list` and `token remove NAME`: who else may use the daemon's API. They
 * change a file in the state directory, which the running daemon looks at.
 * @module
 */
import { SCOPES, type Scope } from '../daemon/api/rows.ts';
import { defaultStateDir } from '../daemon/state-dir.ts';
import { addToken, readTokens, removeToken } from '../daemon/tokens.ts';
import { UsageError } from '../time/usage-error.ts';
import { columns, paint, print, printJson } from './output.ts';

export interface TokenFlags {
  readonly scope?: string;
  readonly stateDir?: string;
  readonly json?: boolean;
}

/** Makes a token and shows it, this once. Answers 0. Throws `UsageError` and `SystemError`. */
export function tokenAdd(name: string, flags: TokenFlags): number {
  const scope = SCOPES.find((one) => one === flags.scope);
  if (scope === undefined) {
    throw new UsageError('bad-scope', `--scope: write one of ${SCOPES.join(', ')}`);
  }
  const token = addToken(directoryOf(flags), name, scope);
  if (flags.json === true) printJson({ name, scope, token });
  else print(token);
  return 0;
}

/** Names and scopes; the tokens themselves are not kept. Answers 0. Throws `SystemError`. */
export function tokenList(flags: TokenFlags): number {
  const tokens = readTokens(directoryOf(flags)).map(({ name, scope, createdAt }) => ({
    name,
    scope,
    createdAt,
  }));
  if (flags.json === true) {
    printJson(tokens);
    return 0;
  }
  const rows = tokens.map(({ name, scope, createdAt }): [string, Scope, string] => [
    name,
    scope,
    createdAt,
  ]);
  const [head = '', ...lines] = columns([['TOKEN', 'SCOPE', 'SINCE'], ...rows]);
  for (const line of [paint('gray', head), ...lines]) print(line);
  return 0;
}

/** Ends a token at once. Answers 0. Throws `UsageError` and `SystemError`. */
export function tokenRemove(name: string, flags: TokenFlags): number {
  removeToken(directoryOf(flags), name);
  if (flags.json === true) printJson({ removed: name });
  else print(`${name} is removed`);
  return 0;
}

function directoryOf({ stateDir }: TokenFlags): string {
  return stateDir ?? defaultStateDir();
}
