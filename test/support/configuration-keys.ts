/**
 * `node test/support/configuration-keys.ts`: prints the sections of docs/configuration.md, every key that a
 * configuration file may have, as the schema that checks it describes it.
 * @module
 */
import { configJsonSchema } from '../../src/daemon/config-json-schema.ts';

/** As much of JSON Schema as the configuration uses. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
}

const WIDTH = 108;

/** Words for the types; durations are text. */
const TYPES: Readonly<Record<string, string>> = {
  string: 'text',
  integer: 'whole number',
  number: 'number',
  boolean: '`true` or `false`',
  array: 'list',
  object: 'keys below',
};

/** The sections in Markdown. */
export function configurationKeys(): string {
  const { properties = {} } = configJsonSchema() as Schema;
  return Object.entries(properties)
    .map(([name, schema]) => section(name, schema))
    .join('\n\n');
}

function section(name: string, schema: Schema): string {
  const { description = '', anyOf = [], properties = {} } = schema;
  // Without words of its own in the schema, a section has a page of its own.
  const described = Object.values(properties).every((one) => one.description !== undefined);
  const entry = anyOf.map(entryOf).find((one) => one !== undefined) ?? (described ? schema : {});
  return [`## ${name}`, '', ...wrapped(description, ''), '', ...keys(entry, '')].join('\n').trim();
}

/** What stands under a name, or in a list. */
function entryOf({ items, additionalProperties }: Schema): Schema | undefined {
  if (typeof additionalProperties === 'object') return additionalProperties;
  return items?.properties === undefined ? undefined : items;
}

function keys({ properties = {}, required = [] }: Schema, indent: string): string[] {
  return Object.entries(properties).flatMap(([name, schema]) => {
    const must = required.includes(name) ? ', needed' : '';
    const text = `- **\`${name}\`** (${typeOf(schema)}${must}): ${schema.description ?? ''}`;
    const below = entryOf(schema) ?? schema;
    return [...wrapped(text, indent), ...keys(below, `${indent}  `)];
  });
}

function typeOf({ type = '', enum: words }: Schema): string {
  return words?.map((word) => `\`${word}\``).join(', ') ?? TYPES[type] ?? type;
}

/** In lines of at most `WIDTH` columns; what goes on is indented under its point. */
function wrapped(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = indent;
  const hang = text.startsWith('- ') ? `${indent}  ` : indent;
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > WIDTH && line.trim() !== '') {
      lines.push(line);
      line = hang + word;
    } else line += line.trim() === '' ? word : ` ${word}`;
  }
  return [...lines, line];
}

if (import.meta.main) process.stdout.write(`${configurationKeys()}\n`);
