/**
 * `keepAlive(socket, options)`: Linkhold for one connection that a program already holds. Sets the
 * kernel's keepalive and user timeout, reads them back, and tells of doubt before death. The socket
 * stays the program's.
 * @module
 */
import type { Socket } from 'node:net';
import { resolveTiming, type Timing, type TimingInput } from '../keepalive/timing.ts';
import type { TcpOptions } from '../sys/tcp-socket.ts';
import { Link } from './link.ts';
import { hostPort } from './link-url.ts';
import { TCP_FACTS } from './tcp.ts';
import { TcpWatch, tcpDetectionBoundMs, tcpOptionsFor } from './tcp-watch.ts';

/** Timing as everywhere, and a name for events. */
export interface KeepAliveOptions extends TimingInput {
  /** The link's name in events. Default: `tcp://` and the remote address. */
  readonly name?: string;
}

class HeldSocket extends Link {
  readonly #options: TcpOptions;
  readonly #socket: Socket;
  #watch: TcpWatch | undefined;

  constructor(name: string, socket: Socket, timing: Timing, options: TcpOptions) {
    super({ name, url: name, timing }, TCP_FACTS, { intervalMs: timing.intervalMs, probes: 0 });
    this.#socket = socket;
    this.#options = options;
  }

  override get detectsWithinMs(): number {
    return tcpDetectionBoundMs(this.#options);
  }

  override probe(): void {
    this.#watch?.probe();
  }

  protected override wake(): void {
    this.#watch?.probe();
  }

  protected open(): void {
    if (!this.#socket.connecting) {
      this.#hold();
      return;
    }
    this.#socket.once('connect', this.#onConnect);
    this.#socket.once('close', this.#onEarlyClose);
  }

  protected sendProbe(): void {}

  protected shut(): void {
    this.#socket.off('connect', this.#onConnect);
    this.#socket.off('close', this.#onEarlyClose);
    this.#watch?.stop();
    this.#watch = undefined;
  }

  readonly #onConnect = (): void => {
    try {
      this.#hold();
    } catch (error) {
      this.emit('error', error as Error);
    }
  };

  readonly #onEarlyClose = (): void =>
    this.feed((machine, now) => machine.handleFailure('closed', {}, now));

  #hold(): void {
    const socket = this.#socket;
    this.#socket.off('close', this.#onEarlyClose);
    this.local = hostPort(socket.localAddress ?? '', socket.localPort ?? 0);
    this.remote = hostPort(socket.remoteAddress ?? '', socket.remotePort ?? 0);
    const watch = new TcpWatch(socket, this.#options, {
      heard: (rttMs) => {
        this.reportReply(rttMs);
        this.feed((machine, now) => machine.handleReceived(now));
      },
      doubt: (evidence) => this.feed((machine) => machine.handleDoubt('no-answer', evidence)),
      dead: (reason, evidence) =>
        this.feed((machine, now) => machine.handleFailure(reason, evidence, now)),
      note: (text) => this.reportNote(text),
    });
    watch.start();
    this.#watch = watch;
    this.feed((machine, now) => machine.handleReceived(now));
  }
}

/**
 * Holds a `net.Socket` or `tls.TLSSocket`, connected or connecting, and tells of its state by
 * `state` events until `close()` is called on the returned link. Defaults: 60s / 10s / 3 and a user
 * timeout of the detection bound, which also ends a peer that lives but reads nothing for so long
 * (`userTimeout: '0s'` leaves that to the kernel).
 *
 * Throws `UsageError` for impossible options and `SystemError` if the kernel kept other values; for
 * a socket that is still connecting the latter comes as an `error` event of the link.
 */
export function keepAlive(socket: Socket, options: KeepAliveOptions = {}): Link {
  const timing = resolveTiming(options, 'keepAlive');
  const remote = hostPort(socket.remoteAddress ?? 'connecting', socket.remotePort ?? 0);
  const name = options.name ?? `tcp://${remote}`;
  const link = new HeldSocket(name, socket, timing, tcpOptionsFor(timing, 'keepAlive'));
  try {
    link.start();
  } catch (error) {
    link.close();
    throw error;
  }
  return link;
}
