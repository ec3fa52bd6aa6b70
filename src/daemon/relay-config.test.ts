import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { parseConfig } from './config.ts';
import { relayConfigs } from './relay-config.ts';

function relayOf(keys: string) {
  const text = `
links: { a: { url: "tcp://10.0.0.5:5432" } }
groups: { g: { paths: [ { link: a } ] } }
relays: { r: { listen: "127.0.0.1:6432", group: g${keys} } }`;
  return relayConfigs(parseConfig(text, 'f')).get('r') ?? assert.fail('there is no relay');
}

suite('relays of a configuration', () => {
  test('what is not said is 60s/10s/3, 3 s to connect, 5 min of idleness, old flows stay', () => {
    const relay = relayOf('');
    assert.deepEqual(
      [relay.host, relay.port, relay.protocol, relay.oldFlows],
      ['127.0.0.1', 6_432, 'tcp', 'keep'],
    );
    const { timeMs, intervalMs, probes, userTimeoutMs } = relay.policy;
    assert.deepEqual([timeMs, intervalMs, probes, userTimeoutMs], [60_000, 10_000, 3, 90_000]);
    assert.deepEqual(
      [relay.connectTimeoutMs, relay.idleTimeoutMs, relay.graceMs],
      [3_000, 300_000, 30_000],
    );
    assert.deepEqual([relay.maxFlows, relay.maxRate], [0, 0]);
  });

  test('what is said is taken', () => {
    const relay = relayOf(
      ', oldFlows: drain, grace: 5s, connectTimeout: 500ms, maxFlows: 7, maxRate: 9, proxyProtocol: v2, profile: typical, engine: streams',
    );
    assert.deepEqual([relay.oldFlows, relay.graceMs], ['drain', 5_000]);
    assert.deepEqual([relay.connectTimeoutMs, relay.maxFlows, relay.maxRate], [500, 7, 9]);
    assert.deepEqual([relay.proxy, relay.engine], ['v2', 'streams']);
    assert.equal(relay.policy.intervalMs, 60_000);
  });

  for (const [what, keys, message] of [
    ['Multipath TCP', ', protocol: udp, mptcp: true', /relays\.r\.mptcp: UDP flows have no such/],
    ['a PROXY header', ', protocol: udp, proxyProtocol: v1', /relays\.r\.proxyProtocol: UDP/],
    ['streams', ', protocol: udp, engine: streams', /relays\.r\.engine: UDP flows/],
    ['half a second of time', ', time: 500ms', /relays\.r\.time: TCP counts whole seconds/],
    ['a duration without a unit', ', connectTimeout: "5"', /relays\.r\.connectTimeout/],
  ] as const) {
    test(`${what} is refused where it cannot be`, () => {
      assert.throws(() => relayOf(keys), message);
    });
  }

  test('a relay and a responder may share a port, two relays of one protocol may not', () => {
    const two = (protocol: string) => `
links: { a: { url: "tcp://10.0.0.5:5432" } }
groups: { g: { paths: [ { link: a } ] } }
relays:
  r: { listen: "127.0.0.1:6432", group: g }
  s: { listen: "127.0.0.1:6432", group: g, protocol: ${protocol} }`;
    assert.equal(relayConfigs(parseConfig(two('udp'), 'f')).size, 2);
    assert.throws(() => parseConfig(two('tcp'), 'f'), /listens on tcp 127\.0\.0\.1:6432 already/);
  });
});
