/**
 * The `linkhold …` command lines of a Markdown page: in blocks of code, and between backticks.
 * @module
 */

export interface DocumentedCommand {
  /** As it is written. */
  readonly line: string;
  /** The command and its arguments, options left out. */
  readonly command: readonly string[];
  readonly options: readonly { readonly name: string; readonly hasValue: boolean }[];
}

const WORD = /'[^']*'|"[^"]*"|\S+/g;
/** Where a shell's next command, a redirection or a comment begins. */
const END = /^(?:[|&;<>].*|#.*|\d?>.*|`.*)$/;

export function commandLines(page: string): DocumentedCommand[] {
  const inBlocks = page.matchAll(
    /^(?: {4})?(?:\$ |# )?(?:sudo )?(?:bin\/)?(linkhold [a-z].*(?:\\\n.*)*)$/gm,
  );
  const inText = page.matchAll(/`(linkhold [a-z][^`\n]*)`/g);
  return [...inBlocks, ...inText]
    .map(([, line = '']) => line)
    .filter((line) => line.includes('…') === false)
    .map(parsed);
}

function parsed(line: string): DocumentedCommand {
  const words = (line.replaceAll('\\\n', ' ').match(WORD) ?? []).slice(1);
  const end = words.findIndex((word) => END.test(word));
  const own = end === -1 ? words : words.slice(0, end);
  const options = own.flatMap((word, index) => {
    if (!word.startsWith('--')) return [];
    const [name = '', value] = word.split('=');
    const next = own[index + 1];
    return [{ name, hasValue: value !== undefined || next?.startsWith('--') === false }];
  });
  return { line, command: own.filter((word) => !word.startsWith('-')), options };
}
