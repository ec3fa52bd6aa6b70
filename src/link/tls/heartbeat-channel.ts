/**
 * A secure channel with both sides of the heartbeat: asks when told to, answers what the peer asks.
 * What links and connections of the library have in common.
 * @module
 */
import { randomBytes } from 'node:crypto';
import type { SessionOptions } from '../../sys/gnutls-session.ts';
import { Driver } from '../driver.ts';
import {
  type ExchangeOutput,
  type HeartbeatCounts,
  HeartbeatExchange,
  type HeartbeatRequest,
} from './heartbeat-exchange.ts';
import { SecureChannel } from './secure-channel.ts';

/** What becomes of a channel. Nothing is told of one that was closed. */
export interface HeartbeatOutcome {
  /** To the transport: a piece of the stream, or a datagram. */
  send(bytes: Uint8Array): void;
  /** The handshake is done, and the peer is who it should be. */
  secured(): void;
  /** Something authentic came. */
  heard(): void;
  data(bytes: Uint8Array): void;
  /** The answer to the request in flight, so long after it was first sent. */
  answered(rttMs: number): void;
  unanswered(): void;
  /** It is over; without an error the peer said goodbye. Told once. */
  ended(error: Error | undefined): void;
}

export class HeartbeatChannel {
  readonly secure: SecureChannel;
  readonly #outcome: HeartbeatOutcome;
  readonly #exchange: HeartbeatExchange;
  readonly #driver: Driver<ExchangeOutput>;

  /** `mayAnswer`: see `HeartbeatExchange`. Throws `TlsError`, and `SystemError` without GnuTLS. */
  constructor(options: SessionOptions, outcome: HeartbeatOutcome, mayAnswer?: () => boolean) {
    this.#outcome = outcome;
    this.#exchange = new HeartbeatExchange(randomBytes, mayAnswer);
    this.#driver = new Driver(this.#exchange, (output) => this.#perform(output));
    this.secure = new SecureChannel(options, {
      send: (bytes) => outcome.send(bytes),
      secured: () => outcome.secured(),
      heard: () => outcome.heard(),
      data: (bytes) => outcome.data(bytes),
      heartbeat: (content) => {
        if (!options.heartbeat) return;
        this.#exchange.handleContent(content, performance.now());
        this.#driver.settle();
      },
      ended: (error) => {
        this.#driver.stop();
        outcome.ended(error);
      },
    });
  }

  /** Whether a request waits for its answer. */
  get asking(): boolean {
    return this.#exchange.inFlight;
  }

  get counts(): HeartbeatCounts {
    return this.#exchange.counts;
  }

  /** Asks the peer, which must allow it. Throws `Error` while a request is in flight. */
  ask(request: HeartbeatRequest): void {
    this.#exchange.handleRequest(request, performance.now());
    this.#driver.settle();
  }

  /** Nobody waits for the answer any more. */
  cancel(): void {
    this.#exchange.handleCancel();
  }

  close(): void {
    this.#driver.stop();
    this.secure.close();
  }

  #perform(output: ExchangeOutput): void {
    if (output.type === 'send') this.secure.sendHeartbeat(output.message);
    else if (output.type === 'answered') this.#outcome.answered(output.rttMs);
    else this.#outcome.unanswered();
  }
}
