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
import { Recorder } from './store/recorder.ts';
import { lockState, type StateLock } from './store/state-lock.ts';
import { Store } from './store/store.ts';
import { Supervisor } from './supervisor.ts';

export interface DaemonOptions {
  readonly file: string;
  /** `ADDRESS:PORT` of the API. */
  readonly listen: string;
  readonly stateDir: string;
  readonly version: string;
}

export class Daemon {
  /** What outlives the daemon. */
  readonly store: Store;
  readonly log: EventLog;
  readonly #options: DaemonOptions;
  readonly #supervisor: Supervisor;
  readonly #recorder: Recorder;
  #lock: StateLock | undefined;
  #api: FastifyInstance | undefined;
  #reloading: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(options: DaemonOptions) {
    this.#options = options;
    const note = (text: string) => this.#note(text);
    this.store = new Store({ directory: options.stateDir, note });
    this.log = new EventLog(this.store);
    this.#supervisor = new Supervisor(this.log, {
      follow: (link) => this.#recorder.follow(link),
      inUse: (group) => this.store.groups.get(group),
    });
    this.#recorder = new Recorder(this.store, {
      links: () => this.#supervisor.links(),
      groups: () => this.#supervisor.pathsInUse(),
      flush: () => this.log.flush(),
      note,
    });
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
    const token = ensureToken(stateDir);
    this.#lock = lockState(stateDir);
    try {
      this.store.open();
    } catch (error) {
      this.#end();
      throw error;
    }
    if (this.#lock.trouble !== undefined) this.#note(this.#lock.trouble);
    const api = buildApi({
      supervisor: this.#supervisor,
      log: this.log,
      guard: new ApiGuard(host, token),
      version,
      reload: () => this.reload(),
    });
    this.#api = api;
    try {
      await api.listen({ host, port });
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      const mend = code === 'EADDRINUSE' ? 'does a daemon run already? ' : '';
      this.#end();
      throw new SystemError(
        code,
        `the API cannot listen on ${listen}: ${code}; ${mend}choose another with --listen`,
      );
    }
    this.#recorder.start();
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
    // While links and groups still stand as they are to be remembered.
    await this.#recorder.stop();
    this.log.flush();
    await this.#supervisor.close();
    await this.#api?.close();
    this.#end();
  }

  #end(): void {
    if (this.#lock === undefined) return;
    this.log.close();
    this.store.close();
    this.#lock.release();
    this.#lock = undefined;
  }

  #note(text: string): void {
    this.log.append({ at: new Date().toISOString(), type: 'note', text });
  }
}
