import assert from 'node:assert/strict';
import path from 'node:path';
import { suite, test } from 'node:test';
import { temporaryDirectory } from '../../test/support/cli.ts';
import { type KernelCalls, kernelCalls } from '../sys/kernel-calls.ts';
import { ffiMissing } from '../sys/libc.ts';
import { askKeeper, prepareHandover } from './handover.ts';
import { RelayTable } from './relay-table.ts';

suite('descriptors that a keeper sends', { skip: ffiMissing() ?? false }, () => {
  test('one that only sleeps, as with a C library without makecontext, is not asked', (t) => {
    const signals: number[] = [];
    const calls: KernelCalls = {
      ...kernelCalls(),
      find: () => 0,
      kill: (_pid, signal) => signals.push(signal),
    };
    const table = RelayTable.create(calls, path.join(temporaryDirectory(t), 'table.1'));
    assert.equal(prepareHandover(calls, table), 0);
    assert.deepEqual([...askKeeper(calls, table, [1, 2])], []);
    assert.deepEqual(signals, []);
  });
});
