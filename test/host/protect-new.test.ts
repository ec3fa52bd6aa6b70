/**
 * `linkhold protect --new`: connections to come get the options of the rule that fits, whatever program
 * makes them; for how long, whose, and by which right. `ss` and the programs themselves are the witnesses.
 */
import assert from 'node:assert/strict';
import { mkdirSync, statSync } from 'node:fs';
import { after, before, suite, type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Policy } from '../../src/host/policy.ts';
import { encodeRuleKey, matchRule, parseTo, type Rule } from '../../src/host/rule.ts';
import { cgroupLinks } from '../../src/sys/bpf.ts';
import type { CliProcess } from '../support/cli.ts';
import { START_MS } from '../support/lab.ts';
import {
  Machine,
  machineMissing,
  NOBODY,
  only,
  type PinPlace,
  type Program,
  unrunnable,
  until,
} from '../support/machine.ts';
import { Prng } from '../support/prng.ts';
import {
  assertOptions,
  assertPlain,
  assertTimers,
  buildGo,
  FLAGS,
  FLEET_CONNECTIONS,
  PLAIN,
  startFleet,
  startGo,
  WANTED,
} from '../support/programs.ts';

interface RuleAnswer {
  readonly cgroup: string;
  readonly port: number | null;
  readonly to: string | null;
  readonly timeMs: number;
  readonly lock: boolean;
  readonly pinned: boolean;
  readonly applied: number;
  readonly failed: number;
}

const NEW = ['protect', '--new', ...FLAGS];

/** The policy of a command that runs on, once it is in force. */
async function inForce(machine: Machine, ...flags: readonly string[]): Promise<CliProcess> {
  const command = machine.command([...NEW, ...flags]);
  await command.line(/^new connections under .*, until Ctrl-C$/, START_MS);
  return command;
}

/** Our policies of its control group, as `--list` tells. */
async function listed(machine: Machine, pins?: PinPlace, group = machine.cgroup) {
  const options = pins === undefined ? {} : { pins };
  const { rules } = await machine.json<{ rules: RuleAnswer[] }>(['protect', '--list'], options);
  return rules.filter(({ cgroup }) => cgroup === group);
}

/** The options that a new connection of a program has at both ends, where both are its own. */
async function optionsOfNew(program: Program, to: `${string} ${number}`): Promise<string[]> {
  const port = await program.ask(`connect ${to}`);
  const both = [`c${port}`, `a${port}`];
  const options = [];
  for (const name of both) options.push(await program.ask(`options ${name}`));
  for (const name of both) await program.ask(`close ${name}`);
  return options;
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: machineMissing() };
const NEEDS_ALL = { skip: machineMissing('go', 'nc') };
const NEEDS_GO = { skip: machineMissing('go') };

let go = { file: '', remove: () => {} };
before(async () => {
  if (NEEDS_GO.skip === false) go = await buildGo();
});
after(() => go.remove());

