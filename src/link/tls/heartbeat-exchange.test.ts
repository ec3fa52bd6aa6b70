import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../../test/support/mutate.ts';
import {
  DTLS_TRIES,
  type ExchangeOutput,
  HeartbeatExchange,
  type HeartbeatRequest,
} from './heartbeat-exchange.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/[\s·]/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Padding of the peer's. */
const PAD = 'ee'.repeat(16);
const OVER_TLS = { withinMs: 30_000 } as const;
const OVER_DTLS = { withinMs: 30_000, tries: DTLS_TRIES } as const;
/** Eight tries whose gaps are 100, 200, 400 ms and so on. */
const ROUND = { withinMs: 25_500, tries: 8 } as const;

interface Subject {
  readonly exchange: HeartbeatExchange;
  /** What the injected random gave, in order. */
  readonly given: string[];
}

/** Its random gives 01 01 01 …, then 02 02 02 …, and so on. */
function subject(mayAnswer?: () => boolean): Subject {
  const given: string[] = [];
  const random = (length: number) => {
    const bytes = new Uint8Array(length).fill(given.length + 1);
    given.push(toHex(bytes));
    return bytes;
  };
  return { exchange: new HeartbeatExchange(random, mayAnswer), given };
}

/** What came out, in short: messages as hex. */
function drain(exchange: HeartbeatExchange): (string | ExchangeOutput)[] {
  const outputs: (string | ExchangeOutput)[] = [];
  for (let out = exchange.pollOutput(); out !== undefined; out = exchange.pollOutput()) {
    outputs.push(out.type === 'send' ? toHex(out.message) : out);
  }
  return outputs;
}

/** Steps to each deadline, and tells what came out when, to the microsecond after `start`. */
function run(exchange: HeartbeatExchange, start: number, lateMs = 0): [number, string][] {
  const seen: [number, string][] = [];
  const note = (at: number) => {
    for (const out of drain(exchange)) {
      const what = typeof out === 'string' ? 'sent' : out.type;
      seen.push([Math.round((at - start) * 1_000) / 1_000, what]);
    }
  };
  note(start);
  for (let due = exchange.pollTimeout(); due !== undefined; due = exchange.pollTimeout()) {
    assert(seen.length < 100, 'it has no end');
    exchange.handleTimeout(due + lateMs);
    note(due + lateMs);
  }
  return seen;
}

/** An exchange with a request in flight since 1,000 ms, and its payload as hex. */
function asked(request: HeartbeatRequest = OVER_TLS): Subject & { readonly payload: string } {
  const { exchange, given } = subject();
  exchange.handleRequest(request, 1_000);
  const [message] = drain(exchange);
  assert(typeof message === 'string');
  return { exchange, given, payload: message.slice(6, 38) };
}

const answer = (payload: string) => {
  const length = (payload.length / 2).toString(16).padStart(4, '0');
  return hex(`02 ${length} ${payload} ${PAD}`);
};

suite('a heartbeat request', () => {
  test('is 01, 0010, 16 bytes of the injected random, and 16 more as padding', () => {
    const { exchange } = subject();
    exchange.handleRequest(OVER_TLS, 0);
    assert.deepEqual(drain(exchange), [`010010${'01'.repeat(16)}${'02'.repeat(16)}`]);
    assert.equal(exchange.inFlight, true);
    assert.equal(exchange.pollTimeout(), 30_000);
  });

  test('has a payload of its own each time', () => {
    const { exchange, payload } = asked();
    exchange.handleContent(answer(payload), 1_001);
    exchange.handleRequest(OVER_TLS, 2_000);
    const [, message] = drain(exchange);
    assert.equal(message, `010010${'03'.repeat(16)}${'04'.repeat(16)}`);
    exchange.handleContent(answer(payload), 2_001);
    assert.equal(exchange.inFlight, true, 'the answer of an earlier one');
    assert.equal(exchange.counts.discarded, 1);
  });

  test('with 1,000 bytes of padding is 1,019 bytes, 16 of them payload', () => {
    const { exchange } = subject();
    exchange.handleRequest({ ...OVER_TLS, padding: 1_000 }, 0);
    assert.deepEqual(drain(exchange), [`010010${'01'.repeat(16)}${'02'.repeat(1_000)}`]);
  });

  test('is alone in flight: a second throws and sends nothing, the first is answered', () => {
    const { exchange, payload } = asked();
    assert.throws(() => exchange.handleRequest(OVER_TLS, 1_500), /in flight already/);
    assert.deepEqual(drain(exchange), []);
    assert.equal(exchange.pollTimeout(), 31_000);
    exchange.handleContent(answer(payload), 1_600);
    assert.deepEqual(drain(exchange), [{ type: 'answered', rttMs: 600 }]);
    assert.equal(exchange.counts.asked, 1);
  });

  test('that cannot be encoded throws and leaves nothing in flight', () => {
    for (const padding of [15, 16_384]) {
      const { exchange } = subject();
      assert.throws(() => exchange.handleRequest({ ...OVER_TLS, padding }, 0), RangeError);
      assert.equal(exchange.inFlight, false, `padding of ${padding}`);
      assert.equal(exchange.pollTimeout(), undefined);
    }
  });

  test('that was cancelled has no deadline, no answer is taken, another may follow', () => {
    const { exchange, payload } = asked(OVER_DTLS);
    exchange.handleCancel();
    assert.equal(exchange.inFlight, false);
    assert.equal(exchange.pollTimeout(), undefined);
    exchange.handleTimeout(99_000);
    exchange.handleContent(answer(payload), 99_000);
    assert.deepEqual(drain(exchange), []);
    assert.equal(exchange.counts.discarded, 1);
    exchange.handleRequest(OVER_TLS, 99_000);
    assert.equal(exchange.pollTimeout(), 129_000);
  });
});

