/**
 * `node bench/sockets.ts [sockets=20000]`: what it costs to list this machine's connections with all
 * options and processes, beside `ss -tnop`, which tells none of the options; to set the options of
 * connections that exist; and what a policy costs a new connection. The two sides take turns; figures
 * are medians, and the ratios say more than they do. Nothing is asserted. Needs root, and Linux with
 * BTF; python3 for the last part.
 * @module
 */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { cgroupRoot } from '../src/host/mounts.ts';
import { setOptions } from '../src/host/option-iterator.ts';
import { Policy } from '../src/host/policy.ts';
import { judgeOf, reportSocket } from '../src/host/socket-report.ts';
import { readSocketTable } from '../src/host/socket-table.ts';
import type { TcpOptions } from '../src/sys/tcp-socket.ts';

const HERE = import.meta.dirname;
const FROM_CHECKOUT = path.join(HERE, '../bin/linkhold');
const INSTALLED = path.join(HERE, '../dist/cli/main.js');
const PROCESSES = 8;
const ROUNDS = 9;
const WARM_UP = 3;

const children: ChildProcess[] = [];

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function timed(body: () => void): number {
  const from = performance.now();
  body();
  return performance.now() - from;
}

function command(name: string, ...args: string[]): number {
  return timed(() => {
    const { status, error } = spawnSync(name, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    if (status !== 0) throw error ?? new Error(`${name} ended with ${status}`);
  });
}

/** Times each side in turn, so that what else the machine does meets all of them alike. */
function takeTurns(sides: Readonly<Record<string, () => number>>): Record<string, number> {
  for (let round = 0; round < WARM_UP; round += 1) for (const run of Object.values(sides)) run();
  const times: Record<string, number[]> = {};
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, run] of Object.entries(sides)) {
      times[name] ??= [];
      times[name].push(run());
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all)]));
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function openSockets(total: number): Promise<void> {
  const each = Math.ceil(total / 2 / PROCESSES);
  for (let index = 0; index < PROCESSES; index += 1) {
    const child = fork(path.join(HERE, 'socket-holder.ts'), [String(each)]);
    children.push(child);
    await once(child, 'message');
  }
}

function listAll(): number {
  const { records, retries2, withoutBpf } = readSocketTable();
  if (withoutBpf !== undefined) throw withoutBpf;
  const judged = judgeOf(retries2);
  return records.map((record) => reportSocket(record, judged(record))).length;
}

function benchListing(): void {
  const count = listAll();
  const ss = () => command('ss', '-tnop');
  const inside = takeTurns({ linkhold: () => timed(listAll), ss });
  say(`\nlisting ${count} connections with process, in process      ms    beside ss -tnop`);
  row('linkhold, five options each', inside['linkhold'], inside['ss']);
  row('ss -tnop, no options', inside['ss'], inside['ss']);

  const installed = existsSync(INSTALLED)
    ? {
        installed: () => command(process.execPath, INSTALLED, 'sockets', '--all', '--json'),
        installedTable: () => command(process.execPath, INSTALLED, 'sockets', '--all'),
      }
    : {};
  const whole = takeTurns({
    checkout: () => command(FROM_CHECKOUT, 'sockets', '--all', '--json'),
    table: () => command(FROM_CHECKOUT, 'sockets', '--all'),
    ...installed,
    ss,
  });
  say('\nas a whole command                                         ms    beside ss -tnop');
  row('linkhold sockets --json, from a checkout', whole['checkout'], whole['ss']);
  row('linkhold sockets, from a checkout', whole['table'], whole['ss']);
  if ('installed' in whole) {
    row('linkhold sockets --json, built', whole['installed'], whole['ss']);
    row('linkhold sockets, built', whole['installedTable'], whole['ss']);
  } else say('built: not measured, there is no dist; run npm run build first');
}

function row(name: string, ms = Number.NaN, beside = Number.NaN): void {
  say(`${name.padEnd(54)}${ms.toFixed(0).padStart(7)}    ${(ms / beside).toFixed(2)}`);
}

function benchSetting(): void {
  const cookies = readSocketTable().records.map(({ socket }) => socket.cookie);
  const targets = [60_000, 61_000].map((timeMs) => {
    const options = { enabled: true, timeMs, intervalMs: 10_000, probes: 3, userTimeoutMs: 90_000 };
    return new Map<number, TcpOptions>(cookies.map((cookie) => [cookie, options]));
  });
  let turn = 0;
  const set = () => {
    turn += 1;
    const found = setOptions(targets[turn % 2] ?? new Map());
    const failed = [...found.values()].filter(({ errno }) => errno !== 0).length;
    if (failed > 0 || found.size < cookies.length * 0.99) throw new Error(`${failed} failed`);
  };
  const { set: ms = Number.NaN } = takeTurns({ set: () => timed(set) });
  say(
    `\nsetting five options and reading them back: ${((ms / cookies.length) * 1e3).toFixed(2)} µs`,
  );
  say(`a connection, ${cookies.length} connections in ${ms.toFixed(0)} ms`);
}

/** The cost of a policy to a connection that it applies to, made and ended at once. */
async function benchPolicy(): Promise<void> {
  if (spawnSync('python3', ['-V'], { stdio: 'ignore' }).error !== undefined) {
    say('\nthe cost of a policy: not measured, python3 is missing');
    return;
  }
  const cgroup = path.join(cgroupRoot(), `linkhold-bench-${process.pid}`);
  mkdirSync(cgroup);
  const loop = spawn('python3', [path.join(HERE, 'connect-loop.py'), cgroup], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(loop);
  const lines = createInterface({ input: loop.stdout })[Symbol.asyncIterator]();
  const next = async () => Number((await lines.next()).value);
  const measure = async () => {
    loop.stdin.write('go\n');
    return await next();
  };
  try {
    const port = await next();
    const rule = {
      port,
      to: undefined,
      options: {
        enabled: true,
        timeMs: 60_000,
        intervalMs: 10_000,
        probes: 3,
        userTimeoutMs: 90_000,
      },
      lock: true,
    };
    const [plain, governed]: [number[], number[]] = [[], []];
    await measure();
    for (let round = 0; round < 2 * ROUNDS; round += 1) {
      plain.push(await measure());
      const policy = new Policy(cgroup);
      policy.replace([rule]);
      governed.push(await measure());
      policy.close();
    }
    const ratio = median(governed) / median(plain);
    say(
      `\na new connection: ${median(plain).toFixed(1)} µs plain, ${median(governed).toFixed(1)} µs`,
    );
    say(`under a policy that locks: ${ratio.toFixed(2)} times as long`);
  } finally {
    loop.stdin.end();
    await once(loop, 'exit');
    rmdirSync(cgroup);
  }
}

const total = Number(process.argv[2] ?? 20_000);
const [cpu] = os.cpus();
say(
  `${os.cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, Linux ${os.release()}, Node ${process.version}`,
);
try {
  await openSockets(total);
  benchListing();
  benchSetting();
  await benchPolicy();
} finally {
  for (const child of children) child.kill('SIGKILL');
}
