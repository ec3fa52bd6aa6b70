/**
 * The section `statusPage` of the configuration file: its type and the schema that checks it.
 * @module
 */
import { z } from 'zod';

/** The page for everybody: which links it shows, and to whom. */
export interface StatusPageEntry {
  readonly title?: string | undefined;
  readonly links: readonly string[];
  readonly public?: boolean | undefined;
}

export const statusPageSchema: z.ZodType<StatusPageEntry> = z.strictObject({
  title: z.string().min(1).max(100).optional().describe('Its heading. Default `Status`.'),
  links: z
    .array(z.string().max(64))
    .min(1)
    .max(100)
    .describe('Names of links, or tags for all links that have them. Nothing else is shown.'),
  public: z
    .boolean()
    .optional()
    .describe('Shown to whoever reaches the daemon, without a token. Default false.'),
});
