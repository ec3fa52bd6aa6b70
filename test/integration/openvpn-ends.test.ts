/** How sessions with Debian's openvpn end, and come back: stopped, killed, restarted, renewed, attacked. */
import assert from 'node:assert/strict';
import { after, suite, type TestContext, test } from 'node:test';
import type { Link } from '../../src/link/link.ts';
import { createLink } from '../../src/link/registry.ts';
import {
  clientConfig,
  enters,
  HOST,
  Openvpn,
  openvpnMissing,
  Pki,
  statesOf,
} from '../support/openvpn.ts';
import { Prng } from '../support/prng.ts';
import { UdpRelay } from '../support/udp-relay.ts';

const NEEDS = { skip: openvpnMissing() };
const START_MS = 25_000;
/** What a busy machine may be late by. */
const LATE_MS = 2_000;
const DATA_V2 = 9;
const pki = NEEDS.skip === false ? new Pki() : undefined;
after(() => pki?.remove());

function files(): Pki {
  assert(pki !== undefined);
  return pki;
}

/** A link that is up. */
async function upAt(t: TestContext, port: number, lines: readonly string[] = []): Promise<Link> {
  const link = createLink(`openvpn://${HOST}:${port}?config=${clientConfig(files(), lines)}`);
  t.after(() => link.close());
  link.on('note', ({ text }) => t.diagnostic(text));
  const up = enters(link, 'up', START_MS);
  link.start();
  await up;
  return link;
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

suite('ends of openvpn sessions', { concurrency: true, timeout: 90_000 }, () => {
  test(
    '2 and 8 are pushed and obeyed: stopped is down within 8 s, continued is up',
    NEEDS,
    async (t) => {
      const server = await Openvpn.server(t, files(), ['keepalive 2 8']);
      const link = await upAt(t, server.port, ['keepalive 5 60']);
      assert.deepEqual([link.detectsWithinMs, link.status().largestSilenceMs], [8_000, 2_000]);
      const stoppedAt = performance.now();
      const down = enters(link, 'down', 8_000 + LATE_MS);
      server.signal('SIGSTOP');
      const { from, reason, evidence, detectsWithinMs } = await down;
      const took = Math.round(performance.now() - stoppedAt);
      assert.deepEqual([from, reason, detectsWithinMs], ['up', 'silent', 8_000]);
      // The last ping came up to 2 s before.
      assert(took > 8_000 - 3_000 && took < 8_000 + LATE_MS, `${took} ms`);
      assert((evidence.silentMs ?? 0) >= 8_000);
      t.diagnostic(`down after ${took} of 8000 ms`);
      const up = enters(link, 'up', START_MS);
      server.signal('SIGCONT');
      await up;
    },
  );

  test('ping-exit 4 is pushed and obeyed as a bound', NEEDS, async (t) => {
    const push = ['push "ping 1"', 'push "ping-exit 4"'];
    const server = await Openvpn.server(t, files(), ['ping 1', ...push]);
    const link = await upAt(t, server.port);
    assert.equal(link.detectsWithinMs, 4_000);
    const down = enters(link, 'down', 4_000 + LATE_MS);
    server.signal('SIGSTOP');
    assert.equal((await down).reason, 'silent');
  });

  test('pings both ways hold a session for twice its time', NEEDS, async (t) => {
    const server = await Openvpn.server(t, files(), ['keepalive 1 4', 'verb 7']);
    const relay = await UdpRelay.start(t, server.port);
    const link = await upAt(t, relay.port);
    const states = statesOf(link);
    const from = relay.seen.length;
    await pause(8_500);
    assert.deepEqual(states, []);
    const since = relay.seen.slice(from);
    // A ping is 8 of head, 16 of tag and 16 of ciphertext, and nothing else was sent.
    for (const { packet } of since)
      assert.deepEqual([packet.length, packet[0]], [40, DATA_V2 << 3]);
    const ours = since.filter(({ toServer }) => toServer).length;
    assert(ours >= 6 && ours <= 9, `${ours} pings of ours`);
    const heard = server.log.lines.filter((line) => line.includes('RECEIVED PING PACKET')).length;
    assert(heard >= ours - 1, `${heard} of ${ours}`);
    t.diagnostic(`${ours} pings of ours, ${since.length - ours} of the server's`);
  });

  test(
    'a server that ends with notice: down at once, then up by a new session',
    NEEDS,
    async (t) => {
      const server = await Openvpn.server(t, files(), ['keepalive 5 20', 'explicit-exit-notify 1']);
      const link = await upAt(t, server.port);
      const endedAt = performance.now();
      const down = enters(link, 'down', 2_000 + LATE_MS);
      const ended = server.end('SIGTERM');
      assert.deepEqual([(await down).reason, (await down).from], ['closed', 'up']);
      t.diagnostic(`down after ${Math.round(performance.now() - endedAt)} of 20000 ms`);
      await ended;
      const up = enters(link, 'up', START_MS);
      await server.start();
      await up;
    },
  );

  test(
    'a server that ends without notice: suspect by refusal, down by silence, up again',
    NEEDS,
    async (t) => {
      const server = await Openvpn.server(t, files(), ['keepalive 1 4']);
      const link = await upAt(t, server.port);
      const states = statesOf(link);
      const down = enters(link, 'down', 4_000 + LATE_MS);
      await server.end('SIGKILL');
      const { reason, evidence } = await down;
      assert.deepEqual([states, reason], [['suspect', 'down'], 'refused']);
      assert((evidence.silentMs ?? 0) >= 4_000, JSON.stringify(evidence));
      const up = enters(link, 'up', START_MS);
      await server.start();
      await up;
    },
  );

  test(
    'a server that is started anew at once: a new session by itself, within its time',
    NEEDS,
    async (t) => {
      const server = await Openvpn.server(t, files(), ['keepalive 1 4']);
      const link = await upAt(t, server.port);
      const down = enters(link, 'down', 4_000 + LATE_MS);
      const up = enters(link, 'up', START_MS);
      await server.end('SIGKILL');
      await server.start();
      await down;
      await up;
    },
  );

  test('a server over TCP that is killed: down at once', NEEDS, async (t) => {
    const server = await Openvpn.server(t, files(), ['keepalive 5 20'], 'tcp4-server');
    const link = await upAt(t, server.port, ['proto tcp']);
    const down = enters(link, 'down', LATE_MS);
    await server.end('SIGKILL');
    assert.match((await down).reason, /^(closed|reset)$/);
    const up = enters(link, 'up', START_MS);
    await server.start();
    await up;
  });

  test('our goodbye is said inside TLS, and the server lets us go', NEEDS, async (t) => {
    const server = await Openvpn.server(t, files(), ['keepalive 5 20']);
    const link = await upAt(t, server.port);
    link.close();
    await server.log.line('exit message received by peer', 2_000);
  });

  test('none is said where the file forbids it', NEEDS, async (t) => {
    const server = await Openvpn.server(t, files(), ['keepalive 5 20']);
    const link = await upAt(t, server.port, ['explicit-exit-notify 0']);
    link.close();
    await server.log.silence('exit message received', 500);
  });

  // A day of hourly renewals, an hour a second.
  for (const [name, ours, theirs, most] of [
    ['the server', 'reneg-sec 0', 'reneg-sec 1 1', 24],
    ['us', 'reneg-sec 1', 'reneg-sec 0', 12],
    ['both at once', 'reneg-sec 1', 'reneg-sec 1 1', 12],
  ] as const) {
    test(`keys renewed by ${name}, ${most} times: the link never leaves up`, NEEDS, async (t) => {
      const server = await Openvpn.server(t, files(), ['keepalive 1 3', theirs]);
      const relay = await UdpRelay.start(t, server.port);
      const link = await upAt(t, relay.port, [ours]);
      const states = statesOf(link);
      const renewed = () =>
        server.log.lines.filter((line) => line.includes('Outgoing Data Channel: Cipher')).length -
        1;
      const lateAt = performance.now() + 40_000;
      while (renewed() < most && performance.now() < lateAt) await pause(200);
      assert.deepEqual(states, []);
      assert(renewed() >= most, `${renewed()} renewals; ${server.log.lines.slice(-20).join('\n')}`);
      // Each of the seven key ids that are used in turn has sealed something.
      const keys = (toServer: boolean) =>
        new Set(
          relay.seen
            .filter((one) => one.toServer === toServer && (one.packet[0] ?? 0) >> 3 === DATA_V2)
            .map(({ packet }) => (packet[0] ?? 0) & 7),
        );
      t.diagnostic(
        `${renewed()} renewals, keys ${[...keys(true)]} of ours, ${[...keys(false)]} of theirs`,
      );
      assert(keys(false).size >= 7, `${[...keys(false)]}`);
      // Who renews each second has no silence of a second to fill with a ping.
      if (ours === 'reneg-sec 0') assert(keys(true).size >= 7, `${[...keys(true)]}`);
    });
  }

  test('the old key is good for as long as the server seals with it', NEEDS, async (t) => {
    const server = await Openvpn.server(t, files(), ['keepalive 1 3', 'reneg-sec 10 10']);
    const relay = await UdpRelay.start(t, server.port);
    const link = await upAt(t, relay.port, ['reneg-sec 0']);
    const states = statesOf(link);
    const sealedBy = (key: number) =>
      relay.seen.findLast(
        ({ packet, toServer }) => !toServer && packet[0] === ((DATA_V2 << 3) | key),
      );
    await server.log.line('Outgoing Data Channel: Cipher', 12_000, server.log.lines.length);
    const renewedAt = performance.now();
    while (sealedBy(1) === undefined && performance.now() - renewedAt < 12_000) await pause(50);
    const took = Math.round(performance.now() - renewedAt);
    t.diagnostic(`the server goes on with the old key for ${took} ms`);
    assert.deepEqual(states, []);
    assert(took > 3_000 + LATE_MS / 2, 'for longer than the link would wait');
  });

  test('replayed and corrupted packets are no life: down within 3 s', NEEDS, async (t) => {
    const server = await Openvpn.server(t, files(), ['keepalive 1 3']);
    const relay = await UdpRelay.start(t, server.port);
    const link = await upAt(t, relay.port);
    await pause(2_200);
    const heard = relay.seen.filter(({ toServer }) => !toServer).map(({ packet }) => packet);
    // From now on what the server sends has one bit turned, and all that it sent comes again and again.
    const prng = new Prng(7);
    relay.alter = (packet, toServer) => {
      if (toServer) return packet;
      const turned = Buffer.from(packet);
      const at = prng.between(0, turned.length - 1);
      turned[at] = (turned[at] ?? 0) ^ (1 << prng.between(0, 7));
      return turned;
    };
    const again = setInterval(() => {
      for (const packet of heard) relay.toClient(packet);
    }, 100);
    t.after(() => clearInterval(again));
    const startedAt = performance.now();
    const { reason } = await enters(link, 'down', 3_000 + LATE_MS);
    assert.equal(reason, 'silent');
    t.diagnostic(`down after ${Math.round(performance.now() - startedAt)} of 3000 ms`);
  });

  test(
    'nothing that is not authentic is answered: 20,000 packets, none of ours',
    NEEDS,
    async (t) => {
      const server = await Openvpn.server(t, files(), ['keepalive 20 60', 'tls-crypt static.key']);
      const relay = await UdpRelay.start(t, server.port);
      const link = await upAt(t, relay.port, ['tls-crypt static.key']);
      const states = statesOf(link);
      await pause(200);
      const heard = relay.seen.filter(({ toServer }) => !toServer).map(({ packet }) => packet);
      const sent = () => relay.seen.filter(({ toServer }) => toServer).length;
      const before = sent();
      const prng = new Prng(8);
      for (let count = 0; count < 20_000; count += 1) {
        const forged = Buffer.from(heard[count % heard.length] ?? []);
        // A replay, one bit turned, or the head of another kind of packet.
        if (count % 3 === 1) {
          const at = prng.between(1, forged.length - 1);
          forged[at] = (forged[at] ?? 0) ^ (1 << prng.between(0, 7));
        }
        if (count % 3 === 2) forged[0] = prng.between(0, 255);
        relay.toClient(forged);
        if (count % 500 === 499) await pause(10);
      }
      await pause(200);
      assert.equal(sent() - before, 0);
      assert.deepEqual(states, []);
    },
  );

  test('a fifth of all packets lost: up all the same', NEEDS, async (t) => {
    const server = await Openvpn.server(t, files(), ['keepalive 1 10', 'tls-auth static.key 0']);
    const relay = await UdpRelay.start(t, server.port);
    const prng = new Prng(9);
    relay.alter = (packet) => (prng.chance(1 / 5) ? undefined : packet);
    await upAt(t, relay.port, ['tls-auth static.key 1']);
    const lost = relay.seen.length;
    t.diagnostic(`${lost} packets`);
  });
});
