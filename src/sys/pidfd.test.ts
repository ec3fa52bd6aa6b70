import assert from 'node:assert/strict';
import { closeSync, openSync, readlinkSync } from 'node:fs';
import { suite, test } from 'node:test';
import { descriptors } from '../../test/support/descriptors.ts';
import { loopback } from '../../test/support/loopback.ts';
import { asNobody, strangerMissing } from '../../test/support/stranger.ts';
import { closing } from './bpf.ts';
import { ffiMissing } from './libc.ts';
import { openProcess, withBorrowed } from './pidfd.ts';
import { readSocketCookie, readTcpOptions, writeTcpOptions } from './tcp-socket.ts';

/** No process has such an id: the kernel's highest is 4,194,304. */
const NO_PROCESS = 4_194_305;

suite('borrowed descriptors', { skip: ffiMissing() ?? false }, () => {
  test('what is borrowed is the same socket: what is set on one is read from the other', async (t) => {
    const { fd } = await loopback(t);
    const options = {
      enabled: true,
      timeMs: 45_000,
      intervalMs: 15_000,
      probes: 4,
      userTimeoutMs: 90_000,
    };
    closing(openProcess(process.pid), () => undefined);
    const before = descriptors();
    const process_ = openProcess(process.pid);
    const cookie = closing(process_, () =>
      withBorrowed(process_, fd, (borrowed) => {
        assert.notEqual(borrowed, fd);
        assert.equal(
          readlinkSync(`/proc/self/fd/${borrowed}`),
          readlinkSync(`/proc/self/fd/${fd}`),
        );
        writeTcpOptions(borrowed, options);
        return readSocketCookie(borrowed);
      }),
    );
    assert.equal(cookie, readSocketCookie(fd));
    assert.deepEqual(readTcpOptions(fd), options);
    assert.deepEqual(descriptors(), before, 'both are closed again');
  });

  test('it is given back also from a body that throws', async (t) => {
    const { fd } = await loopback(t);
    const before = descriptors();
    const error = new Error('in between');
    const process_ = openProcess(process.pid);
    const fail = () => {
      throw error;
    };
    assert.throws(() => closing(process_, () => withBorrowed(process_, fd, fail)), error);
    assert.deepEqual(descriptors(), before);
  });

  test('a process that is gone is ESRCH, and says which', () => {
    assert.throws(() => openProcess(NO_PROCESS), {
      name: 'SystemError',
      code: 'ESRCH',
      message: `pidfd_open(${NO_PROCESS}): the kernel answered ESRCH`,
    });
  });

  test('a descriptor that is closed by now is EBADF', () => {
    const process_ = openProcess(process.pid);
    const fd = openSync('/dev/null', 'r');
    closeSync(fd);
    closing(process_, () => {
      const error = { name: 'SystemError', code: 'EBADF', message: /^pidfd_getfd\(\d+\)/ };
      assert.throws(() => withBorrowed(process_, fd, () => 'never'), error);
    });
  });

  test('without the right to trace the owner it is EPERM', {
    skip: strangerMissing(),
  }, async () => {
    const body = `
      const { openProcess, withBorrowed } = await load('sys/pidfd.ts');
      const pidfd = openProcess(given);
      return attempt(() => withBorrowed(pidfd, 0, () => 'never'));`;
    assert.deepEqual(await asNobody(body, process.pid), {
      name: 'SystemError',
      code: 'EPERM',
      message: 'pidfd_getfd(0): the kernel answered EPERM',
    });
  });
});
