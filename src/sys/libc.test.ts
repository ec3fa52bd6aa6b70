import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { suite, test } from 'node:test';
import { errnoName, ffiMissing, libc } from './libc.ts';

suite('the C library', { skip: ffiMissing() ?? false }, () => {
  test('errno is that of our call, whatever the engine calls afterwards', () => {
    assert.equal(libc().flock(-1, 2), -1);
    assert.throws(() => statSync('/no/such/file'), { code: 'ENOENT' });
    assert.equal(errnoName(libc().errno()), 'EBADF');
  });
});
