/** HTTP's persistent connections against the real servers: what they do with idle ones, how they
 * die and return, and what a service sees that swaps its agent for ours. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { suite, type TestContext, test } from 'node:test';
import { createLink, HoldAgent, holdDispatcher } from '../../src/index.ts';
import { certify, opensslMissing } from '../support/certificates.ts';
import { startCli } from '../support/cli.ts';
import {
  commandMissing,
  type HttpProgram,
  startApache,
  startNginx,
  startNode,
} from '../support/http-programs.ts';
import { eventually } from '../support/scripted-http.ts';

const NGINX = { skip: commandMissing('nginx', '-v') };
const APACHE = { skip: commandMissing('apache2', '-v') };
const OPENSSL = { skip: NGINX.skip || opensslMissing() };

/** Sends a request by `node:http(s)`; answers how it went. */
function send(
  agent: http.Agent,
  options: http.RequestOptions,
  module: typeof http | typeof https = http,
): Promise<string> {
  return new Promise((resolve) => {
    const request = module.request({ host: '127.0.0.1', agent, ...options }, (response) => {
      response.resume().once('end', () => resolve(String(response.statusCode)));
    });
    request.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? String(error)));
    request.end(options.method === 'POST' ? 'x' : undefined);
  });
}

function assertNear(ms: number | undefined, expected: number, who: string): void {
  assert(ms !== undefined, `${who} learned nothing`);
  assert(Math.abs(ms - expected) <= expected * 0.1, `${who}: ${ms} ms for ${expected}`);
}

/** Has a link, an agent and a dispatcher each see one idle close of a server. */
async function learn(t: TestContext, server: HttpProgram, idleMs: number): Promise<void> {
  const { port } = server;
  const url = `http://127.0.0.1:${port}/`;
  const notes: string[] = [];
  const link = createLink(url, { time: '60s' });
  t.after(() => link.close());
  link.on('note', ({ text }) => notes.push(text));
  link.start();
  const agent = new HoldAgent();
  t.after(() => agent.destroy());
  assert.equal(await send(agent, { port }), '200');
  const dispatcher = holdDispatcher();
  await (await fetch(url, { dispatcher })).text();
  const told = () => notes.find((text) => text.includes('idle for'));
  const bound = idleMs * 1.1 + 5_000;
  await eventually('a note of the link', () => told() !== undefined, bound);
  await eventually('the agent', () => agent.learned[0]?.learnedMs !== undefined, bound);
  await eventually('the dispatcher', () => dispatcher.learned[0]?.learnedMs !== undefined, bound);
  const seconds = /idle for ([\d.]+)s$/.exec(told() ?? '')?.[1];
  assertNear(Number(seconds) * 1_000, idleMs, 'the link');
  assertNear(agent.learned[0]?.learnedMs, idleMs, 'the agent');
  assertNear(dispatcher.learned[0]?.learnedMs, idleMs, 'the dispatcher');
  assert.equal(link.state, 'up', 'a close of an idle connection is no death');
  t.diagnostic(
    `link ${seconds} s, agent ${agent.learned[0]?.learnedMs?.toFixed(0)} ms, dispatcher ${dispatcher.learned[0]?.learnedMs?.toFixed(0)} ms`,
  );
}

suite('idle connections of real servers', { concurrency: true, timeout: 60_000 }, () => {
  test('nginx with keepalive_timeout 3s is learned within a tenth', NGINX, async (t) => {
    await learn(t, await startNginx(t, ['keepalive_timeout 3s;']), 3_000);
  });

  test('nginx that promises 20 s and closes after 3 is learned all the same', NGINX, async (t) => {
    await learn(t, await startNginx(t, ['keepalive_timeout 3s 20s;']), 3_000);
  });

  test('Apache with KeepAliveTimeout 2 is learned within a tenth', APACHE, async (t) => {
    await learn(t, await startApache(t, ['KeepAliveTimeout 2']), 2_000);
  });

  test("Node's server, which says 5 s and closes after 6, is learned by what it does", async (t) => {
    await learn(t, await startNode(t), 6_000);
  });

  test('nginx with keepalive_requests 3 stays up, and a note says so', NGINX, async (t) => {
    const { port } = await startNginx(t, ['keepalive_requests 3;']);
    const link = createLink(`http://127.0.0.1:${port}/`, { time: '200ms', interval: '1s' });
    t.after(() => link.close());
    const [notes, states, places]: [string[], string[], Set<string | null>] = [[], [], new Set()];
    let replies = 0;
    link.on('note', ({ text }) => notes.push(text));
    link.on('state', ({ to }) => states.push(to));
    link.on('reply', () => {
      replies += 1;
      places.add(link.status().local);
    });
    link.start();
    await eventually('nine replies', () => replies >= 9, 15_000);
    assert.deepEqual(states, ['up']);
    assert.deepEqual(notes, ['this server ends a connection after 3 requests']);
    assert.equal(places.size, 3, [...places].join());
    const agent = new HoldAgent();
    t.after(() => agent.destroy());
    for (let count = 0; count < 9; count += 1) assert.equal(await send(agent, { port }), '200');
    assert.equal(agent.learned[0]?.learnedMs, undefined, 'no idle timeout was to be seen');
  });
});

const TIMING = ['--time', '1s', '--interval', '1s', '--probes', '3'];
const BOUND_MS = 4_000;

