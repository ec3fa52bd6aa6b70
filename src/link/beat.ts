/**
 * `beat://host:port?key=SECRET`: our own UDP probe, answered by `linkhold respond`. The answer comes
 * from a process, so a stopped application shows, and it is authentic, so nobody else can keep the
 * link up. Each link has a socket of its own: its own NAT binding, and the kernel's word when the
 * peer's port is closed. ICMP can be forged, so that word alone brings down only a link never heard.
 * @module
 */
import { type KeyObject, randomFillSync } from 'node:crypto';
import type { Socket } from 'node:dgram';
import type { Timing } from '../keepalive/timing.ts';
import { BEAT_NONCE_LENGTH } from '../wire/beat.ts';
import { openBeat, readKey, sealBeat } from './beat-auth.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { Link, type LinkFacts } from './link.ts';
import { hostPort, type LinkUrl, placeOfUrl } from './link-url.ts';
import { UdpDialer } from './udp-dialer.ts';

/** What every `beat` link is and proves. */
export const BEAT_FACTS: LinkFacts = {
  kind: 'beat',
  class: 'answered',
  proves: "the path and the responder's process answer, with the shared key",
};

/** Randomness is drawn by the page: 256 nonces for one call. */
const pool = new Uint8Array(256 * BEAT_NONCE_LENGTH);
let unused = 0;

/** Sixteen fresh random bytes; a view of the pool that is good until the next call. */
function freshNonce(): Uint8Array {
  if (unused === 0) {
    randomFillSync(pool);
    unused = pool.length;
  }
  unused -= BEAT_NONCE_LENGTH;
  return pool.subarray(unused, unused + BEAT_NONCE_LENGTH);
}

export class BeatLink extends Link {
  readonly #dialer: UdpDialer;
  readonly #key: KeyObject;
  readonly #probes: number;
  /** What each of the last probes must bring back, by its sequence modulo `probes`. */
  readonly #nonces: Uint8Array;
  /** What a socket that is being opened will send: older packets have had their time. */
  #newest: Uint8Array | undefined;
  #probesDown = 0;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const { timeMs, intervalMs, probes, beatMs } = timing;
    const beat = beatMs === undefined ? {} : { beatMs };
    const config = { timeMs, intervalMs, probes, ...beat, random: Math.random };
    super({ name, url: url.redacted, timing }, BEAT_FACTS, config);
    this.#dialer = new UdpDialer(url, {
      connected: (socket) => this.#opened(socket),
      message: (bytes) => this.#receive(bytes),
      failed: (error) => this.#failed(error),
      doubted: (error) => this.#doubt(error),
    });
    this.#probes = probes;
    this.#nonces = new Uint8Array(probes * BEAT_NONCE_LENGTH);
    this.#key = readKey(
      { key: url.parameters.get('key'), keyFile: url.parameters.get('keyFile') },
      placeOfUrl(where),
    );
    this.remote = hostPort(url.host, url.port);
  }

  protected open(): void {
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.#dialer.hangUp();
  }

  protected sendProbe(sequence: number): void {
    const nonce = freshNonce();
    this.#nonceOf(sequence).set(nonce);
    // A link that is down goes by a fresh socket at once and now and then: a new binding, and the name
    // looked up anew. Not for each probe: an answer slower than the interval must still find its way.
    if (this.observed !== 'down') this.#probesDown = 0;
    else if (this.#probesDown++ % this.#probes === 0 && this.#dialer.connected) {
      this.#dialer.hangUp();
    }
    this.#send(sealBeat('probe', sequence >>> 0, nonce, this.#key));
  }

  protected override sendBeat(): void {
    this.#send(sealBeat('beat', 0, freshNonce(), this.#key));
  }

  #send(packet: Uint8Array): void {
    if (this.#dialer.connected) {
      this.#dialer.send(packet);
      return;
    }
    this.#newest = packet;
    if (!this.#dialer.dialed) this.#dialer.dial();
  }

  #opened(socket: Socket): void {
    const here = socket.address();
    const there = socket.remoteAddress();
    this.local = hostPort(here.address, here.port);
    this.remote = hostPort(there.address, there.port);
    if (this.#newest !== undefined) this.#dialer.send(this.#newest);
    this.#newest = undefined;
  }

  #failed(error: Error): void {
    const errno = errnoOf(error);
    this.feed((machine, now) => machine.handleFailure(reasonOf(errno), { errno }, now));
  }

  #doubt(error: Error): void {
    const errno = errnoOf(error);
    this.feed((machine) => machine.handleDoubt(reasonOf(errno), { errno }));
  }

  #receive(bytes: Uint8Array): void {
    const packet = openBeat(bytes, this.#key);
    if (typeof packet === 'string' || packet.type !== 'answer') return;
    // Whether the probe is still awaited, the machine knows.
    if (Buffer.compare(this.#nonceOf(packet.sequence), packet.nonce) !== 0) return;
    this.feed((machine, now) => machine.handleAnswer(packet.sequence, now));
  }

  #nonceOf(sequence: number): Uint8Array {
    const at = (sequence % this.#probes) * BEAT_NONCE_LENGTH;
    return this.#nonces.subarray(at, at + BEAT_NONCE_LENGTH);
  }
}
