import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { formatPrefix } from '../wire/ip-address.ts';
import { parseConfig, protectRules } from './config.ts';

suite('protect rules of a configuration', () => {
  const rulesOf = (text: string) => protectRules(parseConfig(`protect:\n${text}`, 'f'));

  test('a port, a prefix and a lock become rules, by control group', () => {
    const groups = rulesOf(`
  - { port: 5432, time: 45s, interval: 15s, probes: 4, userTimeout: 2m }
  - { to: 10.1.2.3/8, profile: typical, lock: true, cgroup: app.slice }
  - { to: "fd00::/8", port: 22, cgroup: app.slice }`);
    assert.deepEqual([...groups.keys()], [undefined, 'app.slice']);
    assert.deepEqual(groups.get(undefined), [
      {
        port: 5_432,
        to: undefined,
        options: {
          enabled: true,
          timeMs: 45_000,
          intervalMs: 15_000,
          probes: 4,
          userTimeoutMs: 120_000,
        },
        lock: false,
      },
    ]);
    const [typical, six] = groups.get('app.slice') ?? [];
    assert.deepEqual(typical?.to && formatPrefix(typical.to), '10.0.0.0/8');
    assert.equal(typical?.lock, true);
    assert.equal(typical?.options.userTimeoutMs, 240_000);
    assert.deepEqual([six?.port, six?.to && formatPrefix(six.to)], [22, 'fd00::/8']);
  });

  test('without anything a rule is for every connection, 60s/10s/3 and a user timeout of 90 s', () => {
    const [rule] = rulesOf('  - {}').get(undefined) ?? [];
    assert.deepEqual([rule?.port, rule?.to], [0, undefined]);
    assert.equal(rule?.options.userTimeoutMs, 90_000);
  });

  for (const [entry, complaint] of [
    ['{ port: 0 }', /^f:2:\d+: protect\.0\.port: /],
    ['{ to: example.com }', /protect\.0\.to: "example\.com" is no address or prefix/],
    ['{ to: 10.0.0.0/33 }', /is no address or prefix/],
    ['{ time: 1500ms }', /protect\.0\.time: TCP counts whole seconds/],
    ['{ userTimeout: 70s }', /would let one lost probe kill/],
    ['{ probes: 1 }', /one lost probe proves nothing/],
    ['{ beat: 5s }', /no key "beat" is known here/],
    ['{ lock: yes please }', /protect\.0\.lock: /],
    ['{ port: 22 }\n  - { port: 22 }', /protect\.1: port 22 has a rule already/],
  ] as const) {
    test(`${entry} is refused with its place`, () => {
      assert.throws(() => rulesOf(`  - ${entry}`), { name: 'UsageError', message: complaint });
    });
  }
});
