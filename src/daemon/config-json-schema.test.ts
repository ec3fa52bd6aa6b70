/** The schema for editors accepts what the daemon accepts, refuses what it can see, and says what keys mean. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { z } from 'zod';
import { parseConfig } from './config.ts';
import { configJsonSchema } from './config-json-schema.ts';

const LINK = { url: 'tcp://10.0.0.5:5432', time: '45s', tags: ['eu', 'db'] };
const GOOD = {
  links: { 'db-a': LINK },
  groups: { db: { paths: [{ link: 'db-a', tier: 1 }], balance: true } },
  relays: { postgres: { listen: '127.0.0.1:6432', group: 'db', oldFlows: 'reset' } },
  routes: null,
};

const accepts = (value: unknown) =>
  z.fromJSONSchema(configJsonSchema() as Parameters<typeof z.fromJSONSchema>[0]).safeParse(value)
    .success;

suite('the JSON Schema of the configuration', () => {
  test('accepts a good file, as the daemon does', () => {
    assert(accepts(GOOD));
    assert(accepts({}));
    const config = parseConfig(JSON.stringify(GOOD), 'f');
    assert.deepEqual(config.links['db-a']?.tags, ['eu', 'db']);
  });

  for (const [what, value] of [
    ['a key that is not known', { ...GOOD, link: {} }],
    ['a key of a link that is not known', { links: { a: { ...LINK, tme: '45s' } } }],
    ['a link without a URL', { links: { a: {} } }],
    ['a number where a duration belongs', { links: { a: { ...LINK, time: 45 } } }],
    ['a name with a blank', { links: { 'a b': LINK } }],
    ['a tag with a blank', { links: { a: { ...LINK, tags: ['a b'] } } }],
    ['17 tags', { links: { a: { ...LINK, tags: Array(17).fill('x') } } }],
    [
      'a word that is none of the choice',
      { relays: { r: { ...GOOD.relays.postgres, oldFlows: 'x' } } },
    ],
    ['a group without paths', { groups: { g: { paths: [] } } }],
  ] as const) {
    test(`refuses ${what}, as the daemon does`, () => {
      assert(!accepts(value));
      assert.throws(() => parseConfig(JSON.stringify(value), 'f'), { code: 'bad-config' });
    });
  }
});
