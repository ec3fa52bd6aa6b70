import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { hostPort, parseLinkUrl, schemeOf, type UrlRules } from './link-url.ts';

const TCP: UrlRules = { parameters: [] };
const BEAT: UrlRules = { parameters: ['key', 'keyFile'] };
const SMB: UrlRules = { parameters: [], defaultPort: 445 };
/** Stands for every secret below, so that one search finds a leak. */
const SECRET = 'hunter2';

const LINE_BREAK = /[\n\r\v\f\u2028\u2029]/;

/** The message of the refusal; anything but a `UsageError` fails the test. */
function refusal(text: string, rules: UrlRules): string {
  try {
    parseLinkUrl(text, 'links.db.url', rules);
  } catch (error) {
    assert.equal((error as Error).name, 'UsageError', String(error));
    assert.equal((error as { code?: string }).code, 'bad-url');
    return (error as Error).message;
  }
  return assert.fail(`${text} was accepted`);
}

suite('link URLs', () => {
  test('a plus in a key stands for itself, as base64 needs it', () => {
    const rules = { parameters: ['key'] };
    const { parameters } = parseLinkUrl('beat://h:1?key=ab+cd==', 'URL', rules);
    assert.equal(parameters.get('key'), 'ab+cd==');
  });

  test('a mistyped URL keeps its secret too', () => {
    for (const url of ['beat://h:7200&key=hunter2', 'beat://h:7200/key=hunter2']) {
      assert.throws(
        () => parseLinkUrl(url, 'URL', { parameters: ['key'] }),
        (error: Error) => !error.message.includes('hunter2'),
      );
    }
  });

  test('takes scheme, host and port apart', () => {
    const url = parseLinkUrl('tcp://db.example:5432', 'URL', TCP);
    assert.deepEqual(
      { ...url, parameters: [...url.parameters] },
      {
        scheme: 'tcp',
        host: 'db.example',
        port: 5_432,
        source: undefined,
        parameters: [],
        redacted: 'tcp://db.example:5432',
      },
    );
  });

  test('an IPv6 address loses its brackets in host and keeps them in text', () => {
    const url = parseLinkUrl('tcp://[2001:db8::1]:443', 'URL', TCP);
    assert.equal(url.host, '2001:db8::1');
    assert.equal(hostPort(url.host, url.port), '[2001:db8::1]:443');
    assert.equal(url.redacted, 'tcp://[2001:db8::1]:443');
    assert.equal(hostPort('192.0.2.1', 80), '192.0.2.1:80');
    assert.equal(hostPort('db.example', 80), 'db.example:80');
  });

  test('a scheme is read in any case, a default port is used if none is given', () => {
    assert.equal(schemeOf('TCP://host:1', 'URL'), 'tcp');
    assert.equal(parseLinkUrl('TCP://host:1', 'URL', TCP).scheme, 'tcp');
    assert.equal(parseLinkUrl('smb://nas', 'URL', SMB).port, 445);
    assert.equal(parseLinkUrl('smb://nas:4450/', 'URL', SMB).port, 4_450);
  });

  test('parameters are decoded, source is an address of either family', () => {
    const url = parseLinkUrl('beat://h:1?source=fd00::1&key=a%26b', 'URL', BEAT);
    assert.equal(url.parameters.get('key'), 'a&b');
    assert.equal(url.source, 'fd00::1');
    assert.equal(parseLinkUrl('tcp://h:1?source=192.0.2.7', 'URL', TCP).source, '192.0.2.7');
  });

  test('a path is for kinds that have paths, encoded as it goes out', () => {
    const rules: UrlRules = { parameters: [], defaultPort: 80, path: true };
    assert.equal(parseLinkUrl('http://h/a b/%41?source=::1', 'URL', rules).path, '/a%20b/%41');
    assert.equal(parseLinkUrl('http://h', 'URL', rules).path, '/');
    assert.equal(parseLinkUrl('http://h/a\r\nX: y', 'URL', rules).path, '/aX:%20y');
    assert.equal(parseLinkUrl('http://h:8080', 'URL', rules).redacted, 'http://h:8080');
    assert.equal(parseLinkUrl('tcp://h:1', 'URL', TCP).path, undefined);
    assert.match(refusal('http://h/#top', rules), /no fragment goes in there/);
  });

  test('the key is for the kind only: everybody else sees ***', () => {
    const url = parseLinkUrl(`beat://h:1?key=${SECRET}&source=192.0.2.7`, 'URL', BEAT);
    assert.equal(url.parameters.get('key'), SECRET);
    assert.equal(url.redacted, 'beat://h:1?key=***&source=192.0.2.7');
    const coded = parseLinkUrl(`beat://h:1?%6Bey=${SECRET}&key=${SECRET}`, 'URL', BEAT);
    assert(!coded.redacted.includes(SECRET), coded.redacted);
  });

  for (const [text, rules, mend] of [
    ['', TCP, /is no link URL; write tcp:\/\/host:port/],
    ['db.example:5432', TCP, /is no link URL; write tcp:\/\/host:port/],
    ['tcp:db:1', TCP, /is no link URL; write tcp:\/\/host:port/],
    ['tcp://', TCP, /names no host|is no valid URL; write tcp:\/\/host:port/],
    ['tcp://:5432', TCP, /is no valid URL; write tcp:\/\/host:port/],
    ['tcp://host', TCP, /names no port; write tcp:\/\/host:port/],
    ['tcp://[::1]', TCP, /names no port; write tcp:\/\/\[::1\]:port/],
    ['tcp://host:0', TCP, /port 0 cannot be connected to/],
    ['tcp://host:65536', TCP, /is no valid URL; write tcp:\/\/host:port/],
    ['tcp://ho st:1', TCP, /is no valid URL; write tcp:\/\/host:port/],
    ['tcp://[::1:5432', TCP, /is no valid URL; write tcp:\/\/host:port/],
    ['tcp://a%2Fb:1', TCP, /"a\/b" is no host name/],
    ['tcp://a%20b:1', TCP, /"a b" is no host name/],
    ['tcp://a%zzb:1', TCP, /is no (valid URL|host name)/],
    ['tcp://a%00b:1', TCP, /is no (valid URL|host name)/],
    ['tcp://user@host:1', TCP, /no login goes in there/],
    ['tcp://host:1/path', TCP, /a tcp link has no path; write tcp:\/\/host:port/],
    ['tcp://host:1#top', TCP, /a tcp link has no path; write tcp:\/\/host:port/],
    ['tcp://host:1?key=x', TCP, /no parameter "key"; tcp knows source/],
    ['beat://host:1?colour=x', BEAT, /no parameter "colour"; beat knows source, key, keyFile/],
    ['tcp://host:1?source=eth0', TCP, /source=eth0 is no IP address of this machine/],
    ['tcp://host:1?source=', TCP, /source= is no IP address of this machine/],
    [`tcp://${'h'.repeat(2_048)}:1`, TCP, /longer than 2048 characters/],
    ['tcp://host\n?\n', TCP, /names no port/],
    ['tcp://host:1?a%0Ab=1', TCP, /no parameter "a.b"; tcp knows source/],
    ['tcp://host:1?source=1%0A2', TCP, /is no IP address of this machine/],
  ] as const) {
    test(`refuses ${JSON.stringify(text.slice(0, 40))} in one line with place and mend`, () => {
      const message = refusal(text, rules);
      assert.match(message, /^links\.db\.url: /);
      assert.match(message, mend);
      assert.doesNotMatch(message, LINE_BREAK);
    });
  }

  for (const text of [
    `beat:host:1?key=${SECRET}`,
    `host:1?key=${SECRET}`,
    `beat://host?key=${SECRET}`,
    `beat://host:99999?key=${SECRET}`,
    `beat://host:1/path?key=${SECRET}`,
    `beat://host:1?key=a#${SECRET}`,
    `beat://host:1?colour=x&key=${SECRET}`,
    `beat://host:1?%6Bey=${SECRET}&colour=x`,
    `beat://host:1?KEY=${SECRET}`,
    `beat://key:${SECRET}@host:1`,
    `beat://ho st:1?key=${SECRET}`,
    `beat://host\n?key=${SECRET}`,
  ]) {
    test(`keeps the secret out of the refusal of ${JSON.stringify(text)}`, () => {
      const message = refusal(text, BEAT);
      assert(!message.includes(SECRET), message);
    });
  }

  test('answers any text with a LinkUrl or a UsageError of one line (500 URLs)', () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.constantFrom(
        'tcp://',
        'beat://',
        'host',
        '[::1]',
        ':5432',
        ':',
        '/',
        '?',
        '&',
        '#',
        '@',
        '%',
        '%2F',
        '%ff',
        '%zz',
        '%0A',
        '%1b',
        'source=127.0.0.1',
        'key=',
        '\n',
        '\u0000',
        '\ud800',
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), fc.boolean(), (pieces, whole) => {
        const text = (whole ? 'beat://' : '') + pieces.join('');
        try {
          const url = parseLinkUrl(text, 'URL', BEAT);
          assert(url.host !== '' && Number.isInteger(url.port), JSON.stringify(url));
          assert(url.port > 0 && url.port < 65_536, JSON.stringify(url));
        } catch (error) {
          if ((error as Error).name !== 'UsageError') throw error;
          assert.doesNotMatch((error as Error).message, LINE_BREAK);
        }
      }),
      { numRuns: 500 },
    );
  });
});
