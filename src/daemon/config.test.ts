import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { loadConfig, parseConfig, pathTargets } from './config.ts';
import { groupConfig } from './group-config.ts';

const GOOD = `# two paths to one database
links:
  db-a: { url: "tcp://10.0.0.5:5432", time: 45s, interval: 15s, probes: 3 }
  db-b:
    url: "tcp://[fd00::5]:5432?source=fd00::2"
    profile: typical
  beat: { url: "beat://10.0.0.7:7200?key=hunter2", time: 500ms, interval: 50ms, beat: 250ms }
groups:
  db:
    paths:
      - { link: db-a, tier: 1, weight: 2.5 }
      - { link: db-b, tier: 2, to: "10.0.9.9:6000" }
    fall: 1
    rise: 2
    failbackAfter: 60s
    holdDown: 10s
relays:
  postgres: { listen: "127.0.0.1:6432", group: db, oldFlows: drain, grace: 5s }
respond:
  - { listen: "127.0.0.1:7201", key: hunter2 }
`;

/** Stands in the text where the error must point. */
const HERE = '▶';

/** The one line with which a bad text is refused. */
function refusal(text: string): string {
  try {
    parseConfig(text, 'linkhold.yaml');
  } catch (error) {
    assert.equal((error as Error).name, 'UsageError', `${(error as Error).stack}`);
    assert.equal((error as { code?: string }).code, 'bad-config');
    const { message } = error as Error;
    assert.doesNotMatch(message, /[\n\r\v\f\u2028\u2029]/);
    return message;
  }
  return assert.fail('the file was accepted');
}

/** Checks that `marked` is refused with `what`, pointing at the mark. */
function refuses(marked: string, what: RegExp): void {
  const before = marked.slice(0, marked.indexOf(HERE)).replace(/^\uFEFF/, '');
  assert(marked.includes(HERE));
  const line = before.split('\n').length;
  const column = before.length - before.lastIndexOf('\n');
  const message = refusal(marked.replace(HERE, ''));
  assert.match(message, /^linkhold\.yaml:\d+:\d+: \S/);
  assert.equal(message.split(' ')[0], `linkhold.yaml:${line}:${column}:`, message);
  assert.match(message.slice(message.indexOf(' ') + 1), what);
}

/** The good file with its last line that contains `line` replaced. */
function withLine(line: string, replacement: string): string {
  assert(GOOD.includes(line), line);
  return GOOD.replace(line, replacement);
}