suite('protect --new', { concurrency: true, timeout: 120_000 }, () => {
  test(
    '10 new connections of Go by system calls, nc, Python and Node, IPv4, IPv6 and mapped, and their 10 accepted ends get all four values; after Ctrl-C new ones are plain and the old ones keep theirs',
    NEEDS_ALL,
    async (t) => {
      const machine = new Machine(t);
      const server = await machine.listener(':: 7000', '127.0.0.2 7001');
      const command = await inForce(machine, '--port', '7000', '--cgroup', machine.cgroup);
      const fleet = await startFleet(machine, go.file, 7000);
      const python = fleet.at(-1) as Program;
      await python.ask('connect 127.0.0.2 7001');
      assertTimers(await machine.ssOnce(2 * FLEET_CONNECTIONS, 7000));
      for (const program of [...fleet, server]) await assertOptions(program, WANTED, 7000);
      assertPlain(await machine.ss(7001));
      await assertOptions(python, PLAIN, 7001);
      const [rule] = await listed(machine);
      assert.deepEqual([rule?.applied, rule?.failed], [2 * FLEET_CONNECTIONS, 0]);

      command.kill('SIGINT');
      assert.equal((await command.ended(START_MS)).code, 0);
      const port = await python.ask('connect 127.0.0.2 7000');
      assert.equal(await python.ask(`options c${port}`), PLAIN);
      const treated = await machine.ss(7000);
      assertTimers(treated.filter(({ keepaliveSeconds }) => keepaliveSeconds !== undefined));
      assert.equal(
        treated.filter(({ keepaliveSeconds }) => keepaliveSeconds === undefined).length,
        2,
      );
    },
  );

  test(
    'a Go program whose runtime sets its own 15 s: it wins without --lock, we win with it and its calls succeed',
    NEEDS_GO,
    async (t) => {
      const machine = new Machine(t);
      await machine.listener('127.0.0.2 7000');
      const open = await inForce(machine, '--port', '7000', '--cgroup', machine.cgroup);
      const free = await startGo(machine, go.file, 'dial', '127.0.0.2', 7000);
      assert.equal(await free.ask('options'), '1 15 15 4 600000');
      const timers = (await machine.ss(7000)).map(({ keepaliveSeconds }) => keepaliveSeconds ?? 0);
      assert(Math.min(...timers) <= 15 && Math.max(...timers) > 15, `${timers}`);
      open.kill('SIGINT');
      await open.ended(START_MS);

      await inForce(machine, '--port', '7001', '--cgroup', machine.cgroup, '--lock');
      await machine.listener('127.0.0.2 7001');
      const locked = await startGo(machine, go.file, 'dial', '127.0.0.2', 7001);
      assert.equal(await locked.ask('options'), WANTED);
      assert.equal(await locked.ask('period 5'), '<nil>');
      assert.equal(await locked.ask('options'), WANTED);
      assertTimers(await machine.ss(7001));
      const server = machine.start([go.file, 'accept', '127.0.0.3', '7001']);
      await server.line('listening', START_MS);
      await startGo(machine, go.file, 'raw', '127.0.0.3', 7001);
      await server.line('connected', START_MS);
      assert.equal(await server.ask('options'), WANTED);
    },
  );

  test(
    'locked: what a program sets before it connects is overridden, what it sets later does nothing, on either end; another port, and another option, are its own',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const program = await machine.listener('127.0.0.1 7000', '127.0.0.1 7001', '::1 7000');
      await inForce(machine, '--port', '7000', '--cgroup', machine.cgroup, '--lock');
      for (const to of ['127.0.0.1', '::1']) {
        const port = await program.ask(`connect ${to} 7000 ${to} 0 33`);
        for (const name of [`c${port}`, `a${port}`]) {
          assert.equal(await program.ask(`options ${name}`), WANTED);
          assert.equal(await program.ask(`set ${name} 0 15 15 3 0`), 'set');
          assert.equal(await program.ask(`options ${name}`), WANTED);
          assert.equal(await program.ask(`nodelay ${name}`), '1');
        }
      }
      const port = await program.ask('connect 127.0.0.1 7001 127.0.0.1 0 33');
      assert.equal(await program.ask(`options c${port}`), '1 33 75 9 0');
      assert.equal(await program.ask(`set c${port} 1 15 16 3 5000`), 'set');
      assert.equal(await program.ask(`options c${port}`), '1 15 16 3 5000');
      const treated = await machine.ss(7000);
      assertTimers(treated);
      assert.equal(treated.length, 4);
    },
  );

  test(
    'as in containers: two control groups, in two network namespaces and in one; only the connections of the one named are treated',
    NEEDS,
    async (t) => {
      const [one, other] = [new Machine(t), new Machine(t)];
      const inner = one.group('inner');
      const here = await one.listener('127.0.0.1 7000');
      const there = await other.listener('127.0.0.1 7000');
      const below = await one.python({ cgroup: inner });
      await inForce(one, '--port', '7000', '--cgroup', inner);
      const port = await below.ask('connect 127.0.0.1 7000');
      assert.equal(await below.ask(`options c${port}`), WANTED);
      assert.equal(await here.ask(`options a${port}`), PLAIN);
      assert.deepEqual(await optionsOfNew(here, '127.0.0.1 7000'), [PLAIN, PLAIN]);
      await inForce(one, '--port', '7000', '--cgroup', one.cgroup);
      assert.deepEqual(await optionsOfNew(here, '127.0.0.1 7000'), [WANTED, WANTED]);
      assert.deepEqual(await optionsOfNew(there, '127.0.0.1 7000'), [PLAIN, PLAIN]);
    },
  );

  test('without --cgroup it is for every process of the machine', NEEDS, async (t) => {
    // A port that no other test uses, for this one reaches all of them.
    const port = 47_113;
    const machine = new Machine(t);
    const program = await machine.listener(`127.0.0.1 ${port}`);
    const command = machine.command([...NEW, '--port', String(port)]);
    await command.line(/^new connections under .*, until Ctrl-C$/, START_MS);
    assert.deepEqual(await optionsOfNew(program, `127.0.0.1 ${port}`), [WANTED, WANTED]);
  });

  test('--dry-run puts nothing in force, pinned or not', NEEDS, async (t) => {
    const machine = new Machine(t);
    const pins = await machine.pinPlace();
    const program = await machine.listener('127.0.0.1 7000');
    const flags = ['--port', '7000', '--cgroup', machine.cgroup, '--dry-run'];
    for (const more of [['--lock'], ['--pin']]) {
      const command = machine.command([...NEW, ...flags, ...more], { pins });
      await command.line(/^new connections under .*, not in force$/, START_MS);
      assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7000'), [PLAIN, PLAIN]);
      assert.deepEqual(pins.entries(), []);
      command.kill('SIGINT');
      await command.ended(START_MS);
    }
    assert.deepEqual(await listed(machine, pins), []);
  });
});

