/**
 * Lists: the parameters that they share, and one page of what passes the filter. A page costs what
 * its rows cost, not what the list costs: only those shown are made.
 * @module
 */
import { z } from 'zod';
import type { Page } from './rows.ts';

const DEFAULT_LIMIT = 500;
export const LARGEST_LIMIT = 10_000;

/** A whole number in a query, as text; its document says integer. */
export function wholeNumber(least: number, most: number): z.ZodType<number> {
  const error = `write a whole number from ${least} to ${most}`;
  return z
    .string(error)
    .regex(/^\d{1,16}$/, error)
    .transform(Number)
    .pipe(z.int(error).min(least, error).max(most, error));
}

/** `true` or `false` in a query. */
export function flag(): z.ZodType<boolean> {
  return z
    .enum(['true', 'false'], 'write true or false')
    .transform((text) => text === 'true')
    .pipe(z.boolean());
}

/** Text in a query, given once. */
export function text(): z.ZodType<string> {
  return z.string('write it once').max(256, 'write at most 256 characters');
}

/** One of some words in a query. */
export function oneOf<const Words extends readonly string[]>(
  words: Words,
): z.ZodType<Words[number]> {
  return z.enum(words, `write one of ${words.join(', ')}`);
}

type Optional<Type> = z.ZodOptional<z.ZodType<Type>>;

/** Parameters of every list. */
export const paging: { readonly cursor: Optional<number>; readonly limit: Optional<number> } = {
  cursor: wholeNumber(0, Number.MAX_SAFE_INTEGER)
    .optional()
    .describe('Where the page begins: the "next" of the page before. Default: the first row.'),
  limit: wholeNumber(1, LARGEST_LIMIT)
    .optional()
    .describe(`Most rows of the page. Default ${DEFAULT_LIMIT}.`),
};

/** Parameters of a list that is searched by name. */
export const searching: typeof paging & { readonly q: Optional<string> } = {
  ...paging,
  q: text().optional().describe('Only rows with this in a name, URL or tag; case does not matter.'),
};

/** What a caller asked of a list. */
export interface ListQuery {
  readonly cursor?: number | undefined;
  readonly limit?: number | undefined;
}

/** How many rows a page has. */
export function limitOf({ limit }: ListQuery): number {
  return limit ?? DEFAULT_LIMIT;
}

/** One page of a list; `next` is the `cursor` of the following one. */
export function page<Item, Row>(
  items: readonly Item[],
  query: ListQuery,
  show: (item: Item) => Row,
): Page<Row> {
  const from = query.cursor ?? 0;
  const to = from + limitOf(query);
  return { items: items.slice(from, to).map(show), next: to < items.length ? to : null };
}

/** A test whether one of some texts has the words looked for; everything passes where none are. */
export function matcher(q: string | undefined): (...texts: readonly string[]) => boolean {
  const wanted = (q ?? '').toLowerCase();
  return (...texts) => wanted === '' || texts.some((one) => one.toLowerCase().includes(wanted));
}
