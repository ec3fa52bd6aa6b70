/**
 * What systemd is told of the daemon (sd_notify(3)): that it has started, reads its configuration
 * anew, stops, how it is in a line, and that its event loop goes round. Where no service manager asks
 * for it nothing happens.
 * @module
 */
import { sendDatagram } from '../sys/notify-socket.ts';
import { SystemError } from '../sys/system-error.ts';

export interface ServiceManagerOptions {
  /** How the daemon is, in a line. */
  status(): string;
  /** Told once, if the service manager cannot be told. */
  trouble(text: string): void;
  /** For tests. */
  readonly send?: (socket: string, text: string) => void;
}

/** Many links change at once; the line is for people. */
const STATUS_AFTER_MS = 1_000;

export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  #socket: string | undefined;
  /** It is told at twice the pace that it asks for; 0: it does not ask. */
  readonly #aliveEveryMs: number;
  #alive: NodeJS.Timeout | undefined;
  #status: NodeJS.Timeout | undefined;
  #reloads = 0;
  #failed = false;

  /** Takes what concerns it out of `env`: programs that the daemon starts are other services. */
  constructor(options: ServiceManagerOptions, env: NodeJS.ProcessEnv = process.env) {
    this.#options = options;
    const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
    this.#socket = socket;
    const isForUs = pid === undefined || pid === String(process.pid);
    this.#aliveEveryMs = isForUs && /^\d+$/.test(usec ?? '') ? Number(usec) / 2_000 : 0;
  }

  /** It has started, or has read its configuration anew: for good or bad, the status tells. */
  ready(): void {
    if (this.#reloads > 0) this.#reloads -= 1;
    if (this.#reloads > 0) return;
    this.#tell('READY=1', this.#line());
    if (this.#alive !== undefined || this.#aliveEveryMs === 0) return;
    const alive = () => this.#tell('WATCHDOG=1');
    // After the sockets have had their turn too: a loop that only runs timers is not alive.
    this.#alive = setInterval(() => setImmediate(alive), this.#aliveEveryMs).unref();
  }

  /** It begins to read its configuration anew; `ready` is the end of it. */
  reloading(): void {
    this.#reloads += 1;
    const nowUs = process.hrtime.bigint() / 1_000n;
    this.#tell('RELOADING=1', `MONOTONIC_USEC=${nowUs}`);
  }

  /** Something changed: the line is told anew before long. */
  changed(): void {
    this.#status ??= setTimeout(() => {
      this.#status = undefined;
      this.#tell(this.#line());
    }, STATUS_AFTER_MS).unref();
  }

  /** It begins to end; nothing is told after that. */
  stopping(): void {
    clearInterval(this.#alive);
    clearTimeout(this.#status);
    this.#tell('STOPPING=1', 'STATUS=stopping');
    this.#socket = undefined;
  }

  #line(): string {
    return `STATUS=${this.#options.status().replaceAll('\n', ' ')}`;
  }

  #tell(...lines: readonly string[]): void {
    if (this.#socket === undefined) return;
    try {
      (this.#options.send ?? sendDatagram)(this.#socket, lines.join('\n'));
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (!this.#failed) this.#options.trouble(`systemd cannot be told: ${error.message}`);
      this.#failed = true;
    }
  }
}
