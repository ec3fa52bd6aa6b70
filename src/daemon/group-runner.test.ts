import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import type { LinkState } from '../keepalive/keepalive.ts';
import { BeatResponder } from '../link/beat-responder.ts';
import type { Link } from '../link/link.ts';
import { createLink } from '../link/registry.ts';
import { GroupRunner } from './group-runner.ts';

const KEY = createSecretKey('k', 'utf8');

async function respond(
  t: TestContext,
  port = 0,
): Promise<{ responder: BeatResponder; port: number }> {
  const responder = new BeatResponder('127.0.0.1', port, KEY);
  const bound = await responder.start();
  t.after(() => responder.close());
  return { responder, port: Number(bound.split(':')[1]) };
}

async function linkTo(t: TestContext, name: string, port: number): Promise<Link> {
  const timing = { time: '100ms', interval: '50ms', probes: 2 };
  const link = createLink(`beat://127.0.0.1:${port}?key=k`, timing, name, name);
  t.after(() => link.close());
  link.start();
  await once(link, 'state');
  return link;
}

async function reaches(link: Link, state: LinkState): Promise<void> {
  while (link.state !== state) await once(link, 'state');
}

suite('a group over real links', { timeout: 20_000 }, () => {
  test('rise 3 takes three answers to bring a path back, though the first is told twice', async (t) => {
    const { responder, port } = await respond(t);
    const link = await linkTo(t, 'a', port);
    const group = new GroupRunner('g', { paths: [{ name: 'a' }], rise: 3 }, [link], {
      switched: () => assert.fail('there is nowhere to switch to'),
      note: () => undefined,
      joined: () => undefined,
      left: () => undefined,
      flowsOn: () => 0,
    });
    t.after(() => group.close());
    group.start();
    const stateOf = () => group.status().paths[0]?.state;
    assert.equal(stateOf(), 'up');

    responder.close();
    await reaches(link, 'down');
    assert.equal(stateOf(), 'down');

    await respond(t, port);
    await reaches(link, 'up');
    const seen = [stateOf()];
    for (let answers = 2; answers <= 3; answers += 1) {
      await once(link, 'reply');
      seen.push(stateOf());
    }
    assert.deepEqual(seen, ['down', 'down', 'up']);
  });

  test('fall 3 takes two more unanswered probes after the verdict of the link, each time', async (t) => {
    const { responder, port } = await respond(t);
    const link = await linkTo(t, 'a', port);
    const group = new GroupRunner('g', { paths: [{ name: 'a' }], fall: 3 }, [link], {
      switched: () => assert.fail('there is nowhere to switch to'),
      note: () => undefined,
      joined: () => undefined,
      left: () => undefined,
      flowsOn: () => 0,
    });
    t.after(() => group.close());
    group.start();
    const seen: (string | undefined)[] = [];
    link.on('probe', () => {
      if (link.state === 'down') seen.push(group.status().paths[0]?.state);
    });
    let server = responder;
    for (let outage = 1; outage <= 2; outage += 1) {
      server.close();
      while (seen.length < 3) await once(link, 'probe');
      assert.deepEqual(seen.splice(0, 3), ['up', 'up', 'down']);
      ({ responder: server } = await respond(t, port));
      while (group.status().paths[0]?.state !== 'up') await once(link, 'reply');
      seen.length = 0;
    }
  });

  test('with fall 2 one reset of a TCP connection, which may be forged, moves nothing', async (t) => {
    const sockets: net.Socket[] = [];
    const server = net.createServer((socket) => sockets.push(socket.on('error', () => undefined)));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    const { port } = server.address() as net.AddressInfo;
    const timing = { time: '20s', interval: '1s', probes: 2 };
    const link = createLink(`tcp://127.0.0.1:${port}`, timing, 'a', 'a');
    t.after(() => link.close());
    link.start();
    await reaches(link, 'up');
    const group = new GroupRunner('g', { paths: [{ name: 'a' }], fall: 2 }, [link], {
      switched: () => assert.fail('there is nowhere to switch to'),
      note: (text) => assert.fail(text),
      joined: () => undefined,
      left: () => undefined,
      flowsOn: () => 0,
    });
    t.after(() => group.close());
    group.start();
    sockets[0]?.resetAndDestroy();
    await reaches(link, 'down');
    assert.equal(link.status().reason, 'reset');
    await reaches(link, 'up');
    assert.equal(group.status().paths[0]?.state, 'up');
  });

  test('with balance both paths carry flows, and a drained one carries none', async (t) => {
    const links = [];
    for (const name of ['a', 'b']) links.push(await linkTo(t, name, (await respond(t)).port));
    const told: string[] = [];
    const paths = links.map(({ name }) => ({ name }));
    const group = new GroupRunner('g', { paths, balance: true }, links, {
      switched: (from, to) => told.push(`switch ${from} ${to}`),
      note: () => undefined,
      joined: (path) => told.push(`join ${path}`),
      left: (path) => told.push(`leave ${path}`),
      flowsOn: () => 0,
    });
    t.after(() => group.close());
    group.start();
    const shares = () => group.status().paths.map(({ share }) => share);
    assert.deepEqual(shares(), [0.5, 0.5]);
    links[1]?.drain();
    assert.deepEqual(told, ['join b', 'leave b']);
    assert.deepEqual(shares(), [1, 0]);
  });

  test('probes that nobody answers make a link poor before it is down', async (t) => {
    const { responder, port } = await respond(t);
    const link = createLink(
      `beat://127.0.0.1:${port}?key=k`,
      { time: '20ms', interval: '50ms', probes: 9 },
      'a',
      'a',
    );
    t.after(() => link.close());
    link.start();
    await once(link, 'state');
    const notes: string[] = [];
    const quality = { window: 4, lossBad: 50 };
    const group = new GroupRunner('g', { paths: [{ name: 'a' }], quality }, [link], {
      switched: () => assert.fail('there is nowhere to switch to'),
      note: (text) => notes.push(text),
      joined: () => undefined,
      left: () => undefined,
      flowsOn: () => 0,
    });
    t.after(() => group.close());
    group.start();
    for (let answers = 0; answers < 4; answers += 1) await once(link, 'reply');
    assert.equal(group.status().paths[0]?.poor, null);
    responder.close();
    while (notes.length === 0) await once(link, 'probe');
    assert.equal(link.state, 'suspect');
    assert.match(notes[0] ?? '', /^a is poor: it loses 50 % of its probes but stays in use/);
    assert.equal(group.status().paths[0]?.poor, 'loses 50 % of its probes');
  });
});
