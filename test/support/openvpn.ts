/**
 * Debian's real openvpn on loopback, with its certificates, keys and files in a directory of their own,
 * and what stands between it and a link: a relay of UDP that records, mutes, alters and repeats packets.
 * Everything is ended, by its id, and removed after the test.
 * @module
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { LinkState } from '../../src/keepalive/keepalive.ts';
import type { Link, StateEvent } from '../../src/link/link.ts';
import { freePort } from './free-port.ts';
import { Peer } from './lab.ts';

const START_MS = 15_000;
const READY = 'Initialization Sequence Completed';
export const HOST = '127.0.0.1';

/** Why no openvpn can be run here, or `false`. */
export function openvpnMissing(): string | false {
  for (const command of ['openvpn', 'openssl']) {
    const { error } = spawnSync(command, ['version'], { stdio: 'ignore' });
    if (error !== undefined) return `needs the command ${command} (Debian: ${command})`;
  }
  if (process.getuid?.() !== 0) return 'needs root, for openvpn in server mode makes a device';
  try {
    accessSync('/dev/net/tun');
    return false;
  } catch {
    return 'needs /dev/net/tun';
  }
}

/** A CA and what it signed: `server` and `client`, and `stranger` of a CA that nobody trusts. */
export class Pki {
  readonly directory: string = mkdtempSync(path.join(os.tmpdir(), 'linkhold-openvpn-'));

  constructor() {
    for (const ca of ['ca', 'other-ca']) this.#openssl(['req', '-x509', ...this.#request(ca)]);
    this.#sign('server', 'ca', 'serverAuth');
    this.#sign('client', 'ca', 'clientAuth');
    this.#sign('stranger', 'other-ca', 'serverAuth');
    for (const [type, name] of [
      ['secret', 'static.key'],
      ['secret', 'other-static.key'],
      ['tls-crypt-v2-server', 'v2-server.key'],
    ] as const) {
      this.#openvpn('--genkey', type, this.file(name));
    }
    const v2 = ['--tls-crypt-v2', this.file('v2-server.key')];
    this.#openvpn(...v2, '--genkey', 'tls-crypt-v2-client', this.file('v2-client.key'));
  }

  file(name: string): string {
    return path.join(this.directory, name);
  }

  /** Writes a file, and answers where. */
  write(name: string, text: string, mode = 0o600): string {
    writeFileSync(this.file(name), text, { mode });
    return this.file(name);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20 });
  }

  #request(name: string): string[] {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
    const files = ['-keyout', this.file(`${name}.key`), '-out', this.file(`${name}.crt`)];
    return [...key, ...files, '-subj', `/O=Linkhold/CN=${name}`];
  }

  #sign(name: string, ca: string, usage: string): void {
    this.write(`${name}.ext`, `extendedKeyUsage=${usage}\n`);
    this.#openssl(['req', ...this.#request(name)]);
    const by = ['-CA', this.file(`${ca}.crt`), '-CAkey', this.file(`${ca}.key`)];
    const from = ['-in', this.file(`${name}.crt`), '-extfile', this.file(`${name}.ext`)];
    this.#openssl(['x509', '-req', ...from, ...by, '-out', this.file(`${name}.crt`)]);
  }

  #openssl(words: readonly string[]): void {
    execFileSync('openssl', words, { stdio: 'pipe' });
  }

  #openvpn(...words: readonly string[]): void {
    execFileSync('openvpn', words, { stdio: 'pipe' });
  }
}

let devices = 0;

/** An openvpn of which a test has one or several, one after the other on the same port. */
export class Openvpn {
  readonly port: number;
  readonly #pki: Pki;
  readonly #lines: readonly string[];
  #running: Peer | undefined;

  constructor(t: TestContext, pki: Pki, port: number, lines: readonly string[]) {
    this.port = port;
    this.#pki = pki;
    this.#lines = lines;
    t.after(() => this.end());
  }

  /** In server mode. `lines` may override what is here. */
  static async server(
    t: TestContext,
    pki: Pki,
    lines: readonly string[] = [],
    proto = 'udp4',
  ): Promise<Openvpn> {
    const port = await freePort();
    devices += 1;
    const device = [`dev lh${process.pid}x${devices}`, 'dev-type tun', 'ifconfig-noexec'];
    const peers = ['mode server', 'topology subnet', 'server 10.8.0.0 255.255.255.0'];
    const own = [...device, 'route-noexec', ...peers, ...certificates(pki, 'server'), 'tls-server'];
    const place = [`proto ${proto}`, `local ${HOST}`, `port ${port}`, 'duplicate-cn'];
    const server = new Openvpn(t, pki, port, [...own, ...place, ...lines]);
    await server.start();
    return server;
  }

  /** One of two peers without a server: no device, no push. */
  static async peer(t: TestContext, pki: Pki, lines: readonly string[]): Promise<Openvpn> {
    const port = await freePort();
    const place = ['dev null', 'proto udp4', `local ${HOST}`, `port ${port}`];
    const peer = new Openvpn(t, pki, port, [...place, ...lines]);
    await peer.start();
    return peer;
  }

  get log(): Peer {
    if (this.#running === undefined) throw new Error('no openvpn runs');
    return this.#running;
  }

  /** Starts it, and waits until it is ready. */
  async start(): Promise<void> {
    const file = this.#pki.write(`openvpn-${this.port}.conf`, `${this.#lines.join('\n')}\n`);
    const child = spawn('openvpn', ['--verb', '4', '--config', file], {
      cwd: this.#pki.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#running = new Peer(child);
    const ready = this.#lines.includes('mode server') ? READY : 'link remote';
    await this.#running.line(ready, START_MS);
  }

  signal(name: NodeJS.Signals): void {
    this.#running?.signal(name);
  }

  /** Ends it; resolves when it has ended. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    running.signal('SIGCONT');
    running.signal(signal);
    await running.exited;
    this.#running = undefined;
  }
}

export function certificates(pki: Pki, name: string): string[] {
  const own = [`cert ${pki.file(`${name}.crt`)}`, `key ${pki.file(`${name}.key`)}`];
  return [`ca ${pki.file('ca.crt')}`, ...own, ...(name === 'client' ? [] : ['dh none'])];
}

let configs = 0;

/** Writes a client's options file; answers its path. */
export function clientConfig(pki: Pki, lines: readonly string[] = []): string {
  configs += 1;
  const own = ['client', 'dev tun', 'nobind', ...certificates(pki, 'client')];
  const text = [...own, 'remote-cert-tls server', ...lines].join('\n');
  return pki.write(`client-${configs}.ovpn`, `${text}\n`);
}

/** The next time that the link enters a state, within a bound; with what led there, if it does not. */
export async function enters(link: Link, state: LinkState, withinMs: number): Promise<StateEvent> {
  const story: string[] = [];
  const signal = AbortSignal.timeout(withinMs);
  const tell = ({ text }: { text: string }) => story.push(text);
  link.on('note', tell);
  try {
    for (;;) {
      const [event] = (await once(link, 'state', { signal })) as [StateEvent];
      if (event.to === state) return event;
      story.push(`${event.to}: ${event.reason}`);
    }
  } catch {
    const told = [...story, JSON.stringify(link.status())].join('; ');
    throw new Error(`not ${state} within ${withinMs} ms: ${told}`);
  } finally {
    link.off('note', tell);
  }
}

/** Every state the link enters from now on. */
export function statesOf(link: Link): string[] {
  const states: string[] = [];
  link.on('state', ({ to }) => states.push(to));
  return states;
}
