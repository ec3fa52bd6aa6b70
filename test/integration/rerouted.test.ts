/**
 * Two paths and a relay: A is cut, killed or stopped, new connections go by B within the bound, and
 * come back after the failback delay, not before.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { Lab, labMissing, type Peer, pause, START_MS } from '../support/lab.ts';

const CLI = 'src/cli/main.ts';
const SERVER = 'test/support/peer-server.ts';
const [A, B] = ['10.79.1.2', '10.79.2.2'];
const FAILBACK_MS = 3_000;
/** 1s + 300ms × 3, and a second to verify the other path. */
const BOUND_MS = 1_900 + 1_000;
/** A caller notices a call that failed after 400 ms, and a process must get its turn. */
const CALLER_MS = 900;

const CONFIG = `
links:
  a: { url: "beat://${A}:7000?key=lab", time: 1s, interval: 300ms, probes: 3 }
  b: { url: "beat://${B}:7000?key=lab", time: 1s, interval: 300ms, probes: 3 }
groups:
  app: { paths: [{ link: a, tier: 1 }, { link: b, tier: 2 }], failbackAfter: 3s }
relays:
  app: { listen: "127.0.0.1:7080", group: app, oldFlows: reset }
`;

interface TwoPaths {
  readonly lab: Lab;
  readonly client: string;
  readonly farA: string;
  readonly farB: string;
  readonly serverA: Peer;
  readonly daemon: Peer;
  readonly caller: Peer;
  startA(): Promise<Peer>;
  switches(): { at: string; from: string; to: string; why: string }[];
}

async function twoPaths(t: TestContext): Promise<TwoPaths> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = path.join(directory, 'linkhold.yaml');
  writeFileSync(file, CONFIG);
  const lab = new Lab(t);
  const [client, farA, farB] = [lab.space('c'), lab.space('a'), lab.space('b')];
  lab.join(client, '10.79.1.1', farA, A);
  lab.join(client, '10.79.2.1', farB, B);
  const startA = async () => {
    const server = lab.start(farA, SERVER, A, '7000', 'A', 'lab');
    await server.line('listening', START_MS);
    return server;
  };
  const serverA = await startA();
  await lab.start(farB, SERVER, B, '7000', 'B', 'lab').line('listening', START_MS);
  const daemon = lab.start(client, CLI, 'run', file, '--json', '--state-dir', directory);
  await daemon.line('"link":"a","type":"state","from":"unknown","to":"up"', START_MS);
  await daemon.line('"link":"b","type":"state","from":"unknown","to":"up"', START_MS);
  const caller = lab.start(client, 'test/support/peer-caller.ts', '127.0.0.1', '7080');
  await caller.line(' A', START_MS);
  const switches = () =>
    lab
      .run(client, process.execPath, CLI, 'events', '--link', 'app', '--json')
      .split('\n')
      .filter((line) => line.includes('"type":"switch"'))
      .map((line) => JSON.parse(line));
  return { lab, client, farA, farB, serverA, daemon, caller, startA, switches };
}

/** The fault is done: B answers within the bound, and from then on nobody else. */
async function reroutes(t: TestContext, { caller }: TwoPaths, fault: () => void): Promise<void> {
  const seen = caller.lines.length;
  const began = performance.now();
  fault();
  await caller.line(' B', BOUND_MS + CALLER_MS, seen);
  const after = Math.round(performance.now() - began);
  const failed = caller.lines.slice(seen).filter((line) => line.endsWith(' nobody')).length;
  t.diagnostic(`B answered ${after} ms after the fault; ${failed} calls failed before`);
  const settled = caller.lines.length;
  await caller.silence(' nobody', 1_500, settled);
}

