import assert from 'node:assert/strict';
import { once } from 'node:events';
import { suite, type TestContext, test } from 'node:test';
import { descriptors } from '../../test/support/descriptors.ts';
import { loopback } from '../../test/support/loopback.ts';
import { iteratorMissing } from '../../test/support/rights.ts';
import {
  readSocketCookie,
  readTcpOptions,
  type TcpOptions,
  writeTcpOptions,
} from '../sys/tcp-socket.ts';
import { readAllOptions, setOptions } from './option-iterator.ts';

const EINVAL = 22;
const OPTIONS: TcpOptions = {
  enabled: true,
  timeMs: 61_000,
  intervalMs: 11_000,
  probes: 4,
  userTimeoutMs: 105_000,
};

/** A connection and the cookie of the end that made it. */
async function connection(t: TestContext, host?: string) {
  const made = await loopback(t, host);
  return { ...made, cookie: readSocketCookie(made.fd) };
}

suite('options of sockets by BPF iterator', { skip: iteratorMissing() }, () => {
  for (const host of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
    test(`reads what the descriptor tells, of a socket of ${host}`, async (t) => {
      const { fd, cookie } = await connection(t, host);
      assert.deepEqual(readAllOptions().get(cookie)?.options, readTcpOptions(fd));
      writeTcpOptions(fd, OPTIONS);
      assert.deepEqual(readAllOptions().get(cookie), { options: OPTIONS, errno: 0 });
      assert.deepEqual(readTcpOptions(fd), OPTIONS);
    });
  }

  test('every option comes from its own place, up to the largest', async (t) => {
    const { fd, cookie } = await connection(t);
    for (const options of [
      { enabled: true, timeMs: 1_000, intervalMs: 2_000, probes: 3, userTimeoutMs: 4 },
      {
        enabled: true,
        timeMs: 32_767_000,
        intervalMs: 32_766_000,
        probes: 127,
        userTimeoutMs: 2_147_483_647,
      },
      { enabled: false, timeMs: 5_000, intervalMs: 6_000, probes: 7, userTimeoutMs: 0 },
    ]) {
      writeTcpOptions(fd, options);
      assert.deepEqual(readAllOptions().get(cookie)?.options, options);
    }
  });

  test('sets the one that is meant and tells what it holds; another one stays as it was', async (t) => {
    const [one, other] = [await connection(t), await connection(t)];
    const before = readTcpOptions(other.fd);
    const set = setOptions(new Map([[one.cookie, OPTIONS]]));
    assert.deepEqual([...set], [[one.cookie, { options: OPTIONS, errno: 0 }]]);
    assert.deepEqual(readTcpOptions(one.fd), OPTIONS);
    assert.deepEqual(readTcpOptions(other.fd), before);
  });

  test('sets each of 60 to its own options, more kinds than are remembered', async (t) => {
    const all = await Promise.all(Array.from({ length: 60 }, () => connection(t)));
    const wanted = new Map(
      all.map(({ cookie }, index) => {
        const seconds = 1_000 * (index + 1);
        return [cookie, { ...OPTIONS, timeMs: seconds, probes: index + 1, userTimeoutMs: index }];
      }),
    );
    const set = setOptions(wanted);
    assert.equal(set.size, 60);
    const read = readAllOptions();
    for (const { cookie, fd } of all) {
      assert.deepEqual(set.get(cookie), { options: wanted.get(cookie), errno: 0 });
      assert.deepEqual(read.get(cookie)?.options, wanted.get(cookie));
      assert.deepEqual(readTcpOptions(fd), wanted.get(cookie));
    }
  });

  test('tells apart sockets that differ in one option only, by as little as can be', async (t) => {
    const all = await Promise.all(
      [
        OPTIONS,
        { ...OPTIONS, enabled: false },
        { ...OPTIONS, timeMs: 62_000 },
        { ...OPTIONS, intervalMs: 12_000 },
        { ...OPTIONS, probes: 5 },
        { ...OPTIONS, userTimeoutMs: 105_001 },
        { ...OPTIONS, userTimeoutMs: 105_000 + 2 ** 24 },
      ].map(async (options) => ({ ...(await connection(t)), options })),
    );
    for (const { fd, options } of all) writeTcpOptions(fd, options);
    const read = readAllOptions();
    for (const { cookie, options } of all) assert.deepEqual(read.get(cookie)?.options, options);
  });

  test('turns keepalive off too', async (t) => {
    const { fd, cookie } = await connection(t);
    writeTcpOptions(fd, OPTIONS);
    setOptions(new Map([[cookie, { ...OPTIONS, enabled: false }]]));
    assert.equal(readTcpOptions(fd).enabled, false);
  });

  for (const [key, value] of [
    ['timeMs', 32_768_000],
    ['timeMs', 0],
    ['intervalMs', 32_768_000],
    ['probes', 128],
    ['probes', 0],
    ['userTimeoutMs', 2 ** 31],
  ] as const) {
    test(`${key} of ${value} is refused with EINVAL, and the others are set`, async (t) => {
      const { fd, cookie } = await connection(t);
      const kept = readTcpOptions(fd)[key];
      const found = setOptions(new Map([[cookie, { ...OPTIONS, [key]: value }]])).get(cookie);
      assert.deepEqual(found, { options: { ...OPTIONS, [key]: kept }, errno: EINVAL });
    });
  }

  test('a cookie that no socket has is not told of; none at all is no work', async (t) => {
    assert.deepEqual(setOptions(new Map()), new Map());
    const { socket, peer, cookie } = await connection(t);
    socket.destroy();
    peer.destroy();
    await Promise.all([once(socket, 'close'), once(peer, 'close')]);
    assert.deepEqual(setOptions(new Map([[cookie, OPTIONS]])), new Map());
    assert.equal(readAllOptions().get(cookie), undefined);
  });

  test('leaves nothing open', async (t) => {
    const { cookie } = await connection(t);
    const before = descriptors();
    readAllOptions();
    setOptions(new Map([[cookie, OPTIONS]]));
    assert.deepEqual(descriptors(), before);
  });
});
