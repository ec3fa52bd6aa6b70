import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import {
  ACK,
  asksForKey,
  CLIENT_RESET,
  CONTROL,
  DATA_V1,
  DATA_V2,
  decodeControlBody,
  decodeData,
  decodeKind,
  decodeSessionId,
  encodeControlBody,
  encodeControlHead,
  encodeDataHead,
  encodeTcpPacket,
  isData,
  joined,
  SERVER_RESET,
  TcpPacketReader,
} from './openvpn-packet.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const OURS = '1122334455667788';
const THEIRS = 'a1a2a3a4a5a6a7a8';
/** As openvpn 2.6.14 answers a reset: 26 bytes. */
const SERVER = hex(`40 ${THEIRS} 01 00000000 ${OURS} 00000000`);
/** The same behind tls-crypt-v2, unwrapped: it asks for the client's key again. */
const ASKING = hex(`01 00000000 ${OURS} 00000000 0001 0002 0001`);
const ACKING = hex(`28 ${OURS} 02 00000000 00000001 ${THEIRS}`);
const HELLO = hex(`20 ${OURS} 01 00000000 ${THEIRS} 00000001 160301`);
const PING_V2 = hex(`48 000007 00000001 ${'aa'.repeat(16)} ${'bb'.repeat(16)}`);
const PING_V1 = hex(`31 00000001 ${'aa'.repeat(16)} ${'bb'.repeat(16)}`);

function decodeAll(bytes: Uint8Array): void {
  const kind = decodeKind(bytes);
  if (isData(kind)) decodeData(bytes);
  else {
    decodeSessionId(bytes);
    asksForKey(decodeControlBody(bytes.subarray(9), kind.opcode).payload);
  }
}

