import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../test/support/mutate.ts';
import {
  decodeKeyMethodReply,
  decodePush,
  encodeKeyMethod,
  encodeMessage,
  LONGEST_MESSAGE,
  MessageReader,
  pushContinues,
} from './openvpn-message.ts';
import { joined } from './openvpn-packet.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const text = (value: string) => Uint8Array.from(Buffer.from(value));
const field = (value: string) => joined(Uint8Array.of(0, value.length + 1), text(`${value}\0`));

const RANDOMS = joined(new Uint8Array(32).fill(0xa1), new Uint8Array(32).fill(0xa2));
const HEAD = joined(hex('00000000 02'), RANDOMS);
/** A server's half, without and with what may follow. */
const SHORT = joined(HEAD, field('V4,tls-server'));
const LONG = joined(SHORT, hex('0000 0000'), field('IV_CIPHERS=AES-256-GCM\nIV_PROTO=746\n'));
/** What openvpn 2.6.14 pushed. */
const PUSH =
  'PUSH_REPLY,route-gateway 10.8.0.1,topology subnet,ping 2,ping-restart 8,ifconfig 10.8.0.2 255.255.255.0,peer-id 0,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm';

suite('key method 2', () => {
  test('the client’s half: 48 and twice 32 random bytes, then four texts', () => {
    const bytes = encodeKeyMethod({
      preMaster: new Uint8Array(48).fill(1),
      random1: new Uint8Array(32).fill(2),
      random2: new Uint8Array(32).fill(3),
      options: 'V4',
      username: '',
      password: 'p',
      peerInfo: 'IV_PROTO=2\n',
    });
    const randoms = `${'01'.repeat(48)}${'02'.repeat(32)}${'03'.repeat(32)}`;
    const texts = `0003563400 0000 00027000 000c${toHex(text('IV_PROTO=2\n'))}00`;
    assert.equal(toHex(bytes), `0000000002${randoms}${texts.replaceAll(' ', '')}`);
  });

  test('refuses randoms of another length', () => {
    const right = { random1: new Uint8Array(32), random2: new Uint8Array(32) };
    const texts = { options: '', username: '', password: '', peerInfo: '' };
    const preMaster = new Uint8Array(47);
    assert.throws(() => encodeKeyMethod({ preMaster, ...right, ...texts }), RangeError);
    const short = { preMaster: new Uint8Array(48), random1: right.random1, random2: preMaster };
    assert.throws(() => encodeKeyMethod({ ...short, ...texts }), RangeError);
  });

  test('the server’s half, with what may follow or without', () => {
    const short = decodeKeyMethodReply(SHORT);
    assert.deepEqual([short?.options, short?.length], ['V4,tls-server', SHORT.length]);
    assert.equal(
      toHex(joined(short?.random1 ?? hex(''), short?.random2 ?? hex(''))),
      toHex(RANDOMS),
    );
    const long = decodeKeyMethodReply(LONG);
    assert.equal(long?.length, LONG.length);
    assert.equal(long?.peerInfo.get('IV_PROTO'), '746');
    assert.equal(long?.peerInfo.get('IV_CIPHERS'), 'AES-256-GCM');
  });

  test('a message that follows at once is left for whom it is', () => {
    for (const half of [SHORT, LONG]) {
      const all = joined(half, encodeMessage(PUSH));
      assert.equal(decodeKeyMethodReply(all)?.length, half.length);
    }
  });

  test('is awaited byte by byte', () => {
    for (let length = 0; length < SHORT.length; length += 1) {
      assert.equal(decodeKeyMethodReply(SHORT.subarray(0, length)), undefined, `${length}`);
    }
  });

  test('refuses other methods, and 8,193 bytes of options', () => {
    assert.throws(() => decodeKeyMethodReply(hex('00000001')), { code: 'bad-key-method' });
    assert.throws(() => decodeKeyMethodReply(hex('0000000001')), { code: 'bad-key-method' });
    const long = joined(HEAD, hex('2001'));
    assert.throws(() => decodeKeyMethodReply(long), { name: 'DecodeError', code: 'too-long' });
  });

  test('any bytes are a half, a beginning or a DecodeError (30,000 mutated)', () => {
    const { read, refused } = fuzz([SHORT, LONG], 30_000, decodeKeyMethodReply);
    assert(read > 10_000 && refused > 100, `${read} read, ${refused} refused`);
  });
});

suite('messages of text', () => {
  test('end with a zero, come in pieces and several at once', () => {
    const reader = new MessageReader();
    assert.deepEqual(reader.read(text('PUSH')), []);
    assert.deepEqual(reader.read(text('_REPLY\0\0EXIT\0RE')), ['PUSH_REPLY', 'EXIT']);
    assert.deepEqual(reader.read(text('START\0')), ['RESTART']);
  });

  test('of more than 8,192 bytes are refused, with or without an end', () => {
    const long = new Uint8Array(LONGEST_MESSAGE + 1).fill(65);
    assert.throws(() => new MessageReader().read(long), { code: 'too-long' });
    assert.throws(() => new MessageReader().read(joined(long, hex('00'))), { code: 'too-long' });
    const reader = new MessageReader();
    reader.read(long.subarray(1));
    assert.throws(() => reader.read(hex('41')), { code: 'too-long' });
  });

  test('what openvpn 2.6.14 pushes: ping 2, ping-restart 8, peer id 0, AES-256-GCM', () => {
    assert.equal(pushContinues(PUSH), false);
    assert.deepEqual(decodePush([PUSH]), {
      ping: 2,
      pingRestart: 8,
      peerId: 0,
      cipher: 'AES-256-GCM',
      flags: ['cc-exit', 'tls-ekm'],
      framing: [],
    });
  });

  test('a push in two messages is one', () => {
    const first = 'PUSH_REPLY,ping 10,push-continuation 2';
    assert.equal(pushContinues(first), true);
    const pushed = decodePush([
      first,
      'PUSH_REPLY,ping-exit 60,auth-token SESS_a b,push-continuation 1',
    ]);
    assert.deepEqual([pushed.ping, pushed.pingExit, pushed.authToken], [10, 60, 'SESS_a b']);
  });

  test('older servers ask for the exporter in another way', () => {
    assert.deepEqual(decodePush(['PUSH_REPLY,key-derivation tls-ekm']).flags, ['tls-ekm']);
  });

  test('what would change each packet is told apart', () => {
    const pushed = decodePush(['PUSH_REPLY,comp-lzo yes,compress lz4-v2,route 10.0.0.0']);
    assert.deepEqual(pushed.framing, ['comp-lzo yes', 'compress lz4-v2']);
  });

  for (const option of [
    'ping x',
    'ping -1',
    'ping 1.5',
    'ping-restart 86401',
    'peer-id 16777216',
    'ping',
  ]) {
    test(`refuses "${option}"`, () => {
      const error = { name: 'DecodeError', code: 'bad-number' };
      assert.throws(() => decodePush([`PUSH_REPLY,${option}`]), error);
    });
  }

  test('any bytes are messages or a DecodeError (30,000 mutated)', () => {
    fuzz([encodeMessage(PUSH)], 30_000, (bytes) => decodePush(new MessageReader().read(bytes)));
  });
});
