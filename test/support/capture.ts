/**
 * What was on the wire: tcpdump records one device of a namespace, tshark decodes it. Times are the
 * kernel's own, so that a busy machine does not bend them. It knows no protocol but by tshark.
 * @module
 */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Lab, type Peer, START_MS } from './lab.ts';

/** One TCP segment as tshark tells it. */
export interface Segment {
  /** Milliseconds of the epoch, with fractions. */
  readonly atMs: number;
  /** Counts connections from 0, in the order in which they were first seen. */
  readonly stream: number;
  /** Address of the sender. */
  readonly from: string;
  /** Bytes of the Ethernet frame and of the IP packet in it. */
  readonly frame: number;
  readonly packet: number;
  readonly seq: number;
  readonly ack: number;
  /** Bytes of data. */
  readonly length: number;
  readonly flags: number;
}

/** Bits of `Segment.flags`. */
export const RST = 0x04;
export const ACK = 0x10;

/** In the order in which `decode` reads them. */
const FIELDS = [
  'frame.time_epoch',
  'tcp.stream',
  'ip.src',
  'frame.len',
  'ip.len',
  'tcp.seq_raw',
  'tcp.ack_raw',
  'tcp.len',
  'tcp.flags',
];

const MARK_PORT = 9;
/** Must not occur in what the tests send. */
const MARK = 'end-of-capture';

/** Why nothing can be captured here, or `false`. */
export function captureMissing(): string | false {
  for (const tool of ['tcpdump', 'tshark']) {
    if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).error !== undefined) {
      return `needs the command ${tool} (Debian: tcpdump, tshark)`;
    }
  }
  return false;
}

/** Everything a stream tells, to its end. */
async function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  for await (const part of stream) text += String(part);
  return text;
}

/** Waits for `done` and fails loudly when it has not come true. */
async function within<Value>(what: string, done: Promise<Value>): Promise<Value> {
  const timer = Promise.withResolvers<never>();
  const timeout = setTimeout(
    () => timer.reject(new Error(`no ${what} within ${START_MS} ms`)),
    START_MS,
  );
  return await Promise.race([done, timer.promise]).finally(() => clearTimeout(timeout));
}

/** tshark wants a regular file. */
async function decode(recording: Buffer): Promise<readonly Segment[]> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-'));
  try {
    const file = path.join(directory, 'wire.pcap');
    writeFileSync(file, recording);
    return await decodeFile(file);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function decodeFile(file: string): Promise<readonly Segment[]> {
  const fields = FIELDS.flatMap((field) => ['-e', field]);
  const tshark = spawn('tshark', ['-r', file, '-n', '-Y', 'tcp', '-T', 'fields', ...fields]);
  const [text, errors, [status]] = await within(
    'end of tshark',
    Promise.all([
      textOf(tshark.stdout),
      textOf(tshark.stderr),
      once(tshark, 'close') as Promise<[number | null]>,
    ]),
  );
  assert.equal(status, 0, `tshark: ${errors}`);
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const words = line.split('\t');
    assert.equal(words.length, FIELDS.length, `tshark said "${line}"`);
    const [time, stream, from = '', frame, packet, seq, ack, length, flags] = words;
    return {
      atMs: Number(time) * 1_000,
      stream: Number(stream),
      from,
      frame: Number(frame),
      packet: Number(packet),
      seq: Number(seq),
      ack: Number(ack),
      length: Number(length),
      flags: Number(flags),
    };
  });
}

/** A recording in progress. The lab that it was started in ends it. */
export class Capture {
  readonly #tcpdump: ChildProcessWithoutNullStreams;
  readonly #parts: Buffer[] = [];
  readonly #marked: Promise<void>;

  private constructor(tcpdump: ChildProcessWithoutNullStreams) {
    this.#tcpdump = tcpdump;
    this.#marked = new Promise((resolve) => {
      tcpdump.stdout.on('data', (part: Buffer) => {
        this.#parts.push(part);
        // The mark comes last: it is at the end of what there is, possibly in two parts.
        if (Buffer.concat(this.#parts.slice(-2)).includes(MARK)) resolve();
      });
    });
  }

  /** Records TCP on a device; every packet from now on will be in it. */
  static async start(lab: Lab, space: string, device: string): Promise<Capture> {
    const output = ['--immediate-mode', '-U', '-n', '-Z', 'root', '-w', '-'];
    const filter = `tcp or udp dst port ${MARK_PORT}`;
    const tcpdump = lab.spawn(space, 'tcpdump', '-i', device, ...output, filter);
    const capture = new Capture(tcpdump);
    let errors = '';
    const listening = new Promise<void>((resolve, reject) => {
      tcpdump.stderr.setEncoding('utf8').on('data', (text: string) => {
        errors += text;
        if (errors.includes('listening on')) resolve();
      });
      tcpdump.once('exit', () => reject(new Error(`tcpdump ended: ${errors}`)));
    });
    await within('start of tcpdump', listening);
    return capture;
  }

  /** Ends the recording behind everything that `peer` has sent or received, and decodes it. */
  async segments(peer: Peer): Promise<readonly Segment[]> {
    peer.tell(`mark ${MARK_PORT} ${MARK}`);
    await within('mark in the capture', this.#marked);
    this.#tcpdump.kill('SIGINT');
    return await decode(Buffer.concat(this.#parts));
  }
}
