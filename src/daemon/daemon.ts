/**
 * The daemon: a configuration, what runs of it, and the API over it. Signals and log lines are the
 * command's business.
 * @module
 */
import type { FastifyInstance } from 'fastify';
import { SystemError } from '../sys/system-error.ts';
import { parseAddress } from './address.ts';
import { buildApi } from './api.ts';
import { ApiGuard } from './api-guard.ts';
import { loadConfig } from './config.ts';
import { EventLog } from './event-log.ts';
import { ensureToken } from './state-dir.ts';
import { Supervisor } from './supervisor.ts';

export interface DaemonOptions {
  readonly file: string;
  /** `ADDRESS:PORT` of the API. */
  readonly listen: string;
  readonly stateDir: string;
  readonly version: string;
}

export class Daemon {
  readonly log: EventLog = new EventLog();
  readonly #options: DaemonOptions;
  readonly #supervisor = new Supervisor(this.log);
  #api: FastifyInstance | undefined;
  #reloading: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(options: DaemonOptions) {
    this.#options = options;
  }

  /**
   * Checks the file, opens the API, then starts what the file describes. Throws `UsageError` or
   * `SystemError`; nothing runs then.
   */
  async start(): Promise<void> {
    const { file, listen, stateDir, version } = this.#options;
    const config = loadConfig(file);
    const { host, port } = parseAddress(listen, '--listen');
    this.log.setMaxListeners(0);
    const api = buildApi({
      supervisor: this.#supervisor,
      log: this.log,
      guard: new ApiGuard(host, ensureToken(stateDir)),
      version,
      reload: () => this.reload(),
    });
    this.#api = api;
    try {
      await api.listen({ host, port });
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      const mend = code === 'EADDRINUSE' ? 'does a daemon run already? ' : '';
      throw new SystemError(
        code,
        `the API cannot listen on ${listen}: ${code}; ${mend}choose another with --listen`,
      );
    }
    try {
      const applied = this.#supervisor.apply(config);
      this.#reloading = applied.catch(() => undefined);
      await applied;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /**
   * Reads the file anew and applies what differs. Throws `UsageError` for a bad file, and the
   * running configuration is untouched. One reload at a time.
   */
  reload(): Promise<void> {
    const run = async () => {
      if (!this.#stopping) await this.#supervisor.apply(loadConfig(this.#options.file));
    };
    const result = this.#reloading.then(run);
    this.#reloading = result.catch(() => undefined);
    return result;
  }

  /** Ends everything, also what a reload under way has still to start. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#reloading;
    await this.#supervisor.close();
    await this.#api?.close();
  }
}
