import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../../test/support/cli.ts';
import { kernelCalls } from '../sys/kernel-calls.ts';
import { ffiMissing } from '../sys/libc.ts';
import { FLOW, FLOW_STATE, RelayTable } from './relay-table.ts';

function make(t: TestContext, shapes?: Parameters<typeof RelayTable.create>[2]) {
  const file = path.join(temporaryDirectory(t), 'table.1');
  return { file, table: RelayTable.create(kernelCalls(), file, shapes) };
}

suite('the table of relayed connections', { skip: ffiMissing() ?? false }, () => {
  test('what one stores, another that opens the file reads', (t) => {
    const { file, table } = make(t);
    const at = table.flows.use(6);
    table.ints[at + FLOW.client] = 42;
    table.ints[at + FLOW.state] = FLOW_STATE.live;
    table.doubles[(at + FLOW.bytesUp) / 2] = 2 ** 40;
    table.relay = 7;
    assert.equal(table.nameRow('path-a'), 0);
    assert.equal(table.nameRow('path-b'), 1);
    assert.equal(table.nameRow('path-a'), 0);
    const other = RelayTable.open(kernelCalls(), file);
    assert.equal(other.relay, 7);
    assert.equal(other.flows.used, 7);
    assert.equal(other.ints[other.flows.at(6) + FLOW.client], 42);
    assert.equal(other.doubles[(other.flows.at(6) + FLOW.bytesUp) / 2], 2 ** 40);
    assert.deepEqual([other.name(0), other.name(1), other.name(2)], ['path-a', 'path-b', '']);
  });

  test('a table whose rows are wider, as of a later version, is read by its own header', (t) => {
    const { file, table } = make(t, {
      flows: { stride: 20, capacity: 100 },
      pipes: { stride: 6, capacity: 10 },
      listeners: { stride: 14, capacity: 4 },
      sessions: { stride: 18, capacity: 10 },
      names: { stride: 33, capacity: 8 },
    });
    const at = table.flows.use(3);
    table.ints[at + FLOW.upstream] = 9;
    const other = RelayTable.open(kernelCalls(), file);
    assert.equal(other.flows.stride, 20);
    assert.equal(other.ints[other.flows.at(3) + FLOW.upstream], 9);
  });

  test('a name that is too long, or one too many, has no row', (t) => {
    const shape = { stride: 12, capacity: 4 };
    const sizes = {
      flows: shape,
      pipes: shape,
      listeners: shape,
      sessions: { ...shape, stride: 16 },
    };
    const { table } = make(t, { ...sizes, names: { stride: 17, capacity: 2 } });
    assert.equal(table.nameRow('x'.repeat(65)), -1);
    assert.deepEqual(
      ['a', 'b', 'c'].map((name) => table.nameRow(name)),
      [0, 1, -1],
    );
  });

  for (const [what, bytes] of [
    ['an empty file', new Uint8Array(0)],
    ['another file', new Uint8Array(4_096).fill(7)],
    ['rows that do not fit the file', header({ capacity: 1_000_000 })],
    ['rows that are too narrow', header({ stride: 1 })],
    ['more rows in use than there are', header({ used: 99 })],
    ['rows within the header', header({ offset: 2 })],
  ] as const) {
    test(`${what} is refused`, (t) => {
      const file = path.join(temporaryDirectory(t), 'table.1');
      writeFileSync(file, bytes);
      assert.throws(() => RelayTable.open(kernelCalls(), file), { code: 'foreign-table' });
    });
  }
});

/** A file that begins like a table and says this of its flows. */
function header(flows: { offset?: number; stride?: number; capacity?: number; used?: number }) {
  const ints = new Int32Array(1_024);
  ints.set([0x4c4b4852, 1]);
  const { offset = 64, stride = 12, capacity = 8, used = 0 } = flows;
  ints.set([offset, stride, capacity, used], 4);
  return new Uint8Array(ints.buffer);
}
