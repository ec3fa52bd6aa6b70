import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { descriptors, opened } from '../../test/support/descriptors.ts';
import { encodeDumpRequest } from '../wire/inet-diag.ts';
import { decodeNetlink, NETLINK_DONE } from '../wire/netlink.ts';
import { ffiMissing, libc } from './libc.ts';
import { NETLINK_SOCK_DIAG, NetlinkSocket } from './netlink-socket.ts';

const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const CLOEXEC = 0o2_000_000;

/** A netlink socket and its descriptor, closed after `body`. */
function withSocket(body: (netlink: NetlinkSocket, fd: number) => void): void {
  const { answer: netlink, fds } = opened(() => new NetlinkSocket(NETLINK_SOCK_DIAG));
  try {
    assert.equal(fds.length, 1);
    body(netlink, fds[0] ?? -1);
  } finally {
    netlink.close();
  }
}

suite('netlink sockets', { skip: ffiMissing() ?? false }, () => {
  test('a dump is answered by datagrams, the last of which ends with DONE', () => {
    withSocket((netlink) => {
      for (const family of [2, 10]) {
        netlink.send(encodeDumpRequest(family, ['established', 'listen']));
        for (let last: number | undefined; last !== NETLINK_DONE; ) {
          const view = netlink.receive();
          assert(view.byteLength >= 16 && view.byteLength <= 65_536, `${view.byteLength} bytes`);
          for (const { type } of decodeNetlink(view)) last = type;
        }
      }
    });
  });

  test('is not handed on to programs that we start', () => {
    withSocket((_, fd) => {
      const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      const flags = Number.parseInt(/^flags:\s*(\d+)$/m.exec(info)?.[1] ?? '', 8);
      assert.equal(flags & CLOEXEC, CLOEXEC);
    });
  });

  test('a kernel that does not answer is waited for 10 s, not for ever', () => {
    withSocket((_, fd) => {
      const value = new Uint8Array(16);
      const length = Uint8Array.of(16, 0, 0, 0);
      assert.equal(libc().getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, value, length), 0);
      const view = new DataView(value.buffer);
      assert.deepEqual([view.getBigInt64(0, true), view.getBigInt64(8, true)], [10n, 0n]);
    });
  });

  test('without news it answers at once; what is not for it is no news', () => {
    withSocket((netlink) => {
      netlink.follow([1]);
      assert.equal(netlink.receiveNow(), undefined);
      netlink.send(encodeDumpRequest(2, ['listen']));
      assert(netlink.receiveNow() !== undefined);
    });
  });

  test('is gone once it is closed', () => {
    const before = descriptors();
    const netlink = new NetlinkSocket(NETLINK_SOCK_DIAG);
    netlink.close();
    assert.deepEqual(descriptors(), before);
    assert.throws(() => netlink.send(encodeDumpRequest(2, [])), {
      name: 'SystemError',
      code: 'EBADF',
      message: 'send(netlink): the kernel answered EBADF',
    });
    assert.throws(() => netlink.receive(), { name: 'SystemError', code: 'EBADF' });
  });

  test('a protocol that does not exist is a SystemError, and nothing is left open', () => {
    const before = descriptors();
    assert.throws(() => new NetlinkSocket(99), {
      name: 'SystemError',
      code: 'EPROTONOSUPPORT',
      message: 'socket(AF_NETLINK): the kernel answered EPROTONOSUPPORT',
    });
    assert.deepEqual(descriptors(), before);
  });
});