suite('repetitions of a request', () => {
  test('there is none over TLS: sent at 0, unanswered at 30,000 ms exactly', () => {
    const { exchange } = subject();
    exchange.handleRequest(OVER_TLS, 0);
    exchange.handleTimeout(29_999.999);
    assert.deepEqual(run(exchange, 0), [
      [0, 'sent'],
      [30_000, 'unanswered'],
    ]);
    assert.equal(exchange.counts.repeated, 0);
    assert.equal(exchange.inFlight, false);
  });

  test('there are 7 over DTLS at gaps that double, all within 30,000 ms', () => {
    const expected = [
      [0, 'sent'],
      [117.647, 'sent'],
      [352.941, 'sent'],
      [823.529, 'sent'],
      [1_764.706, 'sent'],
      [3_647.059, 'sent'],
      [7_411.765, 'sent'],
      [14_941.176, 'sent'],
      [30_000, 'unanswered'],
    ];
    for (const start of [0, 123_456.789, 2 ** 30]) {
      const { exchange } = subject();
      exchange.handleRequest(OVER_DTLS, start);
      assert.deepEqual(run(exchange, start), expected);
      const { asked, repeated, answered } = exchange.counts;
      assert.deepEqual({ asked, repeated, answered }, { asked: 1, repeated: 7, answered: 0 });
    }
  });

  test('have the same payload each time, and padding of their own', () => {
    const { exchange } = subject();
    exchange.handleRequest(ROUND, 0);
    const messages: unknown[] = [];
    for (const at of [0, 100, 300, 700, 1_500, 3_100, 6_300, 12_700]) {
      if (at > 0) assert.equal(exchange.pollTimeout(), at);
      exchange.handleTimeout(at);
      messages.push(...drain(exchange));
    }
    const paddings = ['02', '03', '04', '05', '06', '07', '08', '09'];
    const expected = paddings.map((byte) => `010010${'01'.repeat(16)}${byte.repeat(16)}`);
    assert.deepEqual(messages, expected);
    assert.equal(exchange.pollTimeout(), 25_500);
  });

  test('end with the answer, whichever of them it answers', () => {
    const { exchange, payload } = asked(ROUND);
    exchange.handleTimeout(1_100);
    exchange.handleTimeout(1_300);
    drain(exchange);
    exchange.handleContent(answer(payload), 1_310);
    assert.deepEqual(run(exchange, 1_000), [[0, 'answered']]);
    assert.equal(exchange.pollTimeout(), undefined);
  });

  test('a timer that is 5 s late sends one, not six, and the next is due at 6,300 ms', () => {
    const { exchange } = subject();
    exchange.handleRequest(ROUND, 0);
    drain(exchange);
    exchange.handleTimeout(5_000);
    assert.equal(drain(exchange).length, 1);
    assert.equal(exchange.counts.repeated, 1);
    assert.equal(exchange.pollTimeout(), 6_300);
    exchange.handleTimeout(5_000);
    assert.deepEqual(drain(exchange), []);
  });

  test('a timer that is later than all of it sends none: unanswered', () => {
    const { exchange } = subject();
    exchange.handleRequest(ROUND, 0);
    drain(exchange);
    exchange.handleTimeout(25_500);
    assert.deepEqual(drain(exchange), [{ type: 'unanswered' }]);
    assert.equal(exchange.counts.repeated, 0);
  });

  test('a timer that is early does nothing', () => {
    const { exchange } = subject();
    exchange.handleTimeout(0);
    exchange.handleRequest(ROUND, 0);
    drain(exchange);
    exchange.handleTimeout(99.9);
    assert.deepEqual(drain(exchange), []);
    assert.equal(exchange.pollTimeout(), 100);
  });

  test('whatever the tries and however late the timers, it is unanswered once, and last', () => {
    const lateness = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 5_000, noNaN: true }));
    const within = fc.integer({ min: 1, max: 600_000 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), within, lateness, fc.nat(), (...drawn) => {
        const [tries, withinMs, lateMs, start] = drawn;
        const { exchange } = subject();
        exchange.handleRequest({ withinMs, tries }, start);
        const seen = run(exchange, start, lateMs);
        const sent = seen.filter(([, what]) => what === 'sent');
        assert(
          sent.length <= tries && (lateMs > 0 || sent.length === tries),
          `${sent.length} sent`,
        );
        assert.equal(exchange.counts.repeated, sent.length - 1);
        assert.equal(seen.length, sent.length + 1);
        const [endedAt, how] = seen.at(-1) ?? [0, ''];
        assert.equal(how, 'unanswered');
        assert(endedAt >= withinMs && endedAt <= withinMs + lateMs + 0.001, `${endedAt}`);
      }),
    );
  });
});