suite('real servers that die and return', { concurrency: true, timeout: 60_000 }, () => {
  for (const [name, needs, start] of [
    ['nginx', NGINX, (t: TestContext) => startNginx(t, [])],
    ['Apache', APACHE, (t: TestContext) => startApache(t, [])],
    ["Node's server", {}, (t: TestContext) => startNode(t)],
  ] as const) {
    test(
      `${name} stopped is down within the bound, continued and restarted up`,
      needs,
      async (t) => {
        const server = await start(t);
        const url = `http://127.0.0.1:${server.port}/`;
        const watch = startCli(t, ['watch', url, '--json', ...TIMING]);
        const states = () =>
          watch.lines
            .map((line) => JSON.parse(line) as { type: string; to: string; reason: string })
            .filter(({ type }) => type === 'state');
        const reaches = async (state: string, boundMs: number) => {
          await eventually(state, () => states().at(-1)?.to === state, boundMs);
        };
        await reaches('up', 20_000);
        const stoppedAt = performance.now();
        server.signal('SIGSTOP');
        // Half a second is for the events' way through two processes.
        await reaches('down', BOUND_MS + 500);
        const took = Math.round(performance.now() - stoppedAt);
        assert.equal(states().at(-1)?.reason, 'no-answer');
        server.signal('SIGCONT');
        await reaches('up', 2 * BOUND_MS);
        const killedAt = performance.now();
        await server.kill();
        await reaches('down', BOUND_MS);
        const refused = Math.round(performance.now() - killedAt);
        assert.match(states().at(-1)?.reason ?? '', /refused|reset/);
        await server.restart();
        await reaches('up', BOUND_MS);
        t.diagnostic(
          `${name}: down ${took} ms after SIGSTOP, bound ${BOUND_MS}; ${refused} ms killed`,
        );
      },
    );
  }
});

suite('a service that swaps its agent', { timeout: 60_000 }, () => {
  test('stops seeing ECONNRESET when a busy Node server ends idle connections after 300 ms', async (t) => {
    // A header of its own keeps Node from adding its hint: nobody is warned.
    const options = '{ keepAliveTimeout: 300, keepAliveTimeoutBuffer: 0 }';
    const { port } = await startNode(t, options, "{ Connection: 'keep-alive' }", true);
    // Ten services of each kind, each with one connection, and none in step with another.
    const failures = async (make: () => http.Agent, method: string) => {
      const codes: string[] = [];
      const serve = async (_: unknown, place: number) => {
        const agent = make();
        t.after(() => agent.destroy());
        for (let round = 0; round < 30; round += 1) {
          const code = await send(agent, { port, method });
          if (code !== '200') codes.push(code);
          await new Promise((resolve) => setTimeout(resolve, 280 + ((7 * round + place) % 25)));
        }
      };
      await Promise.all(Array.from({ length: 10 }, serve));
      return codes;
    };
    const rival = () => new http.Agent({ keepAlive: true });
    const ours = () => new HoldAgent();
    const [get, post, oursGet, oursPost] = await Promise.all([
      failures(rival, 'GET'),
      failures(rival, 'POST'),
      failures(ours, 'GET'),
      failures(ours, 'POST'),
    ]);
    t.diagnostic(
      `failed of 300: http.Agent GET ${get.length}, POST ${post.length}; HoldAgent GET ${oursGet.length}, POST ${oursPost.length}`,
    );
    assert.deepEqual([oursGet, oursPost], [[], []]);
    assert(get.length + post.length > 0, 'nobody failed: there was no race to win');
  });
});

suite('https', { timeout: 60_000 }, () => {
  test('a certificate is verified: its authority, and its name', OPENSSL, async (t) => {
    const { ca, key, certificate } = certify(t);
    const lines = [`ssl_certificate ${certificate};`, `ssl_certificate_key ${key};`];
    const { port } = await startNginx(t, lines, ' ssl');
    const at = `https://127.0.0.1:${port}/`;
    const verdict = async (query: string) => {
      const link = createLink(`${at}${query}`, { time: '500ms' });
      t.after(() => link.close());
      link.start();
      await once(link, 'state');
      const { state, reason, evidence } = link.status();
      return [state, reason, evidence.errno];
    };
    assert.deepEqual(await verdict(`?ca=${ca}&servername=localhost`), ['up', 'heard', undefined]);
    const unknown = ['down', 'not-authentic', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'];
    assert.deepEqual(await verdict('?servername=localhost'), unknown);
    const misnamed = ['down', 'not-authentic', 'ERR_TLS_CERT_ALTNAME_INVALID'];
    assert.deepEqual(await verdict(`?ca=${ca}&servername=example.org`), misnamed);
    assert.deepEqual(await verdict(`?ca=${ca}`), misnamed, 'the address is the name then');
  });

  test('HoldAgent.https verifies too, and keeps its connection', OPENSSL, async (t) => {
    const { ca, key, certificate } = certify(t);
    const lines = [`ssl_certificate ${certificate};`, `ssl_certificate_key ${key};`];
    const { port } = await startNginx(t, lines, ' ssl');
    const agent = new HoldAgent();
    t.after(() => agent.destroy());
    const options = { port, servername: 'localhost', ca: readFileSync(ca) };
    for (let count = 0; count < 5; count += 1) {
      assert.equal(await send(agent.https, options, https), '200');
      await new Promise((resolve) => setImmediate(resolve));
    }
    const free = Object.values(agent.https.freeSockets).flatMap((sockets) => sockets ?? []);
    assert.equal(free.length, 1);
    const misnamed = { ...options, servername: 'example.org' };
    assert.equal(await send(agent.https, misnamed, https), 'ERR_TLS_CERT_ALTNAME_INVALID');
    const unknown = { port, servername: 'localhost' };
    assert.equal(await send(agent.https, unknown, https), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  });
});
