/**
 * A YAML text and where everything in it stands, so that an error found later, by whatever means,
 * can name line and column. Knows nothing of what the text means.
 * @module
 */
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from 'yaml';
import { UsageError } from '../time/usage-error.ts';

/** Aliases may multiply a small text into a large value; no honest file needs more of them. */
const MOST_ALIASES = 100;

export class YamlSource {
  readonly #file: string;
  readonly #document: Document.Parsed;
  readonly #lines = new LineCounter();

  /** Throws `UsageError` (`bad-config`) for broken YAML, duplicate keys and unresolved aliases. */
  constructor(text: string, file: string) {
    this.#file = file;
    // The library's own search for duplicate keys takes the square of their number.
    this.#document = parseDocument(text.replace(/^\uFEFF/, ''), {
      lineCounter: this.#lines,
      prettyErrors: false,
      logLevel: 'error',
      uniqueKeys: false,
    });
    const [broken] = this.#document.errors;
    if (broken !== undefined) this.fail(broken.pos[0], broken.message);
    visit(this.#document, {
      Alias: (_, alias) => {
        if (alias.resolve(this.#document) !== undefined) return;
        this.fail(offsetOf(alias), `unresolved alias *${alias.source}; write the value out`);
      },
      Map: (_, { items }) => this.#refuseDuplicates(items),
    });
  }

  /** The plain value. Throws `UsageError` where aliases multiply it. */
  value(): unknown {
    try {
      return this.#document.toJS({ maxAliasCount: MOST_ALIASES });
    } catch (error) {
      return this.fail(0, (error as Error).message);
    }
  }

  /** Where the value at the end of `keys` begins, or as much of the way as exists. */
  offsetAt(keys: readonly PropertyKey[]): number {
    return offsetOf(this.#walk(keys));
  }

  /** Where the key `key` stands in the map at the end of `keys`, or where that map begins. */
  offsetOfKey(keys: readonly PropertyKey[], key: string): number {
    const map = this.#walk(keys);
    return offsetOf(findPair(map, key)?.key) || offsetOf(map);
  }

  /** Refuses the text with one line: file, line, column and what is wrong. */
  fail(offset: number, message: string): never {
    const { line, col } = this.#lines.linePos(offset);
    const text = message.replaceAll(/\s+/g, ' ');
    throw new UsageError('bad-config', `${this.#file}:${line}:${col}: ${text}`);
  }

  #walk(keys: readonly PropertyKey[]): Node | null {
    let node: Node | null = this.#document.contents;
    for (const key of keys) {
      const next: unknown = isSeq(node) ? node.items[Number(key)] : findPair(node, key)?.value;
      const target = isAlias(next) ? next.resolve(this.#document) : next;
      if (!isNode(target)) return node;
      node = target;
    }
    return node;
  }

  #refuseDuplicates(items: readonly Pair[]): void {
    const seen = new Set<string>();
    for (const { key } of items) {
      const name = nameOf(key);
      if (seen.has(name)) this.fail(offsetOf(key), `the key "${name}" is there twice; remove one`);
      seen.add(name);
    }
  }
}

function findPair(node: Node | null, key: PropertyKey): Pair | undefined {
  if (!isMap(node)) return undefined;
  return node.items.find((pair) => isPair(pair) && nameOf(pair.key) === String(key));
}

/** A key as it will be called: `10`, `true` and `"true"` are names like any other. */
function nameOf(key: unknown): string {
  return String(isNode(key) ? key.toJSON() : key);
}

function offsetOf(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0;
}
