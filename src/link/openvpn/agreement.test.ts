import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { decodePush, type KeyMethodReply } from '../../wire/openvpn-message.ts';
import { agreeWithPeer, agreeWithServer, OUR_ABILITIES, tell } from './agreement.ts';
import type { OpenvpnTls } from './config.ts';

const SECURITY: OpenvpnTls = {
  type: 'tls',
  pull: true,
  context: {},
  trust: { serverOnly: true },
  wrap: { type: 'none' },
  ciphers: ['AES-256-GCM', 'CHACHA20-POLY1305'],
  fallback: undefined,
  login: { username: 'u', password: 'p' },
  renegMs: 0,
  handMs: 60_000,
};

function reply(peerInfo: Readonly<Record<string, string>>): KeyMethodReply {
  const random = new Uint8Array(32);
  const info = new Map(Object.entries(peerInfo));
  return { random1: random, random2: random, options: '', peerInfo: info, length: 0 };
}

const agreed = (text: string) => agreeWithServer(SECURITY, decodePush([text]));

suite('OpenVPN agreements', () => {
  test('we tell our ciphers, and IV_PROTO 142 to a server, 170 to a peer', () => {
    const server = tell(SECURITY, 'udp', 'tun', OUR_ABILITIES, undefined);
    assert.match(server.peerInfo, /^IV_CIPHERS=AES-256-GCM:CHACHA20-POLY1305\nIV_PROTO=142\n/);
    assert.deepEqual([server.username, server.password], ['u', 'p']);
    const peer = tell({ ...SECURITY, pull: false }, 'tcp', 'tap', OUR_ABILITIES, undefined);
    assert.match(peer.peerInfo, /IV_PROTO=170\n/);
    assert.match(peer.options, /dev-type tap,.*proto TCPv4_CLIENT/);
  });

  test('a token is told in place of the password', () => {
    assert.equal(tell(SECURITY, 'udp', 'tun', 0, 'SESS_1').password, 'SESS_1');
  });

  test('a server pushes cipher, peer id, exporter, goodbye and clocks', () => {
    const push =
      'PUSH_REPLY,ping 2,ping-restart 8,peer-id 3,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm';
    assert.deepEqual(agreed(push), {
      cipher: 'AES-256-GCM',
      peerId: 3,
      exportKeys: true,
      controlExit: true,
      pingMs: 2_000,
      restartMs: 8_000,
    });
  });

  test('ping-exit is as good as ping-restart, and 0 turns a clock off', () => {
    const push = (more: string) => agreed(`PUSH_REPLY,cipher AES-256-GCM,${more}`);
    const clocks = (more: string) => {
      const one = push(more);
      return typeof one === 'string' ? one : [one.pingMs, one.restartMs];
    };
    assert.deepEqual(clocks('ping 5,ping-exit 30'), [5_000, 30_000]);
    assert.deepEqual(clocks('ping 0,ping-restart 0'), [undefined, undefined]);
  });

  for (const [push, why] of [
    ['PUSH_REPLY,ping 1', /agrees on no cipher/],
    ['PUSH_REPLY,cipher BF-CBC', /wants the cipher BF-CBC/],
    ['PUSH_REPLY,cipher AES-256-GCM,comp-lzo no', /pushes "comp-lzo no", which is not supported/],
  ] as const) {
    test(`nothing can be made of ${push}`, () => assert.match(`${agreed(push)}`, why));
  }

  test('two peers: the first of the other’s ciphers that we have, its exporter, a peer id of it', () => {
    const theirs = { IV_PROTO: '746', IV_CIPHERS: 'AES-128-GCM:CHACHA20-POLY1305:AES-256-GCM' };
    assert.deepEqual(
      agreeWithPeer(SECURITY, reply(theirs), OUR_ABILITIES, () => 0x010203),
      {
        cipher: 'CHACHA20-POLY1305',
        peerId: 0x010203,
        exportKeys: true,
        controlExit: true,
        pingMs: undefined,
        restartMs: undefined,
      },
    );
  });

  test('a peer that tells nothing: the fallback, the PRF, no peer id, a goodbye in the data channel', () => {
    const security = { ...SECURITY, fallback: 'aes-256-gcm' };
    const one = agreeWithPeer(security, reply({}), OUR_ABILITIES, () => assert.fail('not asked'));
    assert.deepEqual(one, {
      cipher: 'AES-256-GCM',
      peerId: undefined,
      exportKeys: false,
      controlExit: false,
      pingMs: undefined,
      restartMs: undefined,
    });
    assert.match(`${agreeWithPeer(SECURITY, reply({}), 0, () => 0)}`, /agrees on no cipher/);
  });
});