suite('the answer to a request', () => {
  test('with the same payload is taken, after 12.5 ms', () => {
    const { exchange, payload } = asked();
    exchange.handleContent(answer(payload), 1_012.5);
    assert.deepEqual(drain(exchange), [{ type: 'answered', rttMs: 12.5 }]);
    assert.equal(exchange.inFlight, false);
    assert.equal(exchange.pollTimeout(), undefined);
    assert.equal(exchange.counts.answered, 1);
  });

  test('counts the round trip from the first sending, 101 ms, for it could be to either', () => {
    const { exchange, payload } = asked(ROUND);
    exchange.handleTimeout(1_100);
    drain(exchange);
    exchange.handleContent(answer(payload), 1_101);
    assert.deepEqual(drain(exchange), [{ type: 'answered', rttMs: 101 }]);
  });

  test('has one over DTLS before the first repetition', () => {
    const { exchange, payload } = asked(ROUND);
    exchange.handleContent(answer(payload), 1_099);
    assert.deepEqual(drain(exchange), [{ type: 'answered', rttMs: 99 }]);
  });

  const right = '01'.repeat(16);
  for (const [what, payload] of [
    ['whose first byte is wrong', `00${right.slice(2)}`],
    ['whose last bit is wrong', `${right.slice(2)}00`],
    ['of 15 bytes', right.slice(2)],
    ['of 17 bytes', `${right}01`],
    ['of 32 bytes', `${right}${right}`],
    ['of 1 byte', '01'],
    ['that is empty', ''],
  ] as const) {
    test(`${what} is discarded, and the right one taken after it`, () => {
      const { exchange, payload: sent } = asked();
      assert.equal(sent, right);
      exchange.handleContent(answer(payload), 1_005);
      assert.deepEqual(drain(exchange), []);
      assert.equal(exchange.inFlight, true);
      assert.equal(exchange.counts.discarded, 1);
      exchange.handleContent(answer(right), 1_006);
      assert.deepEqual(drain(exchange), [{ type: 'answered', rttMs: 6 }]);
      assert.equal(exchange.counts.discarded, 1);
    });
  }

  test('with any of its 128 bits wrong is discarded', () => {
    const { exchange, payload } = asked();
    for (let bit = 0; bit < 128; bit += 1) {
      const wrong = hex(payload);
      wrong[bit >>> 3] = (wrong[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
      exchange.handleContent(answer(toHex(wrong)), 1_001);
    }
    assert.deepEqual(drain(exchange), []);
    assert.equal(exchange.counts.discarded, 128);
  });

  test('is taken once: a duplicate is discarded', () => {
    const { exchange, payload } = asked();
    exchange.handleContent(answer(payload), 1_001);
    exchange.handleContent(answer(payload), 1_002);
    assert.deepEqual(drain(exchange), [{ type: 'answered', rttMs: 1 }]);
    const { answered, discarded } = exchange.counts;
    assert.deepEqual({ answered, discarded }, { answered: 1, discarded: 1 });
  });

  test('that nobody asked for, or that comes too late, is discarded', () => {
    const { exchange } = subject();
    for (const payload of ['', '00'.repeat(16)]) exchange.handleContent(answer(payload), 0);
    exchange.handleRequest(OVER_TLS, 0);
    exchange.handleTimeout(30_000);
    exchange.handleContent(answer(right), 30_000);
    const [, ...more] = drain(exchange);
    assert.deepEqual(more, [{ type: 'unanswered' }]);
    assert.equal(exchange.counts.discarded, 3);
  });

  test('is never answered, whatever it is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.boolean(), (payload, waiting) => {
        const { exchange } = waiting ? asked() : subject();
        exchange.handleContent(answer(toHex(payload)), 1_001);
        exchange.handleContent(answer(right), 1_002);
        assert(drain(exchange).every((out) => typeof out !== 'string'));
        assert.equal(exchange.counts.peerAnswered, 0);
      }),
    );
  });
});

