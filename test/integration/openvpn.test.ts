/** `openvpn://` against Debian's openvpn in server mode: protections, ciphers, logins, trust, the commands. */
import assert from 'node:assert/strict';
import { after, suite, type TestContext, test } from 'node:test';
import type { TimingInput } from '../../src/keepalive/timing.ts';
import type { Link } from '../../src/link/link.ts';
import { readOpenvpnConfig } from '../../src/link/openvpn/config.ts';
import { OpenvpnConnection } from '../../src/link/openvpn/connection.ts';
import { createLink } from '../../src/link/registry.ts';
import { runCli, startCli } from '../support/cli.ts';
import { next } from '../support/link-events.ts';
import {
  certificates,
  clientConfig,
  enters,
  HOST,
  Openvpn,
  openvpnMissing,
  Pki,
  statesOf,
} from '../support/openvpn.ts';
import { UdpRelay } from '../support/udp-relay.ts';

const NEEDS = { skip: openvpnMissing() };
const START_MS = 10_000;
const LATE_MS = 2_000;
const pki = NEEDS.skip === false ? new Pki() : undefined;
after(() => pki?.remove());

function files(): Pki {
  assert(pki !== undefined);
  return pki;
}

/** A link that is not yet started, and is closed at the end. */
function linkTo(t: TestContext, url: string, timing: TimingInput = {}): Link {
  const link = createLink(url, timing);
  t.after(() => link.close());
  link.on('note', ({ text }) => t.diagnostic(text));
  return link;
}

function urlOf(port: number, lines: readonly string[] = []): string {
  return `openvpn://${HOST}:${port}?config=${clientConfig(files(), lines)}`;
}

/** Starts it, and awaits that it is up. */
async function isUp(link: Link): Promise<void> {
  const up = enters(link, 'up', START_MS);
  link.start();
  assert.equal((await up).reason, 'heard');
}

/** Starts it, and awaits that it is down before it was up; answers why, and what was told. */
async function isDown(link: Link): Promise<{ reason: string; told: string }> {
  const told: string[] = [];
  link.on('note', ({ text }) => told.push(text));
  const down = enters(link, 'down', START_MS);
  link.start();
  const { from, reason } = await down;
  assert.equal(from, 'unknown');
  return { reason, told: told.join('; ') };
}

const V2_CLIENT = ['tls-crypt-v2 v2-client.key'];

