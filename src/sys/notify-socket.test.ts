import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { descriptors } from '../../test/support/descriptors.ts';
import { ffiMissing } from './libc.ts';
import { sendDatagram } from './notify-socket.ts';

suite('a datagram to a socket by name', { skip: ffiMissing() ?? false }, () => {
  const nobodys = `@linkhold-nobody-${process.pid}`;

  for (const [what, name, code] of [
    ['a relative path', 'run/notify', 'bad-socket-name'],
    ['a socket of another family', 'vsock:2:1234', 'bad-socket-name'],
    ['an empty name', '', 'bad-socket-name'],
    ['an abstract name of nothing', '@', 'bad-socket-name'],
    ['a path of 108 bytes, with no room for its end', `/${'a'.repeat(107)}`, 'bad-socket-name'],
    ['a path of 107 bytes that is not there', `/${'a'.repeat(106)}`, 'ENOENT'],
    ['an abstract name of 108 bytes, its zero counted', `@${'a'.repeat(107)}`, 'ECONNREFUSED'],
    ['an abstract name of 109 bytes', `@${'a'.repeat(108)}`, 'bad-socket-name'],
    ['an abstract name that nobody has', nobodys, 'ECONNREFUSED'],
    ['a file that is no socket', '/etc/hostname', 'ECONNREFUSED'],
  ]) {
    test(`${what} is refused with ${code}, and nothing stays open`, () => {
      assert.throws(() => sendDatagram(nobodys, ''), { code: 'ECONNREFUSED' });
      const before = descriptors();
      assert.throws(() => sendDatagram(name ?? '', 'READY=1'), { name: 'SystemError', code });
      assert.deepEqual(descriptors(), before);
    });
  }
});
