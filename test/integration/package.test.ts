/**
 * The package as others get it: packed, installed into an empty project under the oldest and the
 * newest Node it is for, and used from JavaScript, CommonJS, TypeScript and the shell; once more
 * without its only optional dependency.
 * @module
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from '../support/free-port.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const OLDEST = 24;
const NEWEST = 26;
const INSTALL_MS = 240_000;
const RUN_MS = 20_000;
const QUIET = ['--no-audit', '--no-fund', '--prefer-offline'];

const { status: pong } = spawnSync('npm', ['ping', '--fetch-retries=0'], { timeout: RUN_MS });
const skip = pong === 0 ? false : "npm's registry cannot be reached from here";

/** Holds a loopback connection before and after it is made, and lets the peer end both. */
const HOLD = `
async function hold(keepAlive, seen) {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect(server.address().port, '127.0.0.1');
  const [peer] = await once(server, 'connection');
  const options = { time: '45s', interval: '15s', probes: 3, userTimeout: '100s', name: 'db' };
  const link = keepAlive(socket, options);
  link.on('note', ({ text }) => seen.notes.push(text));
  link.on('state', ({ from, to, reason }) => seen.states.push([from, to, reason].join(' ')));
  while (link.state !== 'up') await once(link, 'state');
  const { detectsWithinMs, largestSilenceMs, remote } = link.status();
  Object.assign(seen, { detectsWithinMs, largestSilenceMs, remote });
  // The kernel's own word: timer 2 is keepalive, with the hundredths of a second until it fires.
  const place = (port) => '0100007F:' + port.toString(16).toUpperCase().padStart(4, '0');
  const ends = [place(socket.localPort), place(socket.remotePort)].join(' ');
  const row = fs.readFileSync('/proc/net/tcp', 'utf8').split('\\n')
    .find((line) => line.trim().split(/\\s+/).slice(1, 3).join(' ') === ends);
  const [kind, left] = row.trim().split(/\\s+/)[5].split(':');
  seen.kernelTimer = { kind, leftMs: Number.parseInt(left, 16) * 10 };
  peer.end();
  while (link.state !== 'down') await once(link, 'state');
  link.close();
  socket.destroy();
  server.close();
}`;

const MODULE = `
import fs from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { detectionBoundMs, formatDuration, keepAlive, resolveTiming, UsageError } from 'linkhold';
import { Keepalive } from 'linkhold/keepalive';
import { profiles } from 'linkhold/keepalive/timing';
import { PathGroup } from 'linkhold/path';
import { decodeBeat, encodeBeat } from 'linkhold/wire/beat';
${HOLD}
const seen = { node: process.versions.node, states: [], notes: [] };
await hold(keepAlive, seen);
const machine = new Keepalive({ timeMs: 1_000, intervalMs: 500, probes: 3 }, 0);
machine.handleTimeout(1_000);
seen.machine = machine.pollOutput();
seen.bound = formatDuration(detectionBoundMs(profiles.typical));
seen.group = new PathGroup({ paths: [{ name: 'a' }, { name: 'b' }] }, 0).active;
seen.sequence = decodeBeat(encodeBeat('probe', 7, new Uint8Array(16))).sequence;
try {
  resolveTiming({ time: '60' }, 'options');
} catch (error) {
  seen.refused = [error instanceof UsageError, error.code, error.message];
}
console.log(JSON.stringify(seen));
`;

const COMMON = `
const fs = require('node:fs');
const net = require('node:net');
const { once } = require('node:events');
const { keepAlive } = require('linkhold');
const { Keepalive } = require('linkhold/keepalive');
${HOLD}
const seen = { states: [], notes: [], machine: typeof Keepalive };
hold(keepAlive, seen).then(() => console.log(JSON.stringify(seen)));
`;

const WITHOUT_FFI = `
import fs from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { keepAlive, SystemError } from 'linkhold';
${HOLD}
const seen = { states: [], notes: [] };
const refusal = (error) => [error instanceof SystemError, error.code, error.message];
const server = net.createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
const connected = net.connect(server.address().port, '127.0.0.1');
await once(connected, 'connect');
try {
  keepAlive(connected).close();
  await hold(keepAlive, seen);
} catch (error) {
  seen.thrown = refusal(error);
  const link = keepAlive(net.connect(server.address().port, '127.0.0.1').unref());
  const [later] = await once(link, 'error');
  seen.told = refusal(later);
  link.close();
}
console.log(JSON.stringify(seen));
process.exit();
`;

