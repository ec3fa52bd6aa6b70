/**
 * Two kernels in two namespaces, TCP connections between them, and a capture on the client's device;
 * what is heard can be filtered on either side. It knows nothing of Linkhold but how options are
 * written to a socket.
 * @module
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { TcpOptions } from '../../src/sys/tcp-socket.ts';
import { ACK, Capture, type Segment } from './capture.ts';
import { Lab, type Peer, START_MS } from './lab.ts';

const END = 'test/support/peer-tcp.ts';
const PORT = 7_000;

/** The two ends, by address. */
export const CLIENT = '10.78.0.1';
export const SERVER = '10.78.0.2';

/** Bytes of a bare acknowledgement as IP counts them, with timestamps. */
const BARE = 52;

/** Time and interval in seconds; without user timeout the count of probes decides. */
export function options(
  time: number,
  interval: number,
  probes: number,
  userTimeoutMs: number = 0,
): TcpOptions {
  const [timeMs, intervalMs] = [time * 1_000, interval * 1_000];
  return { enabled: true, timeMs, intervalMs, probes, userTimeoutMs };
}

/** The first `count` bare acknowledgements that come by, for a filter: a quota is spent in bytes. */
export function first(count: number): string {
  return `ip length ${BARE} quota until ${count * BARE + 1} bytes`;
}

export class TcpWire {
  readonly lab: Lab;
  readonly client: string;
  readonly server: string;
  readonly #capture: Capture;
  /** Listens on port 7000. */
  readonly listener: Peer;

  private constructor(lab: Lab, client: string, server: string, capture: Capture, listener: Peer) {
    this.lab = lab;
    this.client = client;
    this.server = server;
    this.#capture = capture;
    this.listener = listener;
  }

  /** Both namespaces, recording, and a listener which has these options itself. */
  static async start(t: TestContext, listening?: TcpOptions): Promise<TcpWire> {
    const lab = new Lab(t);
    const [client, server] = [lab.space('c'), lab.space('s')];
    const devices = lab.join(client, CLIENT, server, SERVER);
    const [capture, listener] = await Promise.all([
      Capture.start(lab, client, devices.a),
      listen(lab, server, PORT, listening),
    ]);
    return new TcpWire(lab, client, server, capture, listener);
  }

  /** One more listener. */
  async listen(port: number, chosen: TcpOptions): Promise<Peer> {
    return await listen(this.lab, this.server, port, chosen);
  }

  /** A connection whose last segment is the server's acknowledgement of a greeting. */
  async connect(chosen?: TcpOptions, to: number = PORT, at: Peer = this.listener): Promise<Peer> {
    const peer = this.lab.start(this.client, END, 'connect', SERVER, `${to}`, ...words(chosen));
    await peer.line('connected', START_MS);
    await this.say(peer, 'hello', at);
    return peer;
  }

  /** Sends a text and waits until it is there. */
  async say(peer: Peer, text: string, at: Peer = this.listener): Promise<void> {
    const heard = at.lines.length;
    peer.tell(`send ${text}`);
    await at.line(`data ${text}`, START_MS, heard);
  }

  /** Rules of nft for what arrives in a namespace, until `heal`. */
  filter(space: string, ...rules: readonly string[]): void {
    const chain = 'add chain inet ear in { type filter hook input priority 0; policy accept; }';
    const added = rules.map((rule) => `add rule inet ear in ${rule}`);
    this.lab.run(space, 'nft', ['add table inet ear', chain, ...added].join('\n'));
  }

  /** Silent drop: nothing of TCP is heard any more in the namespace, and nobody is told. */
  deafen(space: string): void {
    this.filter(space, 'meta l4proto tcp drop');
  }

  heal(space: string): void {
    this.lab.run(space, 'nft', 'delete table inet ear');
  }

  /** Ends the recording with what has passed until now; `peer` is any on the client's side. */
  async segments(peer: Peer): Promise<readonly Segment[]> {
    return await this.#capture.segments(peer);
  }
}

function words(chosen: TcpOptions | undefined): readonly string[] {
  return chosen === undefined ? [] : [JSON.stringify(chosen)];
}

async function listen(lab: Lab, space: string, port: number, chosen?: TcpOptions): Promise<Peer> {
  const listener = lab.start(space, END, 'listen', SERVER, `${port}`, ...words(chosen));
  await listener.line('listening', START_MS);
  return listener;
}

/** A segment heard, and what was sent after it and before the next. */
export interface Silence {
  readonly heard: Segment;
  /** Without the acknowledgement of data that was heard. */
  readonly sent: readonly Segment[];
}

/** The course of a connection as `address` sees it; streams count from 0. */
export function silences(
  segments: readonly Segment[],
  address: string,
  stream: number = 0,
): readonly Silence[] {
  const found: { readonly heard: Segment; readonly sent: Segment[]; owed: boolean }[] = [];
  for (const segment of segments) {
    if (segment.stream !== stream) continue;
    if (segment.from !== address) {
      found.push({ heard: segment, sent: [], owed: segment.length > 0 });
      continue;
    }
    const last = found.at(-1);
    if (last === undefined) continue;
    const { flags, length, seq } = segment;
    const acknowledges = flags === ACK && length === 0 && seq === last.heard.ack;
    if (!last.owed || !acknowledges) last.sent.push(segment);
    last.owed = false;
  }
  return found;
}

/** The last segment heard, and all that was sent after it. */
export function lastSilence(
  segments: readonly Segment[],
  address: string,
  stream: number = 0,
): Silence {
  const last = silences(segments, address, stream).at(-1);
  assert(last !== undefined, `nothing was heard by ${address} in stream ${stream}`);
  return last;
}
