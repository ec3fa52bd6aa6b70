/**
 * `protect:` in the daemon's configuration: what exists and what is to come, changed by a reload, gone
 * with the daemon. The programs themselves are the witnesses.
 */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { START_MS } from '../support/lab.ts';
import { Machine, machineMissing, NOBODY, type Program, unrunnable } from '../support/machine.ts';
import { PLAIN } from '../support/programs.ts';

const NEEDS = { skip: machineMissing() };

/** A daemon whose file holds these lines under `protect`. */
async function daemonOf(t: TestContext, machine: Machine, rules: readonly string[]) {
  const directory = temporaryDirectory(t);
  const file = path.join(directory, 'linkhold.yaml');
  const write = (lines: readonly string[]) =>
    writeFileSync(file, ['protect:', ...lines.map((line) => `  - ${line}`), ''].join('\n'));
  write(rules);
  const args = ['run', file, '--state-dir', directory, '--listen', `127.0.0.1:${await freePort()}`];
  return { directory, write, args, start: () => machine.command([...args, '--json']) };
}

async function optionsOfNew(program: Program, port: number): Promise<string> {
  const name = await program.ask(`connect 127.0.0.2 ${port}`);
  return await program.ask(`options c${name}`);
}

suite('protect in the daemon', { concurrency: true, timeout: 120_000 }, () => {
  test(
    'rules are in force while it runs, a reload changes them live, a bad file changes nothing, and treated connections keep what they have',
    NEEDS,
    async (t) => {
      const machine = new Machine(t);
      const { cgroup } = machine;
      const program = await machine.listener('127.0.0.2 7000', '127.0.0.2 7001');
      const before = await program.ask('connect 127.0.0.2 7000');
      const { write, start } = await daemonOf(t, machine, [
        `{ port: 7000, time: 100s, interval: 20s, probes: 4, cgroup: "${cgroup}" }`,
      ]);
      const daemon = start();
      await daemon.line(/2 connections are protected under/, START_MS);
      assert.equal(await program.ask(`options c${before}`), '1 100 20 4 180000');
      assert.equal(await optionsOfNew(program, 7_000), '1 100 20 4 180000');
      assert.equal(await optionsOfNew(program, 7_001), PLAIN);

      write([
        `{ port: 7000, time: 50s, interval: 20s, probes: 4, cgroup: "${cgroup}" }`,
        `{ port: 7001, time: 30s, interval: 10s, probes: 2, userTimeout: 0s, cgroup: "${cgroup}" }`,
      ]);
      daemon.kill('SIGHUP');
      await daemon.line(/reloaded /, START_MS);
      assert.equal(await program.ask(`options c${before}`), '1 50 20 4 130000');
      assert.equal(await optionsOfNew(program, 7_000), '1 50 20 4 130000');
      assert.equal(await optionsOfNew(program, 7_001), '1 30 10 2 0');

      write([`{ port: 70000 }`]);
      daemon.kill('SIGHUP');
      await daemon.line(/not reloaded, what ran runs on/, START_MS);
      assert.equal(await optionsOfNew(program, 7_001), '1 30 10 2 0');

      daemon.kill('SIGTERM');
      assert.equal((await daemon.ended(START_MS)).code, 0);
      assert.equal(await optionsOfNew(program, 7_000), PLAIN);
      assert.equal(await program.ask(`options c${before}`), '1 50 20 4 130000');
    },
  );

  test('as nobody it starts nothing and ends with 3 and the capabilities that are missing', {
    skip: unrunnable(NOBODY),
  }, async (t) => {
    const machine = new Machine(t);
    const { args, directory } = await daemonOf(t, machine, ['{ port: 7000 }']);
    chmodSync(directory, 0o777);
    const { code, stderr } = await machine.linkhold(args, { rights: NOBODY });
    assert.equal(code, 3, stderr);
    assert.match(stderr, /^linkhold: policies for new connections need CAP_BPF and CAP_NET_ADMIN/);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
  });
});