const STRICT = `
import type { Socket } from 'node:net';
import {
  createLink, keepAlive, type KeepAliveOptions, Keepalive, type KeepaliveOutput, type Link,
  LINK_STATES, type LinkState, type LinkStatus, profiles, type Reason, REASONS, type StateEvent,
  SystemError, type Timing, UsageError, DecodeError,
} from 'linkhold';
import { Keepalive as Machine } from 'linkhold/keepalive';
import { resolveTiming } from 'linkhold/keepalive/timing';
import { PathGroup, type PathGroupOutput } from 'linkhold/path';
import { type BeatPacket, decodeBeat } from 'linkhold/wire/beat';

export function hold(socket: Socket, options: KeepAliveOptions): Link {
  const link = keepAlive(socket, options);
  link.on('state', (event: StateEvent) => {
    const state: LinkState = event.to;
    const reason: Reason = event.reason;
    console.log(state, reason, event.evidence.silentMs ?? 0);
  });
  link.on('reply', ({ rttMs }) => console.log(rttMs.toFixed(1)));
  // @ts-expect-error a state event tells no such thing
  link.on('state', ({ nothing }) => console.log(nothing));
  return link;
}
export const status: LinkStatus = createLink('tcp://127.0.0.1:1', { time: '45s' }, 'links.a').status();
export const timing: Timing = resolveTiming({ profile: 'typical', probes: 4 }, 'options');
export const machine: Keepalive = new Machine(profiles.default, 0);
export const output: KeepaliveOutput | undefined = machine.pollOutput();
export const next: PathGroupOutput | undefined = new PathGroup({ paths: [{ name: 'a' }] }, 0).pollOutput();
export const packet: BeatPacket = decodeBeat(new Uint8Array(44));
export const counts: readonly number[] = [LINK_STATES.length, REASONS.length];
export const errors: readonly unknown[] = [SystemError, UsageError, DecodeError];
// @ts-expect-error a bare number is no duration
keepAlive({} as Socket, { time: 60 });
`;

const TSCONFIG = {
  compilerOptions: {
    module: 'nodenext',
    target: 'es2024',
    lib: ['es2024'],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
    types: ['node'],
    typeRoots: [path.join(ROOT, 'node_modules/@types')],
  },
  files: ['consumer.ts'],
};

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a consumer saw; which fields depends on the consumer. */
interface Seen {
  readonly [key: string]: unknown;
  readonly kernelTimer: { readonly kind: string; readonly leftMs: number };
  readonly notes: readonly string[];
}

/** Runs to the end, within `timeout`. */
async function run(
  file: string,
  args: readonly string[],
  cwd: string,
  timeout = RUN_MS,
): Promise<Ended> {
  // The project's own Node comes first, as in a script of its package.json.
  const env = { ...process.env, PATH: `${cwd}/node_modules/.bin:${process.env['PATH']}` };
  try {
    const { stdout, stderr } = await promisify(execFile)(file, args, { cwd, env, timeout });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, signal, stdout, stderr } = error as Ended & { readonly signal: string | null };
    assert(typeof code === 'number', `${file} ${args.join(' ')}: ${signal ?? code}\n${stderr}`);
    return { code, stdout, stderr };
  }
}

