import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fuzz } from '../../test/support/mutate.ts';
import {
  type Asked,
  answerTo,
  pendingTo,
  requestReader,
  requests,
} from '../../test/support/smb-answers.ts';
import { encodeNbssKeepalive, encodeNbssMessage } from '../wire/nbss.ts';
import { SMB2_ECHO, SMB2_NEGOTIATE, SMB2_UNSOLICITED } from '../wire/smb2.ts';
import { type SmbEvent, SmbSession } from './smb-session.ts';

const GUID = new Uint8Array(16);
const RESERVE = 4;

/** A session and the server that hears it. */
class Pair {
  readonly session = new SmbSession(RESERVE);
  readonly #reader = requestReader();

  heard(bytes: Uint8Array | undefined): Asked {
    assert(bytes !== undefined, 'it has no credits');
    const [asked] = [...requests(this.#reader, bytes)];
    assert(asked !== undefined);
    return asked;
  }

  negotiate(now = 0): Asked {
    return this.heard(this.session.negotiate(GUID, now));
  }

  echo(now = 0): Asked {
    return this.heard(this.session.echo(now));
  }

  receive(bytes: Uint8Array, now = 0): SmbEvent[] {
    return [...this.session.receive(bytes, now)];
  }

  /** A session whose NEGOTIATE was answered. */
  static negotiated(said = {}): Pair {
    const pair = new Pair();
    pair.receive(answerTo(pair.negotiate(), { credits: 1, ...said }));
    return pair;
  }
}

suite('an SMB session', () => {
  test('begins with NEGOTIATE as MessageId 0, and has one credit for it', () => {
    const pair = new Pair();
    const asked = pair.negotiate();
    assert.deepEqual(asked, {
      command: SMB2_NEGOTIATE,
      messageId: 0n,
      creditCharge: 0,
      credits: 4,
    });
    assert.equal(pair.session.echo(0), undefined, 'an ECHO is outside the window');
    assert.equal(pair.session.waiting, true);
  });

  test('asks ECHO 1 with the one credit of NEGOTIATE, and for 4 more', () => {
    const pair = Pair.negotiated();
    assert.deepEqual(pair.echo(), {
      command: SMB2_ECHO,
      messageId: 1n,
      creditCharge: 1,
      credits: 4,
    });
    assert.equal(pair.session.echo(0), undefined);
  });

  test('a server of 2.0.2 is told CreditCharge 0', () => {
    assert.equal(Pair.negotiated({ dialect: 0x0202 }).echo().creditCharge, 0);
  });

  test('10,000 ECHOs have the MessageIds 1 to 10,000 and hold 4 credits', () => {
    const pair = Pair.negotiated();
    let credits = 1n;
    for (let count = 1n; count <= 10_000n; count += 1n) {
      const asked = pair.echo();
      assert.equal(asked.messageId, count);
      credits += BigInt(asked.credits) - 1n;
      assert(credits <= 4n, `${credits} credits`);
      const [event] = pair.receive(answerTo(asked));
      assert.equal(event?.type, 'answer');
    }
    assert.equal(pair.session.waiting, false);
  });

  test('an answer after 12 ms is a round trip of 12 ms, and taken once', () => {
    const pair = Pair.negotiated();
    const asked = pair.echo(1_000);
    assert.deepEqual(pair.receive(answerTo(asked), 1_012), [{ type: 'answer', rttMs: 12 }]);
    assert.deepEqual(pair.receive(answerTo(asked), 1_013), []);
  });

  test('any final status is an answer', () => {
    const pair = Pair.negotiated();
    const events = pair.receive(answerTo(pair.echo(), { status: 0xc000_000d }), 5);
    assert.deepEqual(events, [{ type: 'answer', rttMs: 5 }]);
  });

  test('STATUS_PENDING is life, and the final answer counts from the question', () => {
    const pair = Pair.negotiated();
    const asked = pair.echo(0);
    assert.deepEqual(pair.receive(pendingTo(asked), 3), [{ type: 'life' }]);
    assert.equal(pair.session.waiting, true);
    assert.deepEqual(pair.receive(answerTo(asked, { flags: 3 }), 9), [
      { type: 'answer', rttMs: 9 },
    ]);
  });

  test('an answer nobody asked for is discarded, and its 100 credits with it', () => {
    const pair = Pair.negotiated();
    const asked = pair.echo();
    const other = answerTo(asked, { messageId: 7n, credits: 100 });
    assert.deepEqual(pair.receive(other), []);
    assert.equal(pair.session.echo(0), undefined);
  });

  test('an oplock break and a NetBIOS keepalive are life and no answer', () => {
    const pair = Pair.negotiated();
    const broken = answerTo(pair.echo(), { messageId: SMB2_UNSOLICITED, command: 0x12 });
    assert.deepEqual(pair.receive(broken), [{ type: 'life' }]);
    assert.deepEqual(pair.receive(encodeNbssKeepalive()), [{ type: 'life' }]);
    assert.equal(pair.session.waiting, true);
  });

  test('a refused NEGOTIATE tells its status', () => {
    const pair = new Pair();
    const refused = answerTo(pair.negotiate(), { status: 0xc000_00bb });
    assert.deepEqual(pair.receive(refused, 2), [
      { type: 'negotiated', status: 0xc000_00bb, rttMs: 2 },
    ]);
  });

  for (const [code, bytes] of [
    [
      'bad-command',
      answerTo({ command: SMB2_NEGOTIATE, messageId: 1n, creditCharge: 0, credits: 1 }),
    ],
    [
      'no-response',
      answerTo({ command: SMB2_ECHO, messageId: 1n, creditCharge: 0, credits: 1 }, { flags: 0 }),
    ],
    ['no-message', Uint8Array.of(0x82, 0, 0, 0)],
    ['too-short', encodeNbssMessage(new Uint8Array(4))],
    ['too-long', Uint8Array.of(0, 0xff, 0xff, 0xff)],
    ['bad-type', Buffer.from('HTTP/1.1 400 Bad Request')],
  ] as const) {
    test(`refuses ${code}: ${Buffer.from(bytes).toString('hex').slice(0, 16)}…`, () => {
      const pair = Pair.negotiated();
      pair.echo();
      assert.throws(() => pair.receive(bytes), { name: 'DecodeError', code });
    });
  }

  test('300 unanswered ECHOs are remembered as the last 256', () => {
    const pair = Pair.negotiated();
    const first = pair.echo();
    pair.receive(pendingTo(first, 1_000));
    const all = [first, ...Array.from({ length: 299 }, () => pair.echo())];
    const answered = all.filter((asked) => pair.receive(answerTo(asked)).length > 0);
    assert.deepEqual([answered.length, answered[0]?.messageId], [256, 45n]);
  });

  test('uses each MessageId once and stays in the window, whatever a server grants', () => {
    const step = fc.record({ say: fc.nat(3), credits: fc.nat(5), which: fc.nat(9) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const pair = new Pair();
        const open = [pair.negotiate()];
        let windowEnd = 1n;
        let next = 1n;
        for (const { say, credits, which } of steps) {
          const bytes = pair.session.echo(0);
          assert.equal(bytes !== undefined, next < windowEnd, 'it asks whenever it may');
          if (bytes !== undefined) {
            const asked = pair.heard(bytes);
            assert.equal(asked.messageId, next);
            assert(asked.credits >= 1);
            next += 1n;
            open.push(asked);
          }
          const asked = open[which % Math.max(open.length, 1)];
          if (asked === undefined) continue;
          if (say === 0) pair.receive(pendingTo(asked, credits));
          else if (say === 1) pair.receive(answerTo(asked, { messageId: next, credits }));
          else {
            pair.receive(answerTo(asked, { credits }));
            open.splice(open.indexOf(asked), 1);
          }
          if (say !== 1) windowEnd += BigInt(credits);
        }
      }),
    );
  });

  test('any bytes are events or a DecodeError (30,000 mutated answers)', () => {
    const echo: Asked = { command: SMB2_ECHO, messageId: 1n, creditCharge: 1, credits: 1 };
    const answers = [answerTo(echo), pendingTo(echo), encodeNbssKeepalive()];
    const { read, refused } = fuzz(answers, 30_000, (bytes) => {
      const pair = Pair.negotiated();
      pair.echo();
      for (const { type } of pair.receive(bytes)) assert.match(type, /^(answer|life)$/);
    });
    assert(read > 3_000 && refused > 3_000, `${read} read, ${refused} refused`);
  });
});