/** A works again: it is in use after the failback delay, counted from when its link was up. */
async function fallsBack(
  t: TestContext,
  { caller, daemon, switches }: TwoPaths,
  repair: () => unknown,
): Promise<void> {
  const [seen, logged] = [caller.lines.length, daemon.lines.length];
  await repair();
  const up = await daemon.line('"link":"a","type":"state","from":"down","to":"up"', 5_000, logged);
  await caller.line(' A', FAILBACK_MS + 5_000, seen);
  const back = switches().at(-1);
  assert.equal(back?.to, 'a');
  const waited = Date.parse(back.at) - Date.parse(JSON.parse(up).event.at);
  assert(waited >= FAILBACK_MS, `back ${waited} ms after it was up, before the delay`);
  assert(waited <= FAILBACK_MS + 2_500, `back only ${waited} ms after it was up`);
  t.diagnostic(`back in use ${waited} ms after its link was up, delay ${FAILBACK_MS}`);
}

function hasReasons({ switches }: TwoPaths): void {
  assert.deepEqual(
    switches().map(({ from, to, why }) => [from, to, /^a is (down|back): ./.test(why)]),
    [
      ['a', 'b', true],
      ['b', 'a', true],
    ],
  );
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: labMissing() };

suite('rerouted', { concurrency: true, timeout: 120_000 }, () => {
  test(
    'A is cut without a word: B within the bound, old flows reset, back after 3 s',
    NEEDS,
    async (t) => {
      const paths = await twoPaths(t);
      const old = paths.lab.start(paths.client, 'test/support/peer-app.ts', '127.0.0.1', '7080');
      await old.line('data A', START_MS);
      await reroutes(t, paths, () => paths.lab.cut(paths.farA));
      await old.line('error ECONNRESET', 1_000);
      await fallsBack(t, paths, () => paths.lab.heal(paths.farA));
      hasReasons(paths);
    },
  );

  test("A's process is killed: B within the bound, back after 3 s", NEEDS, async (t) => {
    const paths = await twoPaths(t);
    await reroutes(t, paths, () => paths.serverA.signal('SIGKILL'));
    await fallsBack(t, paths, paths.startA);
    hasReasons(paths);
  });

  test(
    "A's process is stopped and still accepts: B within the bound, back after 3 s",
    NEEDS,
    async (t) => {
      const paths = await twoPaths(t);
      await reroutes(t, paths, () => paths.serverA.signal('SIGSTOP'));
      await fallsBack(t, paths, () => paths.serverA.signal('SIGCONT'));
      hasReasons(paths);
    },
  );

  test(
    'both are cut: no switch, no crash, and traffic again when one returns',
    NEEDS,
    async (t) => {
      const paths = await twoPaths(t);
      const { lab, daemon, caller, farA, farB, switches } = paths;
      lab.cut(farB);
      await daemon.line('"link":"b","type":"state","from":"suspect","to":"down"', BOUND_MS);
      lab.cut(farA);
      await daemon.line('"link":"a","type":"state","from":"suspect","to":"down"', BOUND_MS);
      await pause(BOUND_MS);
      assert.deepEqual(switches(), []);
      await daemon.line('no path is up; staying on a', 1_000);
      const seen = caller.lines.length;
      lab.heal(farB);
      await caller.line(' B', 5_000, seen);
      assert.equal(daemon.child.exitCode, null);

      // Flows are on their way into the void now, and must not keep the daemon from its end.
      lab.cut(farB);
      await caller.line(' nobody', 5_000, caller.lines.length);
      daemon.signal('SIGTERM');
      const ended = await Promise.race([daemon.exited, pause(5_000).then(() => 'still running')]);
      assert.equal(ended, 0);
    },
  );

  test(
    'the daemon is stopped for three times its bound and continued: no switch',
    NEEDS,
    async (t) => {
      const paths = await twoPaths(t);
      paths.daemon.signal('SIGSTOP');
      await pause(3 * 1_900);
      paths.daemon.signal('SIGCONT');
      const seen = paths.caller.lines.length;
      await paths.caller.line(' A', 3_000, seen);
      await paths.daemon.silence('"from":"up"', 4_000);
      assert.deepEqual(paths.switches(), []);
    },
  );
});