suite('OpenVPN packets', () => {
  test('a reset of ours is 14 bytes, a server’s answer 26', () => {
    const head = encodeControlHead({ opcode: CLIENT_RESET, keyId: 0 }, hex(OURS));
    const body = encodeControlBody({ acks: [], packetId: 0, payload: new Uint8Array() });
    assert.equal(toHex(joined(head, body)), `38${OURS}0000000000`);
    assert.deepEqual(decodeKind(SERVER), { opcode: SERVER_RESET, keyId: 0 });
    assert.equal(toHex(decodeSessionId(SERVER)), THEIRS);
    const answer = decodeControlBody(SERVER.subarray(9), SERVER_RESET);
    assert.deepEqual([answer.acks, answer.packetId], [[0], 0]);
    assert.equal(toHex(answer.ackedSession ?? hex('')), OURS);
  });

  test('what only acknowledges has no packet id: 26 bytes for two acks', () => {
    const body = decodeControlBody(ACKING.subarray(9), ACK);
    assert.deepEqual([body.acks, body.packetId, body.payload.length], [[0, 1], undefined, 0]);
    const ackedSession = hex(THEIRS);
    const payload = new Uint8Array();
    assert.equal(
      toHex(encodeControlBody({ acks: [0, 1], ackedSession, payload })),
      toHex(ACKING.subarray(9)),
    );
  });

  test('a control packet carries acks, its own id and a piece of TLS', () => {
    const body = decodeControlBody(HELLO.subarray(9), CONTROL);
    assert.deepEqual([body.acks, body.packetId, toHex(body.payload)], [[0], 1, '160301']);
    assert.equal(toHex(encodeControlBody(body)), toHex(HELLO.subarray(9)));
  });

  test('a reset may ask for the client’s key again; unknown fields are passed over', () => {
    const { payload } = decodeControlBody(ASKING, SERVER_RESET);
    assert.equal(asksForKey(payload), true);
    assert.equal(asksForKey(hex('0009 0003 aabbcc 0001 0002 0001')), true);
    for (const other of ['', '0001 0002 0000', '0001 0002', '0001 0003 000001', '0009 ffff 01']) {
      assert.equal(asksForKey(hex(other)), false, other);
    }
  });

  test('a ping with peer id 7 has 8 bytes of head, one without has 5', () => {
    assert.equal(toHex(encodeDataHead(0, 7, 1)), '4800000700000001');
    assert.equal(toHex(encodeDataHead(1, undefined, 1)), '3100000001');
    const v2 = decodeData(PING_V2);
    assert.deepEqual([v2.keyId, v2.packetId, toHex(v2.header)], [0, 1, '4800000700000001']);
    assert.deepEqual([v2.tag.length, v2.ciphertext.length], [16, 16]);
    const v1 = decodeData(PING_V1);
    // V1 authenticates the packet id alone.
    assert.deepEqual([v1.keyId, v1.packetId, toHex(v1.header)], [1, 1, '00000001']);
    assert.deepEqual(
      [decodeKind(PING_V2), decodeKind(PING_V1)].map((kind) => [kind.opcode, isData(kind)]),
      [
        [DATA_V2, true],
        [DATA_V1, true],
      ],
    );
  });

  for (const [code, bytes] of [
    ['too-short', new Uint8Array()],
    ['bad-opcode', hex('10 00')],
    ['bad-opcode', hex('60 00')],
    ['too-short', SERVER.subarray(0, 8)],
    ['no-session', hex(`40 ${'00'.repeat(8)} 00 00000000`)],
    ['too-long', joined(SERVER, new Uint8Array(2_048))],
    ['too-short', SERVER.subarray(0, 9)],
    ['too-many-acks', joined(SERVER.subarray(0, 9), hex('09'), new Uint8Array(60))],
    ['too-short', SERVER.subarray(0, 25)],
    ['too-short', ACKING.subarray(0, 25)],
    ['too-short', PING_V2.subarray(0, 24)],
    ['too-short', PING_V1.subarray(0, 21)],
  ] as const) {
    test(`refuses ${code}: ${bytes.length} bytes, ${toHex(bytes).slice(0, 20)}…`, () => {
      assert.throws(() => decodeAll(bytes), { name: 'DecodeError', format: 'openvpn', code });
    });
  }

  test('refuses to acknowledge nine packets, or those of nobody', () => {
    const payload = new Uint8Array();
    const acks = Array.from({ length: 9 }, (_, id) => id);
    assert.throws(() => encodeControlBody({ acks, ackedSession: hex(OURS), payload }), RangeError);
    assert.throws(() => encodeControlBody({ acks: [0], payload }), RangeError);
    assert.throws(() => decodeData(SERVER), { code: 'not-data' });
  });

  test('finds packets in a TCP stream, however it is cut', () => {
    const packets = [SERVER, HELLO, PING_V2, Uint8Array.of(7)];
    const stream = joined(...packets.map(encodeTcpPacket));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (cuts) => {
        const reader = new TcpPacketReader();
        const found: string[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn += 1) {
          const length = cuts[turn % cuts.length] ?? 1;
          found.push(...reader.read(stream.subarray(at, at + length)).map(toHex));
          at += length;
        }
        assert.deepEqual(found, packets.map(toHex));
        assert.equal(reader.held, 0);
      }),
      { numRuns: 50 },
    );
  });

  test('65,535 announced bytes set aside no more than the 3 that came', () => {
    const reader = new TcpPacketReader();
    assert.deepEqual(reader.read(hex('ffff 40')), []);
    assert.equal(reader.held, 3);
    assert.throws(() => new TcpPacketReader().read(hex('0000')), { code: 'empty' });
    assert.throws(() => encodeTcpPacket(new Uint8Array()), RangeError);
    assert.throws(() => encodeTcpPacket(new Uint8Array(65_536)), RangeError);
  });

  test('any bytes are a packet or a DecodeError (60,000 mutated)', () => {
    const packets = [
      SERVER,
      joined(SERVER.subarray(0, 9), ASKING),
      ACKING,
      HELLO,
      PING_V2,
      PING_V1,
    ];
    const { read, refused } = fuzz(packets, 60_000, decodeAll);
    assert(read > 10_000 && refused > 5_000, `${read} read, ${refused} refused`);
  });
});
