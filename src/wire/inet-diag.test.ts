import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import {
  type DiagSocket,
  decodeCookie,
  decodeDiagSocket,
  encodeDestroyRequest,
  encodeDumpRequest,
  TCP_STATES,
  TCP_TIMERS,
} from './inet-diag.ts';
import { encodeNetlink } from './netlink.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const viewOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const decode = (bytes: Uint8Array) => decodeDiagSocket(viewOf(bytes), HEADER, bytes.length);

// Answers of a kernel 6.18 on x86-64, netlink header included; what `ss -tanoei` said of the same
// socket in the same second stands above.

/**
 * `ESTAB 10.77.0.1:50518 10.77.0.2:5432 timer:(on,688ms,4) uid:65534 ino:3008552 sk:56eb8`
 * `rto:1632 rtt:0.077/0.038 lastrcv:4108 lastack:4108 unacked:7`: the peer is gone, data in flight.
 */
const RETRANSMITTING = hex(`
  98010000 14000200 01000000 98030000 02010104 c5561538 0a4d0001 00000000 00000000 00000000 0a4d0002
  00000000 00000000 00000000 00000000 b86e0500 00000000 fc020000 00000000 70170000 feff0000 28e82d00
  05000800 00000000 08000f00 00000000 0c001500 01000000 00000000 06001600 52000000 1c010200 01040400
  0307aa01 00e71800 00000000 a8050000 18020000 07000000 00000000 07000000 01000000 00000000 64030000
  00000000 c00f0000 c00f0000 dc050000 58fa0000 4d000000 26000000 ffffff7f 01000000 a8050000 03000000
  00000000 90380000 01000000 73720820 00000000 ffffffff ffffffff 01000000 00000000 00000000 00000000
  0e000000 01000000 60100000 4d000000 00000000 0c000000 00000000 00000000 000f3c00 00000000 00000000
  00000000 00000000 00000000 01000000 00000000 c4070000 00000000 b4000000 00000000 00000000 00000000
  00000000 88fe0000 00fc0000 04000000 04000100 8b0e0000 00000000 00000000 00000000 00000000 00000000
  00000000 00000000 00000000
`);
/**
 * `ESTAB [fd77::1]:47288 [fd77::2]:5432 timer:(keepalive,984ms,4) uid:65534 ino:3008554 sk:56eba`
 * `rto:204 rtt:0.082/0.041 lastrcv:4108 lastack:4108`: the peer is gone, keepalive of 1 s probes it.
 */
const PROBING = hex(`
  98010000 14000200 01000000 98030000 0a010203 b8b81538 fd770000 00000000 00000000 00000001 fd770000
  00000000 00000000 00000002 00000000 ba6e0500 00000000 0c000000 00000000 00000000 feff0000 2ae82d00
  05000800 00000000 08000f00 00000000 0c001500 01000000 00000000 06001600 52000000 1c010200 01000003
  0007aa01 e01c0300 00000000 94050000 18020000 00000000 00000000 00000000 00000000 00000000 d80f0000
  00000000 d80f0000 d80f0000 dc050000 6cfa0000 52000000 29000000 ffffff7f 0a000000 94050000 03000000
  00000000 c8370000 00000000 c20eaa1d 00000000 ffffffff ffffffff 01000000 00000000 00000000 00000000
  05000000 01000000 00000000 52000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
  00000000 00000000 00000000 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
  00000000 04fb0000 00000100 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
  00000000 00000000 00000000
`);
/** A socket of the family IPv6 that talks to ::ffff:127.0.0.1. */
const MAPPED = hex(`
  98010000 14000200 01000000 254c0000 0a010200 be988c2f 00000000 00000000 0000ffff 7f000001 00000000
  00000000 0000ffff 7f000001 00000000 2b3b0100 00000000 88e50000 00000000 00000000 00000000 e0240b00
  05000800 00000000 08000f00 00000000 0c001500 01000000 00000000 06001600 12000000 1c010200 01000000
  0007aa01 400d0300 00000000 e57f0000 18020000 00000000 00000000 00000000 00000000 00000000 d8040000
  00000000 d8040000 d8040000 ffff0000 d7ff0000 1b000000 0d000000 ffffff7f 0a000000 cbff0000 03000000
  00000000 d7ff0000 00000000 2da39b11 08000000 ffffffff ffffffff 01000000 00000000 00000000 00000000
  02000000 01000000 00000000 1b000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
  00000000 00000000 00000000 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
  00000000 cbff0000 00000100 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
  00000000 00000000 00000000
`);
/** `FIN-WAIT-2 10.77.0.1:50520 10.77.0.2:5432 timer:(timewait,55sec,0) ino:0 sk:56eb9`: no process. */
const CLOSED = hex(`
  60000000 14000200 01000000 98030000 02050300 c5581538 0a4d0001 00000000 00000000 00000000 0a4d0002
  00000000 00000000 00000000 00000000 b96e0500 00000000 a4da0000 00000000 00000000 00000000 00000000
  08000f00 00000000
`);

