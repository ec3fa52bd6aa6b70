/**
 * `node bench/relay.ts [row…]`: the relay beside HAProxy (splicing, one thread), nginx (stream, one
 * worker), socat (a process a connection) and a pipe of Node's streams: bytes, round trips, connections,
 * idle connections, and what becomes of connections when the carrying process is killed. In each round
 * each has its turn; printed are medians, and the median of the rounds' ratios to HAProxy with their
 * range. Processor time is that of the carrying processes by /proc, to a hundredth of a second; of the
 * daemon beside ours there is a line of its own. Load and server are `relay-load.go` (Debian:
 * golang-go). Nothing is asserted: the ratios say more than the figures of a small machine.
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSeconds, memoryMb } from './process-cost.ts';
import { CONTENDERS, type Contender, type Rival } from './relay-rivals.ts';

const ROUNDS = 5;
const SECONDS = 2;
const KILLS = 10;
const BUSY = 100;
/** Two descriptors each in the relay, and one in each of load and server. */
const IDLE = 9_000;
const SETTLE_MS = 500;
/** A relay that lived so short would not be replaced at once. */
const BETWEEN_KILLS_MS = 1_500;
const LOAD_MS = 60_000;

type Figures = Readonly<Record<string, number>>;

const print = (line: string) => process.stdout.write(`${line}\n`);
const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle - 1)] ?? 0)) / 2;
};

const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-relay-load-'));
const program = path.join(home, 'relay-load');
const children = new Set<ChildProcess>();
const rivals = new Set<Rival>();

function buildLoad(): string | false {
  const cache = path.join(import.meta.dirname, '../node_modules/.cache/linkhold-go');
  const env = { ...process.env, CGO_ENABLED: '0', GO111MODULE: 'off', GOCACHE: cache };
  const source = path.join(import.meta.dirname, 'relay-load.go');
  const { error, status, stderr } = spawnSync('go', ['build', '-o', program, source], { env });
  if (error !== undefined) return 'needs go (Debian: golang-go)';
  return status === 0 ? false : String(stderr);
}

/** The load program; what it says comes by lines. */
class Load {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #unread: string[] = [];
  readonly #gone = new AbortController();

