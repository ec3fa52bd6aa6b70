/**
 * `linkhold sockets`: what it says of real programs' connections, held against `ss` and against what their
 * own descriptors answer; with all rights, with some and with none.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { formatDuration } from '../../src/time/duration.ts';
import { Lab, START_MS } from '../support/lab.ts';
import {
  type CommandOptions,
  Machine,
  machineMissing,
  NOBODY,
  only,
  optionsOf,
  type Program,
  unrunnable,
} from '../support/machine.ts';

const LAUNCHER = path.resolve(import.meta.dirname, '../../bin/linkhold');
const [HERE, THERE] = ['10.81.1.1', '10.81.1.2'];
const DEFAULTS = '1 7200 75 9 0';
const WEBSOCKET = `
require('node:http').createServer().on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n');
}).listen(8080, '${HERE}', () => console.log('listening'));`;

interface Socket {
  readonly family: string;
  readonly local: string;
  readonly remote: string;
  readonly state: string;
  readonly pid: number | null;
  readonly process: string | null;
  readonly cookie: string;
  readonly keepalive: Readonly<Record<string, number | boolean>> | null;
  readonly unreadable?: string;
  readonly timer: { readonly kind: string; readonly expiresMs: number } | null;
  readonly idleMs: number;
  readonly detection: { readonly idleMs: number | null; readonly inFlightMs: number } | null;
  readonly risks: readonly string[];
  readonly advice: string | null;
}

const FIELDS = [
  ...['family', 'local', 'remote', 'state', 'pid', 'process', 'cookie', 'keepalive', 'timer'],
  ...['idleMs', 'detection', 'risks', 'advice'],
];

/** Clears the screen and ends the line, where it is believed; at most 15 bytes. */
const EVIL = '\u001b[2Jx\nfake\u009b1m';

/** What steers a terminal in a text, but for the ends of lines. */
function steering(text: string): ReadonlySet<string> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are looked for
  return new Set(text.match(/\u001b\[[\d;]*[A-Za-z]|[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g));
}

/** A machine at `HERE`, and one at the other end of a cable. */
function cable(t: TestContext): { here: Machine; there: Machine } {
  const lab = new Lab(t);
  const [here, there] = [new Machine(t, lab), new Machine(t, lab)];
  lab.join(here.space, HERE, there.space, THERE);
  return { here, there };
}

/** A program that others know by a name. */
async function named(machine: Machine, name: string): Promise<Program> {
  const program = await machine.python();
  assert.equal(await program.ask(`name ${JSON.stringify(name)}`), 'named');
  return program;
}

/** Connections of a program, made and then given options; answers their ports. */
async function connected(program: Program, to: string, count: number, options?: string) {
  const ports: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const port = await program.ask(`connect ${to}`);
    if (options !== undefined) assert.equal(await program.ask(`set c${port} ${options}`), 'set');
    ports.push(port);
  }
  return ports;
}

/** What may differ between two looks at the same connection is left out. */
function lasting(sockets: readonly Socket[]): unknown[] {
  return sockets
    .toSorted((a, b) => Number.parseInt(a.cookie, 16) - Number.parseInt(b.cookie, 16))
    .map(({ idleMs, timer, ...rest }) => ({ ...rest, timer: timer?.kind }));
}

/** The connections of a command's answer. */
async function listed(machine: Machine, flags = '', options: CommandOptions = {}) {
  return await machine.json<Socket[]>(['sockets', ...flags.split(' ').filter(Boolean)], options);
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: machineMissing() };
const NEEDS_TERMINAL = { skip: machineMissing('script') };

