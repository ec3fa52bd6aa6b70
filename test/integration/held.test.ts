/** Held and known, through a real conntrack NAT: what the kernel and the wire do, not a model. */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { labMissing, natLab, type Peer, pause, START_MS } from '../support/lab.ts';

const APP = 'test/support/peer-app.ts';
const SERVER = 'test/support/peer-server.ts';
const HELD = JSON.stringify({ time: '2s', interval: '2s', probes: 5 });

/** The milliseconds at which a line of the application was said. */
function timeOf(line: string): number {
  return Number(line.split(' ', 1)[0]);
}

/** The lab with its server listening. */
async function servedNatLab(t: TestContext, idleTimeoutSeconds: number) {
  const net = natLab(t, idleTimeoutSeconds);
  const peer = net.lab.start(net.server, SERVER, net.serverAddress, '7000', 'server');
  await peer.line('listening', START_MS);
  return { ...net, peer };
}

async function connected(app: Peer): Promise<number> {
  return timeOf(await app.line('data server', START_MS));
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: labMissing() };

suite('a link through a NAT', { concurrency: true, timeout: 120_000 }, () => {
  test(
    'idle timeout 6 s: an unheld connection is dead after 9 s, a held one beside it lives',
    NEEDS,
    async (t) => {
      const { lab, client, router, peer, serverAddress } = await servedNatLab(t, 6);
      const held = lab.start(client, APP, serverAddress, '7000', HELD);
      await connected(held);
      const unheld = lab.start(client, APP, serverAddress, '7000');
      await connected(unheld);
      await pause(9_000);
      const bindings = lab.run(router, 'conntrack', '-L', '-p', 'tcp', '--state', 'ESTABLISHED');
      assert.equal(bindings.trim().split('\n').length, 1, bindings);

      unheld.tell('anybody there?');
      peer.tell('early push');
      await held.line('data early push', 3_000);
      await unheld.silence('data early push', 3_000);
      assert(
        !peer.lines.some((line) => line.includes('anybody')),
        'the NAT let a lost binding pass',
      );
    },
  );

  test('idle timeout 6 s: a held connection lives after 30 s', NEEDS, async (t) => {
    const { lab, client, peer, serverAddress } = await servedNatLab(t, 6);
    const held = lab.start(client, APP, serverAddress, '7000', HELD);
    await connected(held);
    await pause(30_000);
    peer.tell('late push');
    await held.line('data late push', 3_000);
    assert(!held.lines.some((line) => line.includes('state down')), held.lines.join('\n'));
  });

  test(
    'silent drop, 3 s / 1 s / 4: down between the last probe (6 s) and the bound (7 s), then RST to the late peer',
    NEEDS,
    async (t) => {
      const { lab, client, router, peer, serverAddress } = await servedNatLab(t, 300);
      const options = { time: '3s', interval: '1s', probes: 4 };
      const app = lab.start(client, APP, serverAddress, '7000', JSON.stringify(options));
      const lastHeard = await connected(app);
      lab.cut(router);

      const suspect = timeOf(await app.line('state suspect', 6_000));
      assert(suspect - lastHeard >= 3_000, `suspect after ${suspect - lastHeard} ms`);
      assert(suspect - lastHeard < 5_000, `suspect after ${suspect - lastHeard} ms`);
      const line = await app.line('state down', 10_000);
      const after = timeOf(line) - lastHeard;
      assert(after >= 6_000, `down after ${after} ms, before the last probe left`);
      assert(after <= 7_000 * 1.05 + 500, `down after ${after} ms, later than the bound of 7000`);
      const event = JSON.parse(line.slice(line.indexOf('{')));
      assert.equal(event.reason, 'no-answer');
      assert.equal(event.evidence.errno, 'ETIMEDOUT');
      assert.equal(event.detectsWithinMs, 7_000);
      await app.line('error ETIMEDOUT', 1_000);
      t.diagnostic(`suspect ${suspect - lastHeard} ms and down ${after} ms after the last segment`);

      lab.heal(router);
      peer.tell('late words');
      await peer.line('error ECONNRESET', 5_000);
      await peer.line('closed', 1_000);
    },
  );

  test(
    'silent drop while the application reads nothing: down within the bound all the same',
    NEEDS,
    async (t) => {
      const { lab, client, router, peer, serverAddress } = await servedNatLab(t, 300);
      const options = JSON.stringify({ time: '3s', interval: '1s', probes: 4 });
      const app = lab.start(client, APP, serverAddress, '7000', options, 'unread');
      await app.line('state up', START_MS);
      // More than a stream takes unread: Node stops listening to the socket, also for its death.
      peer.tell('x'.repeat(300_000));
      await pause(500);
      lab.cut(router);
      const cutAt = performance.now();
      await app.line('state down', 10_000);
      const after = Math.round(performance.now() - cutAt);
      // The bound, and a second in which Node would tell if somebody read.
      assert(after <= 7_000 * 1.05 + 500 + 1_000, `down ${after} ms after the cut`);
      t.diagnostic(`down ${after} ms after the cut`);
    },
  );

  test(
    'data in flight, user timeout 5 s: dead after 5 s and not after 15 minutes',
    NEEDS,
    async (t) => {
      const { lab, client, router, serverAddress } = await servedNatLab(t, 300);
      const options = { time: '3s', interval: '1s', probes: 4, userTimeout: '5s' };
      const app = lab.start(client, APP, serverAddress, '7000', JSON.stringify(options));
      await connected(app);
      lab.cut(router);
      const written = performance.now();
      app.tell('into the void');
      await app.line('state suspect', 4_000);
      await app.line('state down', 8_000);
      const after = performance.now() - written;
      assert(after >= 4_900 && after <= 7_000, `dead ${after} ms after the write`);
      await app.line('error ETIMEDOUT', 1_000);
      t.diagnostic(`dead ${Math.round(after)} ms after the write`);
    },
  );
});