suite("the peer's requests", () => {
  const request = hex(`01 0005 68656c6c6f ${PAD}`);

  test('are answered with the same payload, and padding of our own', () => {
    const { exchange } = subject();
    exchange.handleContent(request, 0);
    assert.deepEqual(drain(exchange), [`02000568656c6c6f${'01'.repeat(16)}`]);
    assert.equal(exchange.counts.peerAnswered, 1);
  });

  test('are answered also if empty, in 19 bytes', () => {
    const { exchange } = subject();
    exchange.handleContent(hex(`01 0000 ${PAD}`), 0);
    assert.deepEqual(drain(exchange), [`020000${'01'.repeat(16)}`]);
  });

  test('of 16,384 bytes are answered in as many, and of much padding with 16 of it', () => {
    const { exchange } = subject();
    const payload = 'ab'.repeat(16_365);
    exchange.handleContent(hex(`01 3fed ${payload} ${PAD}`), 0);
    exchange.handleContent(hex(`01 0001 ab ${PAD.repeat(1_000)}`), 0);
    assert.deepEqual(drain(exchange), [
      `023fed${payload}${'01'.repeat(16)}`,
      `020001ab${'02'.repeat(16)}`,
    ]);
  });

  test('are answered with what they were, whatever becomes of the buffer they came in', () => {
    const { exchange } = subject();
    const content = Uint8Array.from(request);
    exchange.handleContent(content, 0);
    content.fill(0x5e);
    assert.deepEqual(drain(exchange), [`02000568656c6c6f${'01'.repeat(16)}`]);
  });

  test('are answered while a request of ours is in flight, which goes on', () => {
    const { exchange, payload } = asked();
    exchange.handleContent(hex(`01 0010 ${payload} ${PAD}`), 1_001);
    assert.deepEqual(drain(exchange), [`020010${payload}${'03'.repeat(16)}`]);
    assert.equal(exchange.inFlight, true);
  });

  test('are not answered while there is no room for an answer, and then again 500 of them', () => {
    let room = false;
    const { exchange } = subject(() => room);
    for (let sent = 0; sent < 10_000; sent += 1) exchange.handleContent(request, 0);
    assert.deepEqual(drain(exchange), []);
    assert.equal(exchange.counts.overRate, 10_000);
    room = true;
    for (let sent = 0; sent < 501; sent += 1) exchange.handleContent(request, 0);
    assert.equal(drain(exchange).length, 500);
  });

  test('are not what room is asked for when we ask, or take an answer', () => {
    const { exchange, given } = subject(() => assert.fail('nobody is to be answered'));
    exchange.handleRequest(OVER_DTLS, 0);
    exchange.handleTimeout(200);
    exchange.handleContent(answer(given[0] ?? ''), 300);
    assert.equal(drain(exchange).length, 3);
  });
});