suite('a good configuration', () => {
  test('is read with everything in it', () => {
    const config = parseConfig(GOOD, 'f');
    assert.deepEqual(Object.keys(config.links), ['db-a', 'db-b', 'beat']);
    assert.deepEqual(config.links['db-a'], {
      url: 'tcp://10.0.0.5:5432',
      time: '45s',
      interval: '15s',
      probes: 3,
    });
    assert.deepEqual(config.relays['postgres'], {
      listen: '127.0.0.1:6432',
      group: 'db',
      oldFlows: 'drain',
      grace: '5s',
    });
    assert.deepEqual(config.respond, [{ listen: '127.0.0.1:7201', key: 'hunter2' }]);
  });

  test('gives a group its numbers in milliseconds', () => {
    const none = { atLeast: undefined, behind: undefined, maintenance: undefined };
    assert.deepEqual(groupConfig(parseConfig(GOOD, 'f'), 'db'), {
      paths: [
        { name: 'db-a', links: ['db-a'], tier: 1, weight: 2.5, ...none },
        { name: 'db-b', links: ['db-b'], tier: 2, weight: undefined, ...none },
      ],
      fall: 1,
      rise: 2,
      doubtIntervalMs: 1_000,
      balance: undefined,
      failbackAfterMs: 60_000,
      holdDownMs: 10_000,
      quality: undefined,
    });
  });

  test('gives each path a target: its `to`, or host, port and source of its link', () => {
    assert.deepEqual(
      [...pathTargets(parseConfig(GOOD, 'f'), 'db')],
      [
        ['db-a', { host: '10.0.0.5', port: 5_432, source: undefined }],
        ['db-b', { host: '10.0.9.9', port: 6_000, source: 'fd00::2' }],
      ],
    );
  });

  for (const [what, text] of [
    ['an empty file', ''],
    ['nothing but comments', '# nothing\n\n'],
    ['an empty document', '---\n...\n'],
  ] as const) {
    test(`${what} describes nothing, and nothing is what it starts`, () => {
      assert.deepEqual(parseConfig(text, 'f'), {
        links: {},
        groups: {},
        relays: {},
        routes: {},
        respond: [],
        protect: [],
      });
    });
  }

  test('is the same with a BOM and with Windows line ends', () => {
    const good = parseConfig(GOOD, 'f');
    assert.deepEqual(parseConfig(`\uFEFF${GOOD}`, 'f'), good);
    assert.deepEqual(parseConfig(GOOD.replaceAll('\n', '\r\n'), 'f'), good);
  });

  test('anchors and aliases are fine where they say the same twice', () => {
    const config = parseConfig('links:\n  a: &a { url: "tcp://h:1", time: 45s }\n  b: *a\n', 'f');
    assert.deepEqual(config.links['b'], config.links['a']);
  });

  test('names that every object has are names like any other', () => {
    const config = parseConfig('links: { constructor: { url: "tcp://h:1" } }', 'f');
    assert.deepEqual(Object.keys(config.links), ['constructor']);
    assert.throws(() => parseConfig('groups: { g: { paths: [{ link: toString }] } }', 'f'), {
      message: /there is no link "toString"/,
    });
  });

  test('20,000 links are read', () => {
    const links = Array.from(
      { length: 20_000 },
      (_, index) => `  l${index}: { url: "tcp://10.0.0.1:${index + 1}" }\n`,
    );
    assert.equal(Object.keys(parseConfig(`links:\n${links.join('')}`, 'f').links).length, 20_000);
  });
});

