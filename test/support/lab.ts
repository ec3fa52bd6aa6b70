/**
 * A network of our own: namespaces joined by veth pairs, a real conntrack NAT, and nft rules that
 * cut a path silently. Everything is removed at the end, also when a test fails.
 * @module
 */
import assert from 'node:assert/strict';
import {
  type ChildProcess,
  type ChildProcessWithoutNullStreams,
  spawn,
  spawnSync,
} from 'node:child_process';
import path from 'node:path';
import type { TestContext } from 'node:test';

const ROOT = path.join(import.meta.dirname, '..', '..');

/** Until a process has started: on a busy machine it must first get its turn. */
export const START_MS = 30_000;

let labs = 0;

/** What is left to remove when the process ends before its tests do. */
const removals = new Set<() => void>();
process.once('exit', () => {
  for (const remove of removals) remove();
});

/** Why no lab can be built here, or `false`: for the `skip` of a suite. */
export function labMissing(): string | false {
  if (process.getuid?.() !== 0) return 'needs root, for network namespaces';
  for (const tool of ['ip', 'nft', 'conntrack']) {
    if (spawnSync(tool, ['-V'], { stdio: 'ignore' }).error !== undefined) {
      return `needs the command ${tool} (Debian: iproute2, nftables, conntrack)`;
    }
  }
  const probe = `lh${process.pid}probe`;
  const made = spawnSync('ip', ['netns', 'add', probe], { encoding: 'utf8' });
  spawnSync('ip', ['netns', 'del', probe], { stdio: 'ignore' });
  return made.status === 0 ? false : `cannot make a network namespace: ${made.stderr.trim()}`;
}

