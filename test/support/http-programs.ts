/**
 * Real HTTP servers on loopback, each with a configuration of its own in a directory of its own: the
 * services of this machine are not touched. A server and its workers are one process group, so that
 * all of it can be stopped, continued and ended.
 * @module
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryDirectory } from './cli.ts';
import { freePort } from './free-port.ts';

/** Long enough for a process to start on a busy machine. */
const START_MS = 15_000;
const APACHE_MODULES = '/usr/lib/apache2/modules';

/** A server that runs. */
export interface HttpProgram {
  readonly port: number;
  /** Signals all of its processes. */
  signal(name: NodeJS.Signals): void;
  /** Ends it by force, and starts it again on the same port. */
  restart(): Promise<void>;
  /** Ends it by force, and waits for its end. */
  kill(): Promise<void>;
}

/** Why a command is not to be had, or `false`. */
export function commandMissing(name: string, ...args: string[]): string | false {
  const found = spawnSync(name, args, { stdio: 'ignore' }).error === undefined;
  return found ? false : `needs the command ${name} (Debian: nginx-light, apache2-bin, openssl)`;
}

async function listening(port: number, child: ChildProcess, errors: () => string): Promise<void> {
  const end = performance.now() + START_MS;
  for (;;) {
    assert.equal(child.exitCode, null, `${child.spawnfile} ended: ${errors()}`);
    const socket = net.connect(port, '127.0.0.1');
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (open) return;
    assert(performance.now() < end, `${child.spawnfile} does not listen: ${errors()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function run(
  t: TestContext,
  port: number,
  command: readonly [string, ...string[]],
): Promise<HttpProgram> {
  const [name, ...args] = command;
  let child: ChildProcess | undefined;
  const signal = (what: NodeJS.Signals) => {
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    process.kill(-child.pid, what);
  };
  const start = async () => {
    let errors = '';
    child = spawn(name, args, { detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    await listening(port, child, () => errors);
  };
  const kill = async () => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    signal('SIGKILL');
    await ended;
  };
  t.after(kill);
  await start();
  const restart = async () => {
    await kill();
    await start();
  };
  return { port, signal, restart, kill };
}

/** nginx; `lines` go into its server block, `listens` follows its port. */
export async function startNginx(
  t: TestContext,
  lines: readonly string[],
  listens = '',
): Promise<HttpProgram> {
  const home = temporaryDirectory(t);
  // Its workers are another user's.
  chmodSync(home, 0o755);
  const port = await freePort();
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const config = [
    `daemon off; worker_processes 1; pid ${home}/pid; error_log stderr crit;`,
    'events { worker_connections 256; }',
    'http { access_log off;',
    ...places.map((place) => `${place}_temp_path ${home}/${place};`),
    `server { listen 127.0.0.1:${port}${listens};`,
    ...lines,
    "location / { return 200 'ok'; } } }",
  ];
  const file = path.join(home, 'nginx.conf');
  writeFileSync(file, config.join('\n'));
  return await run(t, port, ['nginx', '-c', file, '-p', home, '-e', 'stderr']);
}

/** Apache with one kind of process and the directives that are passed. */
export async function startApache(t: TestContext, lines: readonly string[]): Promise<HttpProgram> {
  const home = temporaryDirectory(t);
  chmodSync(home, 0o755);
  const port = await freePort();
  const root = path.join(home, 'htdocs');
  mkdirSync(root);
  writeFileSync(path.join(root, 'index.html'), 'ok');
  const modules = ['mpm_event', 'authz_core', 'dir'];
  const config = [
    ...modules.map((name) => `LoadModule ${name}_module ${APACHE_MODULES}/mod_${name}.so`),
    `ServerRoot ${home}`,
    'ServerName localhost',
    'User www-data',
    'Group www-data',
    `Listen 127.0.0.1:${port}`,
    `PidFile ${home}/pid`,
    `DefaultRuntimeDir ${home}`,
    'ErrorLog /dev/null',
    'DirectoryIndex index.html',
    `DocumentRoot ${root}`,
    ...lines,
  ];
  const file = path.join(home, 'apache.conf');
  writeFileSync(file, `${config.join('\n')}\n`);
  return await run(t, port, ['apache2', '-f', file, '-DFOREGROUND']);
}

/**
 * Node's own server in a process of its own; `options` and `headers` are source text. A busy one
 * answers nobody for 30 ms at a time, in between for as long, so that what is due and what arrives
 * come together.
 */
export async function startNode(
  t: TestContext,
  options = '{}',
  headers = '{}',
  busy = false,
): Promise<HttpProgram> {
  const port = await freePort();
  const cell = 'new Int32Array(new SharedArrayBuffer(4))';
  const work = `const work = () => {
    Atomics.wait(${cell}, 0, 0, 30);
    setTimeout(work, 60 * Math.random());
  };
  work();`;
  const source = `require('node:http').createServer(${options}, (req, res) => {
    req.resume().once('end', () => { res.writeHead(200, ${headers}); res.end('ok'); });
  }).listen(${port}, '127.0.0.1');
  ${busy ? work : ''}`;
  return await run(t, port, [process.execPath, '-e', source]);
}
