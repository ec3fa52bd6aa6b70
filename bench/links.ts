/**
 * `node bench/links.ts [links=10000] [seconds=20]`: what it costs one daemon to keep many `beat://`
 * links at one probe a second each, with fping (ICMP, answered by the kernel) and HAProxy (a new TCP
 * connection for each check) doing the same number of probes on the same machine, one after the
 * other. Only the probing process is measured; who answers is another one. Nothing is asserted: the
 * ratios say more than the figures of a small machine.
 * @module
 */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../test/support/free-port.ts';
import { type Cost, costOf, kernelCounter } from './process-cost.ts';

const LINKHOLD = path.join(import.meta.dirname, '../bin/linkhold');
const KEY = 'bench';
const HOST = '127.0.0.1';
const RESPONDERS = 2;
/** Jitter shortens waits to 75–100 %, 87.5 % on average: so that a wait is one second on average. */
const TIME = '1143ms';
const TARGET = { rssMb: 300, cores: 0.5 };
const ALL_UP_WITHIN_MS = 120_000;
const MOST_FPING_TARGETS = 5_000;
const SETTLE_MS = 5_000;

interface Row extends Cost {
  readonly who: string;
  readonly up: number;
}

const children: ChildProcess[] = [];

function start(command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  return child;
}

/** What a responder says of itself. */
interface Report {
  readonly listen: string;
  readonly answered: number;
}

function report(responder: ChildProcess): Promise<Report> {
  return new Promise((resolve, reject) => {
    responder.once('message', (message) => resolve(message as Report));
    responder.once('exit', (code) => reject(new Error(`a responder ended with ${code}`)));
  });
}

function startResponder(): ChildProcess {
  const env = { ...process.env, LINKHOLD_KEY: KEY };
  const child = fork(path.join(import.meta.dirname, 'responder.ts'), [], { env });
  children.push(child);
  return child;
}

/** How many probes the responders have answered so far. */
async function answered(responders: readonly ChildProcess[]): Promise<number> {
  const reports = responders.map((responder) => {
    const told = report(responder);
    responder.send('report');
    return told;
  });
  return (await Promise.all(reports)).reduce((total, { answered }) => total + answered, 0);
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}

function pids(processes: readonly ChildProcess[]): number[] {
  for (const { exitCode, spawnfile } of processes) {
    if (exitCode !== null) throw new Error(`${spawnfile} ended with ${exitCode}`);
  }
  return processes.map(({ pid }) => pid ?? 0);
}

const print = (text: string) => process.stdout.write(`${text}\n`);

/** Counts a daemon's log lines by the state that a link entered. */
class StateCounts {
  readonly entered = new Map<string, number>();

  constructor(daemon: ChildProcess) {
    if (daemon.stdout === null) return;
    createInterface({ input: daemon.stdout }).on('line', (line) => {
      const { event } = JSON.parse(line);
      if (event?.type !== 'state') return;
      this.entered.set(event.to, this.of(event.to) + 1);
    });
  }

  of(state: string): number {
    return this.entered.get(state) ?? 0;
  }
}

async function measureLinkhold(links: number, seconds: number, home: string): Promise<Row> {
  const responders = Array.from({ length: RESPONDERS }, startResponder);
  const places = (await Promise.all(responders.map(report))).map(({ listen }) => listen);
  const config = ['links:'];
  for (let index = 0; index < links; index += 1) {
    const url = `beat://${places[index % places.length]}?key=${KEY}`;
    config.push(`  l${index}: { url: "${url}", time: ${TIME}, interval: 1s, probes: 3 }`);
  }
  const file = path.join(home, 'linkhold.yaml');
  writeFileSync(file, `${config.join('\n')}\n`);

  const startedAt = performance.now();
  const listen = `${HOST}:${await freePort()}`;
  const flags = ['--json', '--listen', listen, '--state-dir', home];
  const daemon = start(LINKHOLD, ['run', file, ...flags]);
  daemon.stderr?.pipe(process.stderr);
  const counts = new StateCounts(daemon);
  while (counts.of('up') < links && performance.now() - startedAt < ALL_UP_WITHIN_MS) {
    if (daemon.exitCode !== null) throw new Error(`the daemon ended with ${daemon.exitCode}`);
    await sleep(50);
  }
  const took = ((performance.now() - startedAt) / 1_000).toFixed(1);
  print(`linkhold: ${counts.of('up')} of ${links} links up ${took} s after the start`);
  await sleep(SETTLE_MS);
  const before = new Map(counts.entered);
  const lost = () => kernelCounter('Udp', 'RcvbufErrors');
  const lostBefore = lost();
  const cost = await costOf(pids([daemon]), seconds, () => answered(responders));
  const during = (state: string) => counts.of(state) - (before.get(state) ?? 0);
  print(
    `linkhold: in ${seconds} s ${during('suspect')} links went suspect and ${during('down')} down; the kernel dropped ${lost() - lostBefore} datagrams`,
  );
  const response = await fetch(`http://${listen}/api/v1/links?limit=10000`);
  const { items } = (await response.json()) as { items: { state: string }[] };
  await stop(daemon, 'SIGTERM');
  for (const responder of responders) await stop(responder, 'SIGTERM');
  return { who: 'linkhold', up: items.filter(({ state }) => state === 'up').length, ...cost };
}

/**
 * Raw sockets, nothing secret, nothing kept, each round in one burst: about the least that probing
 * can cost. One fping has 65,536 sequence numbers for ten seconds, hence several.
 */
