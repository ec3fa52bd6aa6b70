/** `openvpn://` against Debian's openvpn without a server: two peers with TLS, two peers with a secret. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, suite, type TestContext, test } from 'node:test';
import type { Link } from '../../src/link/link.ts';
import { StaticChannel } from '../../src/link/openvpn/data-channel.ts';
import { createLink } from '../../src/link/registry.ts';
import { decodeStaticKey } from '../../src/wire/openvpn-key-file.ts';
import { decodePayload } from '../../src/wire/openvpn-payload.ts';
import {
  certificates,
  enters,
  HOST,
  Openvpn,
  openvpnMissing,
  Pki,
  statesOf,
} from '../support/openvpn.ts';
import { UdpRelay } from '../support/udp-relay.ts';

const NEEDS = { skip: openvpnMissing() };
const START_MS = 10_000;
const LATE_MS = 2_000;
const pki = NEEDS.skip === false ? new Pki() : undefined;
after(() => pki?.remove());

const SECRET = ['secret static.key', 'cipher AES-256-CBC', 'auth SHA256', 'keepalive 1 3'];

/** Longer than any test waits. */
const PATIENT = ['keepalive 1 30'];

function files(): Pki {
  assert(pki !== undefined);
  return pki;
}

let count = 0;

function linkTo(t: TestContext, port: number, lines: readonly string[]): Link {
  count += 1;
  const file = files().write(`peer-${count}.ovpn`, `dev tun\n${lines.join('\n')}\n`);
  const link = createLink(`openvpn://${HOST}:${port}?config=${file}`);
  t.after(() => link.close());
  link.on('note', ({ text }) => t.diagnostic(text));
  return link;
}

async function tlsPeer(t: TestContext, lines: readonly string[] = []): Promise<Openvpn> {
  const own = ['tls-server', ...certificates(files(), 'server'), 'keepalive 1 3'];
  return await Openvpn.peer(t, files(), [...own, ...lines]);
}

const TLS = () => ['tls-client', ...certificates(files(), 'client'), 'keepalive 1 3'];

