/**
 * Relays to be compared, each with one listener in front of one target: Linkhold as users run it, and
 * others. Knows how each is started and which of its processes do what, and nothing of what is measured.
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../test/support/free-port.ts';

const LINKHOLD = path.join(import.meta.dirname, '../bin/linkhold');
const HOST = '127.0.0.1';
const START_MS = 20_000;
const LOOK_EVERY_MS = 20;
const NGINX_STREAM = [
  '/usr/lib/nginx/modules/ngx_stream_module.so',
  '/usr/lib64/nginx/modules/ngx_stream_module.so',
].find((file) => existsSync(file));
/** Debian puts servers where only root looks. */
const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` };

/** One that runs. */
export interface Rival {
  readonly port: number;
  /** The processes that carry connections, now. */
  carriers(): Promise<number[]>;
  /** All of its processes, now. */
  all(): number[];
  stop(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  /** Why it cannot take part, or `false`. */
  readonly missing: string | false;
  /** Connections that it is asked to hold at once: one with a process for each is spared. */
  readonly mostIdle: number;
  /** Starts it in front of a port of 127.0.0.1; done once it answers. */
  start(target: number): Promise<Rival>;
}

/** A process and all that descend from it. */
function familyOf(pid: number): number[] {
  try {
    const tasks = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    const children = tasks === '' ? [] : tasks.split(' ').map(Number);
    return [pid, ...children.flatMap(familyOf)];
  } catch {
    // It has ended meanwhile.
    return [];
  }
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}

/** Whether one byte comes back. */
async function answers(port: number): Promise<boolean> {
  const socket = net.connect({ host: HOST, port });
  try {
    socket.write('?');
    await once(socket, 'data', { signal: AbortSignal.timeout(1_000) });
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + START_MS;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`${what} in ${START_MS} ms`);
    await sleep(LOOK_EVERY_MS);
  }
}

/** Waits until it answers; says what it wrote if it does not. */
async function running(child: ChildProcess, port: number): Promise<number> {
  let words = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    words = (words + String(chunk)).slice(-1_000);
  });
  try {
    await until('no answer', async () => child.exitCode === null && (await answers(port)));
  } catch (error) {
    killAll(familyOf(child.pid ?? 0));
    throw new Error(`${child.spawnfile}: ${(error as Error).message}: ${words}`);
  }
  return child.pid ?? 0;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

/** Of a command that is one family of processes and needs perhaps a file. */
function plain(
  command: string,
  make: (port: number, target: number, home: string) => readonly string[],
): (target: number) => Promise<Rival> {
  return async (target) => {
    const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-rival-'));
    const port = await freePort();
    const args = make(port, target, home);
    const child = spawn(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
    const pid = await running(child, port);
    return {
      port,
      carriers: async () => familyOf(pid),
      all: () => familyOf(pid),
      stop: async () => {
        killAll(familyOf(pid));
        await ended(child);
        rmSync(home, { recursive: true, force: true });
      },
    };
  };
}

/** The whole daemon; the process that carries is the one that its API names, with its keeper. */
async function startLinkhold(target: number): Promise<Rival> {
  const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-bench-'));
  const [port, api] = [await freePort(), `${HOST}:${await freePort()}`];
  const file = path.join(home, 'linkhold.yaml');
  writeFileSync(
    file,
    `links: { server: { url: "tcp://${HOST}:${target}" } }
groups: { servers: { paths: [ { link: server } ] } }
relays: { bench: { listen: "${HOST}:${port}", group: servers } }\n`,
  );
  const args = ['run', file, '--state-dir', home, '--listen', api];
  const child = spawn(LINKHOLD, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const pid = await running(child, port);
  const relay = async () => {
    const answer = await fetch(`http://${api}/api/v1/relays`);
    const { items } = (await answer.json()) as { items: { pid: number }[] };
    return items[0]?.pid ?? 0;
  };
  // The next relay is there too: what is measured later is not its start.
  await until('no relay stands by', async () => familyOf(pid).length >= 4);
  return {
    port,
    carriers: async () => familyOf(await relay()),
    all: () => familyOf(pid),
    stop: async () => {
      process.kill(pid, 'SIGTERM');
      await ended(child);
      rmSync(home, { recursive: true, force: true });
    },
  };
}

const haproxy = plain('haproxy', (port, target, home) => {
  const file = path.join(home, 'haproxy.cfg');
  // Pipes are bounded, or their descriptors would be reserved for each connection.
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 9200
  maxpipes 256
defaults
  mode tcp
  backlog 4096
  timeout connect 5s
  timeout client 10m
  timeout server 10m
listen bench
  bind ${HOST}:${port}
  option splice-auto
  server target ${HOST}:${target}\n`,
  );
  return ['-db', '-f', file];
});

const nginx = plain('nginx', (port, target, home) => {
  const file = path.join(home, 'nginx.conf');
  writeFileSync(
    file,
    `load_module ${NGINX_STREAM};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${home}/pid;
events { worker_connections 19000; }
stream {
  server {
    listen ${HOST}:${port} backlog=4096;
    proxy_pass ${HOST}:${target};
    proxy_buffer_size 64k;
  }
}\n`,
  );
  return ['-c', file, '-e', 'stderr'];
});

const socat = plain('socat', (port, target) => [
  '-b65536',
  `TCP4-LISTEN:${port},bind=${HOST},reuseaddr,fork,backlog=4096,nodelay`,
  `TCP4:${HOST}:${target},nodelay`,
]);

/** Each side is piped to the other; an error ends both. */
const NODE_PIPE = `
const net = require('node:net');
const [port, target] = process.argv.slice(1).map(Number);
const both = { allowHalfOpen: true, noDelay: true };
net.createServer(both, (client) => {
  const upstream = net.connect({ host: '${HOST}', port: target, ...both });
  for (const socket of [client, upstream]) {
    socket.on('error', () => { client.destroy(); upstream.destroy(); });
  }
  client.pipe(upstream).pipe(client);
}).listen({ host: '${HOST}', port, backlog: 4096 });`;

const nodePipe = plain(process.execPath, (port, target) => [
  '-e',
  NODE_PIPE,
  String(port),
  String(target),
]);

function lacks(command: string, debian: string): string | false {
  const { error } = spawnSync(command, ['-v'], { env, stdio: 'ignore' });
  return error === undefined ? false : `needs ${command} (Debian: ${debian})`;
}

const noStream =
  NGINX_STREAM === undefined && "needs nginx's stream module (Debian: libnginx-mod-stream)";

/** Ours is the first, and the second is who the others are compared with. */
export const CONTENDERS: readonly Contender[] = [
  { name: 'linkhold', missing: false, mostIdle: Infinity, start: startLinkhold },
  { name: 'haproxy', missing: lacks('haproxy', 'haproxy'), mostIdle: Infinity, start: haproxy },
  {
    name: 'nginx',
    missing: noStream || lacks('nginx', 'nginx-light'),
    mostIdle: Infinity,
    start: nginx,
  },
  { name: 'socat', missing: lacks('socat', 'socat'), mostIdle: 500, start: socat },
  { name: 'node pipe', missing: false, mostIdle: Infinity, start: nodePipe },
];