suite("the rate of the peer's requests", () => {
  const request = hex(`01 0001 aa ${PAD}`);

  /** How many of so many at once are answered. */
  function flood(exchange: HeartbeatExchange, count: number, now: number): number {
    for (let sent = 0; sent < count; sent += 1) exchange.handleContent(request, now);
    return drain(exchange).length;
  }

  test('500 at once are answered, of 10,000', () => {
    const { exchange } = subject();
    assert.equal(flood(exchange, 10_000, 7), 500);
    assert.equal(exchange.counts.peerAnswered, 500);
    assert.equal(exchange.counts.overRate, 9_500);
  });

  test('then one every 2 ms, and none while time stands', () => {
    const { exchange } = subject();
    flood(exchange, 500, 0);
    assert.equal(flood(exchange, 1_000, 0), 0);
    assert.equal(flood(exchange, 10, 1), 0);
    assert.equal(flood(exchange, 10, 2), 1);
    assert.equal(flood(exchange, 10, 2), 0);
    assert.equal(flood(exchange, 1_000, 502), 250);
  });

  test('10 a millisecond for 10 s get 500 and then 500 a second', () => {
    const { exchange } = subject();
    let answered = 0;
    for (let now = 0; now <= 10_000; now += 1) answered += flood(exchange, 10, now);
    assert.equal(answered, 5_500);
  });

  test('after an hour of silence it is 500 at once again, and no more', () => {
    const { exchange } = subject();
    for (const now of [0, 3_600_000, 7_200_000, Number.MAX_SAFE_INTEGER]) {
      assert.equal(flood(exchange, 2_000, now), 500);
    }
    const started = subject();
    assert.equal(flood(started.exchange, 2_000, 3_600_000), 500);
  });

  test('499 a second are all answered, for a minute', () => {
    const { exchange } = subject();
    let answered = 0;
    for (let sent = 0; sent < 499 * 60; sent += 1)
      answered += flood(exchange, 1, (sent * 1e3) / 499);
    assert.equal(answered, 499 * 60);
  });

  test('whatever is refused for its form takes nothing from it', () => {
    const { exchange } = subject();
    for (let sent = 0; sent < 1_000; sent += 1) exchange.handleContent(hex('01 4000'), 0);
    assert.equal(flood(exchange, 1_000, 0), 500);
  });
});

suite('content that is malformed', () => {
  test('is discarded and counted, and the request in flight goes on', () => {
    const { exchange, payload } = asked();
    const malformed = [
      '',
      '01',
      '01 4000',
      `01 ffff 68656c6c ${PAD}`,
      `02 0011 ${payload} ${PAD}`,
      `02 0010 ${payload} ${PAD.slice(2)}`,
      `03 0010 ${payload} ${PAD}`,
      `01 0004 ${'00'.repeat(16_382)}`,
    ];
    for (const text of malformed) exchange.handleContent(hex(text), 1_001);
    assert.deepEqual(drain(exchange), []);
    assert.equal(exchange.counts.discarded, malformed.length);
    assert.equal(exchange.counts.overRate, 0);
    exchange.handleContent(answer(payload), 1_002);
    assert.deepEqual(drain(exchange), [{ type: 'answered', rttMs: 2 }]);
  });

  test('never throws, and what comes out was in it (100,000 mutated)', () => {
    const { exchange } = subject();
    exchange.handleRequest({ withinMs: Number.MAX_SAFE_INTEGER }, 0);
    drain(exchange);
    const valid = [
      hex(`01 0010 000102030405060708090a0b0c0d0e0f ${PAD}`),
      answer('01'.repeat(16)),
      answer('000102030405060708090a0b0c0d0e0f'),
      hex(`01 0000 ${PAD}`),
    ];
    let now = 0;
    const { read } = fuzz(valid, 100_000, (bytes) => {
      now += 2;
      if (!exchange.inFlight) exchange.handleRequest({ withinMs: 1e12 }, now);
      exchange.handleContent(bytes, now);
      for (let out = exchange.pollOutput(); out !== undefined; out = exchange.pollOutput()) {
        if (out.type !== 'send' || out.message[0] !== 2) continue;
        const length = (out.message[1] ?? 0) * 256 + (out.message[2] ?? 0);
        const payload = Buffer.from(out.message.subarray(3, 3 + length));
        assert(payload.equals(bytes.subarray(3, 3 + length)));
        assert(out.message.length === 19 + length && length <= bytes.length - 19);
      }
    });
    assert(read >= 100_000);
    const { peerAnswered, discarded, overRate } = exchange.counts;
    assert(peerAnswered > read / 4 && discarded > read / 4, `${peerAnswered}, ${discarded}`);
    assert.equal(overRate, 0);
  });
});
