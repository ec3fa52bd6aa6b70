import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { SystemError } from '../sys/system-error.ts';
import { ServiceManager } from './service-manager.ts';

const NOTIFY = Object.freeze({ NOTIFY_SOCKET: '/run/notify' });

function open(t: TestContext, env: NodeJS.ProcessEnv) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate'] });
  const told: string[] = [];
  const troubles: string[] = [];
  const state = { refuses: false, status: '2 links: 2 up' };
  const options = {
    status: () => state.status,
    trouble: (text: string) => troubles.push(text),
    send: (socket: string, text: string) => {
      if (state.refuses) throw new SystemError('ENOENT', `connect(${socket}): ENOENT`);
      told.push(text.replace(/USEC=\d+/, 'USEC=now'));
    },
  };
  const manager = new ServiceManager(options, env);
  t.after(() => manager.stopping());
  return { manager, told, troubles, state };
}

suite('what systemd is told', () => {
  test('nothing where no service manager asks', (t) => {
    const { manager, told } = open(t, { WATCHDOG_USEC: '2000000' });
    manager.ready();
    manager.changed();
    t.mock.timers.tick(10_000);
    assert.deepEqual(told, []);
  });

  test('ready with its status, and a sign of life after every half of 2 s', (t) => {
    const { manager, told } = open(t, { ...NOTIFY, WATCHDOG_USEC: '2000000' });
    t.mock.timers.tick(5_000);
    assert.deepEqual(told, [], 'not before it is ready');
    manager.ready();
    assert.deepEqual(told.splice(0), ['READY=1\nSTATUS=2 links: 2 up']);
    t.mock.timers.tick(999);
    assert.deepEqual(told, []);
    t.mock.timers.tick(2_001);
    assert.deepEqual(told, ['WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1']);
  });

  test('no sign of life for a watchdog of another process, and none if it has none', (t) => {
    const env = { ...NOTIFY, WATCHDOG_USEC: '2000000', WATCHDOG_PID: '1' };
    const { manager, told } = open(t, env);
    manager.ready();
    t.mock.timers.tick(60_000);
    assert.equal(told.length, 1);
  });

  test('two reloads at once are ready when the second one is', (t) => {
    const { manager, told } = open(t, { ...NOTIFY });
    manager.ready();
    manager.reloading();
    manager.reloading();
    manager.ready();
    assert.deepEqual(told.slice(1), Array(2).fill('RELOADING=1\nMONOTONIC_USEC=now'));
    manager.ready();
    assert.equal(told.at(-1), 'READY=1\nSTATUS=2 links: 2 up');
    assert.equal(told.length, 4);
  });

  test('a hundred changes are one new status, a second later and in one line', (t) => {
    const { manager, told, state } = open(t, { ...NOTIFY });
    for (let change = 0; change < 100; change += 1) manager.changed();
    state.status = '2 links: 1 up,\n1 down';
    t.mock.timers.tick(1_000);
    assert.deepEqual(told, ['STATUS=2 links: 1 up, 1 down']);
  });

  test('stopping is the last word, whatever is still under way', (t) => {
    const { manager, told } = open(t, { ...NOTIFY, WATCHDOG_USEC: '2000000' });
    manager.ready();
    manager.reloading();
    manager.changed();
    manager.stopping();
    manager.ready();
    t.mock.timers.tick(60_000);
    assert.equal(told.at(-1), 'STOPPING=1\nSTATUS=stopping');
    assert.equal(told.length, 3);
  });

  test('a manager that cannot be told is one trouble, and the daemon goes on', (t) => {
    const { manager, troubles, state } = open(t, { ...NOTIFY });
    state.refuses = true;
    manager.ready();
    manager.reloading();
    manager.ready();
    assert.deepEqual(troubles, ['systemd cannot be told: connect(/run/notify): ENOENT']);
  });

  test('programs that the daemon starts do not inherit the socket', (t) => {
    const env = { ...NOTIFY, WATCHDOG_USEC: '1', WATCHDOG_PID: '1', PATH: '/bin' };
    open(t, env);
    assert.deepEqual(env, { PATH: '/bin' });
  });
});