const HEADER = 16;
/** Where `struct inet_diag_sockid` lies in a message, and its cookie in that. */
const ID = [HEADER + 4, HEADER + 52] as const;

suite('sock_diag: what the kernel answered', () => {
  const silent = { silentMs: 4_032, retransmits: 0, probes: 0, unacked: 0, state: 1 };
  const rows: readonly (readonly [string, Uint8Array, DiagSocket])[] = [
    [
      'data in flight, retransmitted 4 times',
      RETRANSMITTING,
      {
        family: 'ipv4',
        state: 'established',
        timer: 'retransmit',
        timerMs: 764,
        localAddress: '10.77.0.1',
        localPort: 50_518,
        remoteAddress: '10.77.0.2',
        remotePort: 5_432,
        cookie: 0x56eb8,
        uid: 65_534,
        inode: 3_008_552,
        cgroupId: 1,
        info: { ...silent, retransmits: 4, rtoMs: 1_632, rttMs: 0.077, unacked: 7 },
        socketFamily: 2,
        interfaceIndex: 0,
      },
    ],
    [
      'idle, 3 keepalive probes unanswered, over IPv6',
      PROBING,
      {
        family: 'ipv6',
        state: 'established',
        timer: 'keepalive',
        timerMs: 12,
        localAddress: 'fd77::1',
        localPort: 47_288,
        remoteAddress: 'fd77::2',
        remotePort: 5_432,
        cookie: 0x56eba,
        uid: 65_534,
        inode: 3_008_554,
        cgroupId: 1,
        info: { ...silent, probes: 3, rtoMs: 204, rttMs: 0.082, silentMs: 4_056 },
        socketFamily: 10,
        interfaceIndex: 0,
      },
    ],
    [
      'an IPv6 socket that talks IPv4',
      MAPPED,
      {
        family: 'ipv4',
        state: 'established',
        timer: 'keepalive',
        timerMs: 58_760,
        localAddress: '127.0.0.1',
        localPort: 48_792,
        remoteAddress: '127.0.0.1',
        remotePort: 35_887,
        cookie: 0x13b2b,
        uid: 0,
        inode: 730_336,
        cgroupId: 1,
        info: { ...silent, rtoMs: 200, rttMs: 0.027, silentMs: 1_240 },
        socketFamily: 10,
        interfaceIndex: 0,
      },
    ],
    [
      'closed by its program: no file, no TCP_INFO, no control group',
      CLOSED,
      {
        family: 'ipv4',
        state: 'fin-wait-2',
        timer: 'time-wait',
        timerMs: 55_972,
        localAddress: '10.77.0.1',
        localPort: 50_520,
        remoteAddress: '10.77.0.2',
        remotePort: 5_432,
        cookie: 0x56eb9,
        uid: 0,
        inode: 0,
        cgroupId: undefined,
        info: undefined,
        socketFamily: 2,
        interfaceIndex: 0,
      },
    ],
  ];
  for (const [what, bytes, socket] of rows) {
    test(`reads ${bytes.length} bytes: ${what}`, () => assert.deepEqual(decode(bytes), socket));
  }

  test('reads the same from the middle of a larger buffer, and with addresses known before', () => {
    const known = new Map<number, string>();
    for (const [, bytes, socket] of rows) {
      const larger = new Uint8Array(bytes.length + 12).fill(0xff);
      larger.set(bytes, 5);
      const view = viewOf(larger.subarray(5));
      assert.deepEqual(decodeDiagSocket(view, HEADER, bytes.length, known), socket);
      assert.deepEqual(decodeDiagSocket(view, HEADER, bytes.length, known), socket);
    }
    // Each address of the family IPv4 once: 10.77.0.1 and 10.77.0.2.
    assert.deepEqual([...known.keys()], [0x0a4d_0001, 0x0a4d_0002]);
  });

  for (const [index, state] of TCP_STATES.entries()) {
    test(`state ${index} is ${state}`, () => assert.equal(withByte(1, index).state, state));
  }
  for (const [index, timer] of TCP_TIMERS.entries()) {
    test(`timer ${index} is ${timer}`, () => assert.equal(withByte(2, index).timer, timer));
  }
  test('a state or timer of a later kernel is unknown, and off', () => {
    assert.equal(withByte(1, 13).state, 'unknown');
    assert.equal(withByte(2, 5).timer, 'off');
  });

  test('the device it is bound to', () => assert.equal(withByte(40, 7).interfaceIndex, 7));

  test('TCP_INFO of an old kernel is read from 76 bytes on; shorter it is none', () => {
    const bare = CLOSED.subarray(0, HEADER + 72);
    assert.deepEqual(decode(bare), decode(CLOSED));
    const short = Buffer.concat([bare, hex(`4f000200 ${'01'.repeat(75)} 00`)]);
    assert.equal(decode(short).info, undefined);
    const least = Buffer.concat([bare, hex(`50000200 ${'01'.repeat(76)}`)]);
    assert.equal(decode(least).info?.unacked, 0x0101_0101);
  });

  function withByte(at: number, value: number): DiagSocket {
    const bytes = CLOSED.slice();
    bytes[HEADER + at] = value;
    return decode(bytes);
  }
});

