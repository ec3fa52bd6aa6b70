/**
 * One TCP connection at a time, made anew when asked: what links that connect have in common. It
 * knows no protocol, and has no clock but that of whoever asks it to dial.
 * @module
 */
import net from 'node:net';
import type { LinkUrl } from './link-url.ts';

/** What becomes of a connection. Nothing is told of one that was hung up or replaced. */
export interface DialOutcome {
  connected(socket: net.Socket, tookMs: number): void;
  /** It could not be made, or is over; without an error the peer said goodbye. Told once. */
  ended(error: Error | undefined): void;
}

/** A connection that ended sooner than this is not made anew at once, but after an interval. */
const SHORT_LIFE_MS = 5_000;

export class TcpDialer {
  readonly #url: LinkUrl;
  readonly #patience: number;
  readonly #outcome: DialOutcome;
  readonly #connect: (options: net.TcpNetConnectOpts) => net.Socket;
  #socket: net.Socket | undefined;
  #calls = 0;
  #connectedAt: number | undefined;

  /**
   * An attempt has the time of `patience` calls of `dial`, then a new one begins. `connect` makes a
   * socket; default: as Node does.
   */
  constructor(
    url: LinkUrl,
    patience: number,
    outcome: DialOutcome,
    connect: (options: net.TcpNetConnectOpts) => net.Socket = (options) => net.connect(options),
  ) {
    this.#connect = connect;
    this.#url = url;
    this.#patience = patience;
    this.#outcome = outcome;
  }

  /** Whether the connection has lasted: one that is over then may be made anew at once. */
  get lasted(): boolean {
    return this.#connectedAt !== undefined && performance.now() - this.#connectedAt > SHORT_LIFE_MS;
  }

  /**
   * Connects, unless the present attempt still has its time. It is left to the kernel, which repeats
   * it: a handshake slower than an interval must still come to its end.
   */
  dial(): void {
    this.#calls += 1;
    if (this.#socket !== undefined && this.#calls <= this.#patience) return;
    this.abandon();
    this.#calls = 1;
    const { host, port, source } = this.#url;
    const startedAt = performance.now();
    const local = source === undefined ? {} : { localAddress: source };
    const socket = this.#connect({ host, port, ...local });
    this.#socket = socket;
    let over = false;
    const ended = (error?: Error) => {
      if (over || this.#socket !== socket) return;
      over = true;
      this.#outcome.ended(error);
    };
    socket.on('error', ended).once('end', () => ended());
    socket.once('close', () => ended());
    socket.once('connect', () => {
      if (this.#socket !== socket) return;
      this.#connectedAt = performance.now();
      this.#outcome.connected(socket, this.#connectedAt - startedAt);
    });
  }

  /** Ends the connection as one does that is good. Nothing is told of it. */
  hangUp(): void {
    this.#forget()?.destroy();
  }

  /**
   * Ends a connection that is thought dead, by RST: the kernel would else keep it, with what is
   * still unacknowledged, for minutes.
   */
  abandon(): void {
    const connected = this.#connectedAt !== undefined;
    const socket = this.#forget();
    if (connected) socket?.resetAndDestroy();
    else socket?.destroy();
  }

  #forget(): net.Socket | undefined {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#connectedAt = undefined;
    return socket;
  }
}