suite('openvpn in server mode', { concurrency: true, timeout: 60_000 }, () => {
  for (const [name, server, client, proto] of [
    ['UDP', [], []],
    ['TCP', [], ['proto tcp'], 'tcp4-server'],
    [
      'tls-auth',
      ['tls-auth static.key 0', 'auth SHA256'],
      ['tls-auth static.key 1', 'auth SHA256'],
    ],
    ['tls-auth without a direction', ['tls-auth static.key'], ['tls-auth static.key']],
    ['tls-crypt', ['tls-crypt static.key'], ['tls-crypt static.key']],
    [
      'tls-crypt by TCP',
      ['tls-crypt static.key'],
      ['tls-crypt static.key', 'proto tcp'],
      'tcp4-server',
    ],
    ['tls-crypt-v2', ['tls-crypt-v2 v2-server.key force-cookie'], V2_CLIENT],
    ['tls-crypt-v2 without cookies', ['tls-crypt-v2 v2-server.key allow-noncookie'], V2_CLIENT],
    ['AES-128-GCM', ['data-ciphers AES-128-GCM'], []],
    ['CHACHA20-POLY1305', ['data-ciphers CHACHA20-POLY1305'], []],
    ['TLS 1.2', ['tls-version-max 1.2'], []],
    ['source address', [], ['local 127.0.0.2']],
  ] as const) {
    test(`up by ${name}, and answered inside the session`, NEEDS, async (t) => {
      const openvpn = await Openvpn.server(t, files(), ['keepalive 1 4', ...server], proto);
      const link = linkTo(t, urlOf(openvpn.port, client));
      const reply = next(link, 'reply');
      await isUp(link);
      assert((await reply).rttMs > 0);
      assert.equal(link.status().remote, `${HOST}:${openvpn.port}`);
    });
  }

  test('the host comes from the file, where the URL names none', NEEDS, async (t) => {
    const openvpn = await Openvpn.server(t, files(), ['keepalive 1 4']);
    const file = clientConfig(files(), [`remote ${HOST} ${openvpn.port} udp`]);
    await isUp(linkTo(t, `openvpn://?config=${file}`));
  });

  test(
    'a server without a keepalive answers our question, and the link stays up',
    NEEDS,
    async (t) => {
      const openvpn = await Openvpn.server(t, files());
      const link = linkTo(t, urlOf(openvpn.port), { time: '2s' });
      await isUp(link);
      const states = statesOf(link);
      for (let count = 0; count < 6; count += 1) await next(link, 'reply');
      assert.deepEqual(states, []);
    },
  );

  test('keys by the PRF and a goodbye by OCC, where the peers can no more', NEEDS, async (t) => {
    const openvpn = await Openvpn.server(t, files(), ['keepalive 1 4']);
    const config = readOpenvpnConfig(clientConfig(files()), 'test');
    const ready = await new Promise<string>((resolve, reject) => {
      const nothing = () => undefined;
      const connection = new OpenvpnConnection(
        {
          config,
          place: { host: HOST, port: openvpn.port, transport: 'udp', family: 4 },
          clocks: { timeMs: 10_000, beatMs: 1_000 },
          channel: undefined,
          // Data packets with a peer id, and nothing else.
          abilities: 0x02,
        },
        {
          opened: nothing,
          ready: nothing,
          heard: () => {
            resolve('heard');
            connection.close();
          },
          reply: nothing,
          doubt: nothing,
          late: () => reject(new Error('late')),
          note: nothing,
          over: ({ reason, text }) => reject(new Error(`${reason}: ${text}`)),
        },
      );
      t.after(() => connection.close());
      connection.open();
    });
    assert.equal(ready, 'heard');
    const pushed = await openvpn.log.line('PUSH_REPLY', 1_000);
    assert.doesNotMatch(pushed, /tls-ekm|key-derivation|cc-exit/);
    // Without cc-exit our goodbye goes by the data channel.
    await openvpn.log.line('remote-exit', 2_000);
  });

  const verify = () =>
    files().write(
      'verify.sh',
      '#!/bin/sh\n[ "$(sed -n 1p "$1")" = alice ] && [ "$(sed -n 2p "$1")" = "open sesame" ]\n',
      0o700,
    );
  const login = () => [
    'keepalive 1 4',
    'script-security 2',
    `auth-user-pass-verify ${verify()} via-file`,
  ];

  test('a login: up, and by its token through five renewals', NEEDS, async (t) => {
    const lines = [
      ...login(),
      'verify-client-cert none',
      'auth-gen-token 3600 600',
      'reneg-sec 1 1',
    ];
    const openvpn = await Openvpn.server(t, files(), lines);
    files().write('login.txt', 'alice\nopen sesame\n');
    const link = linkTo(t, urlOf(openvpn.port, ['auth-user-pass login.txt']));
    await isUp(link);
    const states = statesOf(link);
    for (let from = 0, left = 5; left > 0; left -= 1) {
      const line = await openvpn.log.line('auth-token authentication succeeded', 5_000, from);
      from = openvpn.log.lines.indexOf(line, from) + 1;
    }
    assert.deepEqual(states, []);
  });

  test('a login that is refused: down, and told so', NEEDS, async (t) => {
    const openvpn = await Openvpn.server(t, files(), login());
    const inline = ['<auth-user-pass>', 'alice', 'wrong', '</auth-user-pass>'];
    const { reason, told } = await isDown(linkTo(t, urlOf(openvpn.port, inline)));
    assert.equal(reason, 'refused');
    assert.match(told, /the server refuses the login.*auth-user-pass/);
  });

  for (const [name, server, client, why] of [
    ['of a CA that is not ours', 'stranger', [], /not to be trusted: .*(self|issuer|verify)/],
    ['that is a client’s', 'client', [], /not to be trusted: .*(purpose|server)/],
    ['of another name', 'server', ['verify-x509-name vpn name'], /is of "server", not name "vpn"/],
    [
      'of another subject',
      'server',
      ['verify-x509-name CN=server'],
      /is of "O=Linkhold, CN=server"/,
    ],
  ] as const) {
    test(`a certificate ${name} is refused, and told so`, NEEDS, async (t) => {
      const own = certificates(files(), server).slice(1);
      const openvpn = await Openvpn.server(t, files(), own);
      const { reason, told } = await isDown(linkTo(t, urlOf(openvpn.port, client)));
      assert.equal(reason, 'not-authentic');
      assert.match(told, why);
    });
  }

  test('the right subject, name and beginning of a name are trusted', NEEDS, async (t) => {
    const openvpn = await Openvpn.server(t, files(), ['keepalive 1 4']);
    for (const name of ['"O=Linkhold, CN=server"', 'server name', 'ser name-prefix']) {
      await isUp(linkTo(t, urlOf(openvpn.port, [`verify-x509-name ${name}`])));
    }
  });

  test('our own certificate is refused: down, and told so', NEEDS, async (t) => {
    const openvpn = await Openvpn.server(t, files(), ['keepalive 1 4']);
    const own = [`cert ${files().file('stranger.crt')}`, `key ${files().file('stranger.key')}`];
    const link = linkTo(t, urlOf(openvpn.port, own), { time: '3s' });
    const { reason, told } = await isDown(link);
    assert.equal(reason, 'no-answer');
    assert.match(told, /look whether it trusts our certificate/);
  });
});

