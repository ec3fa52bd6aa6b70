/** This machine's connections by the API: the worst first, looked at seldom, and refusals that say why. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { OPTIONS, recordOf } from '../../../test/support/socket-record.ts';
import type { SocketReport } from '../../host/socket-report.ts';
import type { SocketRecord, SocketTable } from '../../host/socket-table.ts';
import { SystemError } from '../../sys/system-error.ts';
import type { Call } from './endpoint.ts';
import { parseQuery } from './endpoint.ts';
import { toProblem } from './problem.ts';
import { socketRoutes } from './socket-routes.ts';

interface Answer {
  readonly items: readonly SocketReport[];
  readonly next: number | null;
  readonly total: number;
  readonly atRisk: number;
  readonly missing: string | null;
}

/** Asks the endpoint over a table; each look takes `costMs`. */
function rig(records: readonly SocketRecord[], costMs = 10, withoutBpf?: SystemError) {
  let now = 0;
  let looks = 0;
  const look = (): SocketTable => {
    looks += 1;
    now += costMs;
    return { records, listening: new Set(), retries2: 15, withoutBpf };
  };
  const [endpoint] = socketRoutes(look, () => now);
  assert(endpoint !== undefined);
  const ask = (query: Record<string, string> = {}): Answer =>
    endpoint.run({ query: parseQuery(endpoint.query, query) } as Call<
      Record<string, unknown>
    >) as Answer;
  return { ask, looks: () => looks, pass: (ms: number) => (now += ms) };
}

const good = { ...OPTIONS, userTimeoutMs: 90_000 };
const RECORDS = [
  recordOf({ cookie: 1 }, { options: good }),
  recordOf({ cookie: 2 }),
  recordOf({ cookie: 3, remoteAddress: '127.0.0.1' }, { options: { ...OPTIONS, enabled: false } }),
  recordOf({ cookie: 4, remotePort: 443 }, { options: { ...OPTIONS, enabled: false } }),
];
const cookies = ({ items }: Answer) => items.map(({ cookie }) => cookie).join(' ');

suite('GET sockets', () => {
  test('the worst first; loopback only with all; by risk, words and page', () => {
    const { ask } = rig(RECORDS);
    const { total, atRisk, missing } = ask();
    assert.deepEqual({ total, atRisk, missing }, { total: 4, atRisk: 3, missing: null });
    assert.equal(cookies(ask()), '4 2 1');
    assert.equal(cookies(ask({ all: 'true' })), '3 4 2 1');
    assert.equal(cookies(ask({ risky: 'true' })), '4 2');
    assert.equal(cookies(ask({ risk: 'never-detected' })), '4');
    assert.equal(cookies(ask({ q: ':443' })), '4');
    assert.equal(cookies(ask({ q: 'NODE' })), '4 2 1');
    const page = ask({ limit: '1', cursor: '1' });
    assert.deepEqual([cookies(page), page.next], ['2', 2]);
    assert.throws(() => ask({ risk: 'boredom' }), { status: 400, message: /^risk: write one of/ });
    assert.throws(() => ask({ all: 'yes' }), { status: 400, message: 'all: write true or false' });
  });

  test('one look serves everybody for 5 s, and one of 2 s for 100 s', () => {
    const quick = rig(RECORDS, 10);
    for (let index = 0; index < 100; index += 1) quick.ask();
    quick.pass(4_999);
    quick.ask();
    assert.equal(quick.looks(), 1);
    quick.pass(1);
    quick.ask();
    assert.equal(quick.looks(), 2);
    const slow = rig(RECORDS, 2_000);
    slow.ask();
    slow.pass(99_999);
    slow.ask();
    assert.equal(slow.looks(), 1);
    slow.pass(1);
    slow.ask();
    assert.equal(slow.looks(), 2);
  });

  test('of 10,001 connections the 10,000 worst are kept, and all are counted', () => {
    const many = Array.from({ length: 10_000 }, (_, cookie) => recordOf({ cookie: cookie + 10 }));
    const { ask } = rig([recordOf({ cookie: 1 }, { options: good }), ...many]);
    const { items, total } = ask({ limit: '10000' });
    assert.equal(total, 10_001);
    assert.equal(items.length, 10_000);
    assert(!items.some(({ cookie }) => cookie === '1'));
  });

  test('what cannot be seen is named, with the right that it needs', () => {
    const needs = 'iterating sockets by BPF needs CAP_BPF and CAP_PERFMON';
    const hidden = recordOf({}, { options: undefined, unreadable: "another user's" });
    const { ask } = rig([hidden], 10, new SystemError('EPERM', needs));
    assert.equal(ask().missing, needs);
    assert.equal(ask().items[0]?.unreadable, "another user's");
  });

  for (const [code, status] of [
    ['ffi-missing', 501],
    ['bad-architecture', 501],
    ['EPERM', 503],
  ] as const) {
    test(`where even listing fails (${code}) it is a ${status} with the reason, asked anew each time`, () => {
      let looks = 0;
      const [endpoint] = socketRoutes(() => {
        looks += 1;
        throw new SystemError(code, 'the package koffi is missing');
      });
      for (const nth of [1, 2]) {
        assert.throws(
          () => endpoint?.run({ query: {} } as Call<Record<string, unknown>>),
          (error: Error) => {
            const problem = toProblem(error);
            assert.equal(problem.status, status);
            assert.equal(problem.message, 'the package koffi is missing');
            return true;
          },
        );
        assert.equal(looks, nth);
      }
    });
  }
});