  constructor(...args: (string | number)[]) {
    this.#child = spawn(program, args.map(String), { stdio: ['pipe', 'pipe', 'inherit'] });
    children.add(this.#child);
    this.#lines = createInterface(this.#child.stdout as NodeJS.ReadableStream);
    this.#lines.on('line', (line) => this.#unread.push(line));
    this.#child.once('exit', (code) => {
      if (code !== 0) this.#gone.abort(new Error(`the load ended: ${code}`));
    });
  }

  async line(): Promise<string> {
    const signal = AbortSignal.any([AbortSignal.timeout(LOAD_MS), this.#gone.signal]);
    if (this.#unread.length === 0) await once(this.#lines, 'line', { signal });
    return this.#unread.shift() ?? '';
  }

  async result(): Promise<Figures> {
    return JSON.parse(await this.line()) as Figures;
  }

  tell(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      await once(this.#child, 'exit');
    }
    children.delete(this.#child);
  }
}

/** Processor seconds of those that carry, and of all others of a rival. */
async function cpuOf(rival: Rival): Promise<{ carriers: number; others: number }> {
  const carriers = await rival.carriers();
  const sum = (pids: readonly number[]) =>
    pids.reduce((total, pid) => {
      try {
        const { own, reaped } = cpuSeconds(pid);
        return total + own + reaped;
      } catch {
        // One that has ended meanwhile is in the sum of its parent.
        return total;
      }
    }, 0);
  return {
    carriers: sum(carriers),
    others: sum(rival.all().filter((pid) => !carriers.includes(pid))),
  };
}

/** One turn of a load that says `begin` and ends by itself. */
async function turn(
  rival: Rival,
  mode: string,
  connections: number,
): Promise<{ result: Figures; cpu: number; others: number }> {
  const load = new Load(mode, connections, SECONDS, rival.port);
  await load.line();
  const before = await cpuOf(rival);
  const result = await load.result();
  const after = await cpuOf(rival);
  await load.stop();
  return {
    result,
    cpu: after.carriers - before.carriers,
    others: (after.others - before.others) / (result['seconds'] ?? 1),
  };
}

async function bulk(rival: Rival, connections: number): Promise<Figures> {
  const { result, cpu, others } = await turn(rival, 'bulk', connections);
  const { mb = 0, seconds = 1 } = result;
  return { 'MB/s': mb / seconds, 'CPU s/GB': cpu / (mb / 1_000), 'cores beside': others };
}

async function trips(rival: Rival, connections: number): Promise<Figures> {
  const { result, cpu, others } = await turn(rival, 'trips', connections);
  const { trips: count = 0, seconds = 1, p50Us = 0, p99Us = 0 } = result;
  return {
    'p50 µs': p50Us,
    'p99 µs': p99Us,
    'trips/s': count / seconds,
    'CPU µs/trip': (cpu * 1e6) / count,
    'cores beside': others,
  };
}

async function connects(rival: Rival, clients: number): Promise<Figures> {
  const { result, cpu, others } = await turn(rival, 'connects', clients);
  const { connects: count = 0, seconds = 1, failed = 0 } = result;
  return {
    'connections/s': count / seconds,
    'CPU µs/connection': (cpu * 1e6) / count,
    failed,
    'cores beside': others,
  };
}

/** Memory in KB; shared pages are counted in each process by `rss`, and once by `pss`. */
function memory(pids: readonly number[]): { rss: number; pss: number } {
  const sum = (read: (pid: number) => number) => pids.reduce((total, pid) => total + read(pid), 0);
  return {
    rss: sum((pid) => memoryMb(pid, 'VmRSS')) * 1_024,
    pss: sum((pid) => {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      return Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1]);
    }),
  };
}

async function idle(rival: Rival, { mostIdle }: Contender): Promise<Figures> {
  await sleep(SETTLE_MS);
  const before = memory(await rival.carriers());
  const load = new Load('idle', Math.min(IDLE, mostIdle), rival.port);
  const { open = 0 } = await load.result();
  await sleep(SETTLE_MS);
  const after = memory(await rival.carriers());
  const all = memory(rival.all());
  await load.stop();
  return {
    connections: open,
    'RSS KB/connection': (after.rss - before.rss) / open,
    'PSS KB/connection': (after.pss - before.pss) / open,
    'carriers RSS MB': after.rss / 1_024,
    'all RSS MB': all.rss / 1_024,
    'all PSS MB': all.pss / 1_024,
  };
}

/** The carrying processes of a rival are killed; ours is at once ready for the next time. */
async function kill(rival: Rival, times: number): Promise<Figures[]> {
  const load = new Load('kill', BUSY, rival.port);
  await load.line();
  const figures: Figures[] = [];
  for (let time = 0; time < times; time += 1) {
    await sleep(BETWEEN_KILLS_MS);
    // Not its keeper: that is there for this.
    const pids = await rival.carriers();
    load.tell((times > 1 ? pids.slice(0, 1) : pids).join(' '));
    const { lost = 0, medianUs = 0, worstUs = 0 } = await load.result();
    const gap = lost < BUSY ? { 'gap ms': medianUs / 1e3, 'worst gap ms': worstUs / 1e3 } : {};
    figures.push({ 'lost of 100': lost, ...gap });
  }
  await load.stop();
  return figures;
}

type Results = Map<string, Figures[]>;

const OURS = CONTENDERS[0]?.name ?? '';
const RIVAL = CONTENDERS[1]?.name ?? '';

function cell(value: number): string {
  if (Number.isNaN(value)) return '-';
  if (value === 0 || Math.abs(value) >= 1_000) return value.toFixed(0);
  return Number(value.toPrecision(3)).toString();
}

function tell(row: string, results: Results): void {
  const names = [...results.keys()];
  const figures = new Set([...results.values()].flat().flatMap((one) => Object.keys(one)));
  for (const figure of figures) {
    const values = (name: string) =>
      (results.get(name) ?? []).map((one) => one[figure] ?? Number.NaN);
    const cells = CONTENDERS.map(({ name }) =>
      names.includes(name) ? cell(median(values(name))) : '-',
    );
    const ratios = values(OURS)
      .map((value, round) => value / (values(RIVAL)[round] ?? Number.NaN))
      .filter(Number.isFinite);
    const [least, most] = [Math.min(...ratios), Math.max(...ratios)].map((r) => r.toFixed(2));
    const ratio = ratios.length === 0 ? '' : `${median(ratios).toFixed(2)} (${least}–${most})`;
    const columns = cells.map((text) => text.padStart(10)).join('');
    print(`${row.padEnd(10)}${figure.padEnd(19)}${columns}   ${ratio}`);
  }
}

type Measure = (rival: Rival, contender: Contender) => Promise<Figures[]>;

/** A rival for each turn is a new one: for what leaves traces in it. */
const ROWS: Readonly<Record<string, { rounds: number; fresh: boolean; measure: Measure }>> = {
  'bulk-1': { rounds: ROUNDS, fresh: false, measure: async (rival) => [await bulk(rival, 1)] },
  'bulk-8': { rounds: ROUNDS, fresh: false, measure: async (rival) => [await bulk(rival, 8)] },
  'trips-1': { rounds: ROUNDS, fresh: false, measure: async (rival) => [await trips(rival, 1)] },
  'trips-50': { rounds: ROUNDS, fresh: false, measure: async (rival) => [await trips(rival, 50)] },
  connects: { rounds: ROUNDS, fresh: false, measure: async (rival) => [await connects(rival, 8)] },
  idle: {
    rounds: 4,
    fresh: true,
    measure: async (rival, contender) => [await idle(rival, contender)],
  },
  kill: {
    rounds: 1,
    fresh: true,
    measure: (rival, { name }) => kill(rival, name === OURS ? KILLS : 1),
  },
};

async function runRow(
  name: string,
  row: (typeof ROWS)[string],
  contenders: readonly Contender[],
  ports: ReadonlyMap<string, number>,
): Promise<void> {
  const results: Results = new Map(contenders.map((one) => [one.name, []]));
  const start = async (contender: Contender) => {
    const rival = await contender.start(ports.get(contender.name) ?? 0);
    rivals.add(rival);
    return rival;
  };
  const stop = async (rival: Rival) => {
    await rival.stop();
    rivals.delete(rival);
  };
  const held = row.fresh ? [] : await Promise.all(contenders.map(start));
  for (let round = 0; round < row.rounds; round += 1) {
    for (let place = 0; place < contenders.length; place += 1) {
      // Who goes first changes: a machine that grows busy favours nobody.
      const which = (place + round) % contenders.length;
      const contender = contenders[which] as Contender;
      const rival = held[which] ?? (await start(contender));
      results.get(contender.name)?.push(...(await row.measure(rival, contender)));
      if (row.fresh) await stop(rival);
    }
  }
  for (const rival of held) await stop(rival);
  tell(name, results);
}

function versions(): string {
  const first = (command: string, flag: string, line: number) => {
    const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` };
    const { stdout, stderr } = spawnSync(command, [flag], { env, encoding: 'utf8' });
    return /version:? \S*?(\d[\d.]*)/i.exec(`${stdout}${stderr}`.split('\n')[line] ?? '')?.[1];
  };
  const others = `haproxy ${first('haproxy', '-v', 0)}, nginx ${first('nginx', '-v', 0)}`;
  return `Linux ${os.release()}, Node ${process.version}, ${others}, socat ${first('socat', '-V', 1)}`;
}

async function main(asked: readonly string[]): Promise<void> {
  const unknown = asked.filter((name) => !Object.hasOwn(ROWS, name));
  if (unknown.length > 0) {
    print(`no row ${unknown.join(', ')}; there are ${Object.keys(ROWS).join(', ')}`);
    process.exitCode = 2;
    return;
  }
  const missing = buildLoad();
  if (missing !== false) {
    print(missing);
    process.exitCode = 3;
    return;
  }
  for (const { name, missing } of CONTENDERS) if (missing !== false) print(`${name}: ${missing}`);
  const contenders = CONTENDERS.filter(({ missing }) => missing === false);
  const server = new Load('serve', contenders.length);
  const numbers = (await server.line()).split(' ').map(Number);
  const ports = new Map(contenders.map(({ name }, index) => [name, numbers[index] ?? 0]));
  print(`${versions()}; ${os.availableParallelism()} processors`);
  print(`load before: ${readFileSync('/proc/loadavg', 'utf8').trim()}`);
  print(
    `${ROUNDS} rounds of ${SECONDS} s (idle: 4 rounds), ${IDLE} idle connections (socat 500), ${KILLS} kills`,
  );
  const heads = CONTENDERS.map(({ name }) => name.padStart(10)).join('');
  print(`\n${''.padEnd(29)}${heads}   ${OURS}/${RIVAL}`);
  for (const [name, row] of Object.entries(ROWS)) {
    if (asked.length === 0 || asked.includes(name)) await runRow(name, row, contenders, ports);
  }
  print(`\nload after: ${readFileSync('/proc/loadavg', 'utf8').trim()}`);
}

async function cleanUp(): Promise<void> {
  for (const rival of rivals) await rival.stop();
  for (const child of children) child.kill('SIGKILL');
  rmSync(home, { recursive: true, force: true });
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => cleanUp().finally(() => process.exit(130)));
}
try {
  await main(process.argv.slice(2));
} finally {
  await cleanUp();
}
process.exit();