suite('protect --new: how long, and beside others', { concurrency: true, timeout: 120_000 }, () => {
  test('kill -9 without --pin: the policy is gone, new connections are plain', NEEDS, async (t) => {
    const machine = new Machine(t);
    const program = await machine.listener('127.0.0.1 7000');
    const command = await inForce(machine, '--port', '7000', '--cgroup', machine.cgroup, '--lock');
    assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7000'), [WANTED, WANTED]);
    const [rule] = await listed(machine);
    assert.deepEqual(
      [rule?.port, rule?.to, rule?.timeMs, rule?.lock, rule?.pinned, rule?.applied],
      [7_000, null, 500_000, true, false, 2],
    );
    command.kill('SIGKILL');
    assert.equal((await command.ended(START_MS)).signal, 'SIGKILL');
    assert.deepEqual(await listed(machine), []);
    const port = await program.ask('connect 127.0.0.1 7000');
    assert.equal(await program.ask(`options c${port}`), PLAIN);
    // Nothing is locked any more either.
    assert.equal(await program.ask(`set c${port} 1 15 15 3 0`), 'set');
    assert.equal(await program.ask(`options c${port}`), '1 15 15 3 0');
  });

  test(
    'with --pin it outlives kill -9, --list shows it, --remove leaves nothing of it in bpffs and at the control group',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const pins = await machine.pinPlace();
      const program = await machine.listener('127.0.0.1 7000');
      const flags = [...NEW, '--port', '7000', '--cgroup', machine.cgroup, '--lock', '--pin'];
      // It ends by itself as soon as all is pinned; here it is killed on the way.
      const killedAt = async (entries: number) => {
        const killed = machine.command(flags, { pins });
        while (pins.entries().length < entries) await setImmediate();
        killed.kill('SIGKILL');
        await killed.ended(START_MS);
        return pins.entries().length;
      };
      const left = [await killedAt(2), await killedAt(4)];
      t.diagnostic(`killed when ${left} of 5 entries in bpffs were made`);
      const whole = await machine.linkhold(flags, { pins });
      assert.equal(whole.code, 0, whole.stderr);
      assert.match(
        whole.stdout,
        /^new connections under .*, locked, until linkhold protect --remove\n$/,
      );
      assert.equal(pins.entries().length, 5, pins.entries().join());
      assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7000'), [WANTED, WANTED]);
      const rules = await listed(machine, pins);
      assert.deepEqual(
        rules.map(({ port, pinned, lock, applied }) => [port, pinned, lock, applied]),
        [[7_000, true, true, 2]],
      );
      const shown = await machine.linkhold(['protect', '--list'], { pins });
      assert.match(shown.stdout, / port 7000 .*\/20s\/4, .*, locked +until removed +2$/m);

      const remove = ['protect', '--remove', '--cgroup', machine.cgroup];
      const kept = await machine.linkhold([...remove, '--port', '7001'], { pins });
      assert.equal(kept.stdout, 'no pinned rule matched\n');
      const removed = await machine.json<{ removed: number }>([...remove, '--port', '7000'], {
        pins,
      });
      assert.equal(removed.removed, 1);
      assert.deepEqual(pins.entries(), []);
      assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7000'), [PLAIN, PLAIN]);
      assert.deepEqual(await listed(machine, pins), []);
      await until(
        () => attached(machine.cgroup).length === 0,
        'the kernel has let its programs go',
      );
      // As if it had been killed before it pinned anything.
      mkdirSync(`${pins.directory}/linkhold/${statSync(machine.cgroup).ino}`, { recursive: true });
      assert.equal((await machine.linkhold(remove, { pins })).code, 0);
      assert.deepEqual(pins.entries(), []);
    },
  );

  test(
    'two that run at once for two ports do not fight, and one ends without the other',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const program = await machine.listener('127.0.0.1 7000', '127.0.0.1 7001');
      const [first] = await Promise.all(
        ['7000', '7001'].map((port) =>
          inForce(machine, '--port', port, '--cgroup', machine.cgroup),
        ),
      );
      assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7000'), [WANTED, WANTED]);
      assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7001'), [WANTED, WANTED]);
      first?.kill('SIGTERM');
      await first?.ended(START_MS);
      assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7000'), [PLAIN, PLAIN]);
      assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7001'), [WANTED, WANTED]);
    },
  );

  test(
    '5 pinned at the same moment for one control group are all there; the port goes before the prefix, the longest prefix wins, and only what is locked is locked',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const pins = await machine.pinPlace();
      machine.lab.run(machine.space, 'ip', 'addr', 'add', 'fd00:1::2/64', 'dev', 'lo', 'nodad');
      const program = await machine.listener(':: 7000', ':: 7001');
      const pin = [...NEW, '--pin', '--cgroup', machine.cgroup];
      const rules: readonly (readonly [interval: number, flags: string])[] = [
        [21, '--port 7000'],
        [22, '--lock --to 127.1.2.3'],
        [23, '--to 127.1.0.0/16'],
        [24, '--port 7000 --to 127.1.0.0/16'],
        [25, '--to fd00::/16'],
      ];
      const made = await Promise.all(
        rules.map(([interval, flags]) =>
          machine.linkhold([...pin, '--interval', `${interval}s`, ...flags.split(' ')], { pins }),
        ),
      );
      for (const { code, stderr } of made) assert.equal(code, 0, stderr);
      assert.equal((await listed(machine, pins)).length, rules.length);
      for (const [to, interval] of [
        ['127.9.9.9 7000', 21],
        ['127.1.2.3 7000', 24],
        ['127.1.2.3 7001', 22],
        ['127.1.9.9 7001', 23],
        ['::ffff:127.1.9.9 7001', 23],
        ['fd00:1::2 7001', 25],
        ['fd00:1::2 7000', 21],
        ['127.9.9.9 7001', undefined],
        ['::1 7001', undefined],
      ] as const) {
        const [made] = await optionsOfNew(program, to);
        const expected = interval === undefined ? PLAIN : `1 500 ${interval} 4 600000`;
        assert.equal(made, expected, to);
      }
      for (const [to, kept] of [
        ['127.1.2.3 7001', '1 500 22 4 600000'],
        ['127.1.9.9 7001', '1 15 16 3 5000'],
      ]) {
        const port = await program.ask(`connect ${to}`);
        assert.equal(await program.ask(`set c${port} 1 15 16 3 5000`), 'set');
        assert.equal(await program.ask(`options c${port}`), kept, `${to} under one locked rule`);
      }
      const remove = ['protect', '--remove', '--cgroup', machine.cgroup, '--to', 'fd00::/16'];
      assert.equal((await machine.json<{ removed: number }>(remove, { pins })).removed, 1);
      assert.deepEqual(await optionsOfNew(program, 'fd00:1::2 7001'), [PLAIN, PLAIN]);
      const [kept] = await optionsOfNew(program, '127.1.9.9 7001');
      assert.equal(kept, '1 500 23 4 600000');
    },
  );

  for (const [who, rights, code] of [
    ['CAP_BPF and CAP_NET_ADMIN suffice', only('bpf', 'net_admin'), null],
    ['nobody exits 3 with one line that names the capabilities', NOBODY, 3],
    ['root with CAP_BPF and CAP_PERFMON alone does so too', only('bpf', 'perfmon'), 3],
  ] as const) {
    test(`for connections to come ${who}`, { skip: unrunnable(rights) }, async (t) => {
      const machine = new Machine(t);
      const program = await machine.listener('127.0.0.1 7000');
      const flags = [...NEW, '--port', '7000', '--cgroup', machine.cgroup, '--lock'];
      const command = machine.command(flags, { rights });
      if (code === null) {
        await command.line(/^new connections under .*, locked, until Ctrl-C$/, START_MS);
        assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7000'), [WANTED, WANTED]);
        return;
      }
      const result = await command.ended(START_MS);
      assert.equal(result.code, code);
      assert.equal(result.stdout, '');
      assert.match(result.stderr, /^linkhold: [^\n]*CAP_BPF and CAP_NET_ADMIN[^\n]*\n$/);
      assert.deepEqual(await optionsOfNew(program, '127.0.0.1 7000'), [PLAIN, PLAIN]);
    });
  }
});

