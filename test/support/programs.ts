/**
 * Programs of four kinds that never set keepalive, each holding one connection: a static Go binary
 * that speaks by system calls, nc, Python and Node. And the two options that tests ask for.
 * @module
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { START_MS } from './lab.ts';
import { type Machine, optionsOf, type Program, type SsRow } from './machine.ts';

const GO_SOURCE = path.join(import.meta.dirname, 'peer-socket.go');
const GO_CACHE = path.join(import.meta.dirname, '../../node_modules/.cache/linkhold-go');
const BUILD_MS = 120_000;
const NODE_SOURCE = `
const [address, port] = process.argv.slice(1);
require('node:net').connect(Number(port), address, () => console.log('connected'));`;

/** A timing that no default has, as flags of ours and as options of a socket. */
export const FLAGS: readonly string[] =
  '--time 500s --interval 20s --probes 4 --user-timeout 600s'.split(' ');
export const WANTED = '1 500 20 4 600000';
const WANTED_SECONDS = 500;
/** A test on a busy machine looks so much later, and it still is no default's timer. */
const SLACK_SECONDS = 400;
/** What a socket of a new network namespace has by itself. */
export const PLAIN = '0 7200 75 9 0';

/** Builds `peer-socket.go` as a static binary; answers its file and how to remove it. */
export async function buildGo(): Promise<{ file: string; remove(): void }> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-go-'));
  const file = path.join(directory, 'peer-socket');
  const env = { ...process.env, CGO_ENABLED: '0', GO111MODULE: 'off', GOCACHE: GO_CACHE };
  const build = promisify(execFile);
  await build('go', ['build', '-o', file, GO_SOURCE], { env, timeout: BUILD_MS });
  return { file, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** Starts `peer-socket.go`, and waits for its connection. */
export async function startGo(
  machine: Machine,
  file: string,
  mode: 'raw' | 'dial',
  address: string,
  port: number,
): Promise<Program> {
  const program = machine.start([file, mode, address, String(port)]);
  await program.line('connected', START_MS);
  return program;
}

/** One connection each by IPv4, IPv6 and IPv4 in an IPv6 socket, from programs of every kind. */
export async function startFleet(machine: Machine, go: string, port: number): Promise<Program[]> {
  const [v4, v6, mapped] = ['127.0.0.2', '::1', '::ffff:127.0.0.2'];
  const python = await machine.python();
  for (const address of [v4, v6, mapped]) await python.ask(`connect ${address} ${port}`);
  const node = (address: string) =>
    machine.start([process.execPath, '-e', NODE_SOURCE, address, String(port)]);
  return [
    ...(await Promise.all([v4, v6, mapped].map((to) => startGo(machine, go, 'raw', to, port)))),
    ...[v4, v6].map((to) => machine.start(['nc', to, String(port)])),
    ...[v4, v6].map(node),
    python,
  ];
}

/** How many connections a fleet makes. */
export const FLEET_CONNECTIONS = 10;

/** Every connection of a program has these options, or those with this port at an end. */
export async function assertOptions(
  program: Program,
  options: string,
  port?: number,
): Promise<void> {
  const rows = (await optionsOf(program.pid)).filter(
    ({ localPort, remotePort }) => port === undefined || [localPort, remotePort].includes(port),
  );
  assert(rows.length > 0, `process ${program.pid} has no such connection`);
  for (const row of rows) assert.equal(row.options, options, JSON.stringify(row));
}

/** The keepalive timer of every row runs, and was started with the wanted time not long ago. */
export function assertTimers(rows: readonly SsRow[]): void {
  assert(rows.length > 0, 'no connection');
  for (const row of rows) {
    const { keepaliveSeconds: left = 0 } = row;
    const started = left <= WANTED_SECONDS && left > WANTED_SECONDS - SLACK_SECONDS;
    assert(started, JSON.stringify(row));
  }
}

/** No keepalive timer runs. */
export function assertPlain(rows: readonly SsRow[]): void {
  assert(rows.length > 0, 'no connection');
  for (const row of rows) assert.equal(row.keepaliveSeconds, undefined, JSON.stringify(row));
}
