import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { descriptors } from '../../test/support/descriptors.ts';
import { loopback } from '../../test/support/loopback.ts';
import { iteratorMissing } from '../../test/support/rights.ts';
import { asNobody, caller, elsewhere, strangerMissing } from '../../test/support/stranger.ts';
import { inNetNamespace } from '../sys/net-namespace.ts';
import {
  descriptorOf,
  readSocketCookie,
  readTcpOptions,
  type TcpOptions,
} from '../sys/tcp-socket.ts';
import { type Protected, type ProtectRequest, protectExisting } from './protect.ts';
import type { Rule } from './rule.ts';

const OPTIONS: TcpOptions = {
  enabled: true,
  timeMs: 61_000,
  intervalMs: 11_000,
  probes: 4,
  userTimeoutMs: 105_000,
};
const EINVAL = 'the kernel answered EINVAL';

/** A connection of this process, and what treats those of its listener's port. */
async function connection(t: TestContext) {
  const made = await loopback(t);
  const cookie = readSocketCookie(made.fd);
  const rule = (options: Partial<TcpOptions> = {}): Rule => ({
    port: made.port,
    to: undefined,
    options: { ...OPTIONS, ...options },
    lock: false,
  });
  const protect = (rules: readonly Rule[], request: Partial<ProtectRequest> = {}) =>
    protectExisting({
      rules,
      namespace: undefined,
      selects: () => true,
      dryRun: false,
      ...request,
    });
  return { ...made, cookie, rule, protect };
}

const fdOf = (socket: net.Socket) => descriptorOf(socket) ?? -1;
const cookies = ({ treated }: Protected) =>
  treated.map(({ record }) => record.socket.cookie).toSorted((a, b) => a - b);

suite('protecting connections that exist', { skip: iteratorMissing() }, () => {
  test('both ends of a connection get the rule of its port; another connection gets nothing', async (t) => {
    const [{ fd, cookie, port, rule, protect }, other] = [await connection(t), await loopback(t)];
    const before = readTcpOptions(fd);
    const done = protect([rule()]);
    assert.equal(done.treated.length, 2);
    assert(done.listening.has(port));
    for (const { record, wanted, after, failure } of done.treated) {
      assert.deepEqual(record.options, before);
      assert.deepEqual([wanted, after, failure], [OPTIONS, OPTIONS, undefined]);
    }
    assert(cookies(done).includes(cookie));
    assert.deepEqual(readTcpOptions(fd), OPTIONS);
    assert.deepEqual(readTcpOptions(other.fd), before);
  });

  test('a second time they are good already', async (t) => {
    const { fd, rule, protect } = await connection(t);
    protect([rule()]);
    const again = protect([rule()]);
    assert.equal(again.treated.length, 2);
    for (const { record, after, failure } of again.treated) {
      assert.deepEqual([record.options, after, failure], [OPTIONS, OPTIONS, undefined]);
    }
    assert.deepEqual(readTcpOptions(fd), OPTIONS);
  });

  test('a dry run tells what would be, and changes nothing', async (t) => {
    const { fd, rule, protect } = await connection(t);
    const before = readTcpOptions(fd);
    const told = protect([rule()], { dryRun: true });
    assert.deepEqual(
      told.treated.map(({ record, after, failure }) => [record.options, after, failure]),
      [
        [before, OPTIONS, undefined],
        [before, OPTIONS, undefined],
      ],
    );
    assert.deepEqual(readTcpOptions(fd), before);
  });

  test('only those that are selected are touched', async (t) => {
    const { fd, peer, cookie, rule, protect } = await connection(t);
    const selects: ProtectRequest['selects'] = ({ socket }) => socket.cookie === cookie;
    assert.deepEqual(cookies(protect([rule()], { selects })), [cookie]);
    assert.deepEqual(readTcpOptions(fd), OPTIONS);
    assert.equal(readTcpOptions(fdOf(peer)).enabled, false);
  });

  test('each gets the rule that fits it best', async (t) => {
    const { socket, fd, peer, rule, protect } = await connection(t);
    const near = { ...rule({ timeMs: 71_000 }), port: socket.localPort ?? 0 };
    protect([rule(), near]);
    // The remote port goes before the local one, at either end.
    assert.equal(readTcpOptions(fd).timeMs, 61_000);
    assert.equal(readTcpOptions(fdOf(peer)).timeMs, 71_000);
  });

  test('without a rule that fits nothing is treated', async (t) => {
    const { rule, protect } = await connection(t);
    assert.deepEqual(protect([]).treated, []);
    assert.deepEqual(protect([{ ...rule(), port: 1 }]).treated, []);
  });

  test('half-closed by the peer is still treated; closed by us is not', async (t) => {
    const { socket, peer, cookie, rule, protect } = await connection(t);
    socket.pause();
    peer.end();
    await once(peer, 'finish');
    assert.deepEqual(cookies(protect([rule()])), [cookie]);
    socket.destroy();
    peer.destroy();
    await Promise.all([once(socket, 'close'), once(peer, 'close')]);
    assert.deepEqual(protect([rule()]).treated, []);
  });

  test('one that is closed between being listed and being set is not told of', async (t) => {
    const { socket, peer, rule, protect } = await connection(t);
    const selects = () => {
      for (const end of [socket, peer]) end.destroy();
      return true;
    };
    assert.deepEqual(protect([rule()], { selects }).treated, []);
  });

  test('those that come while others are set are set too, three times over and no more', async (t) => {
    const late = await Promise.all([1, 2, 3, 4].map(() => connection(t)));
    const rules = late.map(({ rule }) => rule());
    let passes = 0;
    // The table is asked in its order: the first one that is seen again begins a new pass.
    const seen = new Set<number>();
    const selects: ProtectRequest['selects'] = ({ socket }) => {
      if (seen.has(socket.cookie)) seen.clear();
      if (seen.size === 0) passes += 1;
      seen.add(socket.cookie);
      const comes = late.findIndex(({ cookie }) => cookie === socket.cookie) + 1;
      return comes > 0 && comes <= passes;
    };
    const { treated } = protectExisting({ rules, namespace: undefined, selects, dryRun: false });
    const expected = late.slice(0, 3).map(({ cookie }) => cookie);
    assert.deepEqual(
      treated.map(({ record }) => record.socket.cookie),
      expected,
    );
    const enabled = late.map(({ fd }) => readTcpOptions(fd).enabled);
    assert.deepEqual(enabled, [true, true, true, false]);
  });

  test('what the kernel refuses is told for each, with what it holds', async (t) => {
    const { rule, protect } = await connection(t);
    const { treated } = protect([rule({ probes: 128 })]);
    assert.equal(treated.length, 2);
    for (const { after, failure } of treated) {
      assert.deepEqual([after, failure], [{ ...OPTIONS, probes: 9 }, EINVAL]);
    }
  });

  test('nothing is left open', async (t) => {
    const { rule, protect } = await connection(t);
    const before = descriptors();
    protect([rule()]);
    assert.deepEqual(descriptors(), before);
  });
});

