import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, test } from 'node:test';
import { loadConfig, parseConfig } from '../config.ts';
import { matches, ruleOptions } from './notify-config.ts';

const LINKS = 'links: { db-a: { url: "tcp://10.0.0.5:5432", tags: [prod] } }\n';
const KEY = '0123456789abcdef0123456789abcdef';

function withChannel(channel: string, rule = '{ to: [c] }'): string {
  return `${LINKS}notify:\n  channels:\n    c: ${channel}\n  rules:\n    r: ${rule}\n`;
}

/** The one line with which it is refused; nothing secret may be in it. */
function refusal(text: string): string {
  try {
    parseConfig(text, 'f.yaml');
  } catch (error) {
    assert.equal((error as Error).name, 'UsageError', `${(error as Error).stack}`);
    const { message } = error as Error;
    assert.doesNotMatch(message, /hunter2|\n/);
    return message;
  }
  return assert.fail('the file was accepted');
}

suite('the notify section', () => {
  test('every kind of channel is accepted as the guide writes it', () => {
    for (const channel of [
      '{ type: slack, url: "https://hooks.slack.com/services/T/B/X" }',
      '{ type: discord, url: "https://discord.com/api/webhooks/1/x" }',
      '{ type: ntfy, topic: ops, url: "https://ntfy.example.net", token: tk_x }',
      `{ type: pagerduty, routingKey: ${KEY} }`,
      '{ type: alertmanager, url: "http://127.0.0.1:9093" }',
      '{ type: webhook, url: "https://u:p@example.net/x", method: PUT, headers: { X-A: b }, body: "{{title}}" }',
      '{ type: command, command: [/bin/true, --flag], timeout: 5s }',
      '{ type: mail, host: mail.example.net, from: a@example.net, to: [b@example.net] }',
      '{ type: mail, host: "::1", tls: none, user: u, password: p, from: a@b.c, to: [b@example.net] }',
    ]) {
      parseConfig(withChannel(channel), 'f.yaml');
    }
    const { notify } = parseConfig(withChannel('{ type: command, command: [x] }'), 'f.yaml');
    assert.deepEqual(notify?.rules, { r: { to: ['c'] } });
  });

  test('the example is accepted', () => {
    loadConfig(path.join(import.meta.dirname, '../../../examples/notify.yaml'));
  });

  test('what is wrong is one line with its place and how to mend it', () => {
    const command = '{ type: command, command: [x] }';
    for (const [text, what] of [
      [withChannel('{ type: pigeon }'), /^f\.yaml:4:\d+: notify\.channels\.c/],
      [withChannel('{ type: slack }'), /c: give url, or urlFile/],
      [withChannel('{ type: slack, url: "hunter2 x" }'), /c\.url: not a URL/],
      [withChannel('{ type: slack, url: "ftp://hunter2/x" }'), /c\.url: not a URL/],
      [
        withChannel('{ type: slack, url: "http://a/b", urlFile: x }'),
        /c\.url: give url or urlFile/,
      ],
      [withChannel('{ type: slack, urlFile: /nowhere/x }'), /c\.urlFile: \/nowhere\/x .*ENOENT/],
      [withChannel('{ type: slack, url: "http://a/b", token: "hunter2 x" }'), /c\.token: a token/],
      [withChannel('{ type: slack, url: "http://a/b", colour: red }'), /no key "colour"/],
      [withChannel('{ type: ntfy, topic: "a b" }'), /c\.topic: /],
      [withChannel('{ type: pagerduty, routingKey: hunter2 }'), /c\.routingKey: .*32/],
      [
        withChannel('{ type: webhook, url: "http://a/", body: "{{no}}" }'),
        /c\.body: no \{\{no\}\}/,
      ],
      [
        withChannel('{ type: webhook, url: "http://a/", headers: { A: "x\\r\\nhunter2: 1" } }'),
        /c\.headers: "A"/,
      ],
      [withChannel('{ type: webhook, url: "http://a/", headers: { Host: x } }'), /"Host" is set/],
      [withChannel('{ type: command, command: [""] }'), /c\.command: name a program/],
      [withChannel('{ type: command, command: [x], timeout: 10m }'), /c\.timeout: /],
      [
        withChannel('{ type: mail, host: h, from: "a@b, c@d", to: [e@f.g] }'),
        /c\.from: not a mail/,
      ],
      [
        withChannel('{ type: mail, host: h, from: a@b.c, to: ["x@y\\nz"] }'),
        /c\.to\.0: not a mail/,
      ],
      [withChannel('{ type: mail, host: h, user: u, from: a@b.c, to: [d@e.f] }'), /c\.user: /],
      [
        withChannel(command, '{ to: [d] }'),
        /^f\.yaml:6:15: notify\.rules\.r\.to\.0: .*channel "d"/,
      ],
      [withChannel(command, '{ to: [c], links: [db-b] }'), /links\.0: there is no link "db-b"/],
      [withChannel(command, '{ to: [c], groups: [g] }'), /groups\.0: there is no group "g"/],
      [withChannel(command, '{ to: [c], tags: [test] }'), /tags\.0: there is no link with the tag/],
      [withChannel(command, '{ to: [c], on: [pigeons] }'), /notify\.rules\.r\.on\.0/],
      [withChannel(command, '{ to: [c], after: 10 }'), /r\.after: write a duration/],
      [withChannel(command, '{ to: [c], after: soon }'), /r\.after: "soon"/],
      [withChannel(command, '{ to: [c], remindEvery: 10s }'), /r\.remindEvery: write 1m/],
      [
        withChannel(command, '{ to: [c], quiet: [{ from: "25:00", to: "06:00" }] }'),
        /quiet\.0\.from/,
      ],
      [
        withChannel(command, '{ to: [c], quiet: [{ from: "22:00", to: "06:00", timeZone: X/Y }] }'),
        /quiet\.0\.timeZone: there is no time zone/,
      ],
      [
        withChannel(command, '{ to: [c] }\n    __proto__: { to: [c] }'),
        /rules\.__proto__: not a name/,
      ],
      ['links: { a: { url: "tcp://h:1", tags: ["a b"] } }', /links\.a\.tags\.0: write 1 to 32/],
    ] as const) {
      assert.match(refusal(text), what);
    }
  });

  test('a secret may be in a file; one that is empty or too long is refused', (t) => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const file = path.join(directory, 'secret');
    const config = path.join(directory, 'f.yaml');
    writeFileSync(config, withChannel(`{ type: pagerduty, routingKeyFile: ${file} }`));
    writeFileSync(file, `${KEY}\n`);
    loadConfig(config);
    for (const [text, what] of [
      ['\n', /routingKeyFile: .*is empty/],
      ['hunter2'.repeat(1_000), /routingKeyFile: .*holds more than 4096/],
    ] as const) {
      writeFileSync(file, text);
      assert.throws(() => loadConfig(config), { name: 'UsageError', message: what });
    }
  });

  test('a rule left alone tells all but doubt, after 10s, back after 30s, by messages of 10s', () => {
    const { on, afterMs, recoverAfterMs, groupWaitMs, remindEveryMs } = ruleOptions('r', {
      to: ['c'],
    });
    assert.deepEqual([...on], ['down', 'flapping', 'switch', 'back']);
    assert.deepEqual([afterMs, recoverAfterMs, groupWaitMs], [10_000, 30_000, 10_000]);
    assert.equal(remindEveryMs, undefined);
  });

  test('a `*` stands for any characters, and thousands of them take no time', () => {
    for (const [pattern, name, fits] of [
      ['*', 'db', true],
      ['db', 'db', true],
      ['db', 'db-a', false],
      ['db-*', 'db-a', true],
      ['*-a', 'db-a', true],
      ['d*b*a', 'db-b-a', true],
      ['d*x*a', 'db-b-a', false],
      ['ab*ba', 'aba', false],
      ['a*b*b', 'ab', false],
      ['**', '', true],
      [`${'*a'.repeat(10_000)}b`, 'a'.repeat(64), false],
    ] as const) {
      assert.equal(matches(pattern, name), fits, `${pattern.slice(0, 20)} ${name}`);
    }
  });
});
