import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { fuzz } from '../../test/support/mutate.ts';
import {
  CT_NEW,
  decodeFlow,
  encodeDeleteFlow,
  encodeFlowsQuestion,
  encodeListFlows,
  type TrackedFlow,
} from './ctnetlink.ts';
import { formatIp } from './ip-address.ts';
import { decodeNetlink } from './netlink.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const written = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const viewOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const ORIGINAL = `3400 0180 1400 0180 0800 0100 7f000001 0800 0200 7f000002
  1c00 0280 0500 0100 11000000 0600 0200 0fa00000 0600 0300 23280000`;
const ID = '0800 0c00 9d03a286';
/** A kernel 6.18 of a datagram from 127.0.0.1:4000 to 127.0.0.2:9000. */
const V4 = hex(`a4000000 0001 2200 01000000 085e0000 · 02 00 0000 · ${ORIGINAL} ·
  3400 0280 1400 0180 0800 0100 7f000002 0800 0200 7f000001
  1c00 0280 0500 0100 11000000 0600 0200 23280000 0600 0300 0fa00000 ·
  0800 0300 00000008 · 0800 0800 00000000 · ${ID} · 0800 0b00 00000001 · 0800 0700 0000001d`);
/** The same from [::1]:4000 to [::1]:9000. */
const TUPLE_IP_6 = `2c00 0180 1400 0300 ${'00'.repeat(15)}01 1400 0400 ${'00'.repeat(15)}01`;
const V6 = hex(`d4000000 0001 2200 01000000 085e0000 · 0a 00 0000 ·
  4c00 0180 ${TUPLE_IP_6} 1c00 0280 0500 0100 11000000 0600 0200 0fa00000 0600 0300 23280000 ·
  4c00 0280 ${TUPLE_IP_6} 1c00 0280 0500 0100 11000000 0600 0200 23280000 0600 0300 0fa00000 ·
  0800 0300 00000008 · 0800 0800 00000000 · 0800 0c00 7450cd7c · 0800 0b00 00000001 ·
  0800 0700 0000001d`);

function flow(bytes: Uint8Array): TrackedFlow {
  const view = viewOf(bytes);
  const [message] = decodeNetlink(view);
  assert(message !== undefined);
  assert.equal(message.type, CT_NEW);
  return decodeFlow(view, message.from, message.to);
}

suite('tracked flows', () => {
  test('who answers, and where the answers go', () => {
    const { v4, remote, source } = flow(V4);
    assert.deepEqual([v4, formatIp(remote), formatIp(source)], [true, '127.0.0.2', '127.0.0.1']);
    const six = flow(V6);
    assert.deepEqual([six.v4, formatIp(six.remote), formatIp(six.source)], [false, '::1', '::1']);
  });

  test('a list of a family, and the end of one flow by its first tuple and its number', () => {
    assert.equal(written(encodeListFlows(true)), '1400000001010103010000000000000002000000');
    assert.equal(written(encodeListFlows(false)), '140000000101010301000000000000000a000000');
    const question = '1400000005010500010000000000000002000000';
    assert.equal(written(encodeFlowsQuestion()), question, 'and how many there are');
    const head = '50000000 0201 0500 01000000 00000000 02 00 0000';
    assert.equal(written(encodeDeleteFlow(flow(V4))), written(hex(head + ORIGINAL + ID)));
  });

  test('it is named still when the buffer it was read from is used again', () => {
    const bytes = Uint8Array.from(V4);
    const read = flow(bytes);
    bytes.fill(0);
    assert.deepEqual(read, flow(V4));
  });

  test('no answering side, an address of another length and a strange family are DecodeErrors', () => {
    for (const [bytes, code] of [
      [V4.with(74, 9), 'incomplete'],
      [V4.with(80, 6), 'bad-address'],
      [V4.with(16, 7), 'bad-family'],
    ] as const) {
      assert.throws(() => flow(bytes), { name: 'DecodeError', code });
    }
    assert.throws(() => decodeFlow(viewOf(V4), 16, 19), { code: 'cut-short' });
    assert.throws(() => decodeFlow(viewOf(V4), 16, V4.length + 1), { code: 'cut-short' });
  });

  test('mutants are read or refused, and nothing else', () => {
    const { refused } = fuzz([V4, V6], 3_000, (bytes) => {
      const view = viewOf(bytes);
      for (const { from, to } of decodeNetlink(view)) {
        const { remote, source, name } = decodeFlow(view, from, to);
        assert(remote.length === 16 && source.length === 16 && name.length <= bytes.length);
      }
    });
    assert(refused > 300, `${refused} refused`);
  });
});
