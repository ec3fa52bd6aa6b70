/**
 * A server on loopback whose answer to each check is written down beforehand: the k-th connection gets
 * the k-th answer of its schedule, whoever asks and however late, and good ones once that is at its end.
 * @module
 */
import { once } from 'node:events';
import net from 'node:net';

/** What a check meets that fails at once. */
export const FAULTS = ['reset', 'close', 'garbage'] as const;
/** What a check meets; `silence` takes the connection and says nothing. */
export type CheckAnswer = 'good' | 'silence' | (typeof FAULTS)[number];

const GOOD = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';
const GARBAGE = 'SSH-2.0-not HTTP\r\n';

export class FlappingServer {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #schedule: readonly CheckAnswer[];
  #checks = 0;

  constructor(schedule: readonly CheckAnswer[]) {
    this.#schedule = schedule;
    this.#server = net.createServer((socket) => this.#handle(socket));
  }

  /** Checks that have begun. */
  get checks(): number {
    return this.#checks;
  }

  /** Listens; resolves to the port. */
  async start(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as net.AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #handle(socket: net.Socket): void {
    const answer = this.#schedule[this.#checks] ?? 'good';
    this.#checks += 1;
    this.#sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => this.#sockets.delete(socket));
    if (answer === 'reset') {
      socket.resetAndDestroy();
      return;
    }
    socket.once('data', () => {
      if (answer === 'silence') return;
      socket.end(answer === 'good' ? GOOD : answer === 'garbage' ? GARBAGE : '');
    });
  }
}
