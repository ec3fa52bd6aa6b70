import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../test/support/mutate.ts';
import { bestOfSubflows, decodeSubflows, encodeSubflowQuestion } from './mptcp-info.ts';
import type { TcpInfo } from './tcp-info.ts';

const ESTABLISHED = 1;
const CLOSE = 7;

/** A `tcp_info` with what is read of it, 76 bytes. */
function tcpInfo(state: number, silentMs: number, probes = 0, retransmits = 0): Uint8Array {
  const bytes = new Uint8Array(76);
  const view = new DataView(bytes.buffer);
  bytes.set([state, 0, retransmits, probes]);
  view.setUint32(8, 204_000, true);
  view.setUint32(52, silentMs, true);
  view.setUint32(56, silentMs + 5, true);
  view.setUint32(68, 86, true);
  return bytes;
}

/** An answer of the kernel: its head, and the subflows. */
function answer(count: number, ...subflows: readonly Uint8Array[]): Uint8Array {
  const head = new Uint8Array(16);
  const view = new DataView(head.buffer);
  for (const [index, value] of [16, count, 248, 76].entries())
    view.setUint32(4 * index, value, true);
  return Uint8Array.from([head, ...subflows].flatMap((part) => [...part]));
}

const read = (bytes: Uint8Array) =>
  decodeSubflows(new DataView(bytes.buffer, bytes.byteOffset, bytes.length));

suite('what the kernel tells of subflows', () => {
  test('the question for two of them is 168 bytes: 16, 0, 0, 76, and room', () => {
    const question = encodeSubflowQuestion(2);
    assert.equal(question.length, 168);
    const head = '10000000 00000000 00000000 4c000000'.replaceAll(' ', '');
    assert.equal(Buffer.from(question.subarray(0, 16)).toString('hex'), head);
    assert(question.subarray(16).every((byte) => byte === 0));
  });

  test('every subflow is read, but for those that are over', () => {
    const bytes = answer(3, tcpInfo(CLOSE, 9), tcpInfo(ESTABLISHED, 40), tcpInfo(ESTABLISHED, 7));
    const subflows = read(bytes);
    assert.deepEqual(
      subflows.map(({ silentMs }) => silentMs),
      [40, 7],
    );
    assert.deepEqual([subflows[0]?.rtoMs, subflows[0]?.rttMs], [204, 0.086]);
  });

  test('no more are read than there was room for, whatever the count claims', () => {
    assert.equal(read(answer(0xffff_ffff, tcpInfo(ESTABLISHED, 1))).length, 1);
    assert.equal(read(answer(0)).length, 0);
  });

  for (const [code, bytes] of [
    ['cut-short', answer(1).subarray(0, 15)],
    ['bad-head', Uint8Array.from(answer(1), (byte, at) => (at === 0 ? 15 : byte))],
    ['bad-size', Uint8Array.from(answer(1), (byte, at) => (at === 12 ? 75 : byte))],
  ] as const) {
    test(`refuses an answer: ${code}`, () => {
      assert.throws(() => read(bytes), { name: 'DecodeError', code });
    });
  }

  test('any bytes are subflows or a DecodeError (20,000 mutated)', () => {
    const valid = [answer(2, tcpInfo(ESTABLISHED, 1), tcpInfo(ESTABLISHED, 2)), answer(0)];
    const { read: good, refused } = fuzz(valid, 20_000, read);
    assert(good > 2_000 && refused > 2_000, `${good} read, ${refused} refused`);
  });
});

suite('a connection by several subflows', () => {
  const subflow = (
    silentMs: number,
    probes: number,
    retransmits: number,
    rttMs: number,
  ): TcpInfo => ({
    state: ESTABLISHED,
    probes,
    retransmits,
    rtoMs: 200,
    rttMs,
    unacked: 0,
    silentMs,
  });

  test('is as lively as the best one: two dead of three leave no doubt', () => {
    const dead = subflow(9_000, 3, 5, 1);
    const best = bestOfSubflows([dead, subflow(20, 0, 0, 7), dead]);
    assert.deepEqual([best?.silentMs, best?.probes, best?.retransmits, best?.rttMs], [20, 0, 0, 7]);
  });

  test('is in doubt when all of them are', () => {
    const best = bestOfSubflows([subflow(9_000, 2, 0, 1), subflow(5_000, 1, 3, 2)]);
    assert.deepEqual([best?.silentMs, best?.probes, best?.retransmits], [5_000, 1, 0]);
  });

  test('is nothing without any', () => assert.equal(bestOfSubflows([]), undefined));
});
