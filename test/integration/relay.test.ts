/**
 * What every relay owes the two ends of a connection, by both engines: the process that splices and the
 * streams. What only the first can do follows.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { ProcessEngine } from '../../src/relay/process-engine.ts';
import { type RelayEngine, StreamEngine } from '../../src/relay/relay-engine.ts';
import type { PlannedRelay, PlannedTarget } from '../../src/relay/relay-plan.ts';
import { temporaryDirectory } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { pause } from '../support/lab.ts';
import { mptcpMissing } from '../support/mptcp.ts';
import { planned } from '../support/relay-rig.ts';
import { eventually } from '../support/scripted-http.ts';

const BOUND_MS = 10_000;

interface Running {
  readonly engine: RelayEngine;
  readonly port: number;
  readonly plan: (change: Partial<PlannedRelay>) => Promise<void>;
  readonly connect: () => net.Socket;
}

async function run(t: TestContext, kind: string, relay: Partial<PlannedRelay>): Promise<Running> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-relay-'));
  const engine = kind === 'splice' ? new ProcessEngine(directory) : new StreamEngine();
  t.after(async () => {
    await engine.close();
    rmSync(directory, { recursive: true });
  });
  const port = await freePort(relay.address);
  let now = planned({ port, ...relay });
  assert.deepEqual(await engine.apply([now]), []);
  const connect = () => {
    const socket = net.connect({ port, host: now.address, allowHalfOpen: true });
    // The relay ends before the test's sockets do.
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    return socket;
  };
  const plan = async (change: Partial<PlannedRelay>) => {
    now = { ...now, ...change };
    assert.deepEqual(await engine.apply([now]), []);
  };
  return { engine, port, plan, connect };
}

/** A server that hands each connection to `handle`; answers the way to it. */
async function serve(
  t: TestContext,
  handle: (socket: net.Socket) => void,
  address = '127.0.0.1',
): Promise<PlannedTarget> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    handle(socket);
  });
  server.listen(0, address);
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  return { path: `p${port}`, address, port, share: 1 };
}

function greeter(t: TestContext, greeting: string): Promise<PlannedTarget> {
  return serve(t, (socket) => {
    socket.write(greeting);
    socket.pipe(socket);
  });
}

/** All that arrives until the other end stops writing; the socket stays writable. */
function readAll(socket: net.Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', () => resolve(Buffer.concat(chunks)));
    socket.on('error', reject);
  });
}

/** Resolves with the error code that ended the socket, or `undefined` for a clean end. */
function ending(socket: net.Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    let code: string | undefined;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      code = error.code;
    });
    socket.on('close', () => resolve(code));
    socket.resume();
  });
}

/** True if the socket asked for more within `ms`. */
async function drained(socket: net.Socket, ms: number): Promise<boolean> {
  try {
    await once(socket, 'drain', { signal: AbortSignal.timeout(ms) });
    return true;
  } catch {
    return false;
  }
}

async function firstWords(socket: net.Socket): Promise<string> {
  return String((await once(socket, 'data'))[0]);
}

const dead = { path: 'dead', address: '127.0.0.1', port: 1, share: 1 };

