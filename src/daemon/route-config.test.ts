import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { formatPrefix } from '../wire/ip-address.ts';
import { parseConfig } from './config.ts';
import { routeConfigs } from './route-config.ts';

const PATHS = `
links:
  a: { url: "beat://10.1.1.1:7000?key=k" }
  b: { url: "beat://10.2.2.1:7000?key=k" }
groups:
  wan:
    paths: [{ link: a, via: 10.1.1.1 }, { link: b, via: 10.2.2.1, dev: wan1 }]
  wan6:
    paths: [{ link: a, via: "FE80:0::1", dev: wan0 }, { link: b, dev: tun0 }]
  bare:
    paths: [{ link: a }]
  odd:
    paths: [{ link: a, via: gateway }]
  loose:
    paths: [{ link: a, via: "fe80::1" }]
routes:
`;

const routesOf = (...lines: readonly string[]) =>
  [...routeConfigs(parseConfig(PATHS + lines.join('\n'), 'f'))].map(([name, route]) => {
    const { slot, hops, ...rest } = route;
    const destination = formatPrefix(slot.destination);
    return { name, ...slot, destination, hops: Object.fromEntries(hops), ...rest };
  });

suite('routes of a configuration', () => {
  test('left out: table main, in front of all others, old flows kept, restored at the end', () => {
    const rest = { table: 254, oldFlows: 'keep', graceMs: 30_000, onExit: 'restore' };
    assert.deepEqual(
      routesOf(
        '  up: { destination: "0.0.0.0/0", group: wan }',
        '  up6: { destination: "::/0", group: wan6 }',
      ),
      [
        {
          ...rest,
          name: 'up',
          destination: '0.0.0.0/0',
          metric: 0,
          group: 'wan',
          hops: {
            a: { via: '10.1.1.1', dev: undefined },
            b: { via: '10.2.2.1', dev: 'wan1' },
          },
        },
        {
          ...rest,
          name: 'up6',
          destination: '::/0',
          metric: 1,
          group: 'wan6',
          hops: {
            a: { via: 'fe80::1', dev: 'wan0' },
            b: { via: undefined, dev: 'tun0' },
          },
        },
      ],
    );
  });

  test('everything said', () => {
    const [route] = routesOf(
      '  up: { destination: "10.1.2.3/8", table: 1000, group: wan, metric: 9, oldFlows: drain,',
      '    grace: 5s, onExit: keep }',
    );
    const { destination, table, metric, oldFlows, graceMs, onExit } = route ?? assert.fail();
    assert.deepEqual([destination, table, metric], ['10.0.0.0/8', 1_000, 9]);
    assert.deepEqual([oldFlows, graceMs, onExit], ['drain', 5_000, 'keep']);
  });

  for (const [what, lines, message] of [
    [
      'a destination that is none',
      ['  up: { destination: "default", group: wan }'],
      'f:17:22: routes.up.destination: "default" is no range of addresses; write 0.0.0.0/0, 10.0.0.0/8 or ::/0',
    ],
    [
      'a group that is not there',
      ['  up: { destination: "::/0", group: lan }'],
      'f:17:37: routes.up.group: there is no group "lan"',
    ],
    [
      'a path that leads nowhere',
      ['  up: { destination: "::/0", group: bare }'],
      'f:11:13: groups.bare.paths.0: routes.up needs its gateway or device: via or dev',
    ],
    [
      'a gateway by name',
      ['  up: { destination: "::/0", group: odd }'],
      'f:13:29: groups.odd.paths.0.via: "gateway" is no address',
    ],
    [
      'a gateway of the other family',
      ['  up: { destination: "::/0", group: wan }'],
      'f:7:29: groups.wan.paths.0.via: 10.1.1.1 is no IPv6 address, as routes.up needs',
    ],
    [
      'a gateway that is the same on every link',
      ['  up: { destination: "::/0", group: loose }'],
      'f:15:29: groups.loose.paths.0.via: fe80::1 is the same on every link; say which with dev',
    ],
    [
      'metric 0 where there is none',
      ['  up: { destination: "::/0", group: wan6, metric: 0 }'],
      'f:17:51: routes.up.metric: IPv6 has no metric 0; leave it out for 1',
    ],
    [
      'two of the same',
      [
        '  up: { destination: "10.0.0.0/8", group: wan }',
        '  again: { destination: "10.9.9.9/8", group: wan, table: 254 }',
      ],
      'f:18:25: routes.again.destination: routes.up is 10.0.0.0/8 in table 254 with metric 0 already',
    ],
    [
      'a key misspelt',
      ['  up: { destination: "::/0", group: wan6, onexit: keep }'],
      'f:17:43: routes.up: no key "onexit" is known here; remove it or mend its spelling',
    ],
    [
      'a name that is none',
      ['  "up/down": { destination: "::/0", group: wan6 }'],
      'f:17:3: routes.up/down: not a name; write letters, digits, "_" and "-", at most 64',
    ],
    [
      'a grace without a unit',
      ['  up: { destination: "::/0", group: wan6, grace: "5" }'],
      'f:17:50: routes.up.grace: "5" is not a duration; add a unit, for example 5s or 5ms',
    ],
  ] as const) {
    test(`${what} is refused with file, line and column`, () => {
      assert.throws(() => routesOf(...lines), { name: 'UsageError', code: 'bad-config', message });
    });
  }
});
