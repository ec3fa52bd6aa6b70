/**
 * One connected datagram socket at a time, made anew when asked: the name looked up, the source bound,
 * the kernel's word heard when the peer's port is closed. It knows no protocol and has no clock.
 * @module
 */
import dgram from 'node:dgram';
import dns from 'node:dns';
import { isIP } from 'node:net';

/** Where to. */
export interface UdpTarget {
  readonly host: string;
  readonly port: number;
  readonly source?: string | undefined;
  readonly sourcePort?: number | undefined;
  /** Of the address to look up, where no source tells; 0: whichever the name has. Default: 0. */
  readonly family?: 0 | 4 | 6;
}

/** What becomes of a socket. Nothing is told of one that was hung up or replaced. */
export interface UdpOutcome {
  connected(socket: dgram.Socket): void;
  message(bytes: Uint8Array): void;
  /** There is no socket: the name is not found, the source is not ours. Told once. */
  failed(error: Error): void;
  /** The kernel reports an ICMP error, which anybody can forge, or could not send. */
  doubted(error: Error): void;
}

export class UdpDialer {
  readonly #target: UdpTarget;
  readonly #outcome: UdpOutcome;
  #socket: dgram.Socket | undefined;
  #connected = false;
  #dialed = false;
  /** Which dial is the present one: what comes late from another is ignored. */
  #attempt = 0;

  readonly #onSent = (error: Error | null): void => {
    if (error && this.#connected) this.#outcome.doubted(error);
  };

  constructor(target: UdpTarget, outcome: UdpOutcome) {
    this.#target = target;
    this.#outcome = outcome;
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Whether there is a socket, or will be. */
  get dialed(): boolean {
    return this.#dialed;
  }

  /** A new socket, with a port and so a NAT binding of its own, instead of the present one. */
  dial(): void {
    this.hangUp();
    this.#dialed = true;
    const attempt = this.#attempt;
    const { host, port, source, sourcePort, family: wanted = 0 } = this.#target;
    const current = (body: () => void) => {
      if (attempt === this.#attempt) body();
    };
    dns.lookup(host, { family: isIP(source ?? '') || wanted }, (error, address, family) =>
      current(() => {
        if (error) {
          this.#fail(error);
          return;
        }
        const socket = dgram.createSocket(family === 6 ? 'udp6' : 'udp4');
        this.#socket = socket;
        socket.on('message', (bytes) => current(() => this.#outcome.message(bytes)));
        socket.on('error', (cause) => current(() => this.#error(cause)));
        if (source !== undefined || sourcePort !== undefined) {
          socket.bind({
            ...(source === undefined ? {} : { address: source }),
            port: sourcePort ?? 0,
          });
        }
        socket.connect(port, address, (cause?: Error) =>
          current(() => {
            if (cause) {
              this.#fail(cause);
              return;
            }
            this.#connected = true;
            this.#outcome.connected(socket);
          }),
        );
      }),
    );
  }

  /** Sends a datagram, if there is a socket. By default an error is a doubt. */
  send(bytes: Uint8Array, done: (error: Error | null) => void = this.#onSent): void {
    if (this.#connected) this.#socket?.send(bytes, done);
  }

  /** Closes the socket. What was sent leaves still; nothing is told. */
  hangUp(): void {
    this.#attempt += 1;
    this.#socket?.close();
    this.#socket = undefined;
    this.#connected = false;
    this.#dialed = false;
  }

  #error(error: Error): void {
    if (this.#connected) this.#outcome.doubted(error);
    else this.#fail(error);
  }

  #fail(error: Error): void {
    this.hangUp();
    this.#outcome.failed(error);
  }
}