/** Runs a command to its end and fails loudly. */
function command(name: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(name, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${name} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** A process in a namespace, told by lines and telling lines. */
export class Peer {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  errors = '';
  readonly exited: Promise<number | null>;
  #partial = '';
  #wakers: (() => void)[] = [];

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const parts = (this.#partial + text).split('\n');
      this.#partial = parts.pop() ?? '';
      this.lines.push(...parts);
      for (const wake of this.#wakers.splice(0)) wake();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    child.stdin?.on('error', () => undefined);
    this.exited = new Promise((resolve) => child.once('exit', resolve));
  }

  /** Writes a line to its standard input. */
  tell(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** The first line, from `from` on, that contains `text`, waited for at most `withinMs`. */
  async line(text: string, withinMs: number, from = 0): Promise<string> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const found = this.lines.slice(from).find((line) => line.includes(text));
      if (found !== undefined) return found;
      const left = deadline - performance.now();
      const seen = `it said:\n${this.lines.join('\n')}\n${this.errors}`;
      assert(left > 0, `no "${text}" within ${withinMs} ms; ${seen}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wakers.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Watches that no line contains `text` for `ms`: the one thing that must be waited out. */
  async silence(text: string, ms: number, from = 0): Promise<void> {
    const end = performance.now() + ms;
    while (performance.now() < end) {
      const found = this.lines.slice(from).find((line) => line.includes(text));
      assert.equal(found, undefined, `unexpected: ${found}`);
      await pause(Math.min(100, Math.max(end - performance.now(), 1)));
    }
  }
}

/** Lets time pass, where the passing of time is what is tested (idleness, a sleeping observer). */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export class Lab {
  readonly #prefix: string;
  readonly #spaces: string[] = [];
  readonly #children: ChildProcess[] = [];

  constructor(t: TestContext | { after(body: () => void): void }) {
    labs += 1;
    this.#prefix = `lh${process.pid}-${labs}`;
    const remove = () => {
      removals.delete(remove);
      this.#remove();
    };
    t.after(remove);
    removals.add(remove);
  }

  /** A new namespace with loopback up. */
  space(name: string): string {
    const space = `${this.#prefix}${name}`;
    command('ip', 'netns', 'add', space);
    this.#spaces.push(space);
    this.run(space, 'ip', 'link', 'set', 'lo', 'up');
    return space;
  }

  /** A veth pair between two namespaces, with an address on either end. */
  join(a: string, addressA: string, b: string, addressB: string): { a: string; b: string } {
    const number = this.#spaces.length * 10 + Math.floor(Math.random() * 1e6);
    const [nameA, nameB] = [`a${number}`, `b${number}`];
    const peer = ['peer', 'name', nameB, 'netns', b];
    command('ip', 'link', 'add', nameA, 'netns', a, 'type', 'veth', ...peer);
    for (const [space, device, address] of [
      [a, nameA, addressA],
      [b, nameB, addressB],
    ] as const) {
      this.run(space, 'ip', 'addr', 'add', `${address}/24`, 'dev', device);
      this.run(space, 'ip', 'link', 'set', device, 'up');
    }
    return { a: nameA, b: nameB };
  }

  /** Runs a command in a namespace to its end. */
  run(space: string, name: string, ...args: string[]): string {
    return command('ip', 'netns', 'exec', space, name, ...args);
  }

  /** Starts one of our own TypeScript programs in a namespace; a stop of the lab ends it. */
  start(space: string, file: string, ...args: string[]): Peer {
    return new Peer(this.spawn(space, process.execPath, path.join(ROOT, file), ...args));
  }

  /** Starts any program in a namespace; a stop of the lab ends it. */
  spawn(space: string, name: string, ...args: string[]): ChildProcessWithoutNullStreams {
    const child = spawn('ip', ['netns', 'exec', space, name, ...args]);
    this.#children.push(child);
    return child;
  }

  /** Drops everything that passes through or reaches the namespace, without a word. */
  cut(space: string): void {
    this.run(space, 'nft', 'add table inet cut');
    for (const hook of ['forward', 'input', 'output']) {
      this.run(
        space,
        'nft',
        `add chain inet cut ${hook}s { type filter hook ${hook} priority -10; policy drop; }`,
      );
    }
  }

  heal(space: string): void {
    this.run(space, 'nft', 'delete table inet cut');
  }

  #remove(): void {
    for (const child of this.#children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGCONT');
      child.kill('SIGKILL');
    }
    for (const space of this.#spaces.splice(0)) {
      spawnSync('ip', ['netns', 'del', space], { stdio: 'ignore' });
    }
  }
}

export interface NatLab {
  readonly lab: Lab;
  readonly client: string;
  readonly router: string;
  readonly server: string;
  readonly serverAddress: string;
}

/** client – router with masquerade and conntrack – server, where only the NAT connects both. */
export function natLab(t: TestContext, idleTimeoutSeconds: number): NatLab {
  const lab = new Lab(t);
  const client = lab.space('c');
  const router = lab.space('r');
  const server = lab.space('s');
  const serverAddress = '10.77.2.2';
  lab.join(client, '10.77.1.2', router, '10.77.1.1');
  const out = lab.join(router, '10.77.2.1', server, serverAddress);
  lab.run(client, 'ip', 'route', 'add', 'default', 'via', '10.77.1.1');
  lab.run(router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  const rules = [
    'add table ip nat',
    'add chain ip nat post { type nat hook postrouting priority srcnat; }',
    `add rule ip nat post oifname "${out.a}" masquerade`,
    'add table ip guard',
    'add chain ip guard forwards { type filter hook forward priority 0; policy accept; }',
    'add rule ip guard forwards ct state invalid drop',
    // As a home router does: what belongs to no binding is dropped, not answered by a RST.
    'add chain ip guard inputs { type filter hook input priority 0; policy drop; }',
  ];
  for (const rule of rules) lab.run(router, 'nft', rule);
  lab.run(
    router,
    'sysctl',
    '-qw',
    `net.netfilter.nf_conntrack_tcp_timeout_established=${idleTimeoutSeconds}`,
    'net.netfilter.nf_conntrack_tcp_loose=0',
    'net.netfilter.nf_conntrack_tcp_be_liberal=0',
  );
  return { lab, client, router, server, serverAddress };
}
