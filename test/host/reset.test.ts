/**
 * `linkhold reset`: one connection is destroyed, both ends wake, and no other is ever meant: not one that is
 * named like it, and not one that took its place.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { suite, test } from 'node:test';
import { destroySocket, listSockets } from '../../src/host/diag.ts';
import { inNetNamespace } from '../../src/sys/net-namespace.ts';
import { Lab } from '../support/lab.ts';
import {
  Machine,
  machineMissing,
  NOBODY,
  only,
  type Program,
  unrunnable,
  until,
} from '../support/machine.ts';

/** How long after the command's end both ends may take to tell. */
const WAKE_MS = 1_000;

interface Answer {
  readonly reset: { readonly cookie: string; readonly remote: string };
}

/** A program with connections to itself; `cookies` of the ends that were made, by their port. */
async function connections(count: number, machine: Machine) {
  const program = await machine.listener('127.0.0.1 7000');
  const ports: string[] = [];
  for (let index = 0; index < count; index += 1) {
    ports.push(await program.ask('connect 127.0.0.1 7000'));
  }
  const rows = await machine.ssOnce(2 * count, 7000);
  const cookieOf = (port: string | undefined) =>
    rows.find(({ local }) => local === `127.0.0.1:${port}`)?.cookie ?? '';
  return { program, ports, cookies: ports.map(cookieOf) };
}

/** A read that is blocked in the kernel by now. */
async function blockedRead(program: Program, name: string): Promise<{ answer: Promise<string> }> {
  const waiting = () =>
    readdirSync(`/proc/${program.pid}/task`).filter((task) =>
      /wait_woken|sk_wait_data/.test(
        readFileSync(`/proc/${program.pid}/task/${task}/wchan`, 'utf8'),
      ),
    ).length;
  const before = waiting();
  const answer = program.ask(`read ${name}`);
  // Who fails before it is waited for has said enough.
  answer.catch(() => undefined);
  await until(() => waiting() > before, `${name} is being read`);
  return { answer };
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: machineMissing() };

