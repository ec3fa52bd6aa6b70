/**
 * `linkhold protect --existing`: the options of running programs' connections, set from outside and seen
 * from outside; nobody else's connection is touched, and no right beyond what is named is needed.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { START_MS } from '../support/lab.ts';
import {
  Machine,
  machineMissing,
  NOBODY,
  only,
  optionsOf,
  type Program,
  PYTHON,
  type SsRow,
  unrunnable,
} from '../support/machine.ts';
import {
  assertOptions,
  assertPlain,
  assertTimers,
  buildGo,
  FLAGS,
  FLEET_CONNECTIONS,
  PLAIN,
  startFleet,
  WANTED,
} from '../support/programs.ts';

interface ProtectAnswer {
  readonly matched: number;
  readonly changed: number;
  readonly failed: number;
  readonly sockets: readonly {
    readonly cookie: string;
    readonly before: object | null;
    readonly after: object | null;
  }[];
}

interface ListedSocket {
  readonly keepalive: object | null;
  readonly unreadable?: string;
}

const CHURN = 'test/support/peer-churn.py';
const EXISTING = ['protect', '--existing', ...FLAGS];
const OPTIONS = {
  enabled: true,
  timeMs: 500_000,
  intervalMs: 20_000,
  probes: 4,
  userTimeoutMs: 600_000,
};

/** One connection to each port, by a program of its own; the listener's ends are the other halves. */
async function pairs(machine: Machine, ...ports: readonly number[]) {
  const server = await machine.listener(...ports.map((port) => `127.0.0.1 ${port}` as const));
  const clients = await Promise.all(ports.map(() => machine.python()));
  for (const [index, port] of ports.entries())
    await clients[index]?.ask(`connect 127.0.0.1 ${port}`);
  return { server, clients };
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: machineMissing() };
const NEEDS_ALL = { skip: machineMissing('go', 'nc') };

