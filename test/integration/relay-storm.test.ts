/**
 * The relay is killed and replaced in the middle of everything, and nobody notices: each byte arrives
 * once and in order, and no connection ends.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { suite, test } from 'node:test';
import { Peer, START_MS } from '../support/lab.ts';
import { planned, RelayRig } from '../support/relay-rig.ts';

const CONNECTIONS = Number(process.env['N'] ?? 200);
const MIB = Number(process.env['MIB'] ?? 32);

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

suite('the relay through kills and upgrades', () => {
  test('storm', async (t) => {
    const serverPort = await freePort();
    const target = { path: 'p', address: '127.0.0.1', port: serverPort, share: 1 };
    const rig = await RelayRig.start(t, planned({ targets: [target] }));
    const port = await rig.port();
    const program = path.join(import.meta.dirname, '../support/peer-storm.ts');
    const storm = new Peer(
      spawn(process.execPath, [program, ...[serverPort, port, CONNECTIONS, MIB].map(String)], {
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
    await storm.line('listening', START_MS);
    const t0 = performance.now();
    storm.tell('go');
    await storm.line('connected', START_MS);
    const gaps: string[] = [];
    for (let k = 0; k < 15; k += 1) {
      const { flows, bytes, gapMs } = k % 3 === 2 ? await rig.upgrade() : await rig.kill();
      gaps.push(`${k % 3 === 2 ? 'upgrade' : 'kill'} ${flows} flows ${bytes} bytes ${gapMs} ms`);
      await new Promise((r) => setTimeout(r, 300));
    }
    const verdict = await storm.line('verdict', 120_000);
    t.diagnostic(gaps.join('\n'));
    t.diagnostic(`${verdict.slice(0, 300)} in ${Math.round(performance.now() - t0)} ms`);
    assert.match(verdict, /"faults":\[\]/);
  });
});
