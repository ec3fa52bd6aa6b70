/** `linkhold doctor` tells what a process may do with the rights it has, by doing it. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, test } from 'node:test';
import type { Ability } from '../../src/host/ability.ts';
import { runCli, startCli, temporaryDirectory } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { Machine, machineMissing, NOBODY, only, unrunnable } from '../support/machine.ts';

interface Report {
  readonly capabilities: readonly string[];
  readonly abilities: readonly Ability[];
}

/** Names of the abilities that are there, and the details of all. */
function sorted({ abilities }: Report) {
  const there = new Set(abilities.filter((one) => one.there).map(({ name }) => name));
  return { there, detail: new Map(abilities.map(({ name, detail }) => [name, detail])) };
}

const BY_NET_ADMIN = ['reset', 'routes', 'tracked-flows'];
const BY_BPF = ['others-options', 'policies'];

suite('linkhold doctor', { concurrency: true, timeout: 120_000 }, () => {
  test('ends with 0 where the daemon can run, one line an ability, and leaves nothing', async (t) => {
    const directory = path.join(temporaryDirectory(t), 'state');
    mkdirSync(directory);
    const { code, stdout, stderr } = await runCli(t, ['doctor', '--state-dir', directory]);
    assert.deepEqual([code, stderr], [0, '']);
    const lines = stdout.trimEnd().split('\n');
    const rows = lines.filter((line) => /^[✓–✗] {2}[a-z-]+ {2}/.test(line));
    assert.equal(rows.length, lines.length - 3, stdout);
    assert.match(stdout, /^✓ {2}state-directory .*can be written, no daemon runs with it/m);
    assert.deepEqual(readdirSync(directory), []);
  });

  test('tells who has the state directory while a daemon runs', async (t) => {
    const directory = temporaryDirectory(t);
    const file = path.join(directory, 'linkhold.yaml');
    writeFileSync(file, 'links: {}\n');
    const state = path.join(directory, 'state');
    const listen = `127.0.0.1:${await freePort()}`;
    const daemon = startCli(t, ['run', file, '--listen', listen, '--state-dir', state]);
    await daemon.line(/ runs /);
    const { stdout } = await runCli(t, ['doctor', '--json', '--state-dir', state]);
    const { detail } = sorted(JSON.parse(stdout));
    assert.match(
      detail.get('state-directory') ?? '',
      new RegExp(`the daemon of process ${daemon.pid} runs with it`),
    );
  });

  test('ends with 3 where the state directory cannot be had, and says so', async (t) => {
    const file = path.join(temporaryDirectory(t), 'file');
    writeFileSync(file, '');
    const { code, stdout, stderr } = await runCli(t, ['doctor', '--state-dir', `${file}/state`]);
    assert.deepEqual([code, stderr], [3, '']);
    assert.match(stdout, /^✗ {2}state-directory .*not a directory/im);
    assert.match(stdout, /the daemon cannot run here until ✗ is mended\n$/);
  });

  test('nobody is told which right each part needs', { skip: unrunnable(NOBODY) }, async (t) => {
    const machine = new Machine(t);
    const args = ['doctor', '--state-dir', '/tmp/linkhold-is-not-made-there'];
    const report = await machine.json<Report>(args, { rights: NOBODY });
    const { there, detail } = sorted(report);
    assert.deepEqual(report.capabilities, []);
    for (const name of ['state-directory', 'tcp-keepalive', 'splice', 'pipes']) {
      assert(there.has(name), `${name}: ${detail.get(name)}`);
    }
    for (const name of [...BY_NET_ADMIN, ...BY_BPF]) assert(!there.has(name), name);
    assert.equal(detail.get('reset'), 'EPERM: it needs CAP_NET_ADMIN');
    assert.equal(detail.get('others-options'), 'EPERM: it needs CAP_BPF and CAP_PERFMON');
    assert.match(detail.get('others-sockets') ?? '', /^EPERM: it needs CAP_SYS_PTRACE/);
  });

  test('CAP_NET_ADMIN alone gives resets, routes and tracked flows', {
    skip: machineMissing(),
  }, async (t) => {
    const machine = new Machine(t);
    const report = await machine.json<Report>(['doctor', '--state-dir', temporaryDirectory(t)], {
      rights: only('net_admin'),
    });
    const { there, detail } = sorted(report);
    assert.deepEqual(report.capabilities, ['CAP_NET_ADMIN']);
    for (const name of BY_NET_ADMIN) assert(there.has(name), `${name}: ${detail.get(name)}`);
    for (const name of BY_BPF) assert(!there.has(name), `${name}: ${detail.get(name)}`);
  });

  test('with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN policies too, pinned for a moment', {
    skip: machineMissing(),
  }, async (t) => {
    const machine = new Machine(t);
    const pins = await machine.pinPlace();
    const report = await machine.json<Report>(['doctor', '--state-dir', temporaryDirectory(t)], {
      rights: only('net_admin', 'bpf', 'perfmon'),
      pins,
    });
    const { there, detail } = sorted(report);
    for (const name of [...BY_NET_ADMIN, ...BY_BPF, 'pins']) {
      assert(there.has(name), `${name}: ${detail.get(name)}`);
    }
    assert(!there.has('list-policies'), 'that needs CAP_SYS_ADMIN');
    assert.deepEqual(pins.entries(), []);
  });
});