for (const kind of ['splice', 'streams']) {
  suite(`a relay by ${kind}`, { concurrency: 4, timeout: 60_000 }, () => {
    test('4 MiB go through unchanged in both directions', async (t) => {
      const target = await serve(t, (socket) => socket.pipe(socket));
      const { connect } = await run(t, kind, { targets: [target] });
      const sent = randomBytes(4 << 20);
      const socket = connect();
      socket.end(sent);
      assert(sent.equals(await readAll(socket)));
    });

    test('half-close: the answer to an ended request still arrives', async (t) => {
      const target = await serve(t, (socket) => {
        readAll(socket).then((request) => socket.end(`${request.length} bytes`));
      });
      const { connect } = await run(t, kind, { targets: [target] });
      const socket = connect();
      socket.end('hello');
      assert.equal(String(await readAll(socket)), '5 bytes');
    });

    test('a server that ends first can still be written to', async (t) => {
      const request = Promise.withResolvers<Buffer>();
      const target = await serve(t, (socket) => {
        request.resolve(readAll(socket));
        socket.end('bye');
      });
      const { connect } = await run(t, kind, { targets: [target] });
      const socket = connect();
      assert.equal(String(await readAll(socket)), 'bye');
      socket.end('late words');
      assert.equal(String(await request.promise), 'late words');
    });

    test('a reset by the server is a reset for the client', async (t) => {
      const target = await serve(t, (socket) =>
        socket.once('data', () => socket.resetAndDestroy()),
      );
      const { connect } = await run(t, kind, { targets: [target] });
      const socket = connect();
      socket.write('x');
      assert.equal(await ending(socket), 'ECONNRESET');
    });

    test('a reset by the client is a reset for the server', async (t) => {
      const seen = Promise.withResolvers<string | undefined>();
      const target = await serve(t, (socket) => {
        seen.resolve(ending(socket));
        socket.write('x');
      });
      const { connect } = await run(t, kind, { targets: [target] });
      const socket = connect();
      await once(socket, 'data');
      socket.resetAndDestroy();
      assert.equal(await seen.promise, 'ECONNRESET');
    });

    test('a server that ended and then resets takes the client with it', async (t) => {
      const target = await serve(t, (socket) => {
        socket.end('bye');
        socket.once('data', () => socket.resetAndDestroy());
      });
      const { engine, connect } = await run(t, kind, { targets: [target] });
      const socket = connect();
      assert.equal(String(await readAll(socket)), 'bye');
      const ended = ending(socket);
      const writer = setInterval(() => socket.write('still here'), 10);
      socket.once('close', () => clearInterval(writer));
      assert.match((await ended) ?? '', /ECONNRESET|EPIPE/);
      await eventually('no flow is left', () => flowsOf(engine) === 0, BOUND_MS);
    });

    test('while there is no path a client is reset at once', async (t) => {
      const { engine, connect } = await run(t, kind, { targets: [] });
      assert.equal(await ending(connect()), 'ECONNRESET');
      await eventually('it is counted', () => engine.counts('r')?.refused === 1, BOUND_MS);
      assert.equal(engine.counts('r')?.accepted, 1);
    });

    test('a path that refuses is told, and the client goes by the next', async (t) => {
      const next = { ...(await greeter(t, 'next')), share: 0 };
      const { engine, connect } = await run(t, kind, { targets: [dead, next] });
      const refused = once(engine, 'refused');
      assert.equal(await firstWords(connect()), 'next');
      assert.deepEqual(await refused, ['r', 'dead']);
      const isCounted = () => engine.counts('r')?.flows[next.path] === 1;
      await eventually('the flow is on it', isCounted, BOUND_MS);
      assert.equal(engine.counts('r')?.refused, 0);
    });

    test('a client that no path takes is reset and counted', async (t) => {
      const { engine, connect } = await run(t, kind, { targets: [dead] });
      assert.equal(await ending(connect()), 'ECONNRESET');
      await eventually('it is counted', () => engine.counts('r')?.refused === 1, BOUND_MS);
    });

    test('a reader that never reads stops the sender', async (t) => {
      const target = await serve(t, (socket) => socket.pause());
      const { engine, connect } = await run(t, kind, { targets: [target] });
      const before = residentKib(engine.pid);
      const socket = connect();
      const block = Buffer.alloc(1 << 20);
      let taken = 0;
      // Writes until nothing has been taken for half a second.
      for (let stalled = false; !stalled; ) {
        assert(taken < 200, 'the relay swallowed 200 MiB that nobody reads');
        if (socket.write(block) || (await drained(socket, 500))) taken += 1;
        else stalled = true;
      }
      const grown = residentKib(engine.pid) - before;
      t.diagnostic(`${taken} MiB on their way, the carrying process grew by ${grown} KiB`);
      if (kind === 'splice') assert(grown < 6_144, `it grew by ${grown} KiB`);
    });

    test('flows of a path are reset, others and new ones go on', async (t) => {
      const [a, b] = [await greeter(t, 'a'), await greeter(t, 'b')];
      const { engine, plan, connect } = await run(t, kind, { targets: [a] });
      const old = connect();
      assert.equal(await firstWords(old), 'a');
      await plan({ targets: [b] });
      const other = connect();
      assert.equal(await firstWords(other), 'b');
      old.write('still there?');
      assert.equal(await firstWords(old), 'still there?');
      engine.reset('r', a.path);
      assert.equal(await ending(old), 'ECONNRESET');
      other.write('and you?');
      assert.equal(await firstWords(other), 'and you?');
    });

    test('with shares a client comes back to the path it had', async (t) => {
      const [a, b] = [await greeter(t, 'a'), await greeter(t, 'b')];
      const targets = [
        { ...a, share: 0.5 },
        { ...b, share: 0.5 },
      ];
      const { connect } = await run(t, kind, { targets });
      const words = new Set<string>();
      for (let turn = 0; turn < 5; turn += 1) words.add(await firstWords(connect()));
      assert.equal(words.size, 1);
    });

    test('IPv6 on both sides', async (t) => {
      const target = await serve(t, (socket) => socket.end('six'), '::1');
      const { connect } = await run(t, kind, { address: '::1', targets: [target] });
      assert.equal(String(await readAll(connect())), 'six');
    });

    for (const [proxy, expected] of [
      ['v1', /^50524f5859205443503420(?:3132372e302e302e3120){2}(?:3\d)+20(?:3\d)+0d0a68656c6c6f$/],
      ['v2', /^0d0a0d0a000d0a515549540a2111000c(?:7f000001){2}.{8}68656c6c6f$/],
    ] as const) {
      test(`PROXY ${proxy}: the server is told first whose connection it is`, async (t) => {
        const request = Promise.withResolvers<Buffer>();
        const target = await serve(t, (socket) => request.resolve(readAll(socket)));
        const { connect } = await run(t, kind, { targets: [target], proxy });
        connect().end('hello');
        assert.match((await request.promise).toString('hex'), expected);
      });
    }

    test('a relay that is planned no more ends its flows; a taken port is told', async (t) => {
      const target = await greeter(t, 'a');
      const { engine, connect, port } = await run(t, kind, { targets: [target] });
      const other = planned({ name: 'other', port: target.port, targets: [target] });
      const kept = planned({ port, targets: [target] });
      const failures = await engine.apply([kept, other]);
      assert.deepEqual(
        failures.map(({ relay, error }) => [relay, error.code]),
        [['other', 'EADDRINUSE']],
      );
      const socket = connect();
      await once(socket, 'data');
      const ended = ending(socket);
      await engine.apply([]);
      assert.equal(await ended, 'ECONNRESET');
      assert.equal(await ending(connect()), 'ECONNREFUSED');
    });

    test('Multipath TCP: a server without it gets plain TCP, and that is counted', {
      skip: mptcpMissing(),
    }, async (t) => {
      const target = await serve(t, (socket) => socket.pipe(socket));
      const { engine, connect } = await run(t, kind, { targets: [target], mptcp: true });
      const socket = connect();
      const back = readAll(socket);
      socket.end('there and back');
      assert.equal(String(await back), 'there and back');
      const isCounted = () => engine.counts('r')?.mptcp?.fellBack === 1;
      await eventually('it is counted', isCounted, BOUND_MS);
      assert.equal(engine.counts('r')?.mptcp?.inUse, 0);
    });
  });
}

