import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import { decodeTcpInfo, TCP_INFO_LENGTH, type TcpInfo } from './tcp-info.ts';

const viewOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * TCP_INFO of a kernel 6.18 on x86-64 up to `tcpi_rttvar`, the peer gone for 4 s with data in flight:
 * `ss` said `rto:1632 backoff:3 rtt:0.077/0.038 lastrcv:4108 lastack:4108 unacked:7 retrans:1/1`.
 */
const BYTES = Uint8Array.from(
  Buffer.from(
    `01040400 0307aa01 00e71800 00000000 a8050000 18020000 07000000 00000000 07000000 01000000
     00000000 64030000 00000000 c00f0000 c00f0000 dc050000 58fa0000 4d000000 26000000`.replaceAll(
      /\s/g,
      '',
    ),
    'hex',
  ),
);
const INFO: TcpInfo = {
  state: 1,
  retransmits: 4,
  probes: 0,
  rtoMs: 1_632,
  unacked: 7,
  silentMs: 4_032,
  rttMs: 0.077,
};

suite('TCP_INFO', () => {
  test('reads what the kernel said of a connection whose peer is gone', () => {
    assert.equal(BYTES.length, TCP_INFO_LENGTH);
    assert.deepEqual(decodeTcpInfo(viewOf(BYTES)), INFO);
  });

  // Offsets of linux/tcp.h; all else is zero.
  for (const [field, at, width, told] of [
    ['tcpi_state', 0, 1, { state: 9 }],
    ['tcpi_ca_state', 1, 1, {}],
    ['tcpi_retransmits', 2, 1, { retransmits: 9 }],
    ['tcpi_probes', 3, 1, { probes: 9 }],
    ['tcpi_backoff', 4, 1, {}],
    ['tcpi_rto', 8, 4, { rtoMs: 0.009 }],
    ['tcpi_ato', 12, 4, {}],
    ['tcpi_unacked', 24, 4, { unacked: 9 }],
    ['tcpi_retrans', 36, 4, {}],
    ['tcpi_last_data_sent', 44, 4, {}],
    ['tcpi_rtt', 68, 4, { rttMs: 0.009 }],
    ['tcpi_rttvar', 72, 4, {}],
  ] as const) {
    test(`${field} lies at ${at} and is ${Object.keys(told)[0] ?? 'not told'}`, () => {
      const view = new DataView(new ArrayBuffer(TCP_INFO_LENGTH));
      if (width === 1) view.setUint8(at, 9);
      else view.setUint32(at, 9, true);
      const nothing = { state: 0, retransmits: 0, probes: 0, rtoMs: 0, unacked: 0, silentMs: 0 };
      assert.deepEqual(decodeTcpInfo(view), { ...nothing, rttMs: 0, ...told });
    });
  }

  for (const [dataMs, ackMs, silentMs] of [
    [5_000, 70_000, 5_000],
    [70_000, 5_000, 5_000],
    [0xffff_ffff, 0xffff_fffe, 0xffff_fffe],
  ] as const) {
    test(`data ${dataMs} ms and an acknowledgement ${ackMs} ms ago is a silence of ${silentMs}`, () => {
      const view = new DataView(new ArrayBuffer(TCP_INFO_LENGTH));
      view.setUint32(52, dataMs, true);
      view.setUint32(56, ackMs, true);
      assert.equal(decodeTcpInfo(view).silentMs, silentMs);
    });
  }

  test('reads it from anywhere in a larger buffer, with what later kernels add behind it', () => {
    fc.assert(
      fc.property(fc.nat(20), fc.nat(20), fc.nat(200), (offset, at, more) => {
        const larger = new Uint8Array(offset + at + TCP_INFO_LENGTH + more).fill(0xff);
        larger.set(BYTES, offset + at);
        assert.deepEqual(decodeTcpInfo(viewOf(larger.subarray(offset)), at), INFO);
      }),
    );
  });

  for (const [length, at] of [
    [75, 0],
    [76, 1],
    [0, 0],
    [76, 77],
    [76, 2 ** 32],
  ] as const) {
    test(`refuses ${length} bytes from ${at} on: cut short`, () => {
      const view = new DataView(new ArrayBuffer(200), 0, length);
      const error = { name: 'DecodeError', format: 'tcp-info', code: 'cut-short' };
      assert.throws(() => decodeTcpInfo(view, at), error);
    });
  }

  test('answers 100,000 mutated inputs with numbers or a DecodeError', () => {
    const { read, refused } = fuzz([BYTES], 100_000, (bytes) => {
      const info = decodeTcpInfo(viewOf(bytes));
      assert(Object.values(info).every((value) => value >= 0 && value < 2 ** 32));
    });
    assert(read > 10_000 && refused > 10_000, `${read} read, ${refused} refused`);
  });
});
