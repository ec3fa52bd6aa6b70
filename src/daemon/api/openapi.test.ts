/** The API's own document: well made, and every answer is what it says. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { z } from 'zod';
import { type ApiRig, apiRig, BEARER, linksCalled } from '../../../test/support/api-rig.ts';
import { freePort } from '../../../test/support/free-port.ts';

type Json = Record<string, unknown>;

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters: readonly {
    readonly name: string;
    readonly in: 'path' | 'query';
    readonly required: boolean;
    readonly description?: string;
    readonly schema: Json & { readonly type: string; readonly enum?: readonly string[] };
  }[];
  readonly responses: Readonly<
    Record<string, { readonly content?: Record<string, { schema: Json }> }>
  >;
}

interface Document {
  readonly openapi: string;
  readonly info: { readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Json };
}

const at = '2026-11-22T12:00:00.000Z';
const EVIL = `<script>"'&\\`;

async function documentOf({ ask }: ApiRig): Promise<Document> {
  return (await ask('/api/v1/openapi.json')).json();
}

/** The same schema, but a key that it does not name is an error: nothing is shown undocumented. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, one]) => [key, strict(one)]));
  return 'properties' in inner ? { ...inner, additionalProperties: false } : inner;
}

/** A check of answers; a schema is made ready once. */
function checkerOf(document: Document): (schema: Json, value: unknown, what: string) => void {
  const ready = new Map<Json, z.ZodType>();
  return (schema, value, what) => {
    const make = () => {
      const all = strict({ ...schema, $defs: document.components.schemas });
      const text = JSON.stringify(all).replaceAll('#/components/schemas/', '#/$defs/');
      return z.fromJSONSchema(JSON.parse(text));
    };
    const checks = ready.get(schema) ?? make();
    ready.set(schema, checks);
    const checked = checks.safeParse(value);
    assert(checked.success, `${what}: ${checked.error?.message} in ${JSON.stringify(value)}`);
  };
}

/** A rig with something of everything. */
async function full(t: Parameters<typeof apiRig>[0]): Promise<ApiRig> {
  const { links = {} } = linksCalled('a', 'b');
  const { a = { url: '' }, b = { url: '' } } = links;
  const rig = await apiRig(t, {
    config: {
      links: { a: { ...a, tags: ['eu', 'db'] }, b },
      groups: { g: { paths: [{ link: 'a' }, { link: 'b' }] } },
      relays: { r: { listen: `127.0.0.1:${await freePort()}`, group: 'g' } },
    },
  });
  const { log } = rig;
  log.append({ at, type: 'note', text: EVIL });
  log.append({ at, type: 'note', text: EVIL, link: EVIL });
  log.append({ at, type: 'note', text: EVIL, group: EVIL });
  log.append({ at, type: 'switch', group: 'g', from: 'a', to: 'b', why: EVIL });
  const evidence = { probes: 1, silentMs: 2.5, errno: 'EPIPE' };
  const states = { from: 'up', to: 'down', reason: 'reset', evidence } as const;
  log.append({ at, type: 'state', link: 'a', ...states, detectsWithinMs: 1 });
  return rig;
}

