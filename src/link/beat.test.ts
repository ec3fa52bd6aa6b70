import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { suite, type TestContext, test } from 'node:test';
import type { LinkState } from '../keepalive/keepalive.ts';
import type { TimingInput } from '../keepalive/timing.ts';
import type { BeatPacket } from '../wire/beat.ts';
import { openBeat, sealBeat } from './beat-auth.ts';
import { BeatResponder } from './beat-responder.ts';
import type { Link, LinkEvent, StateEvent } from './link.ts';
import { createLink } from './registry.ts';

const KEY = createSecretKey('hunter2', 'utf8');
/** A bound of 500 ms, with a slack (half an interval) that a busy test machine does not reach. */
const QUICK: TimingInput = { time: '200ms', interval: '100ms', probes: 3 };
/** Far more than anything here takes; only a test that fails waits so long. */
const BOUND_MS = 5_000;

function makeLink(t: TestContext, port: number, query = 'key=hunter2', timing = QUICK): Link {
  const link = createLink(`beat://127.0.0.1:${port}?${query}`, timing, 'links.a', 'a');
  t.after(() => link.close());
  return link;
}

async function respond(
  t: TestContext,
  port = 0,
): Promise<{ responder: BeatResponder; port: number }> {
  const responder = new BeatResponder('127.0.0.1', port, KEY);
  const bound = await responder.start();
  t.after(() => responder.close());
  return { responder, port: Number(bound.split(':')[1]) };
}

/** Gets every authentic probe with a way to answer it as it likes. */
type Script = (probe: BeatPacket, send: (bytes: Uint8Array) => void) => void;

/** A peer that knows the key and does with probes what the script says. */
async function scripted(t: TestContext, script: Script): Promise<number> {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (bytes, peer) => {
    const packet = openBeat(bytes, KEY);
    assert(typeof packet !== 'string', `the link sent a packet that is ${packet}`);
    script(packet, (answer) => socket.send(answer, peer.port, peer.address));
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.after(() => socket.close());
  return socket.address().port;
}

function goodAnswer({ sequence, nonce }: BeatPacket): Uint8Array {
  return sealBeat('answer', sequence, nonce, KEY);
}

/** Resolves with the event that says so, at once if it is so already. */
function reaches(link: Link, state: LinkState): Promise<StateEvent> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      const status = JSON.stringify(link.status());
      reject(new Error(`not ${state} within ${BOUND_MS} ms but ${status}`));
    }, BOUND_MS);
    const take = (event: StateEvent) => {
      if (event.to !== state) return;
      clearTimeout(late);
      link.off('state', take);
      resolve(event);
    };
    link.on('state', take);
  });
}

/** All state changes from now on, as `to reason`. */
function story(link: Link): string[] {
  const told: string[] = [];
  link.on('state', ({ to, reason }) => told.push(`${to} ${reason}`));
  return told;
}

