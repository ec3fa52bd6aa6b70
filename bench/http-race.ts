/**
 * `node bench/http-race.ts [requests=2000] [seconds=1]`: how many requests fail that leave just as
 * the server ends its idle connections, with our agents and with others as they are out of the box,
 * all of them at the same time against the same servers. Then what ours cost: requests a second
 * beside the agents that they build on, taking turns. Nothing is asserted: the ratios say more than
 * the figures of a small machine.
 * @module
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import KeepAliveAgent from 'agentkeepalive';
import * as undici from 'undici';
import { HoldAgent } from '../src/link/http/hold-agent.ts';
import { holdDispatcher } from '../src/link/http/hold-dispatcher.ts';
import { builtInClasses } from '../src/link/http/undici-like.ts';

const METHODS = ['GET', 'POST'] as const;
type Method = (typeof METHODS)[number];
const HOST = '127.0.0.1';
/** How far from the server's close a request leaves, in turn. */
const GAPS_MS = [-3, -2, -1, 0, 1, 2];
const RACE_MS = 40_000;
const TURNS = 5;
const PARALLEL = 64;

/** Sends one request and reads the answer; answers the error's code, or `undefined`. */
type Send = (port: number, method: Method) => Promise<string | undefined>;

const codeOf = (error: unknown): string => {
  const { code, cause } = error as { code?: string; cause?: { code?: string } };
  return code ?? cause?.code ?? String(error);
};

/** By `node:http`. */
function byHttp(agent: http.Agent): Send {
  return (port, method) =>
    new Promise((resolve) => {
      const req = http.request({ host: HOST, port, agent, method }, (res) => {
        res.resume().once('end', () => resolve(undefined));
      });
      req.once('error', (error) => resolve(codeOf(error)));
      req.end(method === 'POST' ? 'x' : undefined);
    });
}

/** By undici's `request`. */
function byUndici(dispatcher: undici.Dispatcher): Send {
  return async (port, method) => {
    const body = method === 'POST' ? 'x' : null;
    try {
      const answer = await undici.request(`http://${HOST}:${port}/`, { dispatcher, method, body });
      await answer.body.dump();
      return undefined;
    } catch (error) {
      return codeOf(error);
    }
  };
}

/** By Node's own `fetch`. */
function byFetch(dispatcher: object): Send {
  return async (port, method) => {
    const body = method === 'POST' ? 'x' : null;
    try {
      const init = { dispatcher, method, body } as RequestInit;
      await (await fetch(`http://${HOST}:${port}/`, init)).arrayBuffer();
      return undefined;
    } catch (error) {
      return codeOf(error);
    }
  };
}

/** The class of the dispatcher that `fetch` has by default. */
const { Agent: FetchAgent } = builtInClasses();

/** Everybody as they are out of the box; each maker makes a new pool. */
const RUNNERS: readonly (readonly [string, () => Send])[] = [
  ['http.Agent keepAlive', () => byHttp(new http.Agent({ keepAlive: true }))],
  ['agentkeepalive', () => byHttp(new KeepAliveAgent())],
  ['HoldAgent', () => byHttp(new HoldAgent())],
  ['undici Agent', () => byUndici(new undici.Agent())],
  ['holdDispatcher, undici', () => byUndici(holdDispatcher({ undici }))],
  ['fetch', () => byFetch(new FetchAgent({}))],
  ['holdDispatcher, fetch', () => byFetch(holdDispatcher())],
];

const print = (text: string) => process.stdout.write(`${text}\n`);