function flowsOf(engine: RelayEngine): number {
  const flows = Object.values(engine.counts('r')?.flows ?? {});
  return flows.reduce((sum, count) => sum + count, 0);
}

function residentKib(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

suite('what only the splicing relay has', { concurrency: 4, timeout: 60_000 }, () => {
  test('beyond maxFlows clients wait until there is room', async (t) => {
    const target = await greeter(t, 'hello');
    const { connect } = await run(t, 'splice', { targets: [target], maxFlows: 1 });
    const [first, second] = [connect(), connect()];
    assert.equal(await firstWords(first), 'hello');
    let isServed = false;
    const served = firstWords(second).then((words) => {
      isServed = true;
      return words;
    });
    await pause(300);
    assert.equal(isServed, false);
    first.end();
    assert.equal(await served, 'hello');
  });

  test('beyond maxRate clients wait for their turn', async (t) => {
    const target = await greeter(t, 'hello');
    const { connect } = await run(t, 'splice', { targets: [target], maxRate: 5 });
    const began = performance.now();
    await Promise.all(Array.from({ length: 10 }, () => firstWords(connect())));
    const tookMs = performance.now() - began;
    // Five at once, the next five a fifth of a second apart.
    assert(tookMs > 800, `ten came within ${tookMs} ms`);
  });

  test('a path that does not answer has had its time, and the client goes by the next', async (t) => {
    // Its queue is full after one client, so that it answers no other.
    const silent = await serve(t, () => undefined);
    const next = { ...(await greeter(t, 'next')), share: 0 };
    const hole = { ...silent, address: '127.0.0.1', port: await fullPort(t) };
    const { connect, engine } = await run(t, 'splice', {
      targets: [{ ...hole, path: 'hole' }, next],
      connectTimeoutMs: 300,
    });
    const refused = once(engine, 'refused');
    assert.equal(await firstWords(connect()), 'next');
    assert.deepEqual(await refused, ['r', 'hole']);
  });

  test('keepalive is on both sides, also if the relay is killed as soon as bytes pass', async (t) => {
    const target = await greeter(t, 'hello');
    const policy = { timeMs: 77_000, intervalMs: 11_000, probes: 4, userTimeoutMs: 99_000 };
    const { connect, engine, port } = await run(t, 'splice', { targets: [target], policy });
    const [client, upstream] = [`sport = ${port}`, `dport = ${target.port}`];
    const has = (side: string) => {
      const lines = execFileSync('ss', ['-Htno', 'state', 'established', side], {
        encoding: 'utf8',
      });
      return [...lines.matchAll(/timer:\(keepalive,1min1\d/g)].length;
    };
    for (const flows of [1, 2]) {
      await firstWords(connect());
      if (flows === 2) process.kill(engine.pid, 'SIGKILL');
      for (const side of [client, upstream]) {
        await eventually(`${flows} of ${side}`, () => has(side) === flows, BOUND_MS);
      }
    }
  });

  test('plans told while a process begins: each is answered by what became of it', async (t) => {
    const { port } = await greeter(t, 'hello');
    const engine = new ProcessEngine(temporaryDirectory(t));
    t.after(() => engine.close());
    const taken = planned({ port });
    const answers = [engine.apply([taken]), engine.apply([]), engine.apply([taken])];
    const failures = (await Promise.all(answers)).map((all) => all.length);
    assert.deepEqual(failures, [1, 0, 1]);
  });

  test('the process that is killed is followed by the next, which tells it', async (t) => {
    const target = await greeter(t, 'hello');
    const { connect, engine } = await run(t, 'splice', { targets: [target] });
    const socket = connect();
    await firstWords(socket);
    const before = engine.pid;
    const notes: string[] = [];
    engine.on('note', (text) => notes.push(text));
    process.kill(before, 'SIGKILL');
    socket.write('through it');
    assert.equal(await firstWords(socket), 'through it');
    assert.notEqual(engine.pid, before);
    await eventually('both are told', () => notes.length === 2, BOUND_MS);
    assert.match(notes[0] ?? '', /^relay process \d+ ended \(SIGKILL\)$/);
    assert.match(notes[1] ?? '', /took over 1 flows and \d+ bytes on their way from \d+ in \d+ ms/);
  });

  test('told to stop just after its process was killed, it still ends all, and nobody hangs', async (t) => {
    const target = await greeter(t, 'hello');
    const { connect, engine } = await run(t, 'splice', { targets: [target] });
    const socket = connect();
    await firstWords(socket);
    const ended = ending(socket);
    const plan = engine.apply([]);
    process.kill(engine.pid, 'SIGKILL');
    await plan;
    process.kill(engine.pid, 'SIGKILL');
    await engine.close();
    assert.equal(await ended, 'ECONNRESET');
  });

  test('a keeper that is killed is made anew, and then protects', async (t) => {
    const target = await greeter(t, 'hello');
    const { connect, engine } = await run(t, 'splice', { targets: [target] });
    const socket = connect();
    await firstWords(socket);
    const [keeper] = childrenOf(engine.pid);
    assert(keeper !== undefined, 'there is no keeper');
    const told = once(engine, 'note');
    process.kill(keeper, 'SIGKILL');
    assert.match(String(await told), /keeper .* made anew/);
    process.kill(engine.pid, 'SIGKILL');
    socket.write('through it');
    assert.equal(await firstWords(socket), 'through it');
  });

  test('UDP: a flow a client, both ways, over a kill of the process, until it is idle', async (t) => {
    const server = dgram.createSocket('udp4');
    t.after(() => server.close());
    const peers = new Set<number>();
    server.on('message', (message, from) => {
      peers.add(from.port);
      server.send(`${message} back`, from.port, from.address);
    });
    server.bind(0, '127.0.0.1');
    await once(server, 'listening');
    const target = { path: 'p', address: '127.0.0.1', port: server.address().port, share: 1 };
    const { engine, port } = await run(t, 'splice', {
      protocol: 'udp',
      targets: [target],
      idleTimeoutMs: 1_500,
    });
    const ask = async (client: dgram.Socket, words: string) => {
      client.send(words, port, '127.0.0.1');
      return String((await once(client, 'message'))[0]);
    };
    const clients = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
    t.after(() => {
      for (const client of clients) client.close();
    });
    for (const client of clients) {
      assert.equal(await ask(client, 'one'), 'one back');
      assert.equal(await ask(client, 'two'), 'two back');
    }
    assert.equal(peers.size, 2);
    const told = once(engine, 'note');
    process.kill(engine.pid, 'SIGKILL');
    await told;
    for (const client of clients) assert.equal(await ask(client, 'three'), 'three back');
    assert.equal(peers.size, 2, 'the flows have new sockets');
    await eventually('both flows are idle and ended', () => flowsOf(engine) === 0, BOUND_MS);
    assert.equal(engine.counts('r')?.accepted, 2);
  });
});

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.trim().split(' ').map(Number);
}

/** A port that takes no more connections and refuses none: its queue is full. */
async function fullPort(t: TestContext): Promise<number> {
  const { spawn } = await import('node:child_process');
  const script =
    'import socket,sys\ns=socket.socket();s.bind(("127.0.0.1",0));s.listen(0)\n' +
    'c=[socket.socket() for _ in range(4)]\n' +
    'for x in c: x.setblocking(False);x.connect_ex(s.getsockname())\n' +
    'print(s.getsockname()[1],flush=True);sys.stdin.read()';
  const child = spawn('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  return Number(String((await once(child.stdout, 'data'))[0]));
}
