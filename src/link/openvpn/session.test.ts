import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../../test/support/mutate.ts';
import {
  ACK,
  CONTROL,
  CONTROL_HEAD_LENGTH,
  decodeControlBody,
  decodeKind,
  decodeSessionId,
  encodeControlBody,
  encodeControlHead,
  joined,
  SERVER_RESET,
  SOFT_RESET,
} from '../../wire/openvpn-packet.ts';
import type { OpenvpnTls } from './config.ts';
import { OpenvpnSession, type SessionOutput } from './session.ts';

const SECURITY: OpenvpnTls = {
  type: 'tls',
  pull: true,
  context: {},
  trust: { serverOnly: true },
  wrap: { type: 'none' },
  ciphers: ['AES-256-GCM'],
  fallback: undefined,
  login: undefined,
  renegMs: 3_600_000,
  handMs: 60_000,
};
const SERVER = Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9);
const NOTHING = new Uint8Array();

function outputs(session: OpenvpnSession): SessionOutput[] {
  const all: SessionOutput[] = [];
  for (let one = session.pollOutput(); one !== undefined; one = session.pollOutput()) all.push(one);
  return all;
}

const packets = (session: OpenvpnSession) =>
  outputs(session).flatMap((one) => (one.type === 'packet' ? [one.bytes] : []));

function begin(wake: () => void = () => undefined): { session: OpenvpnSession; id: Uint8Array } {
  const setup = { security: SECURITY, transport: 'udp', device: 'tun', verdictMs: 8_000 } as const;
  const session = new OpenvpnSession({ ...setup, wallSeconds: 1_000 }, 0, wake);
  const [reset] = packets(session);
  return { session, id: decodeSessionId(reset ?? NOTHING) };
}

/** A packet of the server. */
function from(
  opcode: number,
  packetId: number | undefined,
  ackedSession: Uint8Array,
  { acks = [0], keyId = 0, sessionId = SERVER } = {},
): Uint8Array {
  const numbered = packetId === undefined ? {} : { packetId };
  const body = encodeControlBody({ acks, ackedSession, ...numbered, payload: NOTHING });
  return joined(encodeControlHead({ opcode, keyId }, sessionId), body);
}

suite('OpenVPN session', () => {
  test('resets after 0, 1, 3, 7, 11 … s, is late after 8 s, and gives up after 60', () => {
    const { session, id } = begin();
    const resets: number[] = [];
    const rest: string[] = [];
    for (let now = 0; now <= 61_000 && session.pollTimeout() !== undefined; ) {
      now = session.pollTimeout() ?? now;
      session.handleTimeout(now);
      for (const output of outputs(session)) {
        if (output.type !== 'packet') rest.push(`${output.type} ${now}`);
        else {
          assert.deepEqual(decodeSessionId(output.bytes), id);
          assert.equal(output.bytes.length, 14);
          resets.push(now / 1_000);
        }
      }
    }
    assert.deepEqual(resets.slice(0, 4), [1, 3, 7, 11]);
    assert.deepEqual(rest, ['late 8000', 'over 60000']);
  });

  test('an observer that was asleep blames nobody: neither late nor over', () => {
    const { session } = begin();
    session.handleTimeout(120_000);
    const told = outputs(session).filter(({ type }) => type !== 'packet');
    assert.deepEqual(told, []);
    assert((session.pollTimeout() ?? 0) <= 128_000);
  });

  test('two sessions have two ids, of 8 random bytes', () => {
    assert.notDeepEqual(begin().id, begin().id);
    assert.equal(begin().id.length, 8);
  });

  test('the right reset is acknowledged, and a ClientHello follows in packets of 1,200 bytes at most', async () => {
    let woke: () => void = () => undefined;
    const awake = new Promise<void>((resolve) => {
      woke = resolve;
    });
    const { session, id } = begin(() => woke());
    session.handlePacket(from(SERVER_RESET, 0, id), 10);
    await awake;
    const [acked, ...hello] = packets(session);
    assert.equal(decodeKind(acked ?? NOTHING).opcode, ACK);
    assert(hello.length >= 1);
    for (const bytes of hello) {
      assert.equal(decodeKind(bytes).opcode, CONTROL);
      assert(bytes.length <= 1_200, `${bytes.length}`);
    }
    // A handshake record that begins a ClientHello.
    const { payload } = decodeControlBody(
      (hello[0] ?? NOTHING).subarray(CONTROL_HEAD_LENGTH),
      CONTROL,
    );
    assert.deepEqual([payload[0], payload[5]], [22, 1]);
    session.close();
  });

  const strange: readonly (readonly [string, (id: Uint8Array) => Uint8Array])[] = [
    ['a reset that acknowledges another id', () => from(SERVER_RESET, 0, SERVER)],
    ['a reset that acknowledges nothing', (id) => from(SERVER_RESET, 0, id, { acks: [] })],
    ['a reset with packet id 1', (id) => from(SERVER_RESET, 1, id)],
    ['a reset with key id 1', (id) => from(SERVER_RESET, 0, id, { keyId: 1 })],
    ['a control packet before any reset', (id) => from(CONTROL, 0, id)],
    ['a soft reset before any key', (id) => from(SOFT_RESET, 0, id, { keyId: 1 })],
    ['a reset of no session', (id) => from(SERVER_RESET, 0, id, { sessionId: new Uint8Array(8) })],
    ['a client’s reset', (id) => from(7, 0, id)],
    ['a data packet', () => joined(Uint8Array.of(0x48), new Uint8Array(39))],
  ];
  for (const [name, make] of strange) {
    test(`${name} is not answered, and is no life`, () => {
      const { session, id } = begin();
      assert.equal(session.handlePacket(make(id), 10), false);
      assert.deepEqual(outputs(session), []);
    });
  }

  test('after the reset nobody else is heard: another session id, or another key', () => {
    const { session, id } = begin();
    session.handlePacket(from(SERVER_RESET, 0, id), 10);
    outputs(session);
    const other = Uint8Array.of(8, 8, 8, 8, 8, 8, 8, 8);
    for (const bytes of [
      from(CONTROL, 1, id, { sessionId: other }),
      from(SERVER_RESET, 0, id, { sessionId: other }),
      from(SOFT_RESET, 0, id, { keyId: 1 }),
      from(CONTROL, 1, other),
      from(CONTROL, 1, id, { keyId: 5 }),
    ]) {
      assert.equal(session.handlePacket(bytes, 20), false);
      assert.deepEqual(outputs(session), []);
    }
    session.close();
  });

  test('mutated answers that do not acknowledge our id are not answered (20,000)', () => {
    const { session } = begin();
    const answers = [
      from(SERVER_RESET, 0, SERVER),
      from(CONTROL, 1, SERVER),
      from(ACK, undefined, SERVER),
    ];
    const { refused } = fuzz(answers, 20_000, (bytes) => {
      assert.equal(session.handlePacket(bytes, 10), false);
      assert.equal(session.pollOutput(), undefined);
    });
    assert.equal(refused, 0);
  });

  test('mutated packets of a session keep no more than 8 (20,000)', () => {
    const { session, id } = begin();
    session.handlePacket(from(SERVER_RESET, 0, id), 10);
    fuzz([from(CONTROL, 3, id), from(ACK, undefined, id)], 20_000, (bytes) => {
      session.handlePacket(bytes, 20);
      for (const output of outputs(session)) assert.equal(output.type, 'packet');
    });
    session.close();
  });
});
