/**
 * A channel that keeps itself: once secure, and if the peer allows it, a link asks it by heartbeats,
 * and a peer that answers none ends the connection. What connections over TLS and over DTLS have in
 * common; it knows neither socket nor stream.
 * @module
 */
import type { Timing } from '../../keepalive/timing.ts';
import type { SessionOptions } from '../../sys/gnutls-session.ts';
import { Link, type LinkFacts } from '../link.ts';
import { HeartbeatChannel } from './heartbeat-channel.ts';
import { DTLS_TRIES, type HeartbeatRequest } from './heartbeat-exchange.ts';
import { flightMs, heartbeatFacts } from './heartbeat-link.ts';

/** Who has the transport and the program's ear. */
export interface ChannelOwner {
  send(bytes: Uint8Array): void;
  /** Whether there is room for answers to the peer's requests. */
  mayAnswer(): boolean;
  secured(): void;
  data(bytes: Uint8Array): void;
  /** It is over. Without an error the peer said goodbye. */
  ended(error: Error | undefined): void;
}

/** The error of a connection whose peer answers nothing. */
export class PeerDeadError extends Error {
  override readonly name = 'PeerDeadError';
  readonly code = 'ETIMEDOUT';
}

interface Waiter {
  resolve(rttMs: number): void;
  reject(error: Error): void;
}

/** The keepalive of one connection, as a link: its events tell of doubt before death. */
class HeartbeatWatch extends Link {
  readonly #ask: () => void;

  constructor(name: string, facts: LinkFacts, timing: Timing, ask: () => void) {
    const { timeMs, intervalMs, probes } = timing;
    const config = { timeMs, intervalMs, probes, random: Math.random };
    super({ name, url: name, timing }, facts, config);
    this.#ask = ask;
  }

  heard(): void {
    this.feed((machine, now) => machine.handleReceived(now));
  }

  answered(rttMs: number): void {
    this.reportReply(rttMs);
  }

  /** The program does not read, so nothing can be heard. */
  override rest(): void {
    super.rest();
  }

  /** It reads again. */
  observe(): void {
    this.feed(() => {});
  }

  protected open(): void {
    this.probe();
  }

  protected sendProbe(): void {
    this.#ask();
  }

  protected shut(): void {}
}

export class HeldChannel {
  readonly #channel: HeartbeatChannel;
  readonly #owner: ChannelOwner;
  readonly #timing: Timing;
  readonly #datagram: boolean;
  readonly #offered: boolean;
  readonly #name: string;
  #watch: HeartbeatWatch | undefined;
  #waiters: Waiter[] = [];
  #late: NodeJS.Timeout | undefined;
  #closed = false;
  #leaving = false;

  constructor(name: string, session: SessionOptions, timing: Timing, owner: ChannelOwner) {
    this.#name = name;
    this.#owner = owner;
    this.#timing = timing;
    this.#datagram = session.datagram;
    this.#offered = session.heartbeat;
    this.#channel = new HeartbeatChannel(
      { ...session, retransmitMs: flightMs(timing.intervalMs) },
      {
        send: (bytes) => owner.send(bytes),
        secured: () => this.#secured(),
        heard: () => {
          this.#watch?.heard();
          if (this.#leaving) this.#late?.refresh();
        },
        data: (bytes) => owner.data(bytes),
        answered: (rttMs) => {
          this.#watch?.answered(rttMs);
          for (const { resolve } of this.#taken()) resolve(rttMs);
        },
        unanswered: () => {
          const error = new PeerDeadError('nobody answered the heartbeat');
          for (const { reject } of this.#taken()) reject(error);
        },
        ended: (error) => this.#ended(error),
      },
      () => owner.mayAnswer(),
    );
  }

  get channel(): HeartbeatChannel {
    return this.#channel;
  }

  /** The keepalive, once the connection is secure and if the peer allows heartbeats. */
  get link(): Link | undefined {
    return this.#watch;
  }

  /** How long an answer is waited for, as the machine does. */
  get patienceMs(): number {
    return this.#timing.intervalMs * this.#timing.probes;
  }

  /** Begins the handshake, which has as long as the probes of a dead peer. */
  start(): void {
    this.#late = setTimeout(() => {
      this.#ended(new PeerDeadError('the handshake was not done in time'));
    }, this.patienceMs);
    this.#channel.secure.start();
  }

  /**
   * Asks the peer now; resolves to the round trip in milliseconds. Whoever asks while a request is in
   * flight shares its answer, for there is one at a time.
   */
  heartbeat(request: HeartbeatRequest = this.#request()): Promise<number> {
    if (!this.#channel.secure.heartbeatAllowed || this.#closed || this.#leaving) {
      return Promise.reject(new Error('the peer does not allow heartbeats, or is not connected'));
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (!this.#channel.asking) this.#channel.ask(request);
    });
  }

  /** Whether it is over. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Says goodbye, and nothing after it. What the peer has still to say is waited for, but not a
   * silence longer than a dead peer's.
   */
  bye(): void {
    if (this.#closed || this.#leaving) return;
    this.#leaving = true;
    this.#watch?.close();
    this.#watch = undefined;
    this.#channel.cancel();
    this.#channel.secure.bye();
    this.#awaitGoodbye();
  }

  /** The program does not read for now, and so cannot hear the peer. */
  pause(): void {
    this.#watch?.rest();
    if (this.#leaving) clearTimeout(this.#late);
  }

  resume(): void {
    this.#watch?.observe();
    if (this.#leaving && !this.#closed) this.#awaitGoodbye();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#late);
    this.#watch?.close();
    this.#channel.close();
    const error = new Error('the connection was closed');
    for (const { reject } of this.#taken()) reject(error);
  }

  #awaitGoodbye(): void {
    clearTimeout(this.#late);
    this.#late = setTimeout(() => {
      this.#ended(new PeerDeadError('the peer did not say goodbye in time'));
    }, this.patienceMs);
  }

  #request(): HeartbeatRequest {
    const { patienceMs } = this;
    return this.#datagram ? { withinMs: patienceMs, tries: DTLS_TRIES } : { withinMs: patienceMs };
  }

  #taken(): Waiter[] {
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }

  #secured(): void {
    clearTimeout(this.#late);
    if (this.#offered && this.#channel.secure.heartbeatAllowed) {
      const watch = new HeartbeatWatch(
        this.#name,
        heartbeatFacts(this.#datagram),
        this.#timing,
        () => {
          if (!this.#channel.asking) this.#channel.ask(this.#request());
        },
      );
      this.#watch = watch;
    }
    this.#owner.secured();
    // Whoever was told has had the time to listen.
    if (this.#closed || this.#watch === undefined) return;
    this.#watch.on('state', ({ to, evidence }) => {
      if (to !== 'down') return;
      const text = `no answer to heartbeats for ${evidence.silentMs ?? 0} ms: the peer is dead`;
      this.#ended(new PeerDeadError(text));
    });
    this.#watch.start();
  }

  #ended(error: Error | undefined): void {
    if (this.#closed) return;
    this.close();
    this.#owner.ended(error);
  }
}
