import assert from 'node:assert/strict';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { descriptors } from '../../test/support/descriptors.ts';
import { loopback } from '../../test/support/loopback.ts';
import { iteratorMissing } from '../../test/support/rights.ts';
import { asNobody, caller, elsewhere, strangerMissing } from '../../test/support/stranger.ts';
import { closing } from '../sys/bpf.ts';
import { ffiMissing } from '../sys/libc.ts';
import { inNetNamespace } from '../sys/net-namespace.ts';
import {
  descriptorOf,
  readSocketCookie,
  readTcpOptions,
  type TcpOptions,
  writeTcpOptions,
} from '../sys/tcp-socket.ts';
import { processName } from './owners.ts';
import { isUnaccepted, readSocketTable, type SocketTable, withSocketOf } from './socket-table.ts';

const RETRIES2 = '/proc/sys/net/ipv4/tcp_retries2';
const OPTIONS: TcpOptions = {
  enabled: true,
  timeMs: 61_000,
  intervalMs: 11_000,
  probes: 4,
  userTimeoutMs: 105_000,
};
/** No process has such an id: the kernel's highest is 4,194,304. */
const NO_PROCESS = 4_194_305;

const byCookie = ({ records }: SocketTable, cookie: number) =>
  records.find(({ socket }) => socket.cookie === cookie);
const cookieOf = (socket: net.Socket) => readSocketCookie(descriptorOf(socket) ?? -1);

suite('the connections of this machine', { skip: ffiMissing() ?? false }, () => {
  for (const [host, address, family] of [
    ['127.0.0.1', '127.0.0.1', 'ipv4'],
    ['::1', '::1', 'ipv6'],
    ['::ffff:127.0.0.1', '127.0.0.1', 'ipv4'],
  ] as const) {
    test(`list both ends of our own one to ${host}, with process, options and cookie`, async (t) => {
      const { socket, fd, peer, port } = await loopback(t, host);
      writeTcpOptions(fd, OPTIONS);
      const table = readSocketTable();
      assert(table.listening.has(port));
      const [near, far] = [socket, peer].map((end) => byCookie(table, cookieOf(end)));
      const owner = { pid: process.pid, name: processName(process.pid) };
      assert.deepEqual([near?.owner, far?.owner], [owner, owner]);
      assert.deepEqual([near?.options, near?.unreadable], [OPTIONS, undefined]);
      assert.deepEqual(far?.options, readTcpOptions(descriptorOf(peer) ?? -1));
      assert.deepEqual([near?.socket.family, near?.socket.state], [family, 'established']);
      assert.deepEqual([near?.socket.remoteAddress, near?.socket.remotePort], [address, port]);
      assert.deepEqual([far?.socket.localAddress, far?.socket.localPort], [address, port]);
      assert.equal(near?.socket.localPort, far?.socket.remotePort);
      assert.equal(near?.socket.timer, 'keepalive');
      assert(near.socket.timerMs > 50_000 && near.socket.timerMs <= 61_000);
      assert.equal(near.socket.uid, process.getuid?.());
      assert((near.socket.info?.silentMs ?? 1e9) < 10_000);
    });
  }

  test('do not list one that was closed, nor a listener', async (t) => {
    const { socket, peer, port } = await loopback(t);
    const cookies = [cookieOf(socket), cookieOf(peer)];
    assert(cookies.every((cookie) => byCookie(readSocketTable(), cookie) !== undefined));
    socket.destroy();
    peer.destroy();
    await Promise.all([once(socket, 'close'), once(peer, 'close')]);
    const table = readSocketTable();
    assert(cookies.every((cookie) => byCookie(table, cookie) === undefined));
    assert(table.listening.has(port));
    assert(table.records.every((record) => record.socket.state !== 'listen'));
  });

  test('list a half-closed one as such: close-wait there, fin-wait-1 or 2 here', async (t) => {
    const { socket, peer } = await loopback(t);
    peer.pause();
    socket.end();
    await once(socket, 'finish');
    const table = readSocketTable();
    assert.match(byCookie(table, cookieOf(socket))?.socket.state ?? '', /^fin-wait-[12]$/);
    assert.equal(byCookie(table, cookieOf(peer))?.socket.state, 'close-wait');
  });

  test('are each listed once, by cookies that nobody shares', async (t) => {
    await loopback(t);
    const { records } = readSocketTable();
    assert.equal(new Set(records.map(({ socket }) => socket.cookie)).size, records.length);
  });

  test('come with tcp_retries2, and leave nothing open', async (t) => {
    await loopback(t);
    const before = descriptors();
    assert.equal(readSocketTable().retries2, Number(readFileSync(RETRIES2, 'utf8')));
    assert.deepEqual(descriptors(), before);
  });

  test('are read by BPF iterator where that is to be had', { skip: iteratorMissing() }, () => {
    const { withoutBpf, records } = readSocketTable();
    assert.equal(withoutBpf, undefined);
    for (const { options, unreadable, descriptor } of records) {
      assert(options !== undefined);
      assert.deepEqual([unreadable, descriptor], [undefined, undefined]);
    }
  });
});

const NEEDS = { skip: strangerMissing() };

