/**
 * `linkhold schema`: the JSON Schema of the configuration file, for editors.
 * @module
 */
import { configJsonSchema } from '../daemon/config-json-schema.ts';
import { print } from './output.ts';

/** Prints it; answers 0. */
export function schema(): number {
  print(JSON.stringify(configJsonSchema(), null, 2));
  return 0;
}
