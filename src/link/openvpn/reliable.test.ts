import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Prng } from '../../../test/support/prng.ts';
import { CONTROL, type ControlBody } from '../../wire/openvpn-packet.ts';
import { OpenvpnReliable, type ReliableOutput } from './reliable.ts';

const NOTHING = new Uint8Array();
type Send = Extract<ReliableOutput, { type: 'send' }>;

function outputs(machine: OpenvpnReliable): ReliableOutput[] {
  const all: ReliableOutput[] = [];
  for (let one = machine.pollOutput(); one !== undefined; one = machine.pollOutput()) all.push(one);
  return all;
}

function sends(machine: OpenvpnReliable): Send[] {
  return outputs(machine).filter((output) => output.type === 'send');
}

const bodyOf = ({ acks, packetId, payload }: Send): ControlBody => ({
  acks,
  ...(packetId === undefined ? {} : { packetId }),
  payload,
});

const packet = (packetId: number, payload = NOTHING): ControlBody => ({
  acks: [],
  packetId,
  payload,
});
const ack = (...acks: number[]): ControlBody => ({ acks, payload: NOTHING });

suite('OpenVPN reliable layer', () => {
  test('repeats what is not acknowledged after 1, 2, 4, 4 … seconds', () => {
    const machine = new OpenvpnReliable();
    machine.handleSend(CONTROL, NOTHING, 0);
    assert.equal(sends(machine).length, 1);
    let now = 0;
    for (const waitMs of [1_000, 2_000, 4_000, 4_000, 4_000]) {
      assert.equal(machine.pollTimeout(), now + waitMs);
      machine.handleTimeout(now + waitMs - 1);
      assert.deepEqual(outputs(machine), []);
      now += waitMs;
      machine.handleTimeout(now);
      assert.deepEqual(
        sends(machine).map(({ packetId }) => packetId),
        [0],
      );
    }
    machine.handlePacket(5, ack(0), now);
    assert.equal(machine.pollTimeout(), undefined);
    assert.equal(machine.settled, true);
  });

  test('has at most 4 packets on their way, counted from the oldest', () => {
    const machine = new OpenvpnReliable();
    for (let count = 0; count < 10; count += 1) machine.handleSend(CONTROL, NOTHING, 0);
    const ids = () => sends(machine).map(({ packetId }) => packetId);
    assert.deepEqual(ids(), [0, 1, 2, 3]);
    machine.handlePacket(5, ack(1, 2, 3), 0);
    assert.deepEqual(ids(), [], 'the peer has no room for 4 before 0');
    machine.handlePacket(5, ack(0), 0);
    assert.deepEqual(ids(), [4, 5, 6, 7]);
    machine.handlePacket(5, ack(9, 12, 0xffff_ffff), 0);
    assert.deepEqual(ids(), [], 'what was never sent cannot be acknowledged');
    assert.equal(machine.settled, false);
  });

  test('hands on in order, each packet once, and acknowledges it each time', () => {
    const machine = new OpenvpnReliable();
    const delivered = () =>
      outputs(machine).flatMap((one) => (one.type === 'deliver' ? [...one.payload] : []));
    machine.handlePacket(CONTROL, packet(1, Uint8Array.of(11)), 0);
    assert.deepEqual(delivered(), []);
    assert.equal(machine.held, 1);
    machine.handlePacket(CONTROL, packet(0, Uint8Array.of(10)), 0);
    assert.deepEqual(delivered(), [10, 11]);
    machine.handlePacket(CONTROL, packet(0, Uint8Array.of(10)), 0);
    const [again, ...more] = outputs(machine);
    assert(again?.type === 'send' && again.opcode === undefined && more.length === 0);
    assert.equal(again.acks[0], 0);
    assert.equal(machine.held, 0, 'nothing is kept of what was handed on');
  });

  test('keeps 8 packets at most, and does not acknowledge what it drops', () => {
    const machine = new OpenvpnReliable();
    for (let id = 1; id < 10_000; id += 1) machine.handlePacket(CONTROL, packet(id), 0);
    machine.handlePacket(CONTROL, packet(0xffff_ffff), 0);
    assert.equal(machine.held, 7);
    const acked = new Set(sends(machine).flatMap(({ acks }) => acks));
    assert.deepEqual([...acked].sort(), [1, 2, 3, 4, 5, 6, 7]);
  });

  test('what was acknowledged goes along again: 4 at most with data, 8 alone', () => {
    const machine = new OpenvpnReliable();
    for (let id = 0; id < 12; id += 1) machine.handlePacket(CONTROL, packet(id), 0);
    assert.deepEqual(sends(machine).at(-1)?.acks, [11, 10, 9, 8, 7, 6, 5, 4]);
    machine.handleSend(CONTROL, NOTHING, 0);
    assert.deepEqual(sends(machine)[0]?.acks, [11, 10, 9, 8]);
  });

  for (const loss of [0, 0.1, 0.3, 0.5]) {
    test(`100 pieces each way arrive whole at ${100 * loss} % loss, doubled and out of order`, () => {
      const prng = new Prng(1 + 100 * loss);
      const ends = [new OpenvpnReliable(), new OpenvpnReliable()] as const;
      const got: number[][] = [[], []];
      let flying: { at: number; to: 0 | 1; send: Send }[] = [];
      for (let piece = 0; piece < 100; piece += 1) {
        for (const end of ends) end.handleSend(CONTROL, Uint8Array.of(piece), 0);
      }
      const whole = () => got.every(({ length }) => length === 100) && ends.every((e) => e.settled);
      let now = 0;
      for (; now < 3_600_000 && !whole(); now += 50) {
        for (const to of [0, 1] as const) {
          for (const one of outputs(ends[to])) {
            if (one.type === 'deliver') got[to]?.push(...one.payload);
            else {
              const other = to === 0 ? 1 : 0;
              for (let copy = prng.chance(0.1) ? 2 : 1; copy > 0; copy -= 1) {
                if (!prng.chance(loss))
                  flying.push({ at: now + prng.between(0, 400), to: other, send: one });
              }
            }
          }
          ends[to].handleTimeout(now);
        }
        const due = flying.filter(({ at }) => at <= now);
        flying = flying.filter(({ at }) => at > now);
        for (const { to, send } of due) ends[to].handlePacket(send.opcode ?? 5, bodyOf(send), now);
      }
      const expected = Array.from({ length: 100 }, (_, piece) => piece);
      assert.deepEqual(got, [expected, expected], `after ${now} ms`);
      assert(whole());
    });
  }
});
