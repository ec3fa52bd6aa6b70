import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { INFO, OPTIONS, recordOf } from '../../test/support/socket-record.ts';
import { formatDuration } from '../time/duration.ts';
import type { TcpState } from '../wire/inet-diag.ts';
import { isLoopback, judgeOf, localOf, remoteOf, reportSocket } from './socket-report.ts';

const report = (...given: Parameters<typeof recordOf>) => {
  const record = recordOf(...given);
  return reportSocket(record, judgeOf(15)(record));
};

suite('a connection as programs read it', () => {
  test('is the example of the contract, field by field', () => {
    assert.deepEqual(report(), {
      family: 'ipv4',
      local: '10.0.0.2:41844',
      remote: '10.0.0.5:5432',
      state: 'established',
      pid: 812,
      process: 'node',
      cookie: '4f21',
      keepalive: {
        enabled: true,
        timeMs: 60_000,
        intervalMs: 10_000,
        probes: 3,
        userTimeoutMs: 0,
      },
      timer: { kind: 'keepalive', expiresMs: 31_200 },
      idleMs: 28_800,
      detection: { idleMs: 90_000, inFlightMs: 924_600 },
      risks: ['in-flight-hole'],
      advice: `set a user timeout of ${formatDuration(90_000)}`,
    });
  });

  test('has null for never where keepalive is off, and no timer where none runs', () => {
    const { detection, risks, timer } = report(
      { timer: 'off', timerMs: 0 },
      { options: { ...OPTIONS, enabled: false, userTimeoutMs: 90_000 } },
    );
    assert.deepEqual(detection, { idleMs: null, inFlightMs: 90_000 });
    assert.deepEqual(risks, ['never-detected']);
    assert.equal(timer, null);
  });

  test('says why options cannot be read, and judges nothing then', () => {
    const { keepalive, unreadable, detection, risks, advice } = report(
      {},
      { options: undefined, unreadable: "another user's" },
    );
    assert.deepEqual(
      [keepalive, unreadable, detection, risks, advice],
      [null, "another user's", null, [], null],
    );
    assert(!Object.hasOwn(report(), 'unreadable'), 'a word of it only where something is hidden');
  });

  test('has null for a process that nobody knows, and a silence that the kernel does not tell', () => {
    const { pid, process: name, idleMs } = report({ info: undefined }, { owner: undefined });
    assert.deepEqual([pid, name, idleMs], [null, null, null]);
  });

  test('a connection being made heard nothing yet: its silence is null, not since the boot', () => {
    const info = { ...INFO, silentMs: 1_777_784 };
    assert.equal(report({ state: 'syn-sent', info }).idleMs, null);
    assert.equal(report({ state: 'established', info }).idleMs, 1_777_784);
  });

  test('writes IPv6 in brackets, and a cookie of 53 bits whole', () => {
    const socket = recordOf({
      family: 'ipv6',
      localAddress: '::1',
      remoteAddress: '2001:db8::5',
      cookie: Number.MAX_SAFE_INTEGER,
    });
    const { local, remote, cookie } = reportSocket(socket, undefined);
    assert.deepEqual([local, remote], ['[::1]:41844', '[2001:db8::5]:5432']);
    assert.deepEqual([localOf(socket.socket), remoteOf(socket.socket)], [local, remote]);
    assert.equal(cookie, '1fffffffffffff');
  });

  test('a report is JSON and comes back from it', () => {
    const once = report({}, { options: undefined, unreadable: 'why' });
    assert.deepEqual(JSON.parse(JSON.stringify(once)), once);
  });
});

suite('which connections are judged', () => {
  const rows: readonly (readonly [TcpState, inode: number, judged: boolean])[] = [
    ['established', 4_711, true],
    ['close-wait', 4_711, true],
    ['fin-wait-1', 4_711, true],
    ['fin-wait-2', 4_711, true],
    // The kernel gives these up by itself.
    ['syn-sent', 4_711, false],
    ['last-ack', 4_711, false],
    ['closing', 4_711, false],
    // Of no process: waiting to be accepted, or done with.
    ['established', 0, true],
    ['close-wait', 0, true],
    ['fin-wait-1', 0, false],
    ['fin-wait-2', 0, false],
    ['last-ack', 0, false],
  ];
  for (const [state, inode, judged] of rows) {
    const whose = inode === 0 ? 'of no process' : 'of a process';
    test(`${state} ${whose} is ${judged ? 'judged' : 'not judged'}`, () => {
      const judgement = judgeOf(15)(recordOf({ state, inode }));
      assert.equal(judgement !== undefined, judged);
    });
  }

  test('by the retransmissions of its namespace', () => {
    assert.equal(judgeOf(5)(recordOf())?.detection.inFlightMs, 12_600);
  });

  test('alike ones by one judgement, and one that nobody answers by its own', () => {
    const judge = judgeOf(15);
    const calm = judge(recordOf());
    const gone = judge(recordOf({ info: { ...INFO, probes: 2, silentMs: 75_000 } }));
    assert.equal(judge(recordOf({ cookie: 2 })), calm);
    assert.deepEqual(gone?.risks, ['half-open-suspect', 'in-flight-hole']);
    const doubtful = judge(recordOf({ info: { ...INFO, probes: 1, silentMs: 61_000 } }));
    assert.deepEqual(doubtful?.risks, ['half-open-suspect', 'in-flight-hole']);
    const sending = judge(recordOf({ info: { ...INFO, retransmits: 2 } }));
    assert.deepEqual(sending?.risks, ['half-open-suspect', 'in-flight-hole']);
    assert.equal(judge(recordOf({ info: undefined })), calm);
    assert.deepEqual(calm?.risks, ['in-flight-hole']);
  });

  test('two with different options by theirs, also if they were made for each', () => {
    const judge = judgeOf(15);
    const good = { ...OPTIONS, userTimeoutMs: 90_000 };
    assert.deepEqual(judge(recordOf({}, { options: { ...OPTIONS } }))?.risks, ['in-flight-hole']);
    assert.deepEqual(judge(recordOf({}, { options: good }))?.risks, []);
    assert.deepEqual(judge(recordOf({}, { options: { ...OPTIONS } }))?.risks, ['in-flight-hole']);
  });
});

suite('which connections are loopback', () => {
  for (const [localAddress, remoteAddress, expected] of [
    ['127.0.0.1', '127.0.0.1', true],
    ['127.0.0.1', '127.9.1.1', true],
    ['10.0.0.2', '127.0.0.1', true],
    ['10.0.0.2', '10.0.0.2', true],
    ['::1', '::1', true],
    ['2001:db8::5', '2001:db8::5', true],
    ['10.0.0.2', '10.0.0.5', false],
    ['10.0.0.2', '12.7.0.1', false],
    ['10.0.0.2', '128.127.0.1', false],
    ['2001:db8::5', '::2', false],
    ['2001:db8::5', '::1:1', false],
  ] as const) {
    test(`${localAddress} → ${remoteAddress} is ${expected ? '' : 'not '}loopback`, () => {
      assert.equal(isLoopback(recordOf({ localAddress, remoteAddress }).socket), expected);
    });
  }
});
