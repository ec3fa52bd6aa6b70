/** The words of the dashboard, and who carried traffic when. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import { gapsOf, observedOf, stretchesOf } from './carried.ts';
import {
  commandFor,
  learnedOf,
  lengthOf,
  percentOf,
  proofOf,
  reasonOf,
  roundTripOf,
} from './words.ts';

const plain = (text: string | undefined) => text?.replaceAll('\u00a0', ' ');

suite('words', () => {
  test('what was learned is a sentence each, and nothing where nothing was', () => {
    const learned = { idleTimeoutMs: 5_000, requestsPerConnection: 3 };
    assert.deepEqual(learnedOf({ learned }).map(plain), [
      'The server ends a connection that is idle for 5 s.',
      'The server ends a connection after 3 requests.',
    ]);
    const timing = { pushedTimeMs: 60_000, pushedBeatMs: 10_000, requestsPerConnection: 1 };
    assert.deepEqual(learnedOf({ learned: timing }).map(plain), [
      'The server keeps no connection.',
      'The server pushes its timing: a ping each 10 s, dead after 1 m.',
    ]);
    const asked = { localPort: 1_194, echoNeedsLogin: true, refusesNegotiate: true };
    assert.equal(learnedOf({ learned: asked }).length, 3);
    assert.deepEqual(learnedOf({}), []);
  });

  for (const [ms, text] of [
    ...([
      [0, '0 ms'],
      [250, '250 ms'],
      [2_300, '2.3 s'],
      [9_960, '10 s'],
    ] as const),
    ...([
      [45_000, '45 s'],
      [90_000, '1 m 30 s'],
      [3_600_000, '1 h'],
    ] as const),
    ...([
      [3_661_000, '1 h 1 m'],
      [273_600_000, '3 d 4 h'],
      [59_999, '1 m'],
    ] as const),
  ] as const) {
    test(`${ms} ms is ${text}`, () => assert.equal(plain(lengthOf(ms)), text));
  }

  test('a reason with its evidence: 3 probes, 90 s of silence, an error', () => {
    const evidence = { probes: 3, silentMs: 90_000 };
    assert.equal(
      plain(reasonOf('no-answer', evidence)),
      'no answer to 3 probes, silent for 1 m 30 s',
    );
    assert.equal(
      plain(reasonOf('unreachable', { probes: 1, errno: 'EHOSTUNREACH' })),
      'there is no way to it, no answer to 1 probe, EHOSTUNREACH',
    );
    assert.equal(reasonOf('no-answer', {}), 'no answer');
  });

  test('what is nearly a whole is never told as one', () => {
    assert.deepEqual(
      [1, 0.99999, 0.9999, 0.5, 0].map((part) => plain(percentOf(part))),
      ['100 %', '99.999 %', '99.990 %', '50 %', '0 %'],
    );
    assert.deepEqual(
      [null, 0.5, 12.345, 1_500].map((ms) => plain(roundTripOf(ms))),
      ['–', '500 µs', '12.3 ms', '1.50 s'],
    );
  });

  test('what is proved, and what is not', () => {
    const proof = proofOf("the path and the peer's kernel answer; not that the application runs");
    assert.equal(proof.proves, "the path and the peer's kernel answer");
    assert.equal(proof.not, 'that the application runs');
    assert.equal(proofOf('the path').not, undefined);
  });

  test('the command mends the connection of a process, or those of a port; a half-open one is reset', () => {
    const socket = { pid: 12, cookie: '4f21', remote: '[fd00::2]:5432' };
    const command = (
      changes: object,
      ...risks: readonly ('never-detected' | 'half-open-suspect')[]
    ) => commandFor({ ...socket, ...changes, risks });
    assert.equal(command({}, 'never-detected'), 'linkhold protect --existing --pid 12');
    assert.equal(
      command({ pid: null }, 'never-detected'),
      'linkhold protect --existing --port 5432',
    );
    assert.equal(command({}, 'half-open-suspect', 'never-detected'), 'linkhold reset 4f21');
    assert.equal(command({}), undefined);
  });
});

suite('who carried traffic', () => {
  const moved = (seconds: number, from: string, to: string): LoggedEvent => ({
    id: seconds,
    at: new Date(seconds * 1_000).toISOString(),
    type: 'switch',
    group: 'g',
    from,
    to,
    why: `${from} is down`,
  });
  const span = { fromMs: 10_000, toMs: 100_000 };
  const tell = (...events: LoggedEvent[]) =>
    stretchesOf(events, 'a', span).map(
      ({ path, fromMs, toMs, why }) => `${path} ${fromMs / 1_000}-${toMs / 1_000} ${why ?? '?'}`,
    );

  test('without a switch it is the one in use, since when is not known', () => {
    assert.deepEqual(tell(), ['a 10-100 ?']);
  });

  test('each switch begins a stretch; what lies before the time is cut off', () => {
    assert.deepEqual(tell(moved(5, 'b', 'a'), moved(40, 'a', 'b'), moved(60, 'b', 'a')), [
      'a 10-40 b is down',
      'b 40-60 a is down',
      'a 60-100 b is down',
    ]);
    assert.deepEqual(tell(moved(40, 'b', 'a')), ['b 10-40 ?', 'a 40-100 b is down']);
  });

  test('what nobody observed of any path is a gap; what one path knew is none', () => {
    const [up, down, none] = [
      [1, 0, 0, 0],
      [0, 0, 0.6, 0],
      [0.3, 0, 0, 0],
    ] as const;
    const bars = [
      [none, none, up, none, none, up],
      [none, none, none, down, none, up],
    ];
    const span = { fromMs: 0, toMs: 6_000_000 };
    assert.deepEqual(gapsOf(bars, span), [
      { fromMs: 0, toMs: 2_000_000 },
      { fromMs: 4_000_000, toMs: 5_000_000 },
    ]);
    assert.deepEqual(gapsOf([], span), []);
  });

  test('the last two minutes may not be written yet, and are no gap; ten are', () => {
    const [up, none] = [
      [1, 0, 0, 0],
      [0, 0, 0, 0],
    ] as const;
    const cells = (count: number) => [...Array(58).fill(up), ...Array(count).fill(none)];
    const over = (count: number) => ({ fromMs: 0, toMs: (58 + count) * 60_000 });
    assert.deepEqual(gapsOf([cells(2)], over(2)), []);
    assert.equal(gapsOf([cells(10)], over(10)).length, 1);
  });

  test('a stretch with two gaps in it is three, and one within a gap is none', () => {
    const stretch = (fromMs: number, toMs: number) => ({ path: 'a', fromMs, toMs, why: 'start' });
    const gaps = [
      { fromMs: 20, toMs: 30 },
      { fromMs: 50, toMs: 60 },
    ];
    const left = observedOf([stretch(10, 100), stretch(22, 28), stretch(55, 70)], gaps);
    assert.deepEqual(
      left.map(({ fromMs, toMs }) => [fromMs, toMs]),
      [
        [10, 20],
        [30, 50],
        [60, 100],
        [60, 70],
      ],
    );
  });
});