const TIMING = { time: '1s', interval: '500ms', probes: 3 };

suite('openvpn asked for its handshake', { concurrency: true, timeout: 60_000 }, () => {
  for (const [name, proto, query] of [
    ['UDP', 'udp4', ''],
    ['TCP', 'tcp4-server', '&proto=tcp'],
  ] as const) {
    test(`${name}: up without credentials; stopped is down, continued is up`, NEEDS, async (t) => {
      const openvpn = await Openvpn.server(t, files(), [], proto);
      const link = linkTo(t, `openvpn://${HOST}:${openvpn.port}?probe=handshake${query}`, TIMING);
      const reply = next(link, 'reply');
      await isUp(link);
      assert((await reply).rttMs > 0);
      assert.equal(link.facts.class, 'answered');
      const down = enters(link, 'down', 2_500 + LATE_MS);
      openvpn.signal('SIGSTOP');
      assert.equal((await down).reason, 'no-answer');
      const up = enters(link, 'up', START_MS);
      openvpn.signal('SIGCONT');
      await up;
    });
  }

  for (const [name, server, client] of [
    ['tls-auth', 'tls-auth static.key 0', ['tls-auth static.key 1']],
    ['tls-crypt', 'tls-crypt static.key', ['tls-crypt static.key']],
    ['tls-crypt-v2', 'tls-crypt-v2 v2-server.key', V2_CLIENT],
  ] as const) {
    test(`${name}: no answer without the key, an answer with it`, NEEDS, async (t) => {
      const openvpn = await Openvpn.server(t, files(), [server]);
      const url = `openvpn://${HOST}:${openvpn.port}?probe=handshake`;
      const keyless = linkTo(t, url, TIMING);
      const note = next(keyless, 'note');
      assert.equal((await isDown(keyless)).reason, 'no-answer');
      assert.match(
        (await note).text,
        /answers nobody without its key: give it one with config=FILE/,
      );
      await isUp(linkTo(t, `${url}&config=${clientConfig(files(), client)}`, TIMING));
    });
  }

  test('an answer to another session id is none', NEEDS, async (t) => {
    const openvpn = await Openvpn.server(t, files());
    const relay = await UdpRelay.start(t, openvpn.port);
    // The server's answer names the id it acknowledges in its bytes 14 to 21.
    relay.alter = (packet, toServer) => {
      const turned = Buffer.from(packet);
      if (!toServer) turned[21] = (turned[21] ?? 0) ^ 1;
      return turned;
    };
    const url = `openvpn://${HOST}:${relay.port}?probe=handshake`;
    assert.equal((await isDown(linkTo(t, url, TIMING))).reason, 'no-answer');
    assert(relay.seen.some(({ packet, toServer }) => !toServer && packet.length === 26));
  });
});

suite('openvpn by command', { concurrency: true, timeout: 60_000 }, () => {
  test(
    'check: 0 and one line of JSON where it is up, 1 where it is down, 2 for a bad file',
    NEEDS,
    async (t) => {
      const openvpn = await Openvpn.server(t, files(), ['keepalive 2 8']);
      const url = urlOf(openvpn.port);
      const good = await runCli(t, ['check', url, '--json']);
      assert.equal(good.code, 0, good.stderr);
      const [verdict] = JSON.parse(good.stdout) as [Record<string, unknown>];
      assert.deepEqual(
        ['kind', 'class', 'state', 'detectsWithinMs', 'largestSilenceMs'].map(
          (key) => verdict[key],
        ),
        ['openvpn', 'two-sided', 'up', 8_000, 2_000],
      );
      await openvpn.end();
      const dead = await runCli(t, ['check', url, '--time', '2s']);
      assert.equal(dead.code, 1, dead.stdout);
      assert.match(dead.stdout, /^down/);
      const bad = clientConfig(files(), ['fragment 1300']);
      const wrong = await runCli(t, ['check', `openvpn://${HOST}?config=${bad}`]);
      assert.equal(wrong.code, 2);
      assert.match(wrong.stderr, /client-\d+\.ovpn:8: fragment: .*remove it/);
      assert.equal(wrong.stderr.trim().split('\n').length, 1);
    },
  );

  test('watch: up, dies with its server, comes back with it', NEEDS, async (t) => {
    const openvpn = await Openvpn.server(t, files(), ['keepalive 1 3']);
    const watch = startCli(t, ['watch', urlOf(openvpn.port), '--json']);
    await watch.line(/"to":"up"/);
    await openvpn.end();
    await watch.line(/"to":"down"/);
    await openvpn.start();
    const up = /"from":"down","to":"up"/;
    await watch.line(up);
    watch.kill('SIGINT');
    assert.equal((await watch.ended()).code, 0);
    await openvpn.log.line('exit message received by peer', 2_000);
  });
});