suite('protect --existing', { concurrency: true, timeout: 120_000 }, () => {
  let go = { file: '', remove: () => {} };
  before(async () => {
    if (NEEDS_ALL.skip === false) go = await buildGo();
  });
  after(() => go.remove());

  test(
    '10 connections of Go by system calls, nc, Python and Node, IPv4, IPv6 and mapped, and their 10 accepted ends get all four values; another port of the same process stays plain',
    NEEDS_ALL,
    async (t) => {
      const machine = new Machine(t);
      const server = await machine.listener(':: 7000', '127.0.0.2 7001');
      const fleet = await startFleet(machine, go.file, 7000);
      await fleet.at(-1)?.ask('connect 127.0.0.2 7001');
      const before = await machine.ssOnce(2 * FLEET_CONNECTIONS, 7000);
      assertPlain(before);
      const forms = new Set(
        before.map(({ remote }) => remote).filter((to) => to.endsWith(':7000')),
      );
      assert.deepEqual(
        [...forms].toSorted(),
        ['127.0.0.2:7000', '[::1]:7000', '[::ffff:127.0.0.2]:7000'],
        'all three forms of addresses are there',
      );

      const answer = await machine.json<ProtectAnswer>([...EXISTING, '--port', '7000']);
      assert.deepEqual(
        [answer.matched, answer.changed, answer.failed],
        [2 * FLEET_CONNECTIONS, 2 * FLEET_CONNECTIONS, 0],
      );
      const after = await machine.ss(7000);
      assertTimers(after);
      const cookies = (rows: readonly { cookie: string }[]) => rows.map(({ cookie }) => cookie);
      assert.deepEqual(cookies(after).toSorted(), cookies(before).toSorted());
      assert.deepEqual(cookies(answer.sockets).toSorted(), cookies(before).toSorted());
      for (const one of answer.sockets) assert.deepEqual(one.after, OPTIONS);
      for (const program of [...fleet, server]) await assertOptions(program, WANTED, 7000);
      const seen = await machine.json<{ keepalive: object }[]>([
        'sockets',
        '--all',
        '--port',
        '7000',
      ]);
      assert.equal(seen.length, 2 * FLEET_CONNECTIONS);
      for (const { keepalive } of seen) assert.deepEqual(keepalive, OPTIONS);

      assertPlain(await machine.ss(7001));
      await assertOptions(server, PLAIN, 7001);
      const again = await machine.json<ProtectAnswer>([...EXISTING, '--port', '7000']);
      assert.deepEqual([again.matched, again.changed, again.failed], [20, 0, 0]);
    },
  );

  test(
    '--to chooses by the far end: IPv4 prefix, IPv6 prefix, a whole address',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      await machine.listener(':: 7000');
      const client = await machine.python();
      const named = new Map<string, string>();
      for (const to of ['127.1.0.1', '127.2.0.1', '::ffff:127.1.0.2', '::1']) {
        named.set(to, await client.ask(`connect ${to} 7000`));
      }
      const treated = async (): Promise<string[]> => {
        const list: string[] = [];
        for (const [to, port] of named) {
          const options = await client.ask(`options c${port}`);
          if (options === WANTED) list.push(to);
          else assert.equal(options, PLAIN);
        }
        return list;
      };
      for (const [prefix, expected] of [
        ['127.1.0.1', ['127.1.0.1']],
        ['127.1.0.0/16', ['127.1.0.1', '::ffff:127.1.0.2']],
        ['::1/128', ['127.1.0.1', '::ffff:127.1.0.2', '::1']],
        ['0.0.0.0/0', ['127.1.0.1', '127.2.0.1', '::ffff:127.1.0.2', '::1']],
      ] as const) {
        await machine.json([...EXISTING, '--to', prefix]);
        assert.deepEqual(await treated(), expected, `--to ${prefix}`);
      }
    },
  );

  test(
    'as in containers: the same address and port in two network namespaces, one process, one control group; only the one named changes',
    NEEDS,
    async (t) => {
      const [one, other] = [new Machine(t), new Machine(t)];
      await pairs(one, 7000);
      await pairs(other, 7000);
      const flags = [...EXISTING, '--port', '7000', '--netns', one.space];
      const { matched } = await one.json<ProtectAnswer>(flags, { outside: true });
      assert.equal(matched, 2);
      assertTimers(await one.ss(7000));
      assertPlain(await other.ss(7000));

      const { server: mine, clients } = await pairs(other, 7002);
      await other.linkhold([...EXISTING, '--pid', String(mine.pid)], { outside: true });
      await assertOptions(mine, WANTED);
      await assertOptions(clients[0] as Program, PLAIN);

      const group = other.group('inner');
      const member = await other.python({ cgroup: group });
      const stranger = await other.python();
      for (const program of [member, stranger]) await program.ask('connect 127.0.0.1 7000');
      await other.linkhold([...EXISTING, '--cgroup', group]);
      await assertOptions(member, WANTED);
      await assertOptions(stranger, PLAIN);
    },
  );

  test('--dry-run says what it would do to 2 connections and does it to none', NEEDS, async (t) => {
    const machine = new Machine(t);
    const { server } = await pairs(machine, 7000);
    const result = await machine.linkhold([...EXISTING, '--port', '7000', '--dry-run']);
    assert.equal(result.code, 0);
    assert.match(result.stdout, /off → .*\/20s\/4, user timeout /);
    assert.match(result.stdout, /2 connections matched port 7000: 2 would be changed/);
    assertPlain(await machine.ss(7000));
    await assertOptions(server, PLAIN);
  });

  test('two at once for two ports, and two for the same, do not fight', NEEDS, async (t) => {
    const machine = new Machine(t);
    const { server } = await pairs(machine, 7000, 7001);
    const run = (port: number) => machine.json<ProtectAnswer>([...EXISTING, '--port', `${port}`]);
    const answers = await Promise.all([run(7000), run(7001), run(7001)]);
    for (const answer of answers) assert.deepEqual([answer.matched, answer.failed], [2, 0]);
    assertTimers([...(await machine.ss(7000)), ...(await machine.ss(7001))]);
    await assertOptions(server, WANTED);
  });
});

/** The programs that churn, and what they saw until now. */
interface Churn {
  readonly programs: readonly Program[];
  look(): Promise<Record<'opened' | 'touched' | 'wrong' | 'treated' | 'held' | 'missed', number>>;
}

/** Two processes, each with `held` connections to each of two ports and `churning` that come and go. */
async function churn(machine: Machine, held: number, churning: number): Promise<Churn> {
  const sizes = [held, churning].map(String);
  const values = WANTED.split(' ').slice(1);
  const programs = ['127.0.0.1', '127.0.0.2'].map((address) =>
    machine.start([...PYTHON, CHURN, address, '7000', '7001', ...sizes, ...values]),
  );
  for (const program of programs) await program.line('ready', START_MS);
  const lookAt = async (program: Program) => {
    const seen = program.lines.length;
    program.tell('look');
    return JSON.parse(await program.line('{', START_MS, seen));
  };
  return {
    programs,
    look: async () => {
      const [one, two] = await Promise.all(programs.map(lookAt));
      return Object.fromEntries(
        Object.keys(one).map((key) => [key, one[key] + two[key]]),
      ) as Awaited<ReturnType<Churn['look']>>;
    },
  };
}