suite('openapi.json', { timeout: 30_000 }, () => {
  test('is OpenAPI 3.1: ids once, path parameters declared, every reference leads somewhere', async (t) => {
    const document = await documentOf(await full(t));
    assert.match(document.openapi, /^3\.1\.\d$/);
    assert.equal(document.info.version, '1.2.3');
    const ids = new Set<string>();
    for (const [path, methods] of Object.entries(document.paths)) {
      assert.match(path, /^\/[a-z\d/{}.]*$/);
      for (const [method, operation] of Object.entries(methods)) {
        const what = `${method} ${path}`;
        assert(['get', 'post', 'delete'].includes(method), what);
        assert(!ids.has(operation.operationId), `${operation.operationId} twice`);
        ids.add(operation.operationId);
        assert.match(operation.summary, /^[A-Z].*\.$/, what);
        const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
        const declared = operation.parameters.filter((one) => one.in === 'path');
        assert.deepEqual(
          declared.map(({ name }) => name),
          named,
          what,
        );
        for (const one of operation.parameters) {
          assert.equal(one.required, one.in === 'path');
          if (one.in === 'query')
            assert.match(String(one.description), /\.$/, `${what} ${one.name}`);
          assert.match(one.schema.type, /^(string|integer|boolean)$/);
        }
        assert(Object.keys(operation.responses[200]?.content ?? {}).length === 1, what);
      }
    }
    const text = JSON.stringify(document);
    for (const [, pointer = ''] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      const found = pointer
        .split('/')
        .reduce<unknown>((value, key) => (value as Json | undefined)?.[key], document);
      assert(found !== undefined, pointer);
    }
    assert(!text.includes('$defs') && !text.includes('"$schema"'));
  });

  test('has every route of the contract', async (t) => {
    const { paths } = await documentOf(await full(t));
    const have = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path.replace('/api/v1/', '')}`),
    );
    for (const route of [
      ...['get links', 'get links/{name}', 'get groups', 'get groups/{name}', 'get relays'],
      ...['get routes', 'get sockets', 'get events', 'get stream', 'get summary'],
      ...['get links/{name}/history', 'get history', 'get /status', 'get /status/badge/{name}'],
      ...['post links/{name}/drain', 'post links/{name}/resume', 'post links/{name}/probe'],
      ...['post reload', 'get /metrics', 'get /healthz', 'get openapi.json'],
      ...['post session', 'get session', 'delete session'],
    ]) {
      assert(have.includes(route), route);
    }
  });

  test('every JSON answer has the shape and the keys that it says, and no other', async (t) => {
    const rig = await full(t);
    const document = await documentOf(rig);
    const conforms = checkerOf(document);
    let checked = 0;
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, { responses }] of Object.entries(methods)) {
        const schema = responses[200]?.content?.['application/json']?.schema;
        if (schema === undefined) continue;
        const url = path.replace('{name}', path.includes('groups') ? 'g' : 'a');
        const request = { method: method.toUpperCase() as 'GET', headers: BEARER };
        const response = await rig.ask(url, request);
        // Without the library or the right, sockets are refused, and that is told.
        if (url.endsWith('/sockets') && [501, 503].includes(response.statusCode)) continue;
        assert.equal(response.statusCode, 200, `${method} ${url}: ${response.body}`);
        conforms(schema, response.json(), `${method} ${url}`);
        checked += 1;
      }
    }
    assert(checked >= 17, `${checked} answers`);
  });

  test('queries by the document are answered by it, and random ones by it or a problem (200)', async (t) => {
    const rig = await full(t);
    const document = await documentOf(rig);
    const conforms = checkerOf(document);
    const lists = Object.entries(document.paths).flatMap(([path, { get }]) => {
      const isList = get?.parameters.some((one) => one.in === 'query') === true;
      return isList && !/stream|sockets/.test(path) ? [{ path, operation: get as Operation }] : [];
    });
    assert(lists.length >= 5);
    const wild = fc.oneof(
      fc.string({ maxLength: 8 }),
      fc.constantFrom('', '0', '1', '2', '-1', '1e9', '10000', '10001', 'true', 'up', 'a', 'eu'),
      fc.nat().map(String),
    );
    const keys = ['cursor', 'limit', 'q', 'state', 'tag', 'since', 'link', '__proto__', 'x'];
    const query = fc.array(fc.tuple(fc.constantFrom(...keys), wild), { maxLength: 4 });
    const problem = { $ref: '#/components/schemas/Problem' };
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...lists), query, async ({ path, operation }, pairs) => {
        const url = `${path.replace('{name}', 'a')}?${new URLSearchParams(pairs)}`;
        const response = await rig.ask(url);
        assert([200, 400].includes(response.statusCode), `${url}: ${response.body}`);
        const schema = operation.responses[200]?.content?.['application/json']?.schema ?? {};
        const expected = response.statusCode === 200 ? schema : problem;
        conforms(expected, response.json(), url);
      }),
      { numRuns: 200 },
    );
  });
});
