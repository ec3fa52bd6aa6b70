import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { FLAGS } from '../time/usage-error.ts';
import { createLink, linkTarget } from './registry.ts';

suite('the registry of link kinds', () => {
  test('makes a tcp link from its URL, not yet started', () => {
    const link = createLink('tcp://127.0.0.1:5432', { time: '45s', interval: '15s' }, 'links.db');
    assert.deepEqual(link.status(), {
      name: 'tcp://127.0.0.1:5432',
      url: 'tcp://127.0.0.1:5432',
      kind: 'tcp',
      class: 'answered',
      state: 'unknown',
      since: link.status().since,
      reason: 'not-observed',
      rttMs: null,
      detectsWithinMs: 90_000,
      largestSilenceMs: 45_000,
      evidence: {},
      local: null,
      remote: '127.0.0.1:5432',
      proves: "the path and the peer's kernel answer; not that the application runs",
    });
  });

  test('makes a beat link whose key shows nowhere in its status', () => {
    const link = createLink('beat://127.0.0.1:7200?key=hunter2', { beat: '20s' }, 'links.b', 'b');
    const status = link.status();
    assert.equal(status.kind, 'beat');
    assert.equal(status.name, 'b');
    assert.equal(status.largestSilenceMs, 20_000);
    assert(!JSON.stringify(status).includes('hunter2'), JSON.stringify(status));
  });

  test('a link without a name is called by its URL without the secret', () => {
    const link = createLink('beat://127.0.0.1:7200?key=hunter2', {}, FLAGS);
    assert.equal(link.name, 'beat://127.0.0.1:7200?key=***');
  });

  for (const [url, where, message] of [
    ['gopher://h:1', 'links.db', /^links\.db\.url: no link kind "gopher"; this version has tcp, /],
    ['gopher://h:1', FLAGS, /^URL: no link kind "gopher"/],
    ['constructor://h:1', 'links.db', /^links\.db\.url: no link kind "constructor"/],
    ['nonsense', FLAGS, /^URL: "nonsense" is no link URL; write tcp:\/\/host:port/],
    ['tcp://h', 'links.db', /^links\.db\.url: "tcp:\/\/h" names no port/],
    ['beat://h:1?key=a&keyFile=b', 'links.db', /^links\.db\.url: give key or keyFile, not both/],
    [
      'beat://h:1?keyFile=/nowhere',
      'links.db',
      /^links\.db\.url: the key file \/nowhere cannot be read/,
    ],
    ['beat://h:1?key=a&keyFile=b', FLAGS, /^(URL|--key): give key or keyFile, not both/],
  ] as const) {
    test(`refuses ${url} at ${where} and names the place`, () => {
      assert.throws(() => createLink(url, {}, where), { name: 'UsageError', message });
    });
  }

  for (const [timing, where, message] of [
    [{ time: '60' }, 'links.db', /^links\.db\.time: "60" is not a duration; add a unit/],
    [{ userTimeout: '5' }, FLAGS, /^--user-timeout: "5" is not a duration; add a unit/],
    [{ probes: 1 }, FLAGS, /^--probes: 1 is not a whole number from 2 to 127/],
    [{ time: '1.5s' }, FLAGS, /^--time: TCP counts whole seconds from 1s to 32767s, not 1.5s/],
    [{ interval: '500ms' }, 'links.db', /^links\.db\.interval: TCP counts whole seconds/],
    [{ time: '32768s' }, 'links.db', /^links\.db\.time: TCP counts whole seconds/],
    [{ beat: '10s' }, FLAGS, /^--beat: TCP has no send clock; a shorter `time` holds the link/],
    [{ userTimeout: '600h' }, FLAGS, /^--user-timeout: /],
    [{ userTimeout: '70s' }, FLAGS, /^--user-timeout: 1m10s would let one lost probe kill/],
  ] as const) {
    test(`refuses a tcp link with ${JSON.stringify(timing)} and names the flag or key`, () => {
      assert.throws(() => createLink('tcp://h:1', timing, where), { name: 'UsageError', message });
    });
  }

  test('a beat link counts in milliseconds, so half a second is fine', () => {
    const link = createLink('beat://h:1?key=k', { time: '500ms', interval: '50ms' }, FLAGS);
    assert.equal(link.detectsWithinMs, 650);
  });

  test('a target is host, port and source of the URL', () => {
    assert.deepEqual(linkTarget('tcp://[::1]:80?source=::1', 'URL'), {
      host: '::1',
      port: 80,
      source: '::1',
    });
    assert.throws(() => linkTarget('nonsense', 'links.a.url'), { message: /^links\.a\.url: / });
  });
});