suite('sockets', { concurrency: true, timeout: 120_000 }, () => {
  test(
    'a PostgreSQL pool, an SSH session and a WebSocket server: one command says which would hang and for how long, one more mends them while they run',
    NEEDS,
    async (t) => {
      const { here, there } = cable(t);
      const postgres = await named(here, 'postgres');
      await postgres.ask(`listen ${HERE} 5432`);
      const sshd = await named(here, 'sshd');
      await sshd.ask(`listen ${HERE} 22`);
      const websocket = here.start([process.execPath, '-e', WEBSOCKET]);
      await websocket.line('listening', START_MS);
      const far = await there.listener(`${THERE} 5432`);
      for (const port of await connected(far, `${HERE} 5432`, 20)) {
        await postgres.ask(`set a${port} ${DEFAULTS}`);
      }
      const [session] = await connected(far, `${HERE} 22`, 1);
      await sshd.ask(`set a${session} ${DEFAULTS}`);
      await connected(far, `${HERE} 8080`, 2);
      const pool = await named(here, 'api');
      await connected(pool, `${THERE} 5432`, 3, '1 60 10 3 0');
      const good = await named(here, 'good');
      await connected(good, `${THERE} 5432`, 1, '1 60 10 3 90000');
      const fragile = await named(here, 'fragile');
      await connected(fragile, `${THERE} 5432`, 1, '1 60 10 3 60000');

      const told = await here.linkhold(['sockets']);
      assert.equal(told.code, 0);
      assert.equal(told.stderr, '');
      const rows = told.stdout.split('\n').map((line) => line.split(/ {2,}/));
      const [minute, short, bound] = [60, 70, 90].map((seconds) => formatDuration(seconds * 1_000));
      const [linux, retries] = [7_875_000, 924_600].map(formatDuration);
      const expected = [
        [`node ${websocket.pid}`, '2 ← :8080', 'never', retries, /keepalive on.*user timeout/],
        [`postgres ${postgres.pid}`, '20 ← :5432', linux, retries, /sooner.*user timeout/],
        [`sshd ${sshd.pid}`, '1 ← :22', linux, retries, /sooner.*user timeout/],
        [`api ${pool.pid}`, `3 → ${THERE}:5432`, bound, retries, /^set a user timeout/],
        [`fragile ${fragile.pid}`, `1 → ${THERE}:5432`, short, minute, /^raise the user timeout/],
        [`good ${good.pid}`, `1 → ${THERE}:5432`, bound, bound, /^$/],
      ] as const;
      for (const [index, [...columns]] of expected.entries()) {
        const advice = columns.pop() as RegExp;
        const row = rows[2 + index] ?? [];
        assert.deepEqual(row.slice(0, 4), columns, told.stdout);
        assert.match(row[4] ?? '', advice);
      }
      assert.deepEqual(
        rows
          .slice(2 + expected.length, -2)
          .flat()
          .filter(Boolean),
        [
          '28 connections of 6 processes; loopback is listed with --all',
          '2 would never notice a dead peer while idle',
          '21 probe later than middleboxes forget',
          '26 would hang on data in flight',
          '1 would die of one lost probe',
        ],
      );
      assert.deepEqual(rows.at(-2), [
        'Mend them while they run: linkhold protect --existing --new',
      ]);
      const risky = await here.json<Socket[]>(['sockets', '--risky'], {}, 1);
      assert.equal(risky.length, 27);
      assert.deepEqual(risky[0]?.risks, ['never-detected', 'in-flight-hole']);

      const mended = await here.linkhold(['protect', '--existing']);
      assert.match(mended.stdout, /\n28 connections: 27 changed, 1 good already\n$/);
      const none = await here.linkhold(['sockets', '--risky']);
      assert.equal(none.code, 0);
      assert.match(none.stdout, /^0 connections of 0 processes, none at risk; .*\n$/);
      assert.match(
        (await here.linkhold(['sockets'])).stdout,
        /^28 connections of 6 processes, none/m,
      );
    },
  );

  test(
    '--json has every field of the contract and no other, as ss and the descriptors tell',
    NEEDS,
    async (t) => {
      const { here, there } = cable(t);
      await there.listener(`${THERE} 5432`);
      const program = await named(here, 'api');
      const [set] = await connected(program, `${THERE} 5432`, 1, '1 60 10 3 0');
      const [plain] = await connected(program, `${THERE} 5432`, 1);
      const [seen, rows, options] = [
        await listed(here),
        await here.ss(),
        await optionsOf(program.pid),
      ];
      assert.equal(seen.length, 2);
      for (const socket of seen) {
        assert.deepEqual(new Set(Object.keys(socket)), new Set(FIELDS));
        const row = rows.find(({ cookie }) => cookie === socket.cookie);
        assert.deepEqual([socket.local, socket.remote], [row?.local, row?.remote]);
        assert.deepEqual([socket.pid, socket.process], [program.pid, 'api']);
        assert.deepEqual([socket.family, socket.state], ['ipv4', 'established']);
        assert(socket.idleMs >= 0 && socket.idleMs < 10 * START_MS, `${socket.idleMs}`);
        const { enabled, timeMs, intervalMs, probes, userTimeoutMs } = socket.keepalive ?? {};
        const seconds = [timeMs, intervalMs].map((ms) => Number(ms) / 1_000);
        const told = [Number(enabled), ...seconds, probes, userTimeoutMs].join(' ');
        const own = options.find(({ localPort }) => socket.local.endsWith(`:${localPort}`));
        assert.equal(told, own?.options);
        assert.equal(
          socket.timer?.kind,
          row?.keepaliveSeconds === undefined ? undefined : 'keepalive',
        );
      }
      const one = seen.find(({ local }) => local === `${HERE}:${set}`);
      assert.deepEqual(one?.detection, { idleMs: 90_000, inFlightMs: 924_600 });
      assert.deepEqual(
        [one?.risks, one?.advice],
        [['in-flight-hole'], `set a user timeout of ${formatDuration(90_000)}`],
      );
      const left = one?.timer?.expiresMs ?? 0;
      assert(left <= 60_000 && left > 0, `${left}`);
      const two = seen.find(({ local }) => local === `${HERE}:${plain}`);
      assert.deepEqual([two?.timer, two?.detection?.idleMs], [null, null]);
      assert.deepEqual(two?.risks, ['never-detected', 'in-flight-hole']);
    },
  );

  test(
    '--port, --pid and --netns by name, process and file choose; loopback is listed only with --all',
    NEEDS,
    async (t) => {
      const { here, there } = cable(t);
      await there.listener(`${THERE} 5432`, `${THERE} 5433`);
      const [one, two] = [await named(here, 'one'), await named(here, 'two')];
      await connected(one, `${THERE} 5432`, 2);
      await connected(two, `${THERE} 5433`, 1);
      await two.ask('listen :: 5432');
      for (const to of ['127.0.0.1', '::1', '::ffff:127.0.0.1', HERE])
        await connected(two, `${to} 5432`, 1);

      const count = async (flags: string, options?: CommandOptions) =>
        (await listed(here, flags, options)).length;
      const outside = { outside: true };
      assert.equal(await count(''), 3);
      assert.equal(await count('--all'), 3 + 2 * 4);
      assert.equal(await count('--port 5432'), 2);
      assert.equal(await count(`--pid ${two.pid}`, outside), 1);
      for (const name of [here.space, `/run/netns/${here.space}`, String(one.pid)]) {
        assert.equal(await count(`--netns ${name}`, outside), 3, name);
      }
      const seen = await listed(here, '--all --port 5432');
      const forms = seen.filter(({ remote }) => remote.endsWith(':5432'));
      const families = forms.map(({ family, remote }) => `${family} ${remote}`);
      assert.deepEqual(
        [...new Set(families)].toSorted(),
        ['10.81.1.1', '10.81.1.2', '127.0.0.1']
          .map((to) => `ipv4 ${to}:5432`)
          .concat('ipv6 [::1]:5432'),
      );
    },
  );

  test('nothing is connected: one line says so', NEEDS, async (t) => {
    const machine = new Machine(t);
    const told = await machine.linkhold(['sockets']);
    assert.equal(
      told.stdout,
      '0 connections of 0 processes, none at risk; loopback is listed with --all\n',
    );
  });
});