async function measureFping(links: number, seconds: number, home: string): Promise<Row> {
  const pings: ChildProcess[] = [];
  const said: string[] = [];
  for (let from = 0; from < links; from += MOST_FPING_TARGETS) {
    const file = path.join(home, `addresses-${from}`);
    const length = Math.min(MOST_FPING_TARGETS, links - from);
    const address = (index: number) => `127.1.${index >> 8}.${index & 255}\n`;
    writeFileSync(file, Array.from({ length }, (_, index) => address(from + index)).join(''));
    const fping = start('fping', ['-s', '-l', '-i', '0', '-p', '1000', '-Q', '100000', '-f', file]);
    fping.stdout?.resume();
    const index = pings.push(fping) - 1;
    fping.stderr?.on('data', (chunk) => {
      said[index] = ((said[index] ?? '') + chunk).slice(-2_000);
    });
  }
  await sleep(SETTLE_MS);
  const cost = await costOf(pids(pings), seconds, () => kernelCounter('Icmp', 'OutEchos'));
  for (const fping of pings) await stop(fping, 'SIGINT');
  const alive = said.map((text) => Number(/(\d+) alive/.exec(text)?.[1] ?? Number.NaN));
  const up = alive.reduce((total, count) => total + count, 0);
  return { who: `fping x ${pings.length}`, up, ...cost };
}

/** Health checks as load balancers do them; another HAProxy takes the connections. */
async function measureHaproxy(links: number, seconds: number, home: string): Promise<Row> {
  const checked = `${HOST}:${await freePort()}`;
  const common = (listen: string) =>
    `global\n  nbthread 1\n  maxconn 1000\n  spread-checks 50\n  stats socket ${listen}\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n`;
  const acceptor = `${common(path.join(home, 'acceptor'))}frontend f\n  bind ${checked} backlog 20000\n  tcp-request connection reject\n`;
  const servers = Array.from(
    { length: links },
    (_, index) => `  server s${index} ${checked} check inter 1s fall 3 rise 1\n`,
  );
  const socket = path.join(home, 'stats');
  const checker = `${common(socket)}backend b\n${servers.join('')}`;
  const run = (name: string, text: string) => {
    const file = path.join(home, name);
    writeFileSync(file, text);
    const child = start('haproxy', ['-db', '-f', file]);
    child.stdout?.resume();
    child.stderr?.resume();
    return child;
  };
  const peer = run('acceptor.cfg', acceptor);
  await sleep(500);
  const haproxy = run('checker.cfg', checker);
  await sleep(SETTLE_MS);
  const cost = await costOf(pids([haproxy]), seconds, () => kernelCounter('Tcp', 'ActiveOpens'));
  const up = await upServers(socket);
  await stop(haproxy, 'SIGKILL');
  await stop(peer, 'SIGKILL');
  return { who: 'haproxy', up, ...cost };
}

async function upServers(socket: string): Promise<number> {
  const stats = net.connect(socket).setEncoding('utf8');
  stats.write('show stat\n');
  let text = '';
  for await (const chunk of stats) text += chunk;
  return text.split('\n').filter((line) => /^b,s\d+,/.test(line) && line.includes(',UP,')).length;
}

function why(command: string): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root for intervals below 1 ms and raw sockets';
  if (spawnSync(command, ['-v']).error === undefined) return undefined;
  return `the command ${command} is not installed (Debian: apt-get install ${command})`;
}

function show(rows: readonly Row[], links: number): void {
  const [ours] = rows;
  if (ours === undefined) return;
  const perProbe = (row: Cost) => (row.cores / row.perSecond) * 1e6;
  print('\n               up   probes/s   cores   us/probe   RSS MB   peak MB');
  for (const row of rows) {
    const cells = [
      row.who.padEnd(10),
      String(row.up).padStart(7),
      row.perSecond.toFixed(0).padStart(10),
      row.cores.toFixed(3).padStart(7),
      perProbe(row).toFixed(1).padStart(10),
      row.rssMb.toFixed(0).padStart(8),
      row.peakMb.toFixed(0).padStart(9),
    ];
    print(cells.join(' '));
  }
  for (const row of rows.slice(1)) {
    const cpu = perProbe(ours) / perProbe(row);
    const memory = ours.rssMb / row.rssMb;
    print(`linkhold / ${row.who}: ${cpu.toFixed(2)} x CPU a probe, ${memory.toFixed(2)} x memory`);
  }
  const verdict = (value: number, most: number) => (value < most ? 'reached' : 'MISSED');
  print(
    `\nlinkhold, a link: ${((ours.rssMb / links) * 1_024).toFixed(1)} KB with the program itself`,
  );
  print(`target: under ${TARGET.rssMb} MB: ${verdict(ours.rssMb, TARGET.rssMb)}`);
  print(`target: under ${TARGET.cores} core: ${verdict(ours.cores, TARGET.cores)}`);
}

const [links = 10_000, seconds = 20] = process.argv.slice(2).map(Number);
if (!(links >= 1 && links <= 60_000 && seconds >= 1 && seconds <= 3_600)) {
  process.stderr.write('links: write for example: node bench/links.ts 10000 20\n');
  process.exit(2);
}
const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-bench-'));
process.once('SIGINT', () => process.exit(130));
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(home, { recursive: true, force: true });
});

print(
  `${links} links, ${seconds} s each; ${os.availableParallelism()} cores, Node ${process.version}`,
);
const rows = [await measureLinkhold(links, seconds, home)];
for (const [command, measure] of [
  ['fping', measureFping],
  ['haproxy', measureHaproxy],
] as const) {
  const reason = why(command);
  if (reason === undefined) rows.push(await measure(links, seconds, home));
  else print(`${command}: left out, ${reason}`);
}
show(rows, links);
