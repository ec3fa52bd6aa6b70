/**
 * A daemon that can be started again and again on one state directory, the other ends of its
 * links in this process, and a reader of its stream that remembers what it was told.
 * @module
 */
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import type { TestContext } from 'node:test';
import type { LoggedEvent } from '../../src/daemon/event-log.ts';
import { openBeat, readKey, sealBeat } from '../../src/link/beat-auth.ts';
import {
  apiAnswer,
  type CliOptions,
  type CliProcess,
  startCli,
  temporaryDirectory,
} from './cli.ts';
import { freePort } from './free-port.ts';

const KEY = 'faults';
const TIMING = 'time: 100ms, interval: 100ms, probes: 2';
/** Many daemons start on a busy machine. */
const START_BOUND_MS = 60_000;
const LONGEST_PAGE = 10_000;

export interface DaemonHealth {
  readonly status: string;
  readonly troubles: readonly string[];
}

/** What the stream tells until its connection ends. */
export interface Told {
  /** By id, in the order in which they came. */
  readonly events: ReadonlyMap<number, LoggedEvent>;
  /** The connection has ended, with the daemon. */
  readonly ended: Promise<unknown>;
}

export interface DaemonRigOptions {
  /** Links a, b, c … by `beat://`, each with a peer in this process. */
  readonly links: number;
  /** Default: dead after 300 ms, which a busy machine may take to answer. */
  readonly timing?: string;
  /** More of the configuration. */
  readonly more?: string;
  /** Default: a new directory that goes with the test. */
  readonly stateDir?: string;
}

/** The other end of a link: answers, or keeps its port and is silent. */
class Peer {
  answers = true;
  readonly #socket = dgram.createSocket('udp4');

  async start(): Promise<number> {
    const key = readKey({ key: KEY }, 'the test');
    this.#socket.on('message', (bytes, { port, address }) => {
      const probe = openBeat(bytes, key);
      if (!this.answers || typeof probe === 'string') return;
      this.#socket.send(sealBeat('answer', probe.sequence, probe.nonce, key), port, address);
    });
    this.#socket.bind(0, '127.0.0.1');
    await once(this.#socket, 'listening');
    return this.#socket.address().port;
  }

  close(): void {
    this.#socket.close();
  }
}

export class DaemonRig {
  readonly directory: string;
  readonly stateDir: string;
  readonly base: string;
  /** The other ends of the links, by name. All answer at first. */
  readonly peers: ReadonlyMap<string, Peer>;
  readonly #t: TestContext;

  private constructor(
    t: TestContext,
    directory: string,
    stateDir: string,
    base: string,
    peers: ReadonlyMap<string, Peer>,
  ) {
    this.#t = t;
    this.directory = directory;
    this.stateDir = stateDir;
    this.base = base;
    this.peers = peers;
  }

  /** The group `g` has the first two links as its paths. */
  static async create(t: TestContext, options: DaemonRigOptions): Promise<DaemonRig> {
    const directory = temporaryDirectory(t);
    const { links, more = '', timing = TIMING } = options;
    const { stateDir = path.join(directory, 'state') } = options;
    mkdirSync(stateDir, { recursive: true });
    const peers = new Map<string, Peer>();
    const lines = ['links:'];
    for (let index = 0; index < links; index += 1) {
      const name = String.fromCharCode('a'.charCodeAt(0) + index);
      const peer = new Peer();
      const port = await peer.start();
      t.after(() => peer.close());
      peers.set(name, peer);
      lines.push(`  ${name}: { url: "beat://127.0.0.1:${port}?key=${KEY}", ${timing} }`);
    }
    lines.push(
      'groups:',
      '  g: { paths: [{ link: a, to: "127.0.0.1:9" }, { link: b, to: "127.0.0.1:9", tier: 2 }], failbackAfter: 100ms }',
    );
    writeFileSync(path.join(directory, 'linkhold.yaml'), `${lines.join('\n')}\n${more}`);
    const base = `http://127.0.0.1:${await freePort()}`;
    return new DaemonRig(t, directory, stateDir, base, peers);
  }

  /** The peer of a link answers from now on, or is silent. */
  answer(name: string, answers: boolean): void {
    const peer = this.peers.get(name);
    if (peer !== undefined) peer.answers = answers;
  }

  /** Starts the daemon and waits until it runs. */
  async start(options: CliOptions = {}): Promise<CliProcess> {
    const listen = this.base.slice('http://'.length);
    const file = path.join(this.directory, 'linkhold.yaml');
    const args = ['run', file, '--listen', listen, '--state-dir', this.stateDir];
    const daemon = startCli(this.#t, args, options);
    await daemon.line(/page and API/, START_BOUND_MS);
    return daemon;
  }

  /** Follows the stream from after `since`. */
  async listen(since: number): Promise<Told> {
    const events = new Map<number, LoggedEvent>();
    const request = http.get(`${this.base}/api/v1/stream?since=${since}`, { agent: false });
    this.#t.after(() => request.destroy());
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      const frames = text.split('\n\n');
      text = frames.pop() ?? '';
      for (const frame of frames) {
        const data = /^data: (.*)$/m.exec(frame)?.[1];
        if (data === undefined) continue;
        const event = JSON.parse(data) as LoggedEvent;
        events.set(event.id, event);
      }
    });
    response.on('error', () => undefined);
    request.on('error', () => undefined);
    return { events, ended: new Promise((resolve) => response.once('close', resolve)) };
  }

  /** Every event that the API has after `since`. */
  async events(since: number): Promise<LoggedEvent[]> {
    const all: LoggedEvent[] = [];
    for (let after: number | null = since; after !== null; ) {
      const url = `${this.base}/api/v1/events?since=${after}&limit=${LONGEST_PAGE}`;
      const page: { items: LoggedEvent[]; next: number | null } = await apiAnswer(url);
      all.push(...page.items);
      after = page.next;
    }
    return all;
  }

  health(fits: (health: DaemonHealth) => boolean): Promise<DaemonHealth> {
    return apiAnswer(`${this.base}/healthz`, fits, 30_000);
  }

  /** `drain`, `resume` or `probe` of a link. Resolves once that is answered. */
  async post(name: string, verb: string): Promise<void> {
    const token = readFileSync(path.join(this.stateDir, 'token'), 'utf8').trim();
    const response = await fetch(`${this.base}/api/v1/links/${name}/${verb}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
    });
    await response.text();
    if (!response.ok) throw new Error(`${verb} ${name}: ${response.status}`);
  }
}