/** What `total` requests failed by: of many services, each with a pool of its own. */
async function race(
  make: () => Send,
  port: number,
  method: Method,
  idleMs: number,
  total: number,
): Promise<Map<string, number>> {
  const failures = new Map<string, number>();
  const services = Math.ceil((total * idleMs) / RACE_MS);
  const rounds = Math.ceil(total / services);
  const serve = async (_: unknown, place: number) => {
    const send = make();
    // Not all at the same moment: they are not to measure each other.
    await sleep((place * idleMs) / services);
    for (let round = 0; round < rounds && place + round * services < total; round += 1) {
      const code = await send(port, method);
      if (code !== undefined) failures.set(code, (failures.get(code) ?? 0) + 1);
      await sleep(idleMs + (GAPS_MS[(round + place) % GAPS_MS.length] ?? 0));
    }
  };
  await Promise.all(Array.from({ length: services }, serve));
  return failures;
}

const SCENES = [
  { name: 'closes after 300 ms, no hint', idleMs: 300 },
  { name: 'closes after 2 s, no hint', idleMs: 2_000 },
  { name: 'closes after 2 s, timeout=2', idleMs: 2_000 },
] as const;

async function races(ports: readonly number[], total: number): Promise<void> {
  const rows = SCENES.flatMap(({ name, idleMs }, scene) =>
    RUNNERS.map(async ([who, make]) => {
      const counts = await Promise.all(
        METHODS.map((method) => race(make, ports[scene] ?? 0, method, idleMs, total)),
      );
      return { name, who, counts };
    }),
  );
  let shown = '';
  for (const { name, who, counts } of await Promise.all(rows)) {
    if (shown !== name) print(`\nfailed of ${total}, server ${name}${' '.repeat(8)}GET    POST`);
    shown = name;
    const cells = counts.map((failures) => {
      const failed = [...failures.values()].reduce((sum, count) => sum + count, 0);
      return String(failed).padStart(6);
    });
    const codes = new Set(counts.flatMap((failures) => [...failures.keys()]));
    print(`  ${who.padEnd(44)}${cells.join('  ')}  ${[...codes].join(' ')}`);
  }
}

/** Requests a second, so many at a time. */
async function rate(send: Send, port: number, method: Method, seconds: number): Promise<number> {
  const end = performance.now() + seconds * 1_000;
  let done = 0;
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      while (performance.now() < end) {
        const code = await send(port, method);
        if (code !== undefined) throw new Error(`a request failed: ${code}`);
        done += 1;
      }
    }),
  );
  return done / seconds;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const PAIRS = [
  ['holdDispatcher, undici', 'undici Agent'],
  ['holdDispatcher, fetch', 'fetch'],
  ['HoldAgent', 'http.Agent keepAlive'],
] as const;

async function throughput(port: number, seconds: number): Promise<void> {
  print(`\nrequests a second, ${PARALLEL} at a time, medians of ${TURNS} turns of ${seconds} s`);
  const make = (name: string) => RUNNERS.find(([who]) => who === name)?.[1]() as Send;
  for (const [ours, theirs] of PAIRS) {
    const sends = [make(ours), make(theirs)] as const;
    for (const method of METHODS) {
      for (const send of sends) await rate(send, port, method, seconds / 2);
      const rates: [number[], number[]] = [[], []];
      for (let turn = 0; turn < TURNS; turn += 1) {
        // Who goes first changes: a machine that grows warm or busy favours neither.
        for (const side of turn % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
          rates[side].push(await rate(sends[side], port, method, seconds));
        }
      }
      const [a, b] = [median(rates[0]), median(rates[1])];
      const figures = `${a.toFixed(0).padStart(7)} / ${b.toFixed(0).padStart(7)}`;
      print(`  ${`${ours} / ${theirs} ${method}`.padEnd(52)}${figures} = ${(a / b).toFixed(3)}`);
    }
  }
}

const { positionals } = parseArgs({ allowPositionals: true });
const total = Number(positionals[0] ?? 2_000);
const seconds = Number(positionals[1] ?? 1);
const server = fork(path.join(import.meta.dirname, 'http-server.ts'));
const [ports] = (await once(server, 'message')) as [number[]];
if (total > 0) await races(ports, total);
if (seconds > 0) await throughput(ports[3] ?? 0, seconds);
process.exit();