async function mustRun(...args: Parameters<typeof run>): Promise<string> {
  const { code, stdout, stderr } = await run(...args);
  assert.equal(code, 0, `${args[0]} ${args[1].join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

/** Runs a consumer and reads the JSON it prints. */
async function consume(project: string, name: string, source: string): Promise<Seen> {
  writeFileSync(path.join(project, name), source);
  return JSON.parse(await mustRun('node', [name], project));
}

/** `linkhold check` of a peer that is there. */
async function checkLoopback(project: string): Promise<Ended & { readonly url: string }> {
  const server = net.createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `tcp://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  const ended = await run('linkhold', ['check', url, '--json'], project);
  server.close();
  return { url, ...ended };
}

/** The example that the package brings, moved to ports that nobody else uses. */
async function moveExample(project: string): Promise<ReadonlyMap<string, number>> {
  const example = path.join(project, 'node_modules/linkhold/examples/first-run.yaml');
  const text = readFileSync(example, 'utf8');
  const ports = new Map<string, number>();
  for (const [, port = ''] of text.matchAll(/127\.0\.0\.1:(\d+)/g)) {
    if (!ports.has(port)) ports.set(port, await freePort());
  }
  const moved = text.replaceAll(/127\.0\.0\.1:(\d+)/g, (_, port) => `127.0.0.1:${ports.get(port)}`);
  writeFileSync(path.join(project, 'linkhold.yaml'), moved);
  return ports;
}

/** Resolves once a line of the child's output matches; rejects when it ends or dawdles. */
async function said(child: ChildProcess, pattern: RegExp): Promise<void> {
  const signal = AbortSignal.timeout(RUN_MS);
  let text = '';
  for (;;) {
    const [chunk] = await Promise.race([
      once(child.stdout ?? child, 'data', { signal }),
      once(child, 'exit', { signal }).then(([code]) => assert.fail(`ended with ${code}: ${text}`)),
    ]);
    text += String(chunk);
    if (pattern.test(text)) return;
  }
}

suite('the package', { skip, timeout: 900_000 }, () => {
  const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-package-'));
  let tarball = '';

  before(async () => {
    if (skip !== false) return;
    await mustRun('npm', ['pack', '--pack-destination', home], ROOT, INSTALL_MS);
    tarball = path.join(home, globSync('*.tgz', { cwd: home })[0] ?? '');
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  for (const major of [OLDEST, NEWEST]) {
    suite(`under Node ${major}`, () => {
      const project = mkdtempSync(path.join(home, `node${major}-`));

      before(async () => {
        const manifest = { private: true, allowScripts: { koffi: true, node: true } };
        writeFileSync(path.join(project, 'package.json'), JSON.stringify(manifest));
        const wanted = ['i', ...QUIET, `node@${major}`, tarball];
        await mustRun('npm', wanted, project, INSTALL_MS);
        const installed = (await mustRun('node', ['--version'], project)).trim();
        assert.match(installed, new RegExp(`^v${major}\\.`));
      });

      test('brings nothing but itself and koffi', () => {
        const names = readdirSync(path.join(project, 'node_modules'));
        const others = names.filter((name) => !name.startsWith('.') && !/^node\b/.test(name));
        assert.deepEqual(others.toSorted(), ['@koromix', 'koffi', 'linkhold']);
      });

      test('has the licence of every package that is bundled', () => {
        const file = path.join(project, 'node_modules/linkhold/dist/cli/THIRD-PARTY-LICENSES.txt');
        const text = readFileSync(file, 'utf8');
        for (const name of ['commander', 'fastify', 'pino', 'yaml', 'zod']) {
          assert.match(
            text,
            new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\((MIT|ISC)\\)\n\n.{20}`, 'ms'),
          );
        }
      });

      test('an ES module holds a socket with values that the kernel keeps', async () => {
        const seen = await consume(project, 'consumer.mjs', MODULE);
        assert.deepEqual(seen['states'], ['unknown up heard', 'up down closed']);
        assert.deepEqual(seen.notes, []);
        assert.equal(seen['detectsWithinMs'], 105_000, 'the user timeout, at the probe after it');
        assert.equal(seen['largestSilenceMs'], 45_000);
        assert.match(String(seen['remote']), /^127\.0\.0\.1:\d+$/);
        assert.equal(seen.kernelTimer.kind, '02');
        const { leftMs } = seen.kernelTimer;
        assert(leftMs > 35_000 && leftMs <= 45_000, `the kernel's timer fires in ${leftMs} ms`);
        assert.deepEqual(seen['machine'], { type: 'probe', sequence: 1 });
        assert.equal(seen['bound'], '4m');
        assert.equal(seen['group'], 'a');
        assert.equal(seen['sequence'], 7);
        const text = 'options.time: "60" is not a duration; add a unit, for example 60s or 60ms';
        assert.deepEqual(seen['refused'], [true, 'bad-duration', text]);
      });

      test('CommonJS can require it', async () => {
        const seen = await consume(project, 'consumer.cjs', COMMON);
        assert.deepEqual(seen['states'], ['unknown up heard', 'up down closed']);
        assert.equal(seen.kernelTimer.kind, '02');
        assert.equal(seen['machine'], 'function');
      });

      test('the command checks a link and knows its version', async () => {
        const { url, code, stdout, stderr } = await checkLoopback(project);
        assert.deepEqual([code, stderr], [0, '']);
        const [verdict] = JSON.parse(stdout);
        assert.equal(verdict.url, url);
        assert.equal(verdict.state, 'up');
        assert.equal(verdict.detectsWithinMs, 90_000);
        const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
        assert.equal(await mustRun('linkhold', ['--version'], project), `${version}\n`);
      });

      test('the daemon runs the example, answers through its relay, and stops', async () => {
        const ports = await moveExample(project);
        const listen = `127.0.0.1:${ports.get('7117')}`;
        const flags = ['run', 'linkhold.yaml', '--listen', listen, '--state-dir', 'state'];
        const start = (...args: string[]) =>
          spawn(
            path.join(project, 'node_modules/.bin/node'),
            ['node_modules/.bin/linkhold', ...args],
            { cwd: project, stdio: ['ignore', 'pipe', 'inherit'] },
          );
        const other = `127.0.0.1:${ports.get('7201')}`;
        const responder = start('respond', '--listen', other, '--key', 'first-run');
        const child = start(...flags);
        try {
          await said(child, /^(?=[\s\S]*path-a .*→ up)(?=[\s\S]*path-b .*→ up)(?=[\s\S]* runs )/);
          for (const port of [ports.get('7117'), ports.get('7080')]) {
            const response = await fetch(`http://127.0.0.1:${port}/healthz`);
            assert.equal(response.status, 200);
            const { status, links } = (await response.json()) as Seen;
            assert.deepEqual({ status, links }, { status: 'ok', links: 2 });
          }
          const ended = once(child, 'exit', { signal: AbortSignal.timeout(RUN_MS) });
          child.kill('SIGTERM');
          assert.deepEqual(await ended, [0, null]);
        } finally {
          child.kill('SIGKILL');
          responder.kill('SIGKILL');
        }
      });

      test("the daemon runs the README's example too, and stops", async () => {
        const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8');
        const [, example = ''] = /```yaml\n(links:[^`]*\nrelays:[^`]*)```/.exec(readme) ?? [];
        const relay = `127.0.0.1:${await freePort()}`;
        writeFileSync(path.join(project, 'readme.yaml'), example.replace('127.0.0.1:6432', relay));
        const good = await mustRun('linkhold', ['run', '--check', 'readme.yaml'], project);
        assert.equal(good, 'readme.yaml: good, 2 links, 1 groups, 1 relays\n');
        const listen = `127.0.0.1:${await freePort()}`;
        const child = spawn(
          path.join(project, 'node_modules/.bin/node'),
          ['node_modules/.bin/linkhold', 'run', 'readme.yaml', '--listen', listen].concat([
            '--state-dir',
            'readme-state',
          ]),
          { cwd: project, stdio: ['ignore', 'pipe', 'inherit'] },
        );
        try {
          await said(child, / runs readme\.yaml/);
          const page = await fetch(`http://${listen}/`);
          assert.deepEqual([page.status, page.ok], [200, true]);
          assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
          assert.match(await page.text(), /<title>[^<]*[Ll]inkhold/);
          const [host, port] = relay.split(':');
          const socket = net.connect(Number(port), host).on('error', () => undefined);
          await once(socket, 'connect', { signal: AbortSignal.timeout(RUN_MS) });
          socket.destroy();
          const ended = once(child, 'exit', { signal: AbortSignal.timeout(RUN_MS) });
          child.kill('SIGTERM');
          assert.deepEqual(await ended, [0, null]);
        } finally {
          child.kill('SIGKILL');
        }
      });

      test('the process of relays lies beside the command, and waits for its turn', async () => {
        const program = 'node_modules/linkhold/dist/cli/relay-process.js';
        const child = spawn(path.join(project, 'node_modules/.bin/node'), [program], {
          cwd: project,
          stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
        });
        const control = child.stdio[3] as Duplex;
        try {
          const signal = AbortSignal.timeout(RUN_MS);
          const [news] = await once(control, 'data', { signal });
          assert.deepEqual(JSON.parse(String(news)), { news: 'standing-by' });
          const ended = once(child, 'exit', { signal });
          control.end();
          assert.deepEqual(await ended, [0, null], 'without a daemon it has nothing to do');
        } finally {
          child.kill('SIGKILL');
        }
      });

      test('doctor finds all that the daemon needs, and the manual page is there', async () => {
        const args = ['doctor', '--json', '--state-dir', 'state'];
        const { abilities } = JSON.parse(await mustRun('linkhold', args, project));
        const names = abilities.filter(({ there }: Seen) => there).map(({ name }: Seen) => name);
        for (const name of ['node', 'state-directory', 'tcp-keepalive', 'system-calls']) {
          assert(names.includes(name), name);
        }
        const page = path.join(project, 'node_modules/linkhold/dist/man/linkhold.1');
        assert.match(readFileSync(page, 'utf8'), /^\.TH LINKHOLD 1 [\s\S]*\n\.SS "doctor /);
      });

      if (major === NEWEST) {
        test('a strict TypeScript consumer compiles, libraries checked too', async () => {
          writeFileSync(path.join(project, 'consumer.ts'), STRICT);
          writeFileSync(path.join(project, 'tsconfig.json'), JSON.stringify(TSCONFIG));
          await mustRun('node', [path.join(ROOT, 'node_modules/typescript/bin/tsc')], project);
        });
      }

      suite('without koffi', () => {
        before(() => {
          for (const name of ['koffi', '@koromix']) {
            rmSync(path.join(project, 'node_modules', name), { recursive: true });
          }
        });

        const why = /the koffi package cannot be loaded .*npm install koffi/;

        if (major === OLDEST) {
          test('keepAlive refuses in one clear line, thrown or as an error event', async () => {
            const seen = await consume(project, 'without.mjs', WITHOUT_FFI);
            for (const refusal of [seen['thrown'], seen['told']] as [boolean, string, string][]) {
              assert.deepEqual(refusal.slice(0, 2), [true, 'ffi-missing']);
              assert.match(refusal[2], why);
              assert(!refusal[2].includes('\n'));
            }
          });

          test('the command blames the machine, with exit code 3, and not the link', async () => {
            const { code, stdout, stderr } = await checkLoopback(project);
            assert.equal(code, 3, stderr);
            assert.equal(stdout, '');
            assert.match(stderr, why);
            assert.equal(stderr.trim().split('\n').length, 1, stderr);
          });
        } else {
          test('keepAlive holds all the same, and a note says what is missing', async () => {
            const seen = await consume(project, 'without.mjs', WITHOUT_FFI);
            assert.deepEqual(seen['states'], ['unknown up heard', 'up down closed']);
            assert.match(seen.notes[0] ?? '', why);
            const { kind, leftMs } = seen.kernelTimer;
            assert(kind === '02' && leftMs > 35_000 && leftMs <= 45_000, `${kind}: ${leftMs} ms`);
          });

          test('doctor says that nothing can be read back, and the daemon can run', async () => {
            const args = ['doctor', '--json', '--state-dir', 'state'];
            const { abilities } = JSON.parse(await mustRun('linkhold', args, project));
            const detail = (name: string) =>
              abilities.find((one: Seen) => one['name'] === name)?.detail;
            assert.match(detail('tcp-keepalive'), /cannot be read back/);
            for (const name of ['system-calls', 'splice', 'reset']) assert.match(detail(name), why);
          });

          test('the command checks the link, and says on stderr what is missing', async () => {
            const { code, stdout, stderr } = await checkLoopback(project);
            assert.equal(code, 0, stderr);
            assert.equal(JSON.parse(stdout)[0].state, 'up');
            assert.match(stderr, why);
          });
        }
      });
    });
  }
});