suite('a bad configuration is one line with file, line and column', () => {
  for (const [name, marked, what] of [
    ['a key nobody knows, at the top', '▶linkz: {}\n', /^the file: no key "linkz" is known here/],
    ['one at the top, later', 'links: {}\n\n▶rely: {}\n', /^the file: no key "rely"/],
    [
      'one of a link',
      withLine('time: 45s', `${HERE}tiem: 45s`),
      /^links\.db-a: no key "tiem" is known here; remove it or mend its spelling/,
    ],
    ['one of a link in a block', withLine('profile:', `${HERE}profil:`), /^links\.db-b: no key/],
    ['one of a group', withLine('fall: 1', `${HERE}falls: 1`), /^groups\.db: no key "falls"/],
    [
      'one of a path',
      withLine('tier: 2', `${HERE}teir: 2`),
      /^groups\.db\.paths\.1: no key "teir"/,
    ],
    ['one of a relay', withLine('grace:', `${HERE}grase:`), /^relays\.postgres: no key "grase"/],
    [
      'one of a responder',
      withLine('key: hunter2 }', `${HERE}kee: hunter2 }`),
      /^respond\.0: no key "kee"/,
    ],
    ['__proto__ at the top', '▶__proto__: { links: {} }\n', /no key "__proto__"/],
    ['__proto__ as a link', 'links:\n  ▶__proto__: { url: "tcp://h:1" }\n', /__proto__/],
    ['__proto__ as a group', 'groups:\n  ▶__proto__: { paths: [] }\n', /__proto__/],
    ['__proto__ as a relay', 'relays: { ▶__proto__: { listen: "a:1", group: g } }', /__proto__/],
    ['__proto__ in a link', 'links: { a: { url: "tcp://h:1", ▶__proto__: 1 } }', /"__proto__"/],
    [
      'a link that is missing',
      withLine('link: db-b', `link: ${HERE}db-c`),
      /paths\.1\.link: there is no link "db-c"/,
    ],
    [
      'a group that is missing',
      withLine('group: db,', `group: ${HERE}pg,`),
      /^relays\.postgres\.group: there is no group "pg"/,
    ],
    ['a link without a URL', 'links:\n  a: ▶{ time: 45s }\n', /^links\.a\.url: /],
    [
      'a path twice',
      withLine('link: db-b,', `link: ${HERE}db-a,`)
        .replace(`${HERE}db-a`, 'db-a')
        .replace('- { link: db-a, tier: 2', `- ${HERE}{ link: db-a, tier: 2`),
      /"db-a" is there twice; rename one or remove it/,
    ],
    [
      'a duration without unit',
      withLine('time: 45s', `time: ${HERE}45`),
      /^links\.db-a\.time: .*unit/,
    ],
    [
      'one in quotes',
      withLine('time: 45s', `time: ${HERE}"45"`),
      /^links\.db-a\.time: "45" is not a duration; add a unit/,
    ],
    [
      'one in a block',
      'links:\n  a:\n    url: "tcp://h:1"\n    userTimeout: ▶90 s\n',
      /^links\.a\.userTimeout: "90 s" is not a duration/,
    ],
    [
      'one of a group',
      withLine('failbackAfter: 60s', `failbackAfter: ${HERE}60x`),
      /^groups\.db\.failbackAfter: "60x" is not a duration/,
    ],
    [
      'one of a relay',
      withLine('grace: 5s', `grace: ${HERE}soon`),
      /^relays\.postgres\.grace: "soon" is not a duration/,
    ],
    [
      'a probe count of 1',
      withLine('probes: 3', `probes: ${HERE}1`),
      /^links\.db-a\.probes: 1 is not a whole number from 2 to 127/,
    ],
    [
      'a user timeout that kills on one loss',
      withLine('probes: 3', `probes: 3, userTimeout: ${HERE}60s`),
      /^links\.db-a\.userTimeout: 1m would let one lost probe kill/,
    ],
    [
      'half a second for TCP',
      withLine('interval: 15s', `interval: ${HERE}500ms`),
      /^links\.db-a\.interval: TCP counts whole seconds/,
    ],
    [
      'a user timeout no kernel can hold',
      withLine('probes: 3', `probes: 3, userTimeout: ${HERE}8760h`),
      /^links\.db-a\.userTimeout: /,
    ],
    [
      'a profile nobody knows',
      withLine('profile: typical', `profile: ${HERE}solaris`),
      /^links\.db-b\.profile: /,
    ],
    [
      'a URL that is none',
      withLine('"tcp://10.0.0.5:5432"', `${HERE}10.0.0.5:5432`),
      /^links\.db-a\.url: "10\.0\.0\.5:5432" is no link URL; write tcp:\/\/host:port/,
    ],
    [
      'a URL without a port',
      withLine('"tcp://10.0.0.5:5432"', `${HERE}"tcp://10.0.0.5"`),
      /^links\.db-a\.url: .* names no port/,
    ],
    [
      'a URL with a broken escape',
      withLine('"tcp://10.0.0.5:5432"', `${HERE}"tcp://a%zz:1"`),
      /^links\.db-a\.url: /,
    ],
    [
      'a kind nobody knows',
      withLine('"tcp://10.0.0.5:5432"', `${HERE}"gopher://h:1"`),
      /^links\.db-a\.url: no link kind "gopher"/,
    ],
    [
      'a number for a URL',
      withLine('"tcp://10.0.0.5:5432"', `${HERE}5432`),
      /^links\.db-a\.url: .*expected string/,
    ],
    [
      'a key file that is missing',
      'links:\n  a: { url: ▶"beat://h:1?keyFile=/nowhere/key" }\n',
      /the key file \/nowhere\/key cannot be read \(ENOENT\)/,
    ],
    [
      'a listener twice',
      `${GOOD}  - { listen: ${HERE}"127.0.0.1:7201", key: b }\n`,
      /^respond\.1\.listen: respond\.0\.listen listens on udp 127\.0\.0\.1:7201 already/,
    ],
    [
      'a relay twice',
      `relays:\n  a: { listen: "127.0.0.1:1", group: g }\n  b: { listen: ${HERE}"127.0.0.1:1", group: g }\nlinks: { l: { url: "tcp://h:1" } }\ngroups: { g: { paths: [{ link: l }] } }\n`,
      /^relays\.b\.listen: relays\.a\.listen listens on tcp 127\.0\.0\.1:1 already/,
    ],
    [
      'a listener that is none',
      withLine('"127.0.0.1:6432"', `${HERE}"6432"`),
      /^relays\.postgres\.listen: "6432" is no address with a port/,
    ],
    [
      'one of a responder',
      withLine('"127.0.0.1:7201"', `${HERE}"127.0.0.1:0"`),
      /^respond\.0\.listen: "127\.0\.0\.1:0" is no address/,
    ],
    [
      'a `to` that is none',
      withLine('"10.0.9.9:6000"', `${HERE}"10.0.9.9"`),
      /^groups\.db\.paths\.1\.to: "10\.0\.9\.9" is no address/,
    ],
    [
      'a responder with an empty key',
      withLine('key: hunter2 }', 'key: "" }').replace(
        '- { listen: "127.0.0.1:7201"',
        `- ${HERE}{ listen: "127.0.0.1:7201"`,
      ),
      /^respond\.0: beat links need a key/,
    ],
    [
      'a name with a space',
      'links:\n  ▶"bad name": { url: "tcp://h:1" }\n',
      /^links\.bad name: not a name; write letters, digits/,
    ],
    [
      'a name over a block',
      'links:\n  good: { url: "tcp://h:1" }\n  ▶bad/name:\n    url: "tcp://h:1"\n',
      /not a name/,
    ],
    [
      'a name of 65 letters',
      `groups:\n  ▶${'g'.repeat(65)}: { paths: [] }\n`,
      /not a name; .* at most 64/,
    ],
    [
      'a name that starts with a dash',
      'relays:\n  ▶-a: { listen: "a:1", group: g }\n',
      /not a name/,
    ],
    [
      'trouble in a link called 10',
      'links:\n  10:\n    url: ▶"tcp://h:0"\n',
      /port 0 cannot be connected to/,
    ],
    [
      'trouble in a link called "10"',
      'links:\n  "10":\n    url: ▶"tcp://h:0"\n',
      /port 0 cannot be connected to/,
    ],
    [
      'trouble in a link called true',
      'links:\n  true:\n    url: ▶"tcp://h:0"\n',
      /port 0 cannot be connected to/,
    ],
    ['a group without paths', 'groups:\n  g: { paths: ▶[] }\n', /^groups\.g\.paths: /],
    ['a fall of 0', withLine('fall: 1', `fall: ${HERE}0`), /^groups\.db\.fall: /],
    [
      'a weight of 0',
      withLine('weight: 2.5', `weight: ${HERE}0`),
      /^groups\.db\.paths\.0\.weight: /,
    ],
    [
      'a weight that is no number',
      withLine('weight: 2.5', `weight: ${HERE}.nan`),
      /^groups\.db\.paths\.0\.weight: /,
    ],
    [
      'an oldFlows nobody knows',
      withLine('oldFlows: drain', `oldFlows: ${HERE}kill`),
      /^relays\.postgres\.oldFlows: .*keep.*drain.*reset/,
    ],
    ['a list for links', 'links:\n  ▶- a\n', /^links: .*expected record, received array/],
    [
      'a word for a link',
      'links:\n  a: ▶tcp://h:1\n',
      /^links\.a: .*expected object, received string/,
    ],
    [
      'the first of two mistakes',
      'links:\n  a: { url: "tcp://h:1", ▶x: 1 }\ngroups:\n  g: { y: 1 }\n',
      /no key "x"/,
    ],
  ] as const) {
    test(`${name}: ${what.source.slice(0, 60)}`, () => refuses(marked, what));
  }
});

