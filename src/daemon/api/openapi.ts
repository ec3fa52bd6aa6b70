/**
 * The OpenAPI 3.1 document of the endpoints, made of the schemas that check them.
 * @module
 */
import { z } from 'zod';
import { type Endpoint, scopeOf } from './endpoint.ts';
import { problemRow } from './rows.ts';

type Json = Readonly<Record<string, unknown>>;

/** Refusals that every endpoint may answer with. */
const ALWAYS = [400, 401, 403, 429];

/** The document, for the version of the daemon that serves it. */
export function openApi(endpoints: readonly Endpoint[], version: string): Record<string, unknown> {
  const { schemas, answers } = schemasOf(endpoints);
  const paths: Record<string, Record<string, Json>> = {};
  for (const one of endpoints) {
    const path = one.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = {
      ...paths[path],
      [one.method.toLowerCase()]: operation(one, answers[idOf(one)] ?? {}),
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Linkhold',
      version,
      description: 'The API of a Linkhold daemon. Clients ignore keys that they do not know.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    security: [{ token: [] }, { session: [] }, {}],
    paths,
    components: {
      schemas,
      responses: {
        Problem: {
          description: 'A refusal, as a problem document (RFC 9457).',
          content: {
            'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
          },
        },
      },
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'See `linkhold token`.' },
        session: { type: 'apiKey', in: 'cookie', name: 'linkhold' },
      },
    },
  };
}

/** A name for an operation: its method and path in one word. */
function idOf({ method, path }: Endpoint): string {
  const words = path.replace(/^\/api\/v1/, '').match(/[a-z]+/gi) ?? [];
  return [method.toLowerCase(), ...words].reduce(
    (id, word) => id + word.charAt(0).toUpperCase() + word.slice(1),
  );
}

function operation(one: Endpoint, answer: Json): Json {
  const scope = scopeOf(one);
  const { type = 'application/json', problems = [] } = one;
  const open = scope === 'nothing' ? { security: [] } : {};
  const refusals = (scope === 'nothing' ? [403] : [...ALWAYS, ...problems]).map((status) => [
    String(status),
    { $ref: '#/components/responses/Problem' },
  ]);
  return {
    operationId: idOf(one),
    summary: one.summary,
    ...(scope === 'nothing' ? {} : { description: `Needs the scope "${scope}".` }),
    ...open,
    parameters: parametersOf(one),
    responses: {
      200: { description: 'As asked.', content: { [type]: { schema: answer } } },
      ...Object.fromEntries(refusals),
    },
  };
}

function parametersOf({ path, query }: Endpoint): Json[] {
  const names = [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const properties = query === undefined ? {} : toJson(query)['properties'];
  const queries = Object.entries((properties ?? {}) as Record<string, Json>).map(
    ([name, { description, ...schema }]) => ({
      name,
      in: 'query',
      required: false,
      description,
      schema,
    }),
  );
  return [...names, ...queries];
}

/** Every answer, with what they share as components. */
function schemasOf(endpoints: readonly Endpoint[]): {
  readonly schemas: Json;
  readonly answers: Readonly<Record<string, Json>>;
} {
  const all = Object.fromEntries(endpoints.map((one) => [idOf(one), one.answer]));
  const text = JSON.stringify(
    z.toJSONSchema(z.object({ ...all, problem: problemRow }), { io: 'input' }),
  ).replaceAll('"#/$defs/', '"#/components/schemas/');
  const { $defs, properties } = JSON.parse(text);
  return { schemas: $defs, answers: properties };
}

/** What a query is after it was read: numbers are numbers there. */
function toJson(schema: z.ZodType): Json {
  return z.toJSONSchema(schema, { io: 'output' }) as Json;
}