suite('sockets, with which rights', { concurrency: true, timeout: 120_000 }, () => {
  test(
    'by borrowing, with CAP_SYS_PTRACE alone, the answer is the same as by BPF, with CAP_BPF and CAP_PERFMON',
    NEEDS,
    async (t) => {
      const { here, there } = cable(t);
      await there.listener(`${THERE} 5432`);
      const program = await named(here, 'api');
      await program.ask('listen :: 7000');
      await connected(program, `${THERE} 5432`, 2, '1 60 10 3 90000');
      for (const to of ['127.0.0.2', '::1', '::ffff:127.0.0.2']) {
        await connected(program, `${to} 7000`, 1, '1 61 11 4 0');
        await connected(program, `${to} 7000`, 1);
      }
      const all = lasting(await listed(here, '--all'));
      assert.equal(all.length, 2 + 2 * 2 * 3);
      for (const rights of [only('bpf', 'perfmon'), only('sys_ptrace')]) {
        assert.deepEqual(lasting(await listed(here, '--all', { rights })), all, rights.join(' '));
      }
    },
  );

  test("nobody sees its own connection's options; of others' they are null, with the reason", {
    skip: unrunnable(NOBODY),
  }, async (t) => {
    const { here, there } = cable(t);
    await there.listener(`${THERE} 5432`);
    await connected(await named(here, 'rooted'), `${THERE} 5432`, 1, '1 60 10 3 90000');
    const own = await here.python({ rights: NOBODY });
    await connected(own, `${THERE} 5432`, 1, '1 60 10 3 90000');
    const result = await here.linkhold(['sockets', '--json'], { rights: NOBODY });
    assert.equal(result.code, 0);
    assert.match(
      result.stderr,
      /^linkhold: the options of 1 of 2 connections cannot be seen: another user's: [^\n]*CAP_BPF and CAP_PERFMON[^\n]*\n$/,
    );
    const seen = JSON.parse(result.stdout) as Socket[];
    const mine = seen.find(({ pid }) => pid === own.pid);
    assert.deepEqual(mine?.keepalive, {
      enabled: true,
      timeMs: 60_000,
      intervalMs: 10_000,
      probes: 3,
      userTimeoutMs: 90_000,
    });
    assert.deepEqual([mine?.risks, mine !== undefined && 'unreadable' in mine], [[], false]);
    const other = seen.find(({ pid }) => pid === null);
    assert.deepEqual([other?.keepalive, other?.process, other?.detection], [null, null, null]);
    assert.match(other?.unreadable ?? '', /CAP_BPF and CAP_PERFMON \(or CAP_SYS_PTRACE\)/);
    const told = await here.linkhold(['sockets'], { rights: NOBODY });
    assert.match(told.stdout, /^a process of user 0 +1 → 10\.81\.1\.2:5432 +unknown +unknown$/m);
    assert.match(
      told.stdout,
      /^2 connections of 1 process, none of those that can be seen at risk/m,
    );
  });

  test(
    'a connection that its program has not accepted: BPF sees and treats it, borrowing says why it cannot',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const program = await machine.python();
      await program.ask('backlog 127.0.0.1 7000');
      await connected(program, '127.0.0.1 7000', 1, '1 60 10 3 90000');
      const waiting = (sockets: readonly Socket[]) =>
        sockets.find(({ local }) => local === '127.0.0.1:7000');
      const seen = waiting(await listed(machine, '--all'));
      assert.deepEqual([seen?.pid, seen?.keepalive?.['enabled']], [null, false]);
      assert.deepEqual(seen?.risks, ['never-detected', 'in-flight-hole']);
      const rights = only('sys_ptrace');
      const borrowed = waiting(await listed(machine, '--all', { rights }));
      assert.equal(borrowed?.keepalive, null);
      assert.match(borrowed?.unreadable ?? '', /not accepted it yet/);
      const flags = ['protect', '--existing', '--port', '7000'];
      const failed = await machine.linkhold(flags, { rights });
      assert.equal(failed.code, 1);
      assert.match(failed.stdout, /^not accepted yet .* its program has not accepted it yet/m);
      assert.match(
        failed.stdout,
        /\n2 connections matched port 7000: 0 changed, 1 good already, 1 failed\n/,
      );
      assert.equal((await machine.linkhold(flags)).code, 0);
      const rows = await machine.ss(7000);
      assert.equal(rows.length, 2);
      for (const { keepaliveSeconds } of rows) assert(keepaliveSeconds !== undefined);
    },
  );
});