suite('a file that is no YAML, or no configuration', () => {
  for (const [name, marked, what] of [
    ['a bracket that is not closed', 'links: { a: ▶', /./],
    [
      'a quote that is not closed',
      'links:\n  a: { url: "tcp://h:1 }\n▶',
      /[Mm]issing closing "quote/,
    ],
    ['a tab as indentation', 'links:\n▶\ta: {}\n', /Tabs are not allowed as indentation/],
    ['indentation that goes astray', 'links:\n    a: {}\n▶  b: {}\n', /./],
    ['a key twice', 'links: {}\n▶links: {}\n', /unique|twice/],
    [
      'a link twice',
      'links:\n  a: { url: "tcp://h:1" }\n  ▶a: { url: "tcp://h:2" }\n',
      /unique|twice/,
    ],
    ['two documents', 'links: {}\n▶---\nlinks: {}\n', /multiple documents/],
    ['an alias to nothing', 'links:\n  a: ▶*nothing\n', /[Uu]nresolved alias.*nothing/],
    ['a mistake behind a BOM', '\uFEFF▶linkz: {}\n', /no key "linkz"/],
    ['a mistake two lines behind a BOM', '\uFEFFlinks:\n  a: { url: ▶x }\n', /is no link URL/],
    ['a number', '▶42\n', /^the file: .*expected object, received number/],
    ['a word', '▶hello\n', /^the file: .*expected object, received string/],
    ['a list', '▶- links\n', /^the file: .*expected object, received array/],
    ['a binary tag', 'links: { a: !!binary ▶aGVsbG8= }', /^links\.a\b/],
    ['a set', 'links: !!set ▶{ a, b }', /^links: /],
    ['a list as a key', '▶? [a, b]\n: c\n', /no key/],
  ] as const) {
    test(`${name}: ${what.source.slice(0, 60)}`, () => refuses(marked, what));
  }

  test('a mistake in a file with Windows line ends is where an editor shows it', () => {
    refuses('links:\r\n  a: { url: "tcp://h:1" }\r\n  b: { url: "tcp://h:1", ▶x: 1 }\r\n', /"x"/);
  });

  test('a bomb of aliases (10^6 from 6 lines) is refused', () => {
    const lines = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]'];
    for (let index = 1; index < 6; index += 1) {
      const alias = `*a${index - 1}`;
      lines.push(`a${index}: &a${index} [${Array(10).fill(alias).join(',')}]`);
    }
    assert.match(refusal(lines.join('\n')), /^linkhold\.yaml:\d+:\d+: .*alias/i);
  });

  test('20,000 brackets, braces and dashes are refused, not a stack overflow', () => {
    for (const text of ['['.repeat(20_000), '{a: '.repeat(20_000), '- '.repeat(20_000)]) {
      assert.match(refusal(text), /^linkhold\.yaml:1:\d+: /);
    }
  });

  test('256 KiB of one letter, of lines of garbage, and of keys are refused', () => {
    const size = 256 * 1_024;
    const garbage = '\u0001\u0002 }{][ &*!|>%@`"\' : - ?\n';
    for (const text of [
      'x'.repeat(size),
      garbage.repeat(size / garbage.length),
      Array.from({ length: size / 16 }, (_, index) => `k${index}: value\n`).join(''),
    ]) {
      const message = refusal(text);
      assert.match(message, /^linkhold\.yaml(:\d+:\d+)?: /);
      assert(message.length < 1_000, 'a message for people');
    }
  });

  test('17 MiB are not read as YAML at all', () => {
    assert.throws(() => parseConfig('#'.repeat(17 * 1_024 * 1_024), 'f'), {
      name: 'UsageError',
      message: /^f: larger than \d+ MiB; is it the right file\?$/,
    });
  });

  test('a key for a link never shows in the line', () => {
    const message = refusal('links:\n  a: { url: "beat://h?key=hunter2" }\n');
    assert(!message.includes('hunter2'), message);
  });
});

