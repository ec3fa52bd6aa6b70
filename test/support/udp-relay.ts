/**
 * A path for datagrams between one client and a server on this machine, on which everything can be seen,
 * changed, lost and repeated. The server knows every client by the same port.
 * @module
 */
import dgram from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import type { TestContext } from 'node:test';
import { Prng } from './prng.ts';

const HOST = '127.0.0.1';

/** What becomes of a packet: another in its stead, or nothing. */
export type Alter = (packet: Buffer, toServer: boolean) => Buffer | undefined;

interface RelayEvents {
  /** A packet, and whether it goes to the server. */
  packet: [Buffer, boolean];
}

/** Between a link and its server. It passes everything on, unless it is told otherwise. */
export class UdpRelay extends EventEmitter<RelayEvents> {
  readonly #front = dgram.createSocket('udp4');
  readonly #back = dgram.createSocket('udp4');
  #client: dgram.RemoteInfo | undefined;
  /** What becomes of a packet: another in its stead, or nothing. Default: itself. */
  alter: Alter = (packet) => packet;
  lost = 0;
  carried = 0;
  readonly seen: { readonly packet: Buffer; readonly toServer: boolean }[] = [];

  static async start(t: TestContext, serverPort: number): Promise<UdpRelay> {
    const relay = new UdpRelay();
    t.after(() => {
      relay.#front.close();
      relay.#back.close();
    });
    relay.#front.bind(0, HOST);
    relay.#back.bind(0, HOST);
    await Promise.all([once(relay.#front, 'listening'), once(relay.#back, 'listening')]);
    relay.#front.on('message', (packet, client) => {
      relay.#client = client;
      const altered = relay.#pass(packet, true);
      if (altered !== undefined) relay.#back.send(altered, serverPort, HOST);
    });
    relay.#back.on('message', (packet) => {
      const altered = relay.#pass(packet, false);
      if (altered !== undefined) relay.toClient(altered);
    });
    return relay;
  }

  get port(): number {
    return this.#front.address().port;
  }

  toClient(packet: Uint8Array): void {
    if (this.#client !== undefined) this.#front.send(packet, this.#client.port, HOST);
  }

  #pass(packet: Buffer, toServer: boolean): Buffer | undefined {
    this.seen.push({ packet, toServer });
    const altered = this.alter(packet, toServer);
    this.emit('packet', packet, toServer);
    if (altered === undefined) this.lost += 1;
    else this.carried += 1;
    return altered;
  }
}

/** Of each five packets in a direction one is lost, at a random place. */
export function loseOneOfFive(seed: number): Alter {
  const directions = [new OneOfFive(seed), new OneOfFive(seed + 1)] as const;
  return (packet, toServer) => (directions[toServer ? 0 : 1].next() ? undefined : packet);
}

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
