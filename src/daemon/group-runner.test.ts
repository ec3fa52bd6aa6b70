import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { once } from 'node:events';
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
});
