/**
 * A connection through a relay outlives the relay's process, the daemon, and an upgrade of both; told to
 * stop, the daemon ends it.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { ffiMissing } from '../../src/sys/libc.ts';
import {
  apiAnswer,
  type CliProcess,
  runCli,
  startCli,
  temporaryDirectory,
} from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { eventually } from '../support/scripted-http.ts';

const BOUND_MS = 20_000;

interface Rig {
  readonly api: string;
  readonly args: readonly string[];
  readonly directory: string;
  readonly relay: number;
}

async function rig(t: TestContext): Promise<Rig> {
  const server = net.createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const directory = temporaryDirectory(t);
  const [relay, listen] = [await freePort(), `127.0.0.1:${await freePort()}`];
  const file = path.join(directory, 'linkhold.yaml');
  writeFileSync(
    file,
    `links: { a: { url: "tcp://127.0.0.1:${port}" } }
groups: { g: { paths: [ { link: a } ] } }
relays: { r: { listen: "127.0.0.1:${relay}", group: g } }\n`,
  );
  const args = ['run', file, '--state-dir', directory, '--listen', listen];
  return { api: `http://${listen}/api/v1/relays`, args, directory, relay };
}

interface Relays {
  readonly items: readonly { readonly pid: number; readonly flows: Record<string, number> }[];
}

async function start(t: TestContext, args: readonly string[]): Promise<CliProcess> {
  const daemon = startCli(t, args);
  await daemon.line(/ runs /);
  return daemon;
}

async function relayPid(api: string, other = 0): Promise<number> {
  const fits = ({ items }: Relays) => items[0] !== undefined && ![0, other].includes(items[0].pid);
  return (await apiAnswer<Relays>(api, fits, BOUND_MS)).items[0]?.pid ?? 0;
}

/** A client that asks for an echo. */
class Caller {
  readonly #socket: net.Socket;
  ended = '';

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.ended = error.code ?? error.message;
    });
    socket.on('end', () => {
      this.ended = 'clean';
    });
  }

  static async call(t: TestContext, port: number): Promise<Caller> {
    const socket = net.connect({ port, host: '127.0.0.1' });
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    return new Caller(socket);
  }

  async ask(words: string): Promise<string> {
    this.#socket.write(words);
    const signal = AbortSignal.timeout(BOUND_MS);
    return String((await once(this.#socket, 'data', { signal }))[0]);
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

suite('a relayed connection outlives', { skip: ffiMissing() ?? false, concurrency: true }, () => {
  test('an upgrade of the daemon and of the relay, in the same process', async (t) => {
    const { api, args, directory, relay } = await rig(t);
    const daemon = await start(t, args);
    const before = await relayPid(api);
    const caller = await Caller.call(t, relay);
    assert.equal(await caller.ask('one'), 'one');
    const daemonFlags = ['--daemon', args[5] ?? '', '--state-dir', directory];
    const upgrade = await runCli(t, ['upgrade', '--json', ...daemonFlags]);
    assert.equal(upgrade.code, 0, upgrade.stderr);
    assert.equal(JSON.parse(upgrade.stdout).pid, daemon.pid);
    assert.equal(await caller.ask('two'), 'two');
    const after = await relayPid(api, before);
    await eventually('the relay before is gone', () => !alive(before), BOUND_MS);
    await daemon.line(new RegExp(`relay process ${after} took over 1 flows .* from ${before} `));
    assert(daemon.running);
    daemon.kill('SIGTERM');
    assert.equal((await daemon.ended()).code, 0);
    await eventually('the connection is reset', () => caller.ended === 'ECONNRESET', BOUND_MS);
    await eventually('nothing is left', () => !alive(after), BOUND_MS);
    assert.deepEqual(readdirSync(path.join(directory, 'relay')), []);
  });

  test('a daemon that is killed: it goes on without one, and with the next', async (t) => {
    const { api, args, relay } = await rig(t);
    const first = await start(t, args);
    const before = await relayPid(api);
    const caller = await Caller.call(t, relay);
    assert.equal(await caller.ask('one'), 'one');
    first.kill('SIGKILL');
    await first.ended();
    assert.equal(await caller.ask('two'), 'two');
    const other = await Caller.call(t, relay);
    assert.equal(await other.ask('new'), 'new');
    const second = await start(t, args);
    await relayPid(api, before);
    assert.equal(await caller.ask('three'), 'three');
    assert.equal(await other.ask('four'), 'four');
    const { items } = await apiAnswer<Relays>(api, (now) => now.items[0]?.flows['a'] === 2);
    assert.deepEqual(items[0]?.flows, { a: 2 });
    second.kill('SIGTERM');
    assert.equal((await second.ended()).code, 0);
  });

  test('a relay without a daemon ends when its state directory is gone', async (t) => {
    const { api, args, directory, relay } = await rig(t);
    const daemon = await start(t, args);
    const pid = await relayPid(api);
    const caller = await Caller.call(t, relay);
    assert.equal(await caller.ask('one'), 'one');
    daemon.kill('SIGKILL');
    await daemon.ended();
    rmSync(path.join(directory, 'relay'), { recursive: true });
    await eventually('it is gone', () => !alive(pid), BOUND_MS);
  });

  test('an upgrade to a bad configuration is refused, and nothing changes', async (t) => {
    const { api, args, directory } = await rig(t);
    await start(t, args);
    const before = await relayPid(api);
    writeFileSync(args[1] ?? '', 'links: { a: { url: nonsense } }\n');
    const daemonFlags = ['--daemon', args[5] ?? '', '--state-dir', directory];
    const { code, stderr } = await runCli(t, ['upgrade', ...daemonFlags]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /nonsense/);
    assert.equal(await relayPid(api), before);
  });
});
