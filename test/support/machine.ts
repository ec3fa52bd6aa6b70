/**
 * A machine in the machine: a network namespace and a control group of its own, programs that live
 * in both, our command run inside with the rights one chooses, and two witnesses that are not ours:
 * `ss`, and what a borrowed descriptor answers. Everything is removed at the end, also when a test
 * fails.
 * @module
 */
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type CliOptions, type CliProcess, type CliResult, startCli } from './cli.ts';
import { Lab, labMissing, Peer, START_MS } from './lab.ts';

const run = promisify(execFile);

/** Debian's own: one of a user's home is no program for `nobody`. It starts without what is not needed. */
export const PYTHON: readonly [string, ...string[]] = ['/usr/bin/python3', '-I', '-S'];
const TOOLS = ['ss', 'nsenter', 'setpriv', 'unshare', PYTHON[0]];
const CAPABILITIES = { net_admin: 12, sys_ptrace: 19, sys_admin: 21, perfmon: 38, bpf: 39 };
export type Capability = keyof typeof CAPABILITIES;
const READ_OPTIONS = path.join(import.meta.dirname, 'read-options.py');
const SOCKET_PROGRAM = path.join(import.meta.dirname, 'peer-socket.py');
/** Moves itself to a control group, and becomes the program. */
const MOVE = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"';
const BPFFS = '/sys/fs/bpf';

/** Runs what follows as nobody, and as root with these capabilities alone. */
export const NOBODY: readonly string[] = [
  'setpriv',
  '--reuid=65534',
  '--regid=65534',
  '--clear-groups',
];
export function only(...names: readonly Capability[]): string[] {
  return ['setpriv', `--bounding-set=-all${names.map((name) => `,+${name}`).join('')}`];
}