suite('loading a file', () => {
  test('a file on disk is read, and named in errors as it was given', (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const file = path.join(directory, 'my.yaml');
    writeFileSync(file, GOOD);
    assert.deepEqual(loadConfig(file), parseConfig(GOOD, file));
    writeFileSync(file, 'links:\n  a: {}\n');
    assert.throws(() => loadConfig(file), {
      message: new RegExp(`^${file}:2:6: links\\.a\\.url: `),
    });
  });

  test('a file too large is refused by its bytes, never read in part', (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const file = path.join(directory, 'large.yaml');
    // 17 MiB of bytes, but only half as many characters; a part of it would be a good file.
    writeFileSync(file, `links: {}\n${`# ${'é'.repeat(510)}\n`.repeat(17 * 1_024)}extra: 1\n`);
    assert.throws(() => loadConfig(file), { name: 'UsageError', message: /larger than \d+ MiB/ });
  });

  test('one that is missing, or a directory, is one line that names it', () => {
    assert.throws(() => loadConfig('/nowhere/linkhold.yaml'), {
      name: 'UsageError',
      message: '/nowhere/linkhold.yaml: cannot be read; name a file that exists: linkhold run FILE',
    });
    assert.throws(() => loadConfig('/'), { name: 'UsageError', message: /^\/: cannot be read; / });
  });
});

suite('fuzzing the configuration', () => {
  function tryIt(text: string): void {
    try {
      const { links, groups } = parseConfig(text, 'f');
      assert.equal(typeof links, 'object');
      assert.equal(typeof groups, 'object');
    } catch (error) {
      if ((error as Error).name !== 'UsageError') throw error;
      assert.match((error as Error).message, /^f:[1-9]\d*:[1-9]\d*: [^\n\r]+$/);
    }
  }

  const junk = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.constantFrom(
      ...[
        '{',
        '}',
        '[',
        ']',
        ':',
        ': ',
        '- ',
        '? ',
        '|',
        '>',
        '&a ',
        '*a',
        '!!',
        '!!set ',
        '<<: *a',
      ],
      ...[
        '%',
        '#',
        '"',
        "'",
        '\t',
        '\n',
        '\n  ',
        '\r',
        '\0',
        '\uFEFF',
        '---\n',
        '...\n',
        '~',
        'null',
      ],
      ...['__proto__', 'constructor', '.inf', '.nan', '-1', '1e999', '0x10', '\ud800'],
    ),
  );

  test('one to four changes of a good file: a Config or one line (400 files)', () => {
    const change = fc.record({
      at: fc.nat(GOOD.length),
      cut: fc.oneof(fc.nat(3), fc.nat(40)),
      put: junk,
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        let text = GOOD;
        for (const { at, cut, put } of changes)
          text = text.slice(0, at) + put + text.slice(at + cut);
        tryIt(text);
      }),
      { numRuns: 400 },
    );
  });

  test('a value of any kind in any place: a Config or one line (400 files)', () => {
    const places = [...GOOD.matchAll(/(?<=: )("[^"]*"|[\w.-]+)/g)];
    assert(places.length > 20);
    const value = fc.oneof(
      fc.jsonValue().map((json) => JSON.stringify(json)),
      fc.string().map((text) => JSON.stringify(text)),
      junk,
    );
    fc.assert(
      fc.property(fc.nat(places.length - 1), value, (which, put) => {
        const place = places[which];
        if (place === undefined) return;
        tryIt(GOOD.slice(0, place.index) + put + GOOD.slice(place.index + place[0].length));
      }),
      { numRuns: 400 },
    );
  });
});
