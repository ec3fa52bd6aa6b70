/**
 * A session over any datagram socket, kept alive from both sides: each sends a beat when it has sent
 * nothing for `beat`, and each takes the other for dead after `time` of hearing nothing authentic. What
 * is authentic, only the protocol on top can say. Nobody asks and nobody answers, so there are no probes.
 * @module
 */
import { resolveTiming } from '../keepalive/timing.ts';
import { UsageError } from '../time/usage-error.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { Link, type LinkFacts } from './link.ts';

const UDP_FACTS: LinkFacts = {
  kind: 'udp',
  class: 'two-sided',
  proves: 'the peer sends, and what it sends is authentic; not that it hears us',
};

/** Of OpenVPN's usual `keepalive 10 60`: five beats may be lost before the sixth matters. */
const BEATS_IN_TIME = 6;

/** As much of a socket as is needed: a connected `dgram.Socket` is one. */
export interface DatagramSocket {
  send(bytes: Uint8Array, done: (error: Error | null) => void): void;
  on(event: 'message', listener: (bytes: Uint8Array) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'message', listener: (bytes: Uint8Array) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
}

/** The protocol on top of the session, and its two clocks. */
export interface UdpSessionOptions {
  /** Its name in events. Default: `udp`. */
  readonly name?: string | undefined;
  /**
   * Silence after which the peer is dead. Default: `60s`. Too small: a short outage kills; less than
   * two beats of the peer: one lost packet does. Too large: a dead peer is known late.
   */
  readonly time?: string | undefined;
  /**
   * After this much of sending nothing a beat leaves. Default: a sixth of `time`. Too small: traffic
   * and battery; too large: the peer, or a NAT between, takes us for gone.
   */
  readonly beat?: string | undefined;
  /** A fresh beat, ready for the wire, or `undefined` to send none this time. */
  makeBeat(): Uint8Array | undefined;
  /**
   * Takes each datagram that comes. Whether it is the peer's, authentic, and no replay: only then is it
   * a sign of life.
   */
  receive(bytes: Uint8Array): boolean;
}

export class UdpSession extends Link {
  readonly #socket: DatagramSocket;
  readonly #options: UdpSessionOptions;
  #open = false;

  /** The socket must be connected, and stays the caller's. Throws `UsageError` (`bad-timing`). */
  constructor(socket: DatagramSocket, options: UdpSessionOptions) {
    const { name = 'udp', time, beat } = options;
    const { timeMs, beatMs = timeMs / BEATS_IN_TIME } = resolveTiming({ time, beat }, name);
    if (timeMs < 2 * beatMs) {
      const text = `time must be at least two beats, or one lost packet kills`;
      throw new UsageError('bad-timing', `${name}.time: ${text}`);
    }
    const timing = { timeMs, intervalMs: timeMs, probes: 0, beatMs };
    super({ name, url: 'udp', timing }, UDP_FACTS, timing);
    this.#socket = socket;
    this.#options = options;
  }

  /** Sends a datagram of the protocol. It counts as a beat. */
  send(bytes: Uint8Array): void {
    this.#write(bytes);
    this.feed((machine, now) => machine.handleSent(now));
  }

  protected open(): void {
    this.#open = true;
    this.#socket.on('message', this.#onMessage);
    this.#socket.on('error', this.#onError);
    // The peer, and every NAT between, learns at once that we are here.
    this.sendBeat();
  }

  protected shut(): void {
    this.#open = false;
    this.#socket.off('message', this.#onMessage);
    this.#socket.off('error', this.#onError);
  }

  /** After a suspension a NAT has forgotten us, and the peer may have. */
  protected override wake(): void {
    super.wake();
    this.sendBeat();
    this.feed((machine, now) => machine.handleSent(now));
  }

  protected sendProbe(): void {
    throw new Error('two-sided sessions have no probes');
  }

  protected override sendBeat(): void {
    const beat = this.#options.makeBeat();
    if (beat !== undefined) this.#write(beat);
  }

  #write(bytes: Uint8Array): void {
    if (!this.#open) return;
    this.#socket.send(bytes, (error) => {
      if (error !== null && error !== undefined) this.#onError(error);
    });
  }

  readonly #onMessage = (bytes: Uint8Array): void => {
    const life = this.#options.receive(bytes);
    if (life && this.#open) this.feed((machine, now) => machine.handleReceived(now));
  };

  /** The kernel's word that nobody listens can be forged (ICMP): it is a doubt, silence decides. */
  readonly #onError = (error: Error): void => {
    if (!this.#open) return;
    const errno = errnoOf(error);
    this.feed((machine) => machine.handleDoubt(reasonOf(errno), { errno }));
  };
}
