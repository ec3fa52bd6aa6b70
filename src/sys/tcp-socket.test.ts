import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { suite, test } from 'node:test';
import { decodeTcpInfo } from '../wire/tcp-info.ts';
import { ffiMissing } from './libc.ts';
import { readTcpInfo, readTcpOptions, type TcpOptions, writeTcpOptions } from './tcp-socket.ts';

const OPTIONS: TcpOptions = {
  enabled: true,
  timeMs: 45_000,
  intervalMs: 15_000,
  probes: 3,
  userTimeoutMs: 90_000,
};

interface WithHandle {
  readonly _handle: { readonly fd: number };
}

const NEEDS = { skip: ffiMissing() ?? false };

suite('TCP options by FFI', () => {
  async function withSocket(body: (fd: number) => void): Promise<void> {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    try {
      body((socket as unknown as WithHandle)._handle.fd);
    } finally {
      socket.destroy();
      server.close();
    }
  }

  test('keepalive is off by default, with 2 h / 75 s / 9 (RFC 9293 MUST-25, MUST-28)', NEEDS, () =>
    withSocket((fd) => {
      const fresh = readTcpOptions(fd);
      assert.equal(fresh.enabled, false);
      assert.equal(fresh.userTimeoutMs, 0);
    }),
  );

  test('what is written is what the kernel holds', NEEDS, () =>
    withSocket((fd) => {
      writeTcpOptions(fd, OPTIONS);
      assert.deepEqual(readTcpOptions(fd), OPTIONS);
    }),
  );

  for (const [key, value] of [
    ['timeMs', 32_768_000],
    ['intervalMs', 0],
    ['probes', 128],
  ] as const) {
    test(`${key} = ${value} is refused loudly, never cut to fit`, NEEDS, () =>
      withSocket((fd) => {
        assert.throws(() => writeTcpOptions(fd, { ...OPTIONS, [key]: value }), {
          name: 'SystemError',
          code: 'EINVAL',
        });
      }),
    );
  }

  test('a value the kernel would round is a mismatch', NEEDS, () =>
    withSocket((fd) => {
      assert.throws(() => writeTcpOptions(fd, { ...OPTIONS, timeMs: 1_500 }), {
        code: 'option-mismatch',
        message: /asked the kernel for timeMs 1500, it kept 2000/,
      });
    }),
  );

  test('a fresh connection is established, with no probe out and a short silence', NEEDS, () =>
    withSocket((fd) => {
      const info = decodeTcpInfo(readTcpInfo(fd));
      assert.equal(info.state, 1);
      assert.equal(info.probes, 0);
      assert(info.silentMs < 1_000 && info.rtoMs >= 200, JSON.stringify(info));
    }),
  );

  test('a closed descriptor is an error with its errno', NEEDS, () => {
    assert.throws(() => readTcpOptions(-1), { name: 'SystemError', code: 'EBADF' });
  });
});
