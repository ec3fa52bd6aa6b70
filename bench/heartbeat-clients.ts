/**
 * Many connections of one kind in a process of their own, for `bench/heartbeat.ts`: connects them all at
 * once, then asks each of them in turn. `node heartbeat-clients.ts KIND PORT CA COUNT ROUNDS`; tells
 * what that cost this process.
 * @module
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import tls from 'node:tls';
import { createLink } from '../src/index.ts';

/** What one process found. */
export interface Figures {
  readonly handshakesMs: number;
  /** The latest that a timer of 1 ms was, while all shook hands. */
  readonly latestTimerMs: number;
  readonly kibPerConnection: number;
  readonly cpuMicrosPerBeat: number;
  /** How much memory rose over the second half of the beats. */
  readonly soakKib: number;
}

/** Asks once and resolves with the answer. */
type Ask = () => Promise<void>;

const [kind = '', port = '', ca = '', count = '', rounds = ''] = process.argv.slice(2);

async function viaLink(): Promise<Ask> {
  const link = createLink(`${kind}://127.0.0.1:${port}?ca=${ca}`, { time: '2h', interval: '10s' });
  link.start();
  await once(link, 'reply');
  return async () => {
    const answered = once(link, 'reply');
    link.probe();
    await answered;
  };
}

/** What a program would do without heartbeats: 16 bytes of its own, echoed. */
async function viaNode(pem: Buffer): Promise<Ask> {
  const socket = tls.connect({ host: '127.0.0.1', port: Number(port), ca: pem });
  await once(socket, 'secureConnect');
  socket.setNoDelay(true);
  const ping = Buffer.alloc(16, 'p');
  return async () => {
    const answered = once(socket, 'data');
    socket.write(ping);
    await answered;
  };
}

function rssKib(): number {
  global.gc?.();
  return process.memoryUsage.rss() / 1_024;
}

const pem = readFileSync(ca);
const connect = kind === 'node:tls' ? () => viaNode(pem) : viaLink;
// The first one loads code and libraries.
await (await connect())();
const before = rssKib();
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
const from = performance.now();
const asks = await Promise.all(Array.from({ length: Number(count) }, connect));
const handshakesMs = performance.now() - from;
delay.disable();
const kibPerConnection = (rssKib() - before) / asks.length;

async function beat(times: number): Promise<void> {
  for (let round = 0; round < times; round += 1) for (const ask of asks) await ask();
}

const half = Math.ceil(Number(rounds) / 2);
await beat(half);
const [cpu, middle] = [process.cpuUsage(), rssKib()];
await beat(half);
const { user, system } = process.cpuUsage(cpu);
const figures: Figures = {
  handshakesMs,
  latestTimerMs: delay.max / 1e6,
  kibPerConnection,
  cpuMicrosPerBeat: (user + system) / (half * asks.length),
  soakKib: rssKib() - middle,
};
process.send?.(figures);
process.disconnect?.();
process.exit();