suite('sock_diag: what we ask', () => {
  test('a dump of all sockets of IPv4 in three states, with TCP_INFO', () => {
    const bytes = encodeDumpRequest(2, ['established', 'close-wait', 'listen']);
    // Length 72, SOCK_DIAG_BY_FAMILY, REQUEST | DUMP; family, TCP, INDIAG_INFO, states 1, 8 and 10.
    const head = '48000000140001030100000000000000 0206020002050000'.replace(' ', '');
    assert.equal(hexOf(bytes), head + '00'.repeat(48));
  });

  test('a socket is destroyed by its whole identity, as the kernel told it', () => {
    for (const bytes of [RETRANSMITTING, PROBING, MAPPED, CLOSED]) {
      const request = encodeDestroyRequest(decode(bytes));
      const family = hexOf(bytes.subarray(HEADER, HEADER + 1));
      // Length 72, SOCK_DESTROY, REQUEST | ACK; family, TCP, no extensions, every state.
      const head = `480000001500050001000000000000000${family.slice(1)}060000ffffffff`;
      assert.equal(hexOf(request), head + hexOf(bytes.subarray(...ID)));
    }
  });

  test('any identity comes back byte by byte: ports, addresses, device, a cookie below 2^53', () => {
    const random = fc.uint8Array({ minLength: 40, maxLength: 40 });
    const kind = fc.constantFrom('v4', 'v6', 'mapped');
    fc.assert(
      fc.property(kind, random, fc.maxSafeNat(), (what, identity, cookie) => {
        const bytes = CLOSED.slice();
        bytes[HEADER] = what === 'v4' ? 2 : 10;
        for (const at of [4, 20]) {
          // Of 16 bytes IPv4 fills the first four, or as ::ffff:a.b.c.d the last four.
          if (what === 'v4') identity.fill(0, at + 4, at + 16);
          if (what === 'mapped') identity.fill(0, at, at + 10).fill(0xff, at + 10, at + 12);
        }
        bytes.set(identity, ID[0]);
        viewOf(bytes).setBigUint64(ID[1] - 8, BigInt(cookie), true);
        const socket = decode(bytes);
        assert.equal(socket.cookie, cookie);
        assert.equal(socket.family, what === 'v6' ? 'ipv6' : 'ipv4');
        const request = encodeDestroyRequest(socket);
        assert.equal(hexOf(request.subarray(-48)), hexOf(bytes.subarray(...ID)));
      }),
    );
  });
});

suite('sock_diag, whatever comes', () => {
  for (const [code, what, bytes] of [
    ['cut-short', 'nothing at all', new Uint8Array(HEADER)],
    ['cut-short', 'one byte less than a socket', CLOSED.subarray(0, HEADER + 71)],
    ['bad-family', 'AF_UNIX', replaced(CLOSED, HEADER, 1)],
    ['bad-attribute', 'an attribute of length 0', replaced(CLOSED, HEADER + 72, 0)],
    ['bad-attribute', 'an attribute longer than the message', replaced(CLOSED, HEADER + 72, 9)],
  ] as const) {
    test(`refuses ${code}: ${what}`, () => {
      assert.throws(() => decode(bytes), { name: 'DecodeError', code });
    });
  }

  test('refuses a message that says it is longer than what came', () => {
    const view = viewOf(CLOSED);
    assert.throws(() => decodeDiagSocket(view, HEADER, CLOSED.length + 1), { code: 'cut-short' });
  });

  test('answers 100,000 mutated messages with a socket or a DecodeError', () => {
    const { read, refused } = fuzz([RETRANSMITTING, PROBING, CLOSED], 100_000, (bytes) => {
      const socket = decode(bytes);
      assert(socket.cookie >= 0 && socket.timerMs >= 0 && socket.localPort <= 0xffff);
      if (socket.localPort % 8 === 0) assert.equal(encodeDestroyRequest(socket).length, 72);
    });
    assert(read > 10_000 && refused > 10_000, `${read} read, ${refused} refused`);
  });

  test('answers any bytes with a socket or a DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200, size: 'max' }), fc.boolean(), (bytes, real) => {
        const message = encodeNetlink(20, 2, bytes);
        if (real && bytes.length > 0) message[HEADER] = 2;
        fuzz([message], 1, decode);
      }),
    );
  });
});

function replaced(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = value;
  return copy;
}

test('a cookie is 64 bits, the lower half first', () => {
  assert.equal(decodeCookie(viewOf(hex('b86e0500 00000000')), 0), 0x56eb8);
  assert.equal(decodeCookie(viewOf(hex('ff 01000000 ffff1f00')), 1), 0x1f_ffff_0000_0001);
});
