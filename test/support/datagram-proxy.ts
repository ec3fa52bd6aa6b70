/**
 * A path for datagrams between a client and a server on this machine that loses some, and carries
 * none that is too long. What is lost is a pure function of the seed and of the datagrams' order.
 * @module
 */
import dgram from 'node:dgram';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { Prng } from './prng.ts';

/** What the path does; may be changed while it carries. */
export interface PathFaults {
  /** Of each five datagrams in a direction one is lost, at a random place. */
  loseOneOfFive?: boolean;
  /** Longer datagrams are lost, in bytes. */
  longest?: number;
  /** Everything is lost. */
  silent?: boolean;
}

/** Which of each five is the one. */
class OneOfFive {
  readonly #prng: Prng;
  #place = 0;
  #lost = 0;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
  }

  next(): boolean {
    if (this.#place === 0) this.#lost = this.#prng.between(0, 4);
    const lost = this.#place === this.#lost;
    this.#place = (this.#place + 1) % 5;
    return lost;
  }
}

/** A proxy in front of a port of 127.0.0.1, for any number of clients. */
export class DatagramProxy {
  readonly faults: PathFaults = {};
  lost = 0;
  carried = 0;
  readonly #front = dgram.createSocket('udp4');
  readonly #backs = new Map<number, dgram.Socket>();
  readonly #to: number;

  constructor(to: number) {
    this.#to = to;
  }

  /** Resolves to the port to connect to. */
  async start(t: TestContext): Promise<number> {
    const there = new OneOfFive(1);
    const back = new OneOfFive(2);
    t.after(() => {
      this.#front.close();
      for (const socket of this.#backs.values()) socket.close();
    });
    this.#front.on('message', (bytes, { port }) => {
      const socket = this.#backOf(port, back);
      if (this.#passes(bytes, there)) socket.send(bytes, this.#to, '127.0.0.1');
    });
    this.#front.bind(0, '127.0.0.1');
    await once(this.#front, 'listening');
    return this.#front.address().port;
  }

  #backOf(port: number, losses: OneOfFive): dgram.Socket {
    const known = this.#backs.get(port);
    if (known !== undefined) return known;
    const socket = dgram.createSocket('udp4');
    this.#backs.set(port, socket);
    socket.on('message', (bytes) => {
      if (this.#passes(bytes, losses)) this.#front.send(bytes, port, '127.0.0.1');
    });
    return socket;
  }

  #passes(bytes: Uint8Array, losses: OneOfFive): boolean {
    const { loseOneOfFive = false, longest = 65_535, silent = false } = this.faults;
    const lost = silent || bytes.length > longest || (loseOneOfFive && losses.next());
    if (lost) this.lost += 1;
    else this.carried += 1;
    return !lost;
  }
}