/** Why no such machine can be made here, or `false`. */
export function machineMissing(...tools: readonly string[]): string | false {
  const lab = labMissing();
  if (lab !== false) return lab;
  for (const tool of [...TOOLS, ...tools]) if (!isThere(tool)) return `needs the command ${tool}`;
  const effective = /CapEff:\s*([\da-f]+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  for (const [name, bit] of Object.entries(CAPABILITIES)) {
    const has = (BigInt(`0x${effective}`) >> BigInt(bit)) & 1n;
    if (has === 0n) return `needs CAP_${name.toUpperCase()}`;
  }
  if (!isReadable('/sys/kernel/btf/vmlinux')) return 'needs a kernel that describes itself (BTF)';
  const root = cgroupRoot();
  if (root === undefined) return 'needs a cgroup2 filesystem';
  const probe = path.join(root, `lh${process.pid}-probe`);
  try {
    mkdirSync(probe);
    rmdirSync(probe);
  } catch (error) {
    return `cannot make a control group: ${(error as Error).message}`;
  }
  return false;
}

/** Why our command cannot be run with these rights, or `false`: nobody must be able to read it. */
export function unrunnable(rights: readonly string[]): string | false {
  if (rights !== NOBODY || machineMissing() !== false) return machineMissing();
  const [setpriv = '', ...words] = NOBODY;
  const { status } = spawnSync(setpriv, [...words, 'test', '-r', fileURLToPath(import.meta.url)]);
  return status === 0
    ? false
    : 'needs a checkout that nobody can read, not one below a private folder';
}

function isThere(tool: string): boolean {
  const places = tool.startsWith('/') ? [''] : (process.env['PATH'] ?? '').split(':');
  return places.some((place) => isReadable(path.join(place, tool)));
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function cgroupRoot(): string | undefined {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return mounts.map((line) => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1];
}

const LOOK_MS = 50;

/** Looks until it is so, and fails after the bound. */
export async function until<Found>(
  look: () => Promise<Found | undefined | false> | Found | undefined | false,
  what: string,
  boundMs: number = START_MS,
): Promise<Found> {
  const lateAt = performance.now() + boundMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    assert(performance.now() < lateAt, `not within ${boundMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** A program that answers orders, and the connections it has. */
export class Program extends Peer {
  #orders = 0;

  get pid(): number {
    return this.child.pid ?? -1;
  }

  /** Its answer to an order: `peer-socket.py` and `peer-socket.go` say which there are. */
  async ask(order: string): Promise<string> {
    this.#orders += 1;
    const mark = `=${this.#orders} `;
    this.tell(`${this.#orders} ${order}`);
    return (await this.line(mark, START_MS)).slice(mark.length);
  }
}

/** A connection as `ss -tnoe` tells of it. */
export interface SsRow {
  readonly state: string;
  readonly local: string;
  readonly remote: string;
  /** Of its keepalive timer, rounded up; `undefined` where that does not run. */
  readonly keepaliveSeconds: number | undefined;
  readonly cookie: string;
}

/** A connection's options, as `SO_KEEPALIVE time interval probes user-timeout`. */
export interface OptionsRow {
  readonly localPort: number;
  readonly remotePort: number;
  readonly options: string;
}

export interface CommandOptions extends Pick<CliOptions, 'env'> {
  /** `NOBODY` or `only(…)`. */
  readonly rights?: readonly string[];
  readonly pins?: PinPlace;
  /** Outside its network namespace, in that of the test. */
  readonly outside?: boolean;
}

const removals = new Set<() => void>();
process.once('exit', () => {
  for (const remove of removals) remove();
});

let machines = 0;

export class Machine {
  readonly lab: Lab;
  readonly space: string;
  /** Directory of its control group. */
  readonly cgroup: string;
  readonly #t: TestContext;
  readonly #programs: Peer[] = [];

  constructor(t: TestContext, lab: Lab = new Lab(t)) {
    machines += 1;
    this.#t = t;
    this.lab = lab;
    this.space = lab.space(`m${machines}`);
    this.cgroup = path.join(cgroupRoot() ?? '', `lh${process.pid}-${machines}`);
    mkdirSync(this.cgroup);
    const kill = () => {
      for (const { child } of this.#programs) child.kill('SIGKILL');
      writeFileSync(path.join(this.cgroup, 'cgroup.kill'), '1');
    };
    removals.add(kill);
    t.after(async () => {
      removals.delete(kill);
      kill();
      await Promise.all(this.#programs.map(({ exited }) => exited));
      await until(() => this.#removeGroups(), `${this.cgroup} is empty`);
    });
  }

  /** A control group below its own. */
  group(name: string): string {
    const directory = path.join(this.cgroup, name);
    mkdirSync(directory);
    return directory;
  }

  /** Starts a program in the namespace and in a control group, as `rights` say. */
  start(
    words: readonly string[],
    { cgroup = this.cgroup, rights = [] }: { cgroup?: string; rights?: readonly string[] } = {},
  ): Program {
    const enter = ['nsenter', `--net=/run/netns/${this.space}`, ...rights];
    const program = new Program(spawn('sh', ['-c', MOVE, 'sh', cgroup, ...enter, ...words]));
    this.#programs.push(program);
    return program;
  }

  /** Starts `peer-socket.py`. */
  async python(options: Parameters<Machine['start']>[1] = {}): Promise<Program> {
    const program = this.start([...PYTHON, SOCKET_PROGRAM], options);
    await program.line('ready', START_MS);
    return program;
  }

  /** A `peer-socket.py` that listens. */
  async listener(...places: readonly `${string} ${number}`[]): Promise<Program> {
    const program = await this.python();
    for (const place of places) assert.equal(await program.ask(`listen ${place}`), 'listening');
    return program;
  }

  /** Starts our command. */
  command(args: readonly string[], options: CommandOptions = {}): CliProcess {
    const { rights = [], pins, outside = false, env = {} } = options;
    const enter = [
      ...(outside ? [] : [`--net=/run/netns/${this.space}`]),
      ...(pins === undefined ? [] : [`--mount=/proc/${pins.pid}/ns/mnt`]),
    ];
    const under = [...(enter.length === 0 ? [] : ['nsenter', ...enter]), ...rights];
    return startCli(this.#t, args, { under, env });
  }

  /** Runs our command to its end. */
  async linkhold(args: readonly string[], options: CommandOptions = {}): Promise<CliResult> {
    return await this.command(args, options).ended(START_MS);
  }

  /** Its answer, where it must end with `code`. */
  async json<Answer>(
    args: readonly string[],
    options: CommandOptions = {},
    code = 0,
  ): Promise<Answer> {
    const result = await this.linkhold([...args, '--json'], options);
    assert.equal(result.code, code, `linkhold ${args.join(' ')}: ${result.stderr}`);
    return JSON.parse(result.stdout) as Answer;
  }

  /** Its connections with this port at either end, or all, as `ss` sees them. */
  async ss(port?: number): Promise<SsRow[]> {
    const filter = port === undefined ? [] : [`( sport = :${port} or dport = :${port} )`];
    const ss = ['ss', '-tnoeH', ...filter];
    const { stdout } = await run('nsenter', [`--net=/run/netns/${this.space}`, ...ss], {
      maxBuffer: 2 ** 26,
    });
    return stdout.split('\n').filter(Boolean).map(parseSs);
  }

  /** Its connections once there are so many. */
  async ssOnce(count: number, port: number): Promise<SsRow[]> {
    const all = async () => {
      const rows = await this.ss(port);
      return rows.length === count && rows;
    };
    return await until(all, `${count} connections of port ${port}`);
  }

  /** A bpf filesystem of its own that nobody else sees, and that goes with the test. */
  async pinPlace(): Promise<PinPlace> {
    const script = `mount -t bpf bpf ${BPFFS} && echo mounted && exec cat`;
    const holder = new Program(
      spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script]),
    );
    this.#programs.push(holder);
    await holder.line('mounted', START_MS);
    return new PinPlace(holder.pid);
  }

  #removeGroups(): boolean {
    try {
      const below = readdirSync(this.cgroup, { withFileTypes: true });
      for (const entry of below)
        if (entry.isDirectory()) rmdirSync(path.join(this.cgroup, entry.name));
      rmdirSync(this.cgroup);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
      throw error;
    }
  }
}

/** A mount namespace with a bpf filesystem, held open by a process. */
export class PinPlace {
  readonly pid: number;
  /** Where this process sees it. */
  readonly directory: string;
  /** What the kernel itself puts there. */
  readonly #first: readonly string[];

  constructor(pid: number) {
    this.pid = pid;
    this.directory = `/proc/${pid}/root${BPFFS}`;
    this.#first = this.#all();
  }

  /** All that was put there. */
  entries(): string[] {
    return this.#all().filter((name) => !this.#first.includes(name));
  }

  #all(): string[] {
    return readdirSync(this.directory, { recursive: true }).map(String);
  }
}

/** What the kernel holds for every connection of a process, asked by somebody else than us. */
export async function optionsOf(pid: number): Promise<OptionsRow[]> {
  const { stdout } = await run(PYTHON[0], [...PYTHON.slice(1), READ_OPTIONS, String(pid)], {
    maxBuffer: 2 ** 26,
  });
  type End = [address: string, port: number];
  const rows = JSON.parse(stdout) as [local: End, remote: End, ...options: number[]][];
  return rows.map(([[, localPort], [, remotePort], ...options]) => {
    return { localPort, remotePort, options: options.join(' ') };
  });
}

/** Of a line such as `ESTAB 0 0 127.0.0.1:7 127.0.0.1:4 timer:(keepalive,1min9sec,0) ino:5 sk:1f`. */
export function parseSs(line: string): SsRow {
  const [state = '', , , local = '', remote = ''] = line.split(/\s+/);
  const timer = /timer:\(keepalive,(?:(\d+)min)?(?:(\d+)(sec|\.))?(?:(\d+)ms)?,/.exec(line);
  const [, minutes = 0, seconds = 0, , ms = 0] = timer ?? [];
  const left = Number(minutes) * 60 + Number(seconds) + Math.ceil(Number(ms) / 1_000);
  return {
    state,
    local,
    remote,
    keepaliveSeconds: timer === null ? undefined : left,
    cookie: /\bsk:([\da-f]+)/.exec(line)?.[1] ?? '',
  };
}
