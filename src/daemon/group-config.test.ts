import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { parseConfig } from './config.ts';
import { groupConfig, linksOf } from './group-config.ts';

const LINKS = `links:
  a: { url: "beat://10.0.0.1:7200?key=k" }
  a2: { url: "beat://10.0.0.2:7200?key=k" }
  b: { url: "beat://10.0.1.1:7200?key=k" }
  wan: { url: "beat://10.0.2.1:7200?key=k" }
  kernel: { url: "tcp://10.0.0.1:80" }
`;

/** A file with one group `g` of these keys, on one line, and perhaps more sections. */
function file(group: string, more = ''): string {
  return `${LINKS}groups:\n  g: { ${group} }\n${more}`;
}

suite('group config', () => {
  test('every key of the file reaches the machine, in milliseconds', () => {
    const config = parseConfig(
      file(`paths: [
        { link: a, also: [a2], atLeast: 2, behind: wan, weight: 3 }, { link: b, maintenance: true } ],
        fall: 3, rise: 4, failbackAfter: 90s, holdDown: 10s, verifyWithin: 2s, doubtInterval: 250ms,
        balance: true, slowStart: 1m,
        quality: { window: 30, lossBad: 20, lossGood: 5, latencyBad: 500ms, latencyGood: 200ms }`),
      'f',
    );
    const plain = JSON.parse(JSON.stringify(groupConfig(config, 'g')));
    assert.deepEqual(plain, {
      paths: [
        { name: 'a', links: ['a', 'a2'], atLeast: 2, behind: 'wan', weight: 3 },
        { name: 'b', links: ['b'], maintenance: true },
      ],
      fall: 3,
      rise: 4,
      failbackAfterMs: 90_000,
      holdDownMs: 10_000,
      verifyWithinMs: 2_000,
      doubtIntervalMs: 250,
      balance: true,
      slowStartMs: 60_000,
      quality: { window: 30, lossBad: 20, lossGood: 5, latencyBadMs: 500, latencyGoodMs: 200 },
    });
  });

  for (const [expected, ...intervals] of [
    [100, '100ms', '100ms'],
    [400, '100ms', '400ms'],
    [1_000, '100ms', '15s'],
  ] as const) {
    test(`links of intervals ${intervals.join(' and ')} are asked every ${expected} ms in doubt`, () => {
      const links = intervals.map(
        (interval, index) =>
          `l${index}: { url: "beat://h:1?key=k", time: 45s, interval: ${interval} }`,
      );
      const text = `links: { ${links.join(', ')} }\ngroups: { g: { paths: [ { link: l0 }, { link: l1 } ] } }`;
      assert.equal(groupConfig(parseConfig(text, 'f'), 'g').doubtIntervalMs, expected);
    });
  }

  test('a path depends on its own link, further ones, and the one it lies behind', () => {
    assert.deepEqual(linksOf({ link: 'a', also: ['b', 'c'], behind: 'w' }), ['a', 'b', 'c', 'w']);
    assert.deepEqual(linksOf({ link: 'a' }), ['a']);
  });

  const one = 'paths: [{ link: a }]';
  const route = 'routes: { r: { destination: "0.0.0.0/0", group: g } }\n';
  const refused: readonly (readonly [string, string, RegExp])[] = [
    ['a further link that is missing', 'paths: [{ link: a, also: [ZZ] }]', /also\.0: there is no/],
    [
      'an uplink that is missing',
      'paths: [{ link: a, behind: ZZ }]',
      /behind: there is no link "ZZ"/,
    ],
    ['a link twice', 'paths: [{ link: a, also: [a2, a] }]', /also: "a" is there/],
    ['3 of 2', 'paths: [{ link: a, also: [a2], atLeast: 3 }]', /atLeast: 3 is not from 1 to 2/],
    ['a path behind itself', 'paths: [{ link: a, behind: a }]', /behind: "a" judges the path/],
    ['maintenance of all', 'paths: [{ link: a, maintenance: true }]', /g\.paths: every path/],
    ['slow start without balance', `${one}, slowStart: 5s`, /slowStart: without balance/],
    ['a quality without a limit', `${one}, quality: { window: 9 }`, /quality\.window: nothing/],
    ['no dead band', `${one}, quality: { lossBad: 5, lossGood: 5 }`, /quality\.lossGood: 5 is not/],
    ['a latency of no time', `${one}, quality: { latencyBad: 0s }`, /quality\.latencyBad: 0 is/],
    ['an unknown limit', `${one}, quality: { jitter: 5 }`, /g\.quality: no key "jitter"/],
    [
      'quality of tcp',
      'paths: [{ link: kernel }], quality: { lossBad: 5 }',
      /"kernel" is a tcp link/,
    ],
    ['a verification of no time', `${one}, verifyWithin: 0s`, /verifyWithin: 0 is not a time/],
    ['a share of what has a route', `${one}, balance: true`, /balance: a route of the group has/],
  ];
  for (const [what, group, expected] of refused) {
    test(`refuses ${what}, with its place`, () => {
      assert.throws(
        () => parseConfig(file(group, what.includes('route') ? route : ''), 'f'),
        (error: Error) => {
          assert.match(error.message, /^f:8:\d+: groups\.g[.:]/);
          assert.match(error.message, expected);
          assert.doesNotMatch(error.message, /\wMs\b/);
          return true;
        },
      );
    });
  }
});