suite('openvpn without a server', { concurrency: true, timeout: 60_000 }, () => {
  test('two peers with TLS: up, and pings both ways for twice its time', NEEDS, async (t) => {
    const peer = await tlsPeer(t, ['verb 7']);
    const link = linkTo(t, peer.port, TLS());
    const up = enters(link, 'up', START_MS);
    link.start();
    await up;
    assert.deepEqual([link.detectsWithinMs, link.status().largestSilenceMs], [3_000, 1_000]);
    const states = statesOf(link);
    for (let from = 0, left = 6; left > 0; left -= 1) {
      const line = await peer.log.line('RECEIVED PING PACKET', 3_000, from);
      from = peer.log.lines.indexOf(line, from) + 1;
    }
    assert.deepEqual(states, []);
    assert.match(
      peer.log.lines.join('\n'),
      /TLS_export=1, DATA_v2=1, peer-id \d+, cipher=AES-256-GCM/,
    );
  });

  test(
    'two peers with TLS: a peer that ends says so, and one started again is found',
    NEEDS,
    async (t) => {
      const peer = await tlsPeer(t, ['explicit-exit-notify 1']);
      const link = linkTo(t, peer.port, TLS());
      const up = enters(link, 'up', START_MS);
      link.start();
      await up;
      const down = enters(link, 'down', 1_000 + LATE_MS);
      const ended = peer.end('SIGTERM');
      assert.equal((await down).reason, 'closed');
      const again = enters(link, 'up', START_MS);
      await ended;
      await peer.start();
      await again;
    },
  );

  test(
    'two peers with TLS: stopped is down within 3 s, continued is up; killed, started, up',
    NEEDS,
    async (t) => {
      const peer = await tlsPeer(t);
      const link = linkTo(t, peer.port, TLS());
      const up = enters(link, 'up', START_MS);
      link.start();
      await up;
      for (const [ends, begins] of [
        [() => peer.signal('SIGSTOP'), () => peer.signal('SIGCONT')],
        [() => peer.end('SIGKILL'), () => peer.start()],
      ] as const) {
        const down = enters(link, 'down', 3_000 + LATE_MS);
        await ends();
        assert.match((await down).reason, /^(silent|refused)$/);
        const back = enters(link, 'up', START_MS);
        await begins();
        await back;
      }
    },
  );

  test(
    'two peers with TLS: keys renewed by both, 6 times, replays in between: never but up',
    NEEDS,
    async (t) => {
      const peer = await tlsPeer(t, ['reneg-sec 1 1']);
      const relay = await UdpRelay.start(t, peer.port);
      const link = linkTo(t, relay.port, [...TLS(), 'reneg-sec 1']);
      const up = enters(link, 'up', START_MS);
      link.start();
      await up;
      const states = statesOf(link);
      const again = setInterval(() => {
        for (const { packet, toServer } of relay.seen.slice(-20)) {
          if (!toServer) relay.toClient(packet);
        }
      }, 100);
      t.after(() => clearInterval(again));
      for (let from = 0, left = 7; left > 0; left -= 1) {
        const line = await peer.log.line('Outgoing Data Channel: Cipher', 8_000, from);
        from = peer.log.lines.indexOf(line, from) + 1;
      }
      assert.deepEqual(states, []);
    },
  );

  test('two peers with TLS: our goodbye is heard', NEEDS, async (t) => {
    const peer = await tlsPeer(t);
    const link = linkTo(t, peer.port, TLS());
    const up = enters(link, 'up', START_MS);
    link.start();
    await up;
    link.close();
    await peer.log.line('remote-exit', 2_000);
  });

  test('a secret: the pings of both are decoded, 16 bytes each', NEEDS, async (t) => {
    const peer = await Openvpn.peer(t, files(), SECRET);
    const relay = await UdpRelay.start(t, peer.port);
    const link = linkTo(t, relay.port, SECRET);
    const up = enters(link, 'up', START_MS);
    link.start();
    await up;
    const pings = await new Promise<{ ours: number; theirs: number }>((resolve) => {
      const keys = decodeStaticKey(readFileSync(files().file('static.key'), 'utf8'));
      const key = { keys, direction: undefined, cipher: 'AES-256-CBC', digest: 'sha256' };
      const ends = [new StaticChannel(key, 0), new StaticChannel(key, 0)] as const;
      const found = { ours: 0, theirs: 0 };
      relay.on('packet', (packet, toServer) => {
        const payload = ends[toServer ? 0 : 1].open(packet);
        assert(payload !== undefined, 'what both send is authentic, each packet new');
        if (decodePayload(payload) !== 'ping') return;
        assert.equal(payload.length, 16);
        assert.equal(packet.length, 80);
        found[toServer ? 'ours' : 'theirs'] += 1;
        if (found.ours >= 3 && found.theirs >= 3) resolve(found);
      });
    });
    assert(pings.ours >= 3 && pings.theirs >= 3);
  });

  for (const [ours, theirs] of [
    [0, 1],
    [1, 0],
  ] as const) {
    test(`a secret with direction ${ours}, AES-128-CBC and SHA512: up`, NEEDS, async (t) => {
      const other = ['cipher AES-128-CBC', 'auth SHA512', 'keepalive 1 3'];
      const peer = await Openvpn.peer(t, files(), [`secret static.key ${theirs}`, ...other]);
      const link = linkTo(t, peer.port, [`secret static.key ${ours}`, ...other]);
      const up = enters(link, 'up', START_MS);
      link.start();
      await up;
    });
  }

  for (const [name, begin] of [
    ['TLS', async (t: TestContext) => ({ peer: await tlsPeer(t, PATIENT), lines: TLS() })],
    [
      'a secret',
      async (t: TestContext) => {
        return { peer: await Openvpn.peer(t, files(), [...SECRET, ...PATIENT]), lines: SECRET };
      },
    ],
  ] as const) {
    test(
      `${name}: a link made anew speaks from the port it had, and is up at once`,
      NEEDS,
      async (t) => {
        const { peer, lines } = await begin(t);
        const silent = [...lines, ...PATIENT, 'explicit-exit-notify 0'];
        const link = linkTo(t, peer.port, silent);
        const up = enters(link, 'up', START_MS);
        link.start();
        await up;
        const { state, learned } = link;
        const { since, local } = link.status();
        link.close();
        const next = linkTo(t, peer.port, silent);
        next.recall({ state, since, learned });
        const again = enters(next, 'up', START_MS);
        next.start();
        await again;
        assert.equal(next.status().local, local);
        // The peer has not lost us, and so has not begun anew.
        assert(!peer.log.lines.some((line) => line.includes('Inactivity timeout')));
      },
    );
  }

  test('a secret that is not ours: nothing is life, down after 3 s', NEEDS, async (t) => {
    const peer = await Openvpn.peer(t, files(), ['secret other-static.key', ...SECRET.slice(1)]);
    const link = linkTo(t, peer.port, SECRET);
    const down = enters(link, 'down', 3_000 + LATE_MS);
    link.start();
    const { from, reason, evidence } = await down;
    assert.deepEqual([from, reason], ['unknown', 'silent']);
    assert((evidence.silentMs ?? 0) >= 3_000);
    await peer.log.line('Authenticate/Decrypt packet error', 1_000);
  });

  test(
    'a secret: stopped is down within 3 s, continued is up; a goodbye each way',
    NEEDS,
    async (t) => {
      const peer = await Openvpn.peer(t, files(), [...SECRET, 'explicit-exit-notify 1']);
      const link = linkTo(t, peer.port, SECRET);
      const up = enters(link, 'up', START_MS);
      link.start();
      await up;
      const stoppedAt = performance.now();
      const down = enters(link, 'down', 3_000 + LATE_MS);
      peer.signal('SIGSTOP');
      assert.equal((await down).reason, 'silent');
      t.diagnostic(`down after ${Math.round(performance.now() - stoppedAt)} of 3000 ms`);
      const back = enters(link, 'up', START_MS);
      peer.signal('SIGCONT');
      await back;
      const closed = enters(link, 'down', 1_000 + LATE_MS);
      const ended = peer.end('SIGTERM');
      assert.equal((await closed).reason, 'closed');
      const again = enters(link, 'up', START_MS);
      // It goes on for a moment, and is not taken for one that is back.
      const meanwhile = statesOf(link);
      await ended;
      assert.deepEqual(meanwhile, []);
      await peer.start();
      await again;
      const killed = enters(link, 'down', 3_000 + LATE_MS);
      await peer.end('SIGKILL');
      assert.equal((await killed).reason, 'refused');
      const last = enters(link, 'up', START_MS);
      await peer.start();
      await last;
      link.close();
      await peer.log.line('remote-exit', 2_000);
    },
  );

  test(
    'a secret: what came before the link was made anew is no life after it',
    NEEDS,
    async (t) => {
      const peer = await Openvpn.peer(t, files(), SECRET);
      const relay = await UdpRelay.start(t, peer.port);
      const link = linkTo(t, relay.port, SECRET);
      const up = enters(link, 'up', START_MS);
      link.start();
      await up;
      const old = relay.seen.filter(({ toServer }) => !toServer);
      relay.alter = (packet, toServer) => (toServer ? packet : undefined);
      const down = enters(link, 'down', 3_000 + LATE_MS);
      await down;
      const states = statesOf(link);
      // Into the next sockets too: the link tries again after a second, and is then made anew.
      for (let left = 60; left > 0; left -= 1) {
        for (const { packet } of old) relay.toClient(packet);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      assert.deepEqual(states, []);
    },
  );
});
