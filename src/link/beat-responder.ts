/**
 * Answers `beat://` probes. Only packets with the right tag are answered, one for one and no longer
 * than they came, at a bounded rate: it cannot be used to amplify, and who lacks the key learns
 * nothing, not even that somebody listens.
 * @module
 */
import type { KeyObject } from 'node:crypto';
import dgram from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { isIP } from 'node:net';
import { SystemError } from '../sys/system-error.ts';
import { openBeat, sealBeat } from './beat-auth.ts';
import { errnoOf } from './errno.ts';
import { hostPort } from './link-url.ts';

/** Answers a second, for all peers together; more probes than that go unanswered. */
const MOST_ANSWERS_A_SECOND = 20_000;
/** Room for a burst of ten thousand links, so that the kernel does not drop what we would answer. */
const RECEIVE_BUFFER = 4 * 1_024 * 1_024;

/** How often something happened since the start. */
export interface ResponderCounts {
  readonly answered: number;
  readonly malformed: number;
  readonly notAuthentic: number;
  readonly overRate: number;
}

interface ResponderEvents {
  error: [Error];
}

export class BeatResponder extends EventEmitter<ResponderEvents> {
  readonly #address: string;
  readonly #port: number;
  readonly #key: KeyObject;
  #socket: dgram.Socket | undefined;
  #allowance = 0;
  #secondBegan = Number.NEGATIVE_INFINITY;
  #counts = { answered: 0, malformed: 0, notAuthentic: 0, overRate: 0 };

  constructor(address: string, port: number, key: KeyObject) {
    super();
    this.#address = address;
    this.#port = port;
    this.#key = key;
  }

  get counts(): ResponderCounts {
    return { ...this.#counts };
  }

  /** Binds and answers; resolves to the bound `host:port`. Throws `SystemError`. */
  async start(): Promise<string> {
    const type = isIP(this.#address) === 6 ? 'udp6' : 'udp4';
    const socket = dgram.createSocket({ type, recvBufferSize: RECEIVE_BUFFER });
    this.#socket = socket;
    socket.bind(this.#port, this.#address);
    try {
      await once(socket, 'listening');
    } catch (error) {
      this.close();
      const errno = errnoOf(error as Error);
      const place = hostPort(this.#address, this.#port);
      throw new SystemError(
        errno,
        `cannot answer on udp ${place}: ${errno}; choose another address`,
      );
    }
    socket.on('message', (bytes, peer) => this.#receive(bytes, peer));
    socket.on('error', (error) => this.emit('error', error));
    const bound = socket.address();
    return hostPort(bound.address, bound.port);
  }

  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  #receive(bytes: Uint8Array, peer: dgram.RemoteInfo): void {
    const packet = openBeat(bytes, this.#key);
    if (packet === 'malformed') this.#counts.malformed += 1;
    else if (packet === 'not-authentic') this.#counts.notAuthentic += 1;
    else if (packet.type === 'probe' && !this.#admit()) this.#counts.overRate += 1;
    else if (packet.type === 'probe') {
      this.#counts.answered += 1;
      const answer = sealBeat('answer', packet.sequence, packet.nonce, this.#key);
      // Whether the answer could leave is the prober's to find out.
      this.#socket?.send(answer, peer.port, peer.address, () => undefined);
    }
  }

  /** At most so many answers in a second, which begins with the first of them. */
  #admit(): boolean {
    const now = performance.now();
    if (now - this.#secondBegan >= 1_000) {
      this.#secondBegan = now;
      this.#allowance = MOST_ANSWERS_A_SECOND;
    }
    if (this.#allowance === 0) return false;
    this.#allowance -= 1;
    return true;
  }
}
