/**
 * Debian's real smbd in a network namespace of its own, with all its state in a directory of its own:
 * no system smbd is used, started or disturbed. Everything is ended and removed after the test.
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { Lab, labMissing, Peer, pause, START_MS } from './lab.ts';

/** Between two looks at whether it listens. */
const LOOK_MS = 50;

/** Why no smbd can be run here, or `false`. */
export function sambaMissing(): string | false {
  const missing = labMissing();
  if (missing !== false) return missing;
  const { error } = spawnSync('smbd', ['--version'], { stdio: 'ignore' });
  return error === undefined ? false : 'needs the command smbd (Debian: samba)';
}

function configuration(state: string, settings: readonly string[]): string {
  const own = ['private', 'lock', 'state', 'cache', 'pid'];
  return [
    '[global]',
    'server role = standalone server',
    'smb ports = 139 445',
    'map to guest = Bad User',
    'disable spoolss = yes',
    'load printers = no',
    'log level = 1',
    ...own.map((name) => `${name} ${name === 'private' ? 'dir' : 'directory'} = ${state}/${name}`),
    `ncalrpc dir = ${state}/ncalrpc`,
    ...settings,
    '',
  ].join('\n');
}

export class Samba {
  readonly lab: Lab;
  /** The namespace it runs in. */
  readonly space: string;
  readonly #state = mkdtempSync(path.join(os.tmpdir(), 'linkhold-smbd-'));

  /** `settings` are lines of the global section. Nothing runs before `start`. */
  constructor(t: TestContext, settings: readonly string[] = []) {
    // Before the lab's own end: a namespace that is gone does not tell its processes.
    t.after(() => this.#end());
    this.lab = new Lab(t);
    t.after(() => rmSync(this.#state, { recursive: true, force: true, maxRetries: 20 }));
    this.space = this.lab.space('smb');
    for (const name of ['private', 'lock', 'state', 'cache', 'pid', 'ncalrpc']) {
      mkdirSync(path.join(this.#state, name));
    }
    writeFileSync(this.#file, configuration(this.#state, settings));
  }

  get #file(): string {
    return path.join(this.#state, 'smb.conf');
  }

  /** Starts it and waits until it listens on both ports. */
  async start(): Promise<Peer> {
    // -D, for its standard input is a socket, which it would take for a connection given by inetd; and
    // no --no-process-group, for it ends by a signal to its whole group, which must be its own.
    const options = ['-D', '-F', '-s', this.#file, '--debug-stdout'];
    const smbd = new Peer(this.lab.spawn(this.space, 'smbd', ...options));
    const lateAt = performance.now() + START_MS;
    for (;;) {
      const listening = this.lab.run(this.space, 'ss', '-Hltn4');
      if (listening.includes(':139 ') && listening.includes(':445 ')) return smbd;
      const said = `${smbd.lines.join('\n')}\n${smbd.errors}`;
      assert(performance.now() < lateAt, `smbd does not listen: ${said}`);
      await pause(LOOK_MS);
    }
  }

  /** The processes of smbd in the namespace; the one that listens is the first. */
  processes(): number[] {
    const { stdout } = spawnSync('ip', ['netns', 'pids', this.space], { encoding: 'utf8' });
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map(Number)
      .filter((pid) => nameOf(pid).match(/smbd|cleanupd/) !== null)
      .sort((a, b) => a - b);
  }

  /** Until none is left: one may have been forked a moment ago. */
  async #end(): Promise<void> {
    const lateAt = performance.now() + START_MS;
    while (this.processes().length > 0 && performance.now() < lateAt) {
      this.kill('SIGKILL');
      await pause(LOOK_MS);
    }
  }

  /** Signals every process of smbd. */
  kill(signal: NodeJS.Signals): void {
    for (const pid of this.processes()) {
      try {
        process.kill(pid, signal);
      } catch {
        // It has ended by itself meanwhile.
      }
    }
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8');
  } catch {
    return '';
  }
}