/** The kernel's programs that are attached to a control group. */
function attached(cgroup: string): readonly unknown[] {
  const { ino } = statSync(cgroup);
  return cgroupLinks().filter(({ cgroupId }) => cgroupId === ino);
}

const PORTS = [0, 7000, 7001, 6100, 6101];
const PREFIXES = (
  '0.0.0.0/0 127.0.0.0/8 127.1.0.0/16 127.1.2.0/24 127.1.2.3 127.0.0.1 ' +
  '::/0 ::/64 ::1 fd00::/16 fd00:1::/32 fd00:1::2 ::ffff:127.1.0.0/112'
).split(' ');
const TARGETS = '127.1.2.3 127.1.9.9 127.9.9.9 ::ffff:127.1.2.3 fd00:1::2 fd00:2::1 ::1'.split(' ');

/** Up to 10 rules, each with a time of its own. */
function randomRules(prng: Prng): Rule[] {
  const rules = new Map<string, Rule>();
  const count = prng.between(1, 10);
  for (let index = 0; index < count; index += 1) {
    const to = PREFIXES[prng.between(-3, PREFIXES.length - 1)];
    const match = {
      port: PORTS[prng.between(0, PORTS.length - 1)] ?? 0,
      to: to === undefined ? undefined : parseTo(to, 'test'),
    };
    const timeMs = (1_000 + 200 * index) * 1_000;
    const options = {
      enabled: true,
      timeMs,
      intervalMs: 20_000,
      probes: 4,
      userTimeoutMs: 150_000,
    };
    rules.set(encodeRuleKey(match).join(), { ...match, options, lock: false });
  }
  return [...rules.values()];
}