function times(link: Link, type: 'probe' | 'reply', count: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${count} ${type} events`)), BOUND_MS);
    let seen = 0;
    const take = (_event: LinkEvent) => {
      seen += 1;
      if (seen < count) return;
      clearTimeout(late);
      link.off(type, take);
      resolve();
    };
    link.on(type, take);
  });
}

suite('beat links', { timeout: 30_000, concurrency: 16 }, () => {
  test('answers that take 250 ms bring a link up again though its interval is 100 ms', async (t) => {
    let outage = true;
    const port = await scripted(t, (probe, send) => {
      const late = setTimeout(() => !outage && send(goodAnswer(probe)), 250);
      t.after(() => clearTimeout(late));
    });
    const link = makeLink(t, port);
    const down = reaches(link, 'down');
    link.start();
    await down;
    outage = false;
    await reaches(link, 'up');
  });

  test('is up after one answered probe, with addresses and round trip', async (t) => {
    const { port, responder } = await respond(t);
    const link = makeLink(t, port);
    link.start();
    const event = await reaches(link, 'up');
    assert.deepEqual([event.from, event.reason, event.detectsWithinMs], ['unknown', 'heard', 500]);
    const status = link.status();
    assert.equal(status.remote, `127.0.0.1:${port}`);
    assert.match(status.local ?? '', /^127\.0\.0\.1:\d+$/);
    assert(status.rttMs !== null && status.rttMs >= 0);
    assert.equal(responder.counts.answered, 1);
  });

  test('keeps asking while it is up: 3 replies without a change of state', async (t) => {
    const { port } = await respond(t);
    const link = makeLink(t, port);
    link.start();
    await reaches(link, 'up');
    const told = story(link);
    await times(link, 'reply', 3);
    assert.deepEqual(told, []);
  });

  test('every probe has a nonce of its own', async (t) => {
    const nonces = new Set<string>();
    const port = await scripted(t, (probe) => nonces.add(Buffer.from(probe.nonce).toString('hex')));
    const link = makeLink(t, port, 'key=hunter2', { ...QUICK, interval: '20ms' });
    link.start();
    await times(link, 'probe', 20);
    assert(nonces.size >= 19, `${nonces.size} nonces in 20 probes`);
  });

  test('a wrong key is never answered and never up: down within the bound', async (t) => {
    const { port, responder } = await respond(t);
    const link = makeLink(t, port, 'key=wrong');
    const told = story(link);
    link.start();
    const event = await reaches(link, 'down');
    assert.deepEqual(told, ['down no-answer']);
    assert.equal(event.evidence.probes, 3);
    assert.equal(responder.counts.answered, 0);
    assert(responder.counts.notAuthentic >= 3, JSON.stringify(responder.counts));
  });

  test('a responder that goes away: suspect with refused, down within time + 3 × interval', async (t) => {
    const { port, responder } = await respond(t);
    const link = makeLink(t, port);
    link.start();
    await reaches(link, 'up');
    const [suspect, down] = [reaches(link, 'suspect'), reaches(link, 'down')];
    responder.close();
    assert.deepEqual([(await suspect).from, (await suspect).reason], ['up', 'refused']);
    assert.deepEqual((await suspect).evidence, { errno: 'ECONNREFUSED' });
    const { from, reason, evidence, detectsWithinMs } = await down;
    assert.deepEqual([from, reason, evidence.probes], ['suspect', 'refused', 3]);
    assert.equal(detectsWithinMs, 500);
    // The machine's own silence; the rest is the timers of a busy test machine.
    assert((evidence.silentMs ?? Infinity) <= 500 + 150, `silent for ${evidence.silentMs} ms`);
  });

  test('a peer that falls silent: suspect after one probe, down after three, no-answer', async (t) => {
    let answers = true;
    const port = await scripted(t, (probe, send) => {
      if (answers) send(goodAnswer(probe));
    });
    const link = makeLink(t, port);
    link.start();
    await reaches(link, 'up');
    const told = story(link);
    const down = reaches(link, 'down');
    answers = false;
    const { evidence } = await down;
    assert.deepEqual(told, ['suspect no-answer', 'down no-answer']);
    assert.equal(evidence.probes, 3);
  });

  test('is up again within an interval of the peer answering again', async (t) => {
    const { port, responder } = await respond(t);
    const link = makeLink(t, port);
    link.start();
    await reaches(link, 'up');
    const before = link.status().local;
    const down = reaches(link, 'down');
    responder.close();
    await down;
    const up = reaches(link, 'up');
    await respond(t, port);
    const backAt = performance.now();
    assert.equal((await up).from, 'down');
    assert(performance.now() - backAt < 1_000, 'an interval is 100 ms');
    assert.notEqual(link.status().local, before, 'a dead binding must not be used again');
  });

  test('a port where nobody ever answered is down at once, refused', async (t) => {
    const { port, responder } = await respond(t);
    responder.close();
    const link = makeLink(t, port, 'key=hunter2', { time: '60s', interval: '10s', probes: 3 });
    link.start();
    assert.equal((await reaches(link, 'down')).reason, 'refused');
  });

  test('replays of a good answer keep nobody alive', async (t) => {
    let first: Uint8Array | undefined;
    const port = await scripted(t, (probe, send) => {
      first ??= goodAnswer(probe);
      send(first);
      send(first);
    });
    const link = makeLink(t, port);
    link.start();
    await reaches(link, 'up');
    const told = story(link);
    await reaches(link, 'down');
    assert.deepEqual(told, ['suspect no-answer', 'down no-answer']);
  });

  test('answers to old probes, kept back and sent later, do not count', async (t) => {
    let kept: Uint8Array[] = [];
    let playing = false;
    const port = await scripted(t, (probe, send) => {
      if (!playing) kept.push(goodAnswer(probe));
      else for (const answer of kept) send(answer);
      if (kept.length === 1) send(goodAnswer(probe));
    });
    const link = makeLink(t, port);
    link.start();
    await reaches(link, 'up');
    await reaches(link, 'down');
    // The newest three still count; all that is older must not.
    await times(link, 'probe', 4);
    kept = kept.slice(0, -3);
    assert(kept.length >= 3);
    playing = true;
    const told = story(link);
    await times(link, 'probe', 3);
    assert.deepEqual(told, []);
  });

  for (const [what, answer] of [
    ['the wrong nonce', ({ sequence }) => sealBeat('answer', sequence, new Uint8Array(16), KEY)],
    ['the wrong sequence', ({ sequence, nonce }) => sealBeat('answer', sequence + 1, nonce, KEY)],
    ['the type probe (an echo)', ({ sequence, nonce }) => sealBeat('probe', sequence, nonce, KEY)],
    ['the type beat', ({ sequence, nonce }) => sealBeat('beat', sequence, nonce, KEY)],
    ['one bit of the tag wrong', (probe) => changed(goodAnswer(probe), 43)],
    ['one byte too few', (probe) => goodAnswer(probe).subarray(0, 43)],
    ['one byte too many', (probe) => Uint8Array.from([...goodAnswer(probe), 0])],
    [
      '1,400 bytes',
      (probe) => Uint8Array.from({ length: 1_400 }, (_, i) => goodAnswer(probe)[i] ?? 0),
    ],
    ['no bytes at all', () => new Uint8Array(0)],
  ] as readonly (readonly [string, (probe: BeatPacket) => Uint8Array])[]) {
    test(`an answer with ${what} is ignored: never up`, async (t) => {
      const port = await scripted(t, (probe, send) => send(answer(probe)));
      const link = makeLink(t, port);
      const told = story(link);
      link.start();
      await reaches(link, 'down');
      await times(link, 'probe', 2);
      assert.deepEqual(told, ['down no-answer']);
    });
  }

  test('answers from somebody else who knows the key are not taken', async (t) => {
    const other = dgram.createSocket('udp4');
    t.after(() => other.close());
    const port = await scripted(t, (probe) => {
      const local = Number(link.status().local?.split(':')[1]);
      other.send(goodAnswer(probe), local, '127.0.0.1');
    });
    const link = makeLink(t, port);
    link.start();
    await reaches(link, 'down');
    assert.equal(link.status().rttMs, null);
  });

  test('sends a beat after 50 ms of sending nothing, and beats ask for nothing', async (t) => {
    let beats = 0;
    const enough = Promise.withResolvers<void>();
    const port = await scripted(t, (packet, send) => {
      if (packet.type === 'probe') send(goodAnswer(packet));
      else if (packet.type === 'beat' && ++beats === 3) enough.resolve();
    });
    const link = makeLink(t, port, 'key=hunter2', { ...QUICK, time: '2s', beat: '50ms' });
    const startedAt = performance.now();
    link.start();
    await reaches(link, 'up');
    await enough.promise;
    assert(performance.now() - startedAt < 1_500, 'three beats come long before the next probe');
  });

  for (const target of ['192.0.2.1:9?source=127.0.0.1&', '255.255.255.255:9?']) {
    test(`a place that cannot be sent to is down, unreachable: ${target}`, async (t) => {
      const link = createLink(`beat://${target}key=k`, QUICK, 'links.a', 'a');
      t.after(() => link.close());
      link.start();
      const { reason, evidence } = await reaches(link, 'down');
      assert.equal(reason, 'unreachable');
      assert.match(evidence.errno ?? '', /^E[A-Z]+$/);
    });
  }

  test('a name that does not exist is down with name-not-found, and asked for again', async (t) => {
    const name = `${'x'.repeat(64)}.invalid`;
    const link = createLink(`beat://${name}:1?key=k`, QUICK, 'links.a', 'a');
    t.after(() => link.close());
    link.start();
    assert.equal((await reaches(link, 'down')).reason, 'name-not-found');
    await times(link, 'probe', 2);
  });

  test('?source= is the address that the peer sees', async (t) => {
    const { port } = await respond(t);
    const link = makeLink(t, port, 'key=hunter2&source=127.0.0.9');
    link.start();
    await reaches(link, 'up');
    assert.match(link.status().local ?? '', /^127\.0\.0\.9:\d+$/);
  });

  for (const state of ['suspect', 'down'] as const) {
    test(`close within the event that says ${state} sends nothing more`, async (t) => {
      let answers = true;
      let after = 0;
      let closed = false;
      const port = await scripted(t, (probe, send) => {
        if (answers) send(goodAnswer(probe));
        if (closed) after += 1;
      });
      const link = makeLink(t, port);
      link.start();
      await reaches(link, 'up');
      answers = false;
      await new Promise<void>((resolve) => {
        link.on('state', ({ to }) => {
          if (to !== state) return;
          closed = true;
          link.close();
          resolve();
        });
      });
      // Another link's round trip by the same peer: what the closed one sent came before it.
      answers = true;
      const marker = makeLink(t, port);
      marker.start();
      await reaches(marker, 'up');
      assert.equal(after, 1, 'only the probe of the other link comes');
    });
  }
});

function changed(bytes: Uint8Array, at: number): Uint8Array {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}
