/**
 * The relay is killed and replaced in the middle of everything, and nobody notices: each byte arrives
 * once and in order, and no connection ends.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { ffiMissing } from '../../src/sys/libc.ts';
import { freePort } from '../support/free-port.ts';
import { Peer, START_MS } from '../support/lab.ts';
import { planned, RelayRig } from '../support/relay-rig.ts';

const PROGRAM = path.join(import.meta.dirname, '../support/peer-storm.ts');
const CONNECTIONS = Number(process.env['RELAY_STORM_CONNECTIONS'] ?? 200);
/** Each way and connection. With 32 it is the longest run by far: `RELAY_STORM_MIB=32`. */
const MIB = Number(process.env['RELAY_STORM_MIB'] ?? 8);
/** The run has 16 parts; the relay is killed or replaced after each but the last. */
const REPLACEMENTS = 15;
const VERDICT_MS = 180_000;

const REFUSED = path.join(import.meta.dirname, '../support/peer-relay-refused.ts');

interface Storm {
  readonly connections: number;
  readonly mib: number;
  readonly program?: string;
}

async function rage(t: TestContext, { connections, mib, program }: Storm): Promise<void> {
  const server = await freePort();
  const target = { path: 'p', address: '127.0.0.1', port: server, share: 1 };
  const rig = await RelayRig.start(t, [planned({ targets: [target] })], program);
  const args = [server, await rig.port(), connections, mib].map(String);
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const storm = new Peer(child);
  await storm.line('listening', START_MS);
  const began = performance.now();
  storm.tell('go');
  await storm.line('connected', START_MS);
  for (let part = 1; part <= REPLACEMENTS; part += 1) {
    await storm.line(`passed ${part}`, VERDICT_MS);
    const isUpgrade = part % 3 === 0;
    const { flows, bytes, gapMs, ms } = isUpgrade ? await rig.upgrade() : await rig.kill();
    const what = isUpgrade ? 'upgraded' : 'killed';
    t.diagnostic(`${what}: ${flows} flows, ${bytes} bytes on their way, ${gapMs} (${ms}) ms`);
  }
  const verdict = await storm.line('verdict', VERDICT_MS);
  const { bytes, faults } = JSON.parse(verdict.slice('verdict '.length));
  t.diagnostic(`${bytes} bytes in ${Math.round(performance.now() - began)} ms`);
  assert.deepEqual(faults.slice(0, 5), []);
  assert.equal(bytes, 2 * connections * mib * 1_024 * 1_024);
}

suite('the relay through kills and upgrades', { skip: ffiMissing() ?? false }, () => {
  test(`${CONNECTIONS} connections, ${MIB} MiB each way: 10 kills, 5 upgrades, no byte and no end amiss`, async (t) => {
    await rage(t, { connections: CONNECTIONS, mib: MIB });
  });

  test('the same with 100 connections, 4 MiB each way, where the kernel refuses pidfd_getfd', async (t) => {
    await rage(t, { connections: 100, mib: 4, program: REFUSED });
  });
});