/** `[::1]:7000` as address and port. */
function endOf(text: string): { address: string; port: number } {
  const at = text.lastIndexOf(':');
  return { address: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
}

function policyOf(t: TestContext, machine: Machine): Policy {
  const policy = new Policy(machine.cgroup);
  t.after(() => policy.close());
  return policy;
}

suite('rules in the kernel', { concurrency: true, timeout: 120_000 }, () => {
  test(
    '8 random sets of rules, replaced while in force: each end of 14 connections has what matchRule answers',
    NEEDS,
    async (t) => {
      const seed = Number(process.env['SIM_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
      const prng = new Prng(seed);
      const machine = new Machine(t);
      for (const address of ['fd00:1::2', 'fd00:2::1']) {
        machine.lab.run(machine.space, 'ip', 'addr', 'add', `${address}/128`, 'dev', 'lo', 'nodad');
      }
      const policy = policyOf(t, machine);
      const program = await machine.listener(':: 7000', ':: 7001');
      let matched = 0;
      for (let set = 1; set <= 8; set += 1) {
        const rules = randomRules(prng);
        policy.replace(rules);
        const names: string[] = [];
        for (const [index, target] of [...TARGETS, ...TARGETS].entries()) {
          const port = PORTS[prng.between(1, 2)];
          const source = target.includes('.') ? target.replace(/127.*/, '127.0.0.1') : '::1';
          const from = index < 2 ? ` ${source} ${6_100 + index}` : '';
          const local = await program.ask(`connect ${target} ${port}${from}`);
          names.push(`c${local}`, `a${local}`);
        }
        const rows = await machine.ss();
        assert.equal(rows.length, names.length);
        for (const { local, remote, keepaliveSeconds } of rows) {
          const [near, far] = [endOf(local), endOf(remote)];
          const ends = { localPort: near.port, remotePort: far.port, remoteAddress: far.address };
          const rule = matchRule(rules, ends);
          const seconds = rule === undefined ? 7_200 : rule.options.timeMs / 1_000;
          const accepted = near.port === 7_000 || near.port === 7_001;
          const name = accepted ? `a${far.port}` : `c${near.port}`;
          const options = rule === undefined ? PLAIN : `1 ${seconds} 20 4 150000`;
          const told = `seed ${seed}, set ${set}: ${local} → ${remote}`;
          assert.equal(await program.ask(`options ${name}`), options, told);
          assert.equal(keepaliveSeconds === undefined, rule === undefined, told);
          // Above ten minutes ss tells whole minutes.
          const left = keepaliveSeconds ?? seconds;
          assert(left <= seconds && left >= seconds - 180, `${told}: ${left} s of ${seconds}`);
          if (rule !== undefined) matched += 1;
        }
        for (const name of names) await program.ask(`close ${name}`);
      }
      assert(matched > 0, `seed ${seed}: no rule ever matched`);
      t.diagnostic(`seed ${seed}: ${matched} of ${8 * 2 * 2 * TARGETS.length} ends matched a rule`);
    },
  );

  test(
    'rules are replaced without a gap: of connections made meanwhile none is without keepalive, or with half of one rule',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const policy = policyOf(t, machine);
      const options = (seconds: number) => ({
        enabled: true,
        timeMs: seconds * 1_000,
        intervalMs: (seconds / 10) * 1_000,
        probes: seconds / 100,
        userTimeoutMs: seconds * 10_000,
      });
      const to = parseTo('127.0.0.0/8', 'test');
      const rule = (seconds: number, port: number, prefix?: Rule['to']): Rule => {
        return { port, to: prefix, options: options(seconds), lock: false };
      };
      const sets = [[rule(100, 7000)], [rule(200, 0, to)], [rule(300, 7000, to)], [rule(400, 0)]];
      policy.replace(sets[0] ?? []);
      const program = await machine.python();
      const counted = program.ask('loop 127.0.0.1 7000');
      const until = performance.now() + 3_000;
      let replaced = 0;
      while (performance.now() < until) {
        policy.replace(sets[replaced % sets.length] ?? []);
        replaced += 1;
        await setImmediate();
      }
      await program.ask('stop');
      const counts: Record<string, number> = JSON.parse(await counted);
      const good = [100, 200, 300, 400].map((s) => `1 ${s} ${s / 10} ${s / 100} ${s * 10_000}`);
      const ends = Object.values(counts).reduce((sum, count) => sum + count, 0);
      t.diagnostic(`${replaced} sets of rules while ${ends / 2} connections were made`);
      for (const seen of Object.keys(counts)) {
        assert(
          good.includes(seen.replace(/^\w+ /, '')),
          `${counts[seen]} of ${ends} ends: ${seen}`,
        );
      }
      assert(ends > 1_000, `only ${ends} ends`);
    },
  );
});
