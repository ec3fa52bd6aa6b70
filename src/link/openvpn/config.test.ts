import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, suite, test } from 'node:test';
import fc from 'fast-check';
import { type OpenvpnTls, parseOpenvpnConfig, readOpenvpnConfig } from './config.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-config-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const place = (name: string) => path.join(directory, name);
const KEY = `-----BEGIN OpenVPN Static key V1-----\n${'00'.repeat(256)}\n-----END OpenVPN Static key V1-----`;
execFileSync(
  'openssl',
  [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'],
    ...['-subj', '/CN=test', '-keyout', place('key.pem'), '-out', place('cert.pem')],
  ],
  { stdio: 'pipe' },
);
writeFileSync(place('static.key'), KEY);
writeFileSync(place('login.txt'), 'alice\r\nopen sesame\r\n');

const FILE = place('client.ovpn');
const TLS = ['client', 'ca cert.pem'];
const parse = (lines: readonly string[]) => parseOpenvpnConfig(lines.join('\n'), FILE);

function tlsOf(lines: readonly string[]): OpenvpnTls {
  const { security } = parse([...TLS, ...lines]);
  assert(security.type === 'tls');
  return security;
}

suite('OpenVPN options files', () => {
  test('a usual file: where to, whom to trust, and nothing of routes and users', () => {
    const config = parse([
      '# comment',
      '; comment',
      'client',
      'dev tun',
      'proto udp4 # behind an option',
      'remote vpn.example 1195',
      'nobind',
      'persist-key',
      'route 10.0.0.0 255.0.0.0',
      'ca "cert.pem"',
      "cert 'cert.pem'",
      'key key.pem',
      'verify-x509-name "O=A, CN=b c" subject',
      'remote-cert-tls server',
      'setenv opt whatever',
      'verb 3',
    ]);
    assert.deepEqual(config.place, {
      host: 'vpn.example',
      port: 1_195,
      transport: 'udp',
      family: 4,
    });
    const { security } = config;
    assert(security.type === 'tls');
    assert.equal(security.pull, true);
    assert.deepEqual(security.trust, {
      serverOnly: true,
      name: { type: 'subject', value: 'O=A, CN=b c' },
    });
    assert.equal(security.context.ca, readFileSync(place('cert.pem'), 'utf8'));
    assert.deepEqual([security.renegMs, security.handMs], [3_600_000, 60_000]);
    assert.deepEqual(security.ciphers, ['AES-256-GCM', 'AES-128-GCM', 'CHACHA20-POLY1305']);
    assert.deepEqual(
      [config.pingMs, config.restartMs, config.exitNotify],
      [undefined, undefined, true],
    );
  });

  for (const [lines, pingMs, restartMs] of [
    [['keepalive 10 60'], 10_000, 60_000],
    [['ping 5', 'ping-restart 30'], 5_000, 30_000],
    [['ping 5', 'ping-exit 40'], 5_000, 40_000],
    [['keepalive 10 60', 'ping 7'], 7_000, 60_000],
    [['ping 5', 'ping-restart 0'], 5_000, undefined],
  ] as const) {
    test(`${lines.join(', ')}: a ping after ${pingMs} ms, dead after ${restartMs}`, () => {
      const config = parse([...TLS, ...lines]);
      assert.deepEqual([config.pingMs, config.restartMs], [pingMs, restartMs]);
    });
  }

  test('files may stand in the file', () => {
    const { wrap, login } = tlsOf([
      '<tls-auth>',
      ...KEY.split('\n'),
      '</tls-auth>',
      'key-direction 1',
      'auth SHA512',
      '<auth-user-pass>',
      'bob',
      'pass word',
      '</auth-user-pass>',
    ]);
    assert(wrap.type === 'tls-auth');
    assert.deepEqual([wrap.direction, wrap.digest, wrap.keys.length], [1, 'sha512', 256]);
    assert.deepEqual(login, { username: 'bob', password: 'pass word' });
  });

  test('or beside it: keys, directions and logins', () => {
    const auth = tlsOf(['tls-auth static.key 0', 'auth-user-pass login.txt']);
    assert(auth.wrap.type === 'tls-auth');
    assert.deepEqual([auth.wrap.direction, auth.wrap.digest], [0, 'sha1']);
    assert.deepEqual(auth.login, { username: 'alice', password: 'open sesame' });
    assert.equal(tlsOf(['tls-crypt static.key']).wrap.type, 'tls-crypt');
  });

  test('certificates between ours and the CA go along, and a login may be of any script', () => {
    const { context } = tlsOf(['cert cert.pem', 'extra-certs cert.pem', 'key key.pem']);
    assert.equal(`${context.cert}`.match(/BEGIN CERTIFICATE/g)?.length, 2);
    writeFileSync(place('utf8.txt'), 'Zoë\nпароль\n');
    const { login } = tlsOf(['auth-user-pass utf8.txt']);
    assert.deepEqual(login, { username: 'Zoë', password: 'пароль' });
  });

  test('ciphers that are not known here are passed over, as long as one is', () => {
    const { ciphers, fallback } = tlsOf([
      'data-ciphers BF-CBC:chacha20-poly1305:?AES-128-GCM',
      'cipher AES-256-CBC',
    ]);
    assert.deepEqual(ciphers, ['CHACHA20-POLY1305', 'AES-128-GCM']);
    assert.equal(fallback, 'AES-256-CBC');
  });

  test('a secret: cipher, digest and direction', () => {
    const { security } = parse(['secret static.key 1', 'cipher aes-256-cbc', 'auth SHA256']);
    assert(security.type === 'static');
    assert.deepEqual(
      [security.cipher, security.digest, security.direction],
      ['AES-256-CBC', 'sha256', 1],
    );
  });

  test('two peers without a server pull nothing', () => {
    const { security } = parse(['tls-client', 'ca cert.pem']);
    assert.equal(security.type === 'tls' && security.pull, false);
  });

  test('places: TCP, families, addresses and ports of our own', () => {
    const config = parse([
      ...TLS,
      'remote h 443 tcp6-client',
      'remote other',
      'local 127.0.0.2',
      'lport 99',
    ]);
    assert.deepEqual(config.place, {
      host: 'h',
      port: 443,
      transport: 'tcp',
      family: 6,
      local: '127.0.0.2',
      localPort: 99,
    });
    assert.equal(parse([...TLS, 'remote h', 'port 1196']).place.port, 1_196);
  });

  for (const [line, text] of [
    ['fragment 1300', /:3: fragment: fragments are not supported/],
    ['comp-lzo', /:3: comp-lzo: compression is not supported/],
    ['compress lz4', /:3: compress: /],
    ['http-proxy p 80', /:3: http-proxy: proxies are not supported/],
    ['socks-proxy p', /:3: socks-proxy: /],
    ['mode server', /:3: mode: this is a server's file/],
    ['tls-server', /:3: tls-server: a link is the client/],
    ['<connection>\n</connection>', /:3: connection: .*outside of <connection>/],
    ['peer-fingerprint x', /:3: peer-fingerprint: .*verify-x509-name/],
    ['ping-restrat 5', /:3: "ping-restrat" is no option of OpenVPN/],
    ['MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQ', /:3: this is no option of OpenVPN/],
    ['management-external-key', /:3: management-external-key: not supported/],
    ['ca missing.crt', /:3: the ca file .*missing.crt cannot be read \(ENOENT\)/],
    ['ca static.key', /:3: there is no certificate in the ca file/],
    ['cert cert.pem\nkey static.key', /:4: ca, cert and key cannot be used/],
    ['tls-crypt cert.pem', /:3: this is no key for tls-crypt \(.*openvpn --genkey/],
    ['tls-auth static.key 2', /:3: a key direction is 0 or 1/],
    ['tls-crypt', /:3: tls-crypt names no file/],
    ['auth NOHASH', /:4: auth: no digest "nohash"/, 'tls-auth static.key'],
    ['data-ciphers BF-CBC', /:3: none of these ciphers is known here: AES-256-GCM/],
    ['auth-user-pass', /:3: auth-user-pass needs a file of two lines/],
    ['auth-user-pass static.key.missing', /:3: the auth-user-pass file/],
    ['remote-cert-tls client', /:3: remote-cert-tls can only be server/],
    ['verify-x509-name', /:3: write a name/],
    ['proto sctp', /:3: no protocol "sctp"; write udp or tcp/],
    ['remote h 0', /:3: remote needs a whole number from 1 to 65535/],
    ['remote h 1194 x', /:3: no protocol "x"/],
    ['local eth0', /:3: local needs an IP address/],
    ['keepalive 10', /:3: keepalive needs a whole number/],
    ['keepalive 10 19', /:3: .*at least twice the first/],
    ['ping 1h', /:3: ping needs a whole number/],
    ['ca "cert.pem', /:3: a quote or a backslash is missing its end/],
    ['<ca>', /:3: <ca> has no <\/ca>/],
  ] as const) {
    test(`refuses "${line.replaceAll('\n', ' / ')}", with file, line and what to do`, (t) => {
      const before = line === 'auth NOHASH' ? ['tls-auth static.key'] : [];
      try {
        parse([...TLS, ...before, line]);
        assert.fail('accepted');
      } catch (error) {
        const { name, message } = error as Error;
        assert.equal(name, 'UsageError', message);
        assert(message.startsWith(FILE), message);
        assert.match(message, text);
        assert(!message.includes('\n'), message);
        t.diagnostic(message.slice(directory.length + 1));
      }
    });
  }

  for (const [lines, text] of [
    [['client'], /client.ovpn: no ca is given/],
    [['remote h'], /client.ovpn: neither client, tls-client nor secret/],
    [['secret static.key'], /:1: a secret needs a cipher of AES-256-CBC/],
    [['secret static.key', 'cipher AES-256-GCM'], /:2: a secret needs a cipher/],
  ] as const) {
    test(`refuses a file of only ${lines.join(' and ')}`, () => {
      assert.throws(() => parse(lines), { code: 'bad-openvpn-config', message: text });
    });
  }

  test('a file that cannot be read is told by its place', () => {
    const error = { code: 'bad-openvpn-config', message: /^URL: the config file .*ENOENT/ };
    assert.throws(() => readOpenvpnConfig(place('none'), 'URL'), error);
  });

  test('any text is a configuration or a UsageError', () => {
    const word = fc.constantFrom(
      'client',
      'ca',
      'cert.pem',
      '<ca>',
      '</ca>',
      '"',
      '\\',
      '#',
      '\n',
      ' ',
      'remote',
      '9',
    );
    fc.assert(
      fc.property(
        fc.array(fc.oneof(word, fc.string({ maxLength: 6 })), { maxLength: 30 }),
        (words) => {
          try {
            parseOpenvpnConfig(words.join(' '), FILE);
          } catch (error) {
            assert.equal((error as Error).name, 'UsageError', `${error}`);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