suite('reset', { concurrency: true, timeout: 120_000 }, () => {
  test(
    "by cookie: the owner's blocked read wakes with ECONNABORTED, the peer's with ECONNRESET, within 1 s; the connection beside it lives",
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const { program, ports, cookies } = await connections(2, machine);
      const [port, other] = ports;
      const owner = await blockedRead(program, `c${port}`);
      const peer = await blockedRead(program, `a${port}`);
      const result = await machine.linkhold(['reset', cookies[0] ?? '']);
      const ended = performance.now();
      assert.equal(result.code, 0, result.stderr);
      assert.equal(
        result.stdout,
        `reset 127.0.0.1:${port} → 127.0.0.1:7000, of python3 ${program.pid}\n`,
      );
      assert.deepEqual([await owner.answer, await peer.answer], ['ECONNABORTED', 'ECONNRESET']);
      const after = performance.now() - ended;
      assert(after < WAKE_MS, `${after} ms after the command's end`);
      t.diagnostic(`both awake ${Math.round(after)} ms after the command's end`);
      const left = (await machine.ss(7000)).map(({ local, remote }) => `${local} ${remote}`);
      const both = [`127.0.0.1:${other} 127.0.0.1:7000`, `127.0.0.1:7000 127.0.0.1:${other}`];
      assert.deepEqual(new Set(left), new Set(both));
      await program.ask(`send c${other} alive`);
      assert.equal(await program.ask(`read a${other}`), 'data alive');
    },
  );

  test(
    'an ADDRESS:PORT of two connections is refused with exit 2 and their cookies; one of one is enough, and --pid and --netns choose',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const { program, ports, cookies } = await connections(2, machine);
      const refused = await machine.linkhold(['reset', '127.0.0.1:7000']);
      assert.deepEqual([refused.code, refused.stdout], [2, '']);
      assert.match(refused.stderr, /^linkhold: 2 connections are 127\.0\.0\.1:7000; [^\n]*\n$/);
      for (const [index, cookie] of cookies.entries()) {
        const told = `${cookie} (127.0.0.1:${ports[index]} → 127.0.0.1:7000)`;
        assert(refused.stderr.includes(told), refused.stderr);
      }
      assert.equal((await machine.ss(7000)).length, 4);

      // The accepted end is the only one whose far end has that port.
      const far = `127.0.0.1:${ports[0]}`;
      const netns = ['--netns', machine.space];
      const { reset } = await machine.json<Answer>(['reset', far, ...netns], { outside: true });
      assert.equal(reset.remote, far);
      assert.equal(await program.ask(`read a${ports[0]}`), 'ECONNABORTED');
      assert.equal((await machine.ss(7000)).length, 2);
      const pid = ['--pid', String(program.pid)];
      const last = await machine.json<Answer>(['reset', '127.0.0.1:7000', ...pid], {
        outside: true,
      });
      assert.equal(last.reset.cookie, cookies[1]);
      assert.deepEqual(await machine.ss(7000), []);
    },
  );

  test(
    'what names no connection is exit 2 with one line, and nothing is destroyed',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const { cookies } = await connections(1, machine);
      const wrong = (Number.parseInt(cookies[0] ?? '', 16) + 0x1000).toString(16);
      for (const [text, told] of [
        [
          wrong,
          `no connection of this machine is ${wrong}; look for it with linkhold sockets --all`,
        ],
        ['127.0.0.1:7001', 'no connection of this machine is 127.0.0.1:7001; look for it'],
        ['name', '"name" names no connection; name a cookie from linkhold sockets --json'],
      ] as const) {
        const result = await machine.linkhold(['reset', text]);
        assert.deepEqual([result.code, result.stdout], [2, ''], text);
        assert(result.stderr.startsWith(`linkhold: ${told}`), result.stderr);
        assert.equal(result.stderr.split('\n').length, 2, result.stderr);
      }
      const elsewhere = new Machine(t);
      assert.equal((await elsewhere.linkhold(['reset', cookies[0] ?? ''])).code, 2);
      assert.equal((await machine.ss(7000)).length, 2);
    },
  );

  test(
    'a connection that took the place of the one that was meant, same addresses and ports, is not destroyed',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const program = await machine.listener('127.0.0.1 7000');
      const connect = () => program.ask('connect 127.0.0.1 7000 127.0.0.1 6100');
      const inside = <Result>(body: () => Result) =>
        inNetNamespace(`/run/netns/${machine.space}`, body);
      await connect();
      const meant = inside(() => listSockets(['established'])).find(
        (one) => one.localPort === 6_100,
      );
      assert(meant !== undefined);
      for (const name of ['a6100', 'c6100']) await program.ask(`close ${name}`);
      await connect();
      assert.throws(() => inside(() => destroySocket(meant)), { code: 'ENOENT' });
      assert.equal((await machine.ssOnce(2, 6100)).length, 2);
      await program.ask('send c6100 alive');
      assert.equal(await program.ask('read a6100'), 'data alive');
    },
  );

  test(
    'a real half-open connection, its peer cut off and killed, is suspected, named with the command that ends it, and gone after that',
    NEEDS,
    async (t) => {
      const lab = new Lab(t);
      const [here, there] = [new Machine(t, lab), new Machine(t, lab)];
      lab.join(here.space, '10.82.1.1', there.space, '10.82.1.2');
      const peer = await there.listener('10.82.1.2 5432');
      const program = await here.python();
      const port = await program.ask('connect 10.82.1.2 5432');
      await program.ask(`send c${port} hello`);
      assert.equal(await peer.ask(`read a${port}`), 'data hello');
      lab.cut(there.space);
      peer.signal('SIGKILL');
      await peer.exited;
      const [row] = await here.ss(5432);
      assert.equal(row?.state, 'ESTAB', 'this end believes in it');
      const read = await blockedRead(program, `c${port}`);
      await program.ask(`send c${port} anybody`);

      const suspected = await until(async () => {
        const told = await here.linkhold(['sockets']);
        return told.stdout.includes('may be half-open right now') && told.stdout;
      }, 'it is suspected');
      const command = new RegExp(`reset it: linkhold reset ${row?.cookie};`);
      assert.match(suspected, command);
      const { reset } = await here.json<Answer>(['reset', row?.cookie ?? '']);
      assert.equal(reset.remote, '10.82.1.2:5432');
      assert.deepEqual(await here.ss(5432), []);
      assert.equal(await read.answer, 'ECONNABORTED');
    },
  );

  for (const [who, rights] of [
    ['nobody', NOBODY],
    ['root with all that --existing needs', only('bpf', 'perfmon', 'sys_ptrace')],
  ] as const) {
    test(`${who}: exits 3 with one line that names CAP_NET_ADMIN, destroys nothing`, {
      skip: unrunnable(rights),
    }, async (t) => {
      const machine = new Machine(t);
      const { cookies } = await connections(1, machine);
      const result = await machine.linkhold(['reset', cookies[0] ?? ''], { rights });
      assert.deepEqual([result.code, result.stdout], [3, '']);
      assert.match(result.stderr, /^linkhold: [^\n]*CAP_NET_ADMIN\n$/);
      assert.equal((await machine.ss(7000)).length, 2);
    });
  }

  test('CAP_NET_ADMIN alone suffices', NEEDS, async (t) => {
    const machine = new Machine(t);
    const { program, ports, cookies } = await connections(1, machine);
    const rights = only('net_admin');
    const result = await machine.linkhold(['reset', cookies[0] ?? ''], { rights });
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, new RegExp(`^reset 127.0.0.1:${ports[0]} → 127.0.0.1:7000, of `));
    assert.equal(await program.ask(`read c${ports[0]}`), 'ECONNABORTED');
  });
});