/** In turn with nothing else, for they need both processors. */
suite('protect --existing while connections come and go', { timeout: 240_000 }, () => {
  for (const { way, rights, held, churning } of [
    { way: 'by BPF', rights: [], held: 750, churning: 1_000 },
    { way: 'by borrowing', rights: only('sys_ptrace'), held: 250, churning: 600 },
  ]) {
    const sockets = 2 * 2 * (2 * held + churning);
    test(
      `${way}: ${sockets} sockets at any time, of which those to port 7000 are meant: none to port 7001 is touched, none held is missed`,
      NEEDS,
      async (t) => {
        const machine = new Machine(t);
        const { look } = await churn(machine, held, churning);
        const before = await look();
        assert.equal(before.missed, before.held);
        let runs = 0;
        let during = 0;
        while (runs < 2 || during < 10_000) {
          const { opened } = await look();
          const result = await machine.linkhold([...EXISTING, '--port', '7000'], { rights });
          assert.equal(result.code, 0, result.stderr);
          runs += 1;
          const now = await look();
          during += now.opened - opened;
          assert.deepEqual([now.touched, now.wrong, now.missed], [0, 0, 0]);
        }
        const listed = await machine.json<ListedSocket[]>(['sockets', '--all'], { rights });
        const unread = listed.filter(({ keepalive }) => keepalive === null);
        const hidden = unread.find(
          ({ unreadable }) => !unreadable?.includes('not accepted it yet'),
        );
        assert.equal(hidden, undefined, 'one that was closed meanwhile is not told of');
        const end = await look();
        const held7001 = (await machine.ss(7001)).filter(isEstablished);
        assert.deepEqual(
          held7001.filter(({ keepaliveSeconds }) => keepaliveSeconds !== undefined),
          [],
        );
        t.diagnostic(
          `${runs} runs while ${during} connections were opened and closed; ${end.treated} that came and went were treated in time`,
        );
        assert(end.treated > 0, 'nothing that came and went was ever seen: this proves nothing');
      },
    );
  }
});

function isEstablished({ state }: SsRow): boolean {
  return state === 'ESTAB';
}

suite('protect --existing, with which rights', { concurrency: true, timeout: 120_000 }, () => {
  for (const [name, rights] of [
    ['CAP_BPF and CAP_PERFMON suffice', only('bpf', 'perfmon')],
    ['CAP_SYS_PTRACE alone suffices, by borrowing', only('sys_ptrace')],
  ] as const) {
    test(name, NEEDS, async (t) => {
      const machine = new Machine(t);
      const { server, clients } = await pairs(machine, 7000, 7001);
      const flags = [...EXISTING, '--port', '7000'];
      const answer = await machine.json<ProtectAnswer>(flags, { rights });
      assert.deepEqual([answer.matched, answer.changed, answer.failed], [2, 2, 0]);
      assertTimers(await machine.ss(7000));
      assertPlain(await machine.ss(7001));
      await assertOptions(server, WANTED, 7000);
      await assertOptions(clients[1] as Program, PLAIN);
    });
  }

  for (const [who, rights] of [
    ['nobody', NOBODY],
    ['root without a capability', only()],
    ['root with CAP_NET_ADMIN alone', only('net_admin')],
  ] as const) {
    test(`${who}: exits 3 with one line that names the capabilities, changes nothing`, {
      skip: unrunnable(rights),
    }, async (t) => {
      const machine = new Machine(t);
      const { server } = await pairs(machine, 7000);
      const result = await machine.linkhold([...EXISTING, '--port', '7000'], { rights });
      assert.equal(result.code, 3);
      assert.equal(result.stdout, '');
      assert.match(result.stderr, /^linkhold: [^\n]*CAP_BPF and CAP_PERFMON, or CAP_SYS_PTRACE\n$/);
      assertPlain(await machine.ss(7000));
      await assertOptions(server, PLAIN);
    });
  }

  test("nobody's own connection is treated, and that others were not is said with exit 1", {
    skip: unrunnable(NOBODY),
  }, async (t) => {
    const machine = new Machine(t);
    const { server } = await pairs(machine, 7000);
    const own = await machine.python({ rights: NOBODY });
    await own.ask('connect 127.0.0.1 7000');
    const flags = [...EXISTING, '--port', '7000'];
    const answer = await machine.json<ProtectAnswer>(flags, { rights: NOBODY }, 1);
    assert.deepEqual([answer.matched, answer.changed, answer.failed], [4, 1, 3]);
    await assertOptions(own, WANTED);
    const options = (await optionsOf(server.pid)).map((row) => row.options);
    assert.deepEqual(options, [PLAIN, PLAIN]);
  });
});
