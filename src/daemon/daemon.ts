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
import type { Config } from './config-schema.ts';
import { EventLog } from './event-log.ts';
import { Notifier } from './notify/notifier.ts';
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
  readonly #notifier: Notifier;
  #api: FastifyInstance | undefined;
  #reloading: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#notifier = new Notifier(options.stateDir, this.log, this.#supervisor);
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
      const applied = this.#apply(config);
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
      if (!this.#stopping) await this.#apply(loadConfig(this.#options.file));
    };
    const result = this.#reloading.then(run);
    this.#reloading = result.catch(() => undefined);
    return result;
  }

  /** Ends everything, also what a reload under way has still to start. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#reloading;
    this.#notifier.stop();
    await this.#supervisor.close();
    await this.#api?.close();
  }

  /** What could be started is told of, also where something else could not. */
  async #apply(config: Config): Promise<void> {
    try {
      await this.#supervisor.apply(config);
    } finally {
      this.#notifier.apply(config);
    }
  }
}