suite('sockets on a terminal', { concurrency: true, timeout: 120_000 }, () => {
  test(
    'colour on a terminal, none with NO_COLOR, and a process name steers nothing',
    NEEDS_TERMINAL,
    async (t) => {
      const machine = new Machine(t);
      await machine.listener('127.0.0.1 7000');
      const evil = await named(machine, EVIL);
      await connected(evil, '127.0.0.1 7000', 1);
      const onTerminal = async (...words: string[]) => {
        // Where CI is set, Node calls a terminal colourless.
        const env = ['env', '-i', `PATH=${process.env['PATH']}`, 'TERM=xterm', ...words];
        const command = `${LAUNCHER} sockets --all --pid ${evil.pid}`;
        const program = machine.start([...env, 'script', '-qec', command, '/dev/null']);
        await program.exited;
        return program.lines.map((line) => line.replace(/\r$/, '')).join('\n');
      };
      const painted = steering(await onTerminal());
      assert(painted.has('\u001b[31m'), [...painted].map(escape).join());
      for (const one of painted) assert(one.startsWith('\u001b') && one.endsWith('m'), escape(one));
      const bare = await onTerminal('NO_COLOR=1');
      assert.deepEqual([...steering(bare)], []);
      assert(bare.includes(`�[2Jx�fake�1m ${evil.pid} `), escape(bare));
      const json = await listed(machine, `--all --pid ${evil.pid}`);
      assert.equal(json[0]?.process, EVIL);
    },
  );
});
