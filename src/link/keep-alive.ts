/**
 * `keepAlive(socket, options)`: Linkhold for one connection that a program already holds. Sets the
 * kernel's keepalive and user timeout, reads them back, and tells of doubt before death. The socket
 * stays the program's.
 * @module
 */
import { errorMonitor } from 'node:events';
import type { Socket } from 'node:net';
import type { Evidence, Reason } from '../keepalive/keepalive.ts';
import { tcpLimitsOf } from '../keepalive/tcp-limits.ts';
import { resolveTiming, type Timing, type TimingInput } from '../keepalive/timing.ts';
import { errnoOf, reasonOf } from './errno.ts';
import { HeldTcp, TCP_FACTS } from './held-tcp.ts';
import type { Link } from './link.ts';
import { hostPort } from './link-url.ts';

/** Timing as everywhere, and a name for events. */
export interface KeepAliveOptions extends TimingInput {
  /** The link's name in events. Default: `tcp://` and the remote address. */
  readonly name?: string;
}

class HeldSocket extends HeldTcp {
  readonly #socket: Socket;

  constructor(name: string, socket: Socket, timing: Timing) {
    const config = { intervalMs: timing.intervalMs, probes: 0 };
    super({ name, url: name, timing }, TCP_FACTS, config, tcpLimitsOf(timing, 'keepAlive'));
    this.#socket = socket;
  }

  protected open(): void {
    if (!this.#socket.connecting) {
      this.hold(this.#socket);
      return;
    }
    this.#socket.once('connect', this.#onConnect);
    this.#socket.once(errorMonitor, this.#onEarlyError);
    this.#socket.once('close', this.#onEarlyClose);
  }

  /** The connection is the program's: there is nothing to make anew. */
  protected sendProbe(): void {}

  protected shut(): void {
    this.#socket.off('connect', this.#onConnect);
    this.#forgetEarly();
    this.release();
  }

  protected died(reason: Reason, evidence: Evidence): void {
    this.feed((machine, now) => machine.handleFailure(reason, evidence, now));
  }

  readonly #onConnect = (): void => {
    this.#forgetEarly();
    try {
      this.hold(this.#socket);
    } catch (error) {
      this.emit('error', error as Error);
    }
  };

  readonly #onEarlyError = (error: Error): void => {
    const errno = errnoOf(error);
    this.died(reasonOf(errno), { errno });
  };

  readonly #onEarlyClose = (): void => this.died('closed', {});

  #forgetEarly(): void {
    this.#socket.off(errorMonitor, this.#onEarlyError);
    this.#socket.off('close', this.#onEarlyClose);
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
  const link = new HeldSocket(name, socket, timing);
  try {
    link.start();
  } catch (error) {
    link.close();
    throw error;
  }
  return link;
}
