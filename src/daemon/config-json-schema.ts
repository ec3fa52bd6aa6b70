/**
 * The JSON Schema of the configuration file, made of the schema that checks it. Editors complete and
 * check by it; what only building can find (references, URLs, timings) it does not know.
 * @module
 */
import { z } from 'zod';
import { configSchema } from './config-schema.ts';

/** JSON Schema, draft 2020-12. */
export function configJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(configSchema, { io: 'input' });
  return { $schema, title: 'linkhold.yaml: what Linkhold keeps', ...rest };
}
