/** Who is blamed and who is not: a stopped peer, and an observer that was itself stopped. */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { Lab, labMissing, type Peer, pause, START_MS } from '../support/lab.ts';

const CLI = 'src/cli/main.ts';
const SERVER = 'test/support/peer-server.ts';
const ADDRESS = '10.78.1.2';
const TCP = `tcp://${ADDRESS}:7000`;
const BEAT = `beat://${ADDRESS}:7000?key=lab`;
const TIMING = ['--time', '1s', '--interval', '1s', '--probes', '3'];
const BOUND_MS = 4_000;

interface Event {
  readonly link: string;
  readonly type: string;
  readonly to?: string;
  readonly at: string;
}

function eventsOf(peer: Peer, type: string): Event[] {
  return peer.lines.map((line) => JSON.parse(line) as Event).filter((event) => event.type === type);
}

async function watching(
  t: TestContext,
): Promise<{ lab: Lab; client: string; server: Peer; watch: Peer }> {
  const lab = new Lab(t);
  const [client, far] = [lab.space('c'), lab.space('s')];
  lab.join(client, '10.78.1.1', far, ADDRESS);
  const server = lab.start(far, SERVER, ADDRESS, '7000', 'server', 'lab');
  await server.line('listening', START_MS);
  const watch = lab.start(client, CLI, 'watch', TCP, BEAT, '--json', ...TIMING);
  await watch.line(
    '"link":"tcp://10.78.1.2:7000","type":"state","from":"unknown","to":"up"',
    START_MS,
  );
  await watch.line('"link":"beat://10.78.1.2:7000?key=***","type":"state"', START_MS);
  return { lab, client, server, watch };
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: labMissing() };

suite('known', { concurrency: true, timeout: 120_000 }, () => {
  test(
    'the peer is stopped: tcp stays up and says what that does not prove, beat goes down within its bound',
    NEEDS,
    async (t) => {
      const { lab, client, server, watch } = await watching(t);
      const stopped = performance.now();
      server.signal('SIGSTOP');
      const down = await watch.line('"to":"down"', BOUND_MS + 500);
      const after = performance.now() - stopped;
      assert.match(down, /"link":"beat:/);
      assert.match(down, /"reason":"no-answer","evidence":\{"probes":3,/);
      await watch.silence('"link":"tcp://10.78.1.2:7000","type":"state","from":"up"', 2 * BOUND_MS);
      const checked = lab.run(client, process.execPath, CLI, 'check', TCP, '--json', ...TIMING);
      const [verdict] = JSON.parse(checked) as [{ state: string; proves: string }];
      assert.equal(verdict.state, 'up');
      assert.match(verdict.proves, /not that the application runs/);
      t.diagnostic(`beat down ${Math.round(after)} ms after SIGSTOP, bound ${BOUND_MS}`);

      const seen = watch.lines.length;
      server.signal('SIGCONT');
      const up = await watch.line('"to":"up"', BOUND_MS, seen);
      assert.match(up, /"link":"beat:/);
    },
  );

  test(
    'Linkhold is stopped for three times its bound and continued: nobody is blamed',
    NEEDS,
    async (t) => {
      const { watch } = await watching(t);
      watch.signal('SIGSTOP');
      await pause(3 * BOUND_MS);
      const seen = watch.lines.length;
      watch.signal('SIGCONT');
      await watch.line('"link":"beat://10.78.1.2:7000?key=***","type":"reply"', 3_000, seen);
      await watch.silence('"from":"up"', 2 * BOUND_MS);
      assert.deepEqual(
        eventsOf(watch, 'state').map((event) => event.to),
        ['up', 'up'],
      );
    },
  );

  test(
    'stopped together with its peer: the peer is blamed only by what is seen afterwards',
    NEEDS,
    async (t) => {
      const { server, watch } = await watching(t);
      watch.signal('SIGSTOP');
      server.signal('SIGSTOP');
      await pause(2 * BOUND_MS);
      const seen = watch.lines.length;
      const continued = performance.now();
      watch.signal('SIGCONT');
      const down = JSON.parse(await watch.line('"to":"down"', BOUND_MS + 1_000, seen)) as {
        evidence: { probes: number; silentMs: number };
      };
      // Three fresh probes, a second each: not a millisecond of its own sleep counts.
      assert(performance.now() - continued >= 2_500, 'blamed for the time nobody looked');
      assert.equal(down.evidence.probes, 3);
      assert(down.evidence.silentMs < BOUND_MS, `silentMs ${down.evidence.silentMs}`);
    },
  );
});
