import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../../../test/support/cli.ts';
import { startReceiver } from '../../../test/support/receiver.ts';
import { eventually } from '../../../test/support/scripted-http.ts';
import type { Config } from '../config-schema.ts';
import { EventLog } from '../event-log.ts';
import { Supervisor } from '../supervisor.ts';
import { Notifier } from './notifier.ts';
import { Outbox } from './outbox.ts';

const NOTHING: Config = { links: {}, groups: {}, relays: {}, routes: {}, respond: [], protect: [] };

/** A notifier of one link, of which the test says how it stands. */
function setUp(t: TestContext, url: string) {
  const log = new EventLog();
  const notifier = new Notifier(temporaryDirectory(t), log, new Supervisor(log));
  const config: Config = {
    ...NOTHING,
    links: { a: { url: 'tcp://127.0.0.1:1' } },
    notify: {
      channels: { c: { type: 'webhook', url } },
      rules: { r: { to: ['c'], after: '0s', recoverAfter: '0s', groupWait: '0s' } },
    },
  };
  notifier.apply(config);
  t.after(() => notifier.stop());
  const enter = (to: 'up' | 'down') => {
    const at = new Date().toISOString();
    const event = { at, link: 'a', type: 'state', from: 'unknown', to, reason: 'heard' } as const;
    log.append({ ...event, evidence: {}, detectsWithinMs: 1_000 });
  };
  const notes = () =>
    log.query({ limit: 100 }).items.flatMap((one) => (one.type === 'note' ? [one.text] : []));
  return { notifier, config, enter, notes };
}

suite('the notifier', () => {
  test('a message that cannot be kept is noted, and delivered all the same', async (t) => {
    const { url, received } = await startReceiver(t);
    const { enter, notes } = setUp(t, url);
    t.mock.method(Outbox.prototype, 'keep', () => {
      throw new Error('database or disk is full');
    });
    enter('up');
    enter('down');
    await eventually('the message', () => received.length === 1);
    assert.deepEqual(notes(), ['notify: the queue cannot be written (database or disk is full)']);
  });

  test('without its section it tells nothing, and tells again when that is back', async (t) => {
    const { url, received } = await startReceiver(t);
    const { notifier, config, enter } = setUp(t, url);
    notifier.apply({ ...config, notify: undefined });
    enter('down');
    notifier.apply(config);
    enter('down');
    await eventually('the message', () => received.length === 1);
    enter('up');
    await eventually('the second', () => received.length === 2);
    const kinds = received.map(({ body }) => JSON.parse(body).notices[0].kind);
    assert.deepEqual(kinds, ['down', 'back']);
  });

  test('messages for a channel that is gone are dropped, and that is noted', async (t) => {
    const { received, url } = await startReceiver(t, (response) => response.writeHead(500).end());
    const { notifier, config, enter, notes } = setUp(t, url);
    enter('down');
    await eventually('an attempt', () => received.length === 1);
    const channels = { d: { type: 'webhook', url } } as const;
    const rules = { r: { to: ['d'] } };
    notifier.apply({ ...config, notify: { channels, rules } });
    const text = 'notify: c is no channel any more; messages dropped with it: 1';
    assert(notes().includes(text), notes().join('\n'));
  });
});