suite('the connections of another network namespace', NEEDS, () => {
  /** A listener of ours there, and a program there that is connected to it. */
  async function connectedThere(t: TestContext) {
    const { file } = await elsewhere(t);
    const server = inNetNamespace(file, () => net.createServer().listen(0));
    t.after(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    const connection = once(server, 'connection') as Promise<[net.Socket]>;
    const pid = await caller(t, file, port);
    const [peer] = await connection;
    t.after(() => peer.destroy());
    return { file, port, pid, peer };
  }

  test('are those there and no others, with their processes, wherever those live', async (t) => {
    const here = await loopback(t);
    const { file, port, pid, peer } = await connectedThere(t);
    const there = readSocketTable(file);
    assert.equal(there.records.length, 2);
    assert.deepEqual([...there.listening], [port]);
    assert.equal(byCookie(there, cookieOf(peer))?.owner?.pid, process.pid);
    const calling = there.records.find(({ socket }) => socket.remotePort === port);
    assert.deepEqual(calling?.owner, { pid, name: 'cat' });
    assert.equal(byCookie(there, cookieOf(here.socket)), undefined);
    assert.equal(byCookie(readSocketTable(), cookieOf(peer)), undefined);
  });

  test('come with the tcp_retries2 of it', async (t) => {
    const { file } = await elsewhere(t);
    const own = Number(readFileSync(RETRIES2, 'utf8'));
    inNetNamespace(file, () => writeFileSync(RETRIES2, String(own - 1)));
    assert.equal(readSocketTable(file).retries2, own - 1);
    assert.equal(readSocketTable().retries2, own);
  });
});

suite('the connections of this machine, without rights', NEEDS, () => {
  interface Seen {
    readonly needs: { readonly code: string; readonly message: string };
    readonly own: readonly unknown[];
    readonly ours: readonly unknown[];
    readonly orphaned: readonly unknown[];
  }

  test('are all listed; options are those of own ones, and why the others are missing', async (t) => {
    const { socket } = await loopback(t);
    const body = `
      const [{ once }, net] = [await import('node:events'), await import('node:net')];
      const { readSocketTable } = await load('host/socket-table.ts');
      const { descriptorOf, readSocketCookie, writeTcpOptions } = await load('sys/tcp-socket.ts');
      const server = net.createServer().listen(0, '127.0.0.1', 1);
      await once(server, 'listening');
      const socket = net.connect(server.address().port, '127.0.0.1');
      await Promise.all([once(server, 'connection'), once(socket, 'connect')]);
      const fd = descriptorOf(socket);
      writeTcpOptions(fd, given.options);
      const orphan = net.connect(server.address().port, '127.0.0.1');
      const [[peer]] = await Promise.all([once(server, 'connection'), once(orphan, 'connect')]);
      peer.pause();
      const orphaned = readSocketCookie(descriptorOf(orphan));
      orphan.destroy();
      const { records, withoutBpf } = readSocketTable();
      const told = (cookie) => {
        const { options, unreadable, owner, descriptor } =
          records.find(({ socket }) => socket.cookie === cookie) ?? {};
        return [options, unreadable, owner?.name, owner?.pid === process.pid, descriptor?.fd === fd];
      };
      return {
        needs: { code: withoutBpf.code, message: withoutBpf.message },
        own: told(readSocketCookie(fd)),
        ours: told(given.cookie),
        orphaned: told(orphaned),
      };`;
    const seen = await asNobody<Seen>(body, { options: OPTIONS, cookie: cookieOf(socket) });
    const message = 'iterating sockets by BPF needs CAP_BPF and CAP_PERFMON';
    assert.deepEqual(seen.needs, { code: 'EPERM', message });
    assert.deepEqual(seen.own, [OPTIONS, null, processName(process.pid), true, true]);
    const why =
      "another user's: its options need CAP_BPF and CAP_PERFMON (or CAP_SYS_PTRACE) to be seen";
    assert.deepEqual(seen.ours, [null, why, null, false, false]);
    const gone = 'no process has it any more';
    assert.deepEqual(seen.orphaned, [null, gone, null, false, false]);
  });
});

suite('a socket by its descriptor and cookie', { skip: ffiMissing() ?? false }, () => {
  test('is the one that is meant, borrowed for so long', async (t) => {
    const { fd } = await loopback(t);
    const before = descriptors();
    const place = { pid: process.pid, fd };
    const borrowed = withSocketOf(place, readSocketCookie(fd), (other) => {
      assert.notEqual(other, fd);
      return readSocketCookie(other);
    });
    assert.equal(borrowed, readSocketCookie(fd));
    assert.deepEqual(descriptors(), before);
  });

  test('is gone where another socket, or a file, has the descriptor by now', async (t) => {
    const { fd, peer } = await loopback(t);
    const gone = (number: number) => ({
      name: 'SystemError',
      code: 'gone',
      message: `descriptor ${number} of process ${process.pid} is another socket by now`,
    });
    const never = () => assert.fail('it is not touched');
    const place = { pid: process.pid, fd };
    assert.throws(() => withSocketOf(place, cookieOf(peer), never), gone(fd));
    const file = openSync('/dev/null', 'r');
    closing(file, () => {
      const cookie = readSocketCookie(fd);
      assert.throws(() => withSocketOf({ ...place, fd: file }, cookie, never), gone(file));
    });
  });

  test('of a process that is gone is ESRCH, of a closed descriptor EBADF', () => {
    const never = () => assert.fail('it is not touched');
    const act = (pid: number) => () => withSocketOf({ pid, fd: 1_000_000 }, 1, never);
    assert.throws(act(NO_PROCESS), { name: 'SystemError', code: 'ESRCH' });
    assert.throws(act(process.pid), { name: 'SystemError', code: 'EBADF' });
  });

  test('one that nobody has is unaccepted only while it is open', () => {
    const states = ['established', 'close-wait', 'fin-wait-1', 'fin-wait-2', 'last-ack'] as const;
    const of = (inode: number) =>
      states.filter((state) =>
        isUnaccepted({ state, inode } as Parameters<typeof isUnaccepted>[0]),
      );
    assert.deepEqual(of(0), ['established', 'close-wait']);
    assert.deepEqual(of(4_711), []);
  });
});
