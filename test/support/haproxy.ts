/**
 * HAProxy as a watcher of servers: started with a configuration of its own, asked for nothing but what
 * it says of them in its log. That is a file, for to a pipe or a socket lines may be lost.
 * @module
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** One server to be watched. */
export interface WatchedServer {
  readonly port: number;
  readonly fall: number;
  readonly rise: number;
}

/** What HAProxy said of one server. */
export interface Verdicts {
  /** Each change of its state, in order. */
  readonly states: ('up' | 'down')[];
  /** All lines that tell of it, with each change of what a check met. */
  readonly lines: string[];
}

const PRIORITY = -10;
const CONNECT_MS = 500;

/** Debian puts it where only root looks. */
const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` };

/** Why there is no HAProxy, or `false`. */
export function haproxyMissing(): string | false {
  const { error } = spawnSync('haproxy', ['-v'], { env, stdio: 'ignore' });
  return error === undefined ? false : 'needs the command haproxy (Debian: haproxy)';
}

/**
 * Checks of layer 7. One is late after `lateMs`, and the next follows after `pauseMs`, but for a server
 * that is up beyond doubt: the pause there is also the bound for a connection, and HAProxy holds it
 * against the server when it was itself busy for so long.
 */
function configOf(
  servers: readonly WatchedServer[],
  pauseMs: number,
  lateMs: number,
  home: string,
): string {
  return `
global
  log stdout format raw local0
  nbthread 1
  stats socket ${path.join(home, 'socket')}
defaults
  mode http
  log global
  option log-health-checks
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  timeout check ${lateMs}ms
backend b
  option httpchk HEAD /
  default-server check inter ${CONNECT_MS}ms fastinter ${pauseMs}ms downinter ${pauseMs}ms
${servers
  .map(
    ({ port, fall, rise }, index) =>
      `  server s${index} 127.0.0.1:${port} fall ${fall} rise ${rise}\n`,
  )
  .join('')}`;
}

/** It holds its own lateness against the servers, so on a busy machine it goes first where we may say so. */
function hurry(pid: number | undefined): void {
  if (pid === undefined || process.getuid?.() !== 0) return;
  try {
    os.setPriority(pid, PRIORITY);
  } catch (error) {
    process.emitWarning(`haproxy goes with the others: ${(error as Error).message}`);
  }
}

export class Haproxy {
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #errors: string;
  readonly #count: number;

  /** `home` is an empty directory. */
  constructor(
    servers: readonly WatchedServer[],
    { pauseMs, lateMs, home }: { pauseMs: number; lateMs: number; home: string },
  ) {
    this.#count = servers.length;
    this.#log = path.join(home, 'log');
    this.#errors = path.join(home, 'errors');
    const config = path.join(home, 'haproxy.cfg');
    writeFileSync(config, configOf(servers, pauseMs, lateMs, home));
    const outputs = [this.#log, this.#errors].map((file) => openSync(file, 'w'));
    const stdio = ['ignore' as const, ...outputs];
    this.#child = spawn('haproxy', ['-db', '-f', config], { env, stdio });
    for (const output of outputs) closeSync(output);
    hurry(this.#child.pid);
  }

  /** Fails if it has ended by itself. */
  assertRuns(): void {
    const { exitCode, signalCode } = this.#child;
    if (exitCode === null && signalCode === null) return;
    assert.fail(`haproxy ended (${exitCode ?? signalCode}): ${readFileSync(this.#errors, 'utf8')}`);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }

  /** What it said of each server, in the order in which they were given. */
  verdicts(): Verdicts[] {
    const all = Array.from({ length: this.#count }, (): Verdicts => ({ states: [], lines: [] }));
    for (const line of readFileSync(this.#log, 'utf8').split('\n')) {
      const told = all[Number(/\bb\/s(\d+)\b/.exec(line)?.[1])];
      told?.lines.push(line);
      const state = /^Server \S+ is (UP|DOWN)/.exec(line)?.[1];
      if (state !== undefined) told?.states.push(state === 'UP' ? 'up' : 'down');
    }
    return all;
  }
}
