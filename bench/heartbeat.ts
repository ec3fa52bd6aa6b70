/**
 * `node bench/heartbeat.ts [connections=500] [rounds=100]`: what heartbeats of TLS and DTLS cost the
 * process that sends them, beside what a program does without them: Node's own TLS and a ping of 16
 * bytes that the server echoes. Each kind has a process of its own; the servers are another one.
 * Nothing is asserted: the ratios say more than the figures of a small machine.
 * @module
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { certify } from '../test/support/certificates.ts';
import type { Figures } from './heartbeat-clients.ts';

const KINDS = ['tls+heartbeat', 'dtls+heartbeat', 'node:tls'];

const print = (line: string) => process.stdout.write(`${line}\n`);
const [count = '500', rounds = '100'] = process.argv.slice(2);
const here = (name: string) => path.join(import.meta.dirname, name);

const removals: (() => void)[] = [];
const { ca, certificate, key } = certify(
  { after: (remove) => removals.push(remove) },
  'DNS:localhost,IP:127.0.0.1',
);
const server = fork(here('heartbeat-server.ts'), [certificate, key]);
try {
  const [ports] = (await once(server, 'message')) as [number[]];
  print(`${count} connections of each kind, then ${rounds} heartbeats on each, one after another`);
  print(
    `${'kind'.padEnd(16)}${['handshakes', 'latest timer', 'memory each', 'CPU a beat', 'soak']
      .map((head) => head.padStart(14))
      .join('')}`,
  );
  const all = new Map<string, Figures>();
  for (const [index, kind] of KINDS.entries()) {
    const args = [kind, String(ports[index]), ca, count, rounds];
    const clients = fork(here('heartbeat-clients.ts'), args, { execArgv: ['--expose-gc'] });
    const [figures] = (await once(clients, 'message')) as [Figures];
    all.set(kind, figures);
    const cells = [
      `${figures.handshakesMs.toFixed(0)} ms`,
      `${figures.latestTimerMs.toFixed(1)} ms`,
      `${figures.kibPerConnection.toFixed(1)} KiB`,
      `${figures.cpuMicrosPerBeat.toFixed(0)} µs`,
      `${figures.soakKib.toFixed(0)} KiB`,
    ];
    print(`${kind.padEnd(16)}${cells.map((cell) => cell.padStart(14)).join('')}`);
  }
  const node = all.get('node:tls');
  for (const [kind, figures] of all) {
    if (node === undefined || figures === node) continue;
    const ratio = (key: keyof Figures) => (figures[key] / node[key]).toFixed(2);
    print(
      `${kind} / node:tls: memory ${ratio('kibPerConnection')}, CPU a beat ${ratio('cpuMicrosPerBeat')}, latest timer ${ratio('latestTimerMs')}`,
    );
  }
} finally {
  server.disconnect();
  for (const remove of removals) remove();
}