const NEEDS = { skip: strangerMissing() || iteratorMissing() };

suite('protecting connections elsewhere', NEEDS, () => {
  test('those of another network namespace, and only there', async (t) => {
    const { file } = await elsewhere(t);
    const server = inNetNamespace(file, () => net.createServer().listen(0));
    t.after(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    const connected = once(server, 'connection') as Promise<[net.Socket]>;
    await caller(t, file, port);
    const [peer] = await connected;
    t.after(() => peer.destroy());
    const rules = [{ port, to: undefined, options: OPTIONS, lock: false }];
    const { treated } = protectExisting({
      rules,
      namespace: file,
      selects: () => true,
      dryRun: false,
    });
    assert.deepEqual(
      treated.map(({ failure }) => failure),
      [undefined, undefined],
    );
    assert.deepEqual(readTcpOptions(fdOf(peer)), OPTIONS);
  });
});

suite('protecting connections without rights', { skip: strangerMissing() }, () => {
  test("own ones are set through their descriptors; others' are told, or EPERM if there are no own", async (t) => {
    const { fd, cookie, rule, protect: _, ...ours } = await connection(t);
    const body = `
      const [{ once }, net] = [await import('node:events'), await import('node:net')];
      const { protectExisting } = await load('host/protect.ts');
      const { descriptorOf, readSocketCookie, readTcpOptions } = await load('sys/tcp-socket.ts');
      const server = net.createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const socket = net.connect(server.address().port, '127.0.0.1');
      await Promise.all([once(server, 'connection'), once(socket, 'connect')]);
      const fd = descriptorOf(socket);
      const own = readSocketCookie(fd);
      const protect = (cookies, options = given.rule.options, dryRun = false) => attempt(() => {
        const selects = ({ socket }) => cookies.includes(socket.cookie);
        const rules = [{ ...given.rule, port: 0, to: undefined, options }];
        const { treated } = protectExisting({ rules, namespace: undefined, selects, dryRun });
        return Object.fromEntries(treated.map(({ record, after, failure }) =>
          [record.socket.cookie === own ? 'own' : 'other', [after, failure]]));
      });
      return {
        dry: protect([own, given.cookie], given.rule.options, true),
        both: protect([own, given.cookie]),
        held: readTcpOptions(fd),
        again: protect([own]),
        refused: protect([own], { ...given.rule.options, probes: 128 }),
        other: protect([given.cookie]),
        none: protect([]),
        closed: attempt(() => {
          const selects = ({ socket: { cookie } }) => {
            if (cookie === own) socket.destroy();
            return cookie === own;
          };
          const options = { ...given.rule.options, probes: 5 };
          const rules = [{ ...given.rule, port: 0, to: undefined, options }];
          return protectExisting({ rules, namespace: undefined, selects, dryRun: false }).treated;
        }),
      };`;
    const before = readTcpOptions(fd);
    const seen = await asNobody<Record<string, unknown>>(body, { rule: rule(), cookie });
    assert(ours.socket.readyState === 'open');
    const needs =
      "setting options of other programs' sockets needs CAP_BPF and CAP_PERFMON, or CAP_SYS_PTRACE";
    assert.deepEqual(seen['dry'], { answer: { own: [OPTIONS, null], other: [OPTIONS, null] } });
    assert.deepEqual(seen['both'], { answer: { own: [OPTIONS, null], other: [null, needs] } });
    assert.deepEqual(seen['held'], OPTIONS);
    assert.deepEqual(seen['again'], { answer: { own: [OPTIONS, null] } });
    const refused = 'setsockopt(TCP_KEEPCNT, 128): the kernel answered EINVAL';
    assert.deepEqual(seen['refused'], { answer: { own: [OPTIONS, refused] } });
    assert.deepEqual(seen['other'], { name: 'SystemError', code: 'EPERM', message: needs });
    assert.deepEqual(seen['none'], { answer: {} });
    assert.deepEqual(seen['closed'], { answer: [] });
    assert.deepEqual(readTcpOptions(fd), before, 'ours is as it was');
  });
});
