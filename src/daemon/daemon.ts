/**
 * The daemon: a configuration, what runs of it, and the API over it. Signals and log lines are the
 * command's business.
 * @module
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import { LINK_STATES } from '../keepalive/keepalive.ts';
import type { Link } from '../link/link.ts';
import { SystemError } from '../sys/system-error.ts';
import { UsageError } from '../time/usage-error.ts';
import { parseAddress } from './address.ts';
import { buildApi } from './api/api.ts';
import type { TlsFiles } from './api/context.ts';
import { ApiGuard } from './api/guard.ts';
import { checkTls, renewTls } from './api/server.ts';
import { readConfig } from './config-reader.ts';
import type { Config } from './config-schema.ts';
import { EventLog } from './event-log.ts';
import { LoopWatch } from './loop-watch.ts';
import { Metrics } from './metrics/metrics.ts';
import { Notifier } from './notify/notifier.ts';
import { ensureToken } from './state-dir.ts';
import { StatusPage } from './status-page/status-page.ts';
import { Recorder } from './store/recorder.ts';
import { lockState, type StateLock } from './store/state-lock.ts';
import { Store } from './store/store.ts';
import { Supervisor } from './supervisor.ts';
import { Tokens } from './tokens.ts';

export interface DaemonOptions {
  readonly file: string;
  /** `ADDRESS:PORT` of the API. */
  readonly listen: string;
  readonly stateDir: string;
  readonly version: string;
  /** Files with the certificate (and its chain) and its key, PEM. The API speaks TLS then. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
}

export class Daemon {
  /** What outlives the daemon. */
  readonly store: Store;
  readonly log: EventLog;
  readonly #options: DaemonOptions;
  readonly #supervisor: Supervisor;
  readonly #recorder: Recorder;
  readonly #notifier: Notifier;
  readonly #statusPage: StatusPage;
  readonly #loop = new LoopWatch();
  #lock: StateLock | undefined;
  #api: FastifyInstance | undefined;
  #tokens: Tokens | undefined;
  #reloading: Promise<void> = Promise.resolve();
  #refused: string | undefined;
  #stopping = false;
  readonly #upgrade = Promise.withResolvers<void>();

  constructor(options: DaemonOptions) {
    this.#options = options;
    const note = (text: string) => this.#note(text);
    this.store = new Store({ directory: options.stateDir, note });
    this.log = new EventLog(this.store);
    const memory = {
      follow: (link: Link) => this.#recorder.follow(link),
      inUse: (group: string) => this.store.groups.get(group),
    };
    const relayDirectory = path.join(options.stateDir, 'relay');
    this.#supervisor = new Supervisor(this.log, memory, relayDirectory);
    this.#recorder = new Recorder(this.store, {
      links: () => this.#supervisor.links(),
      groups: () => this.#supervisor.pathsInUse(),
      flush: () => this.log.flush(),
      note,
    });
    this.#notifier = new Notifier(options.stateDir, this.log, this.#supervisor);
    this.#statusPage = new StatusPage(this.#supervisor, this.log, this.store);
  }

  /**
   * Checks the file, opens the API, then starts what the file describes. Throws `UsageError` or
   * `SystemError`; nothing runs then.
   */
  async start(): Promise<void> {
    const config = await readConfig(this.#options.file);
    this.#openStore();
    try {
      await this.#openApi();
    } catch (error) {
      this.#end();
      throw error;
    }
    this.#loop.start();
    this.#recorder.start();
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
   * Reads the file anew and applies what differs, and the certificate of the API too. Throws
   * `UsageError` for a bad file, and what runs is untouched. One reload at a time.
   */
  reload(): Promise<void> {
    const run = async () => {
      if (this.#stopping) return;
      const tls = this.#readTls();
      await this.#apply(await readConfig(this.#options.file));
      if (tls !== undefined && this.#api !== undefined) renewTls(this.#api.server, tls);
    };
    const result = this.#reloading.then(run);
    this.#reloading = result.then(
      () => {
        this.#refused = undefined;
      },
      (error: Error) => {
        this.#refused = `the last reload failed: ${error.message}`;
      },
    );
    return result;
  }

  /** Ends everything, also what a reload under way has still to start. */
  async stop(): Promise<void> {
    await this.#leave(() => this.#supervisor.close());
  }

  /** Resolves when somebody asks for another program in the place of this one. */
  get upgradeAsked(): Promise<void> {
    return this.#upgrade.promise;
  }

  /**
   * Asks for another program in the place of this one, which must be able to run: throws `UsageError`
   * for a bad file, and `SystemError` (`ENOSYS`) where a process cannot be replaced.
   */
  async upgrade(): Promise<void> {
    await readConfig(this.#options.file);
    if (typeof process.execve !== 'function') {
      throw new SystemError('ENOSYS', 'this Node cannot replace a process; restart the daemon');
    }
    this.#upgrade.resolve();
  }

  /** As `stop`, but what outlives this program goes on: relayed flows, and routes as they are. */
  async release(): Promise<void> {
    await this.#leave(() => this.#supervisor.release());
  }

  /** What is wrong with the daemon itself, a sentence each. */
  troubles(): readonly string[] {
    const all = [this.#loop.trouble, this.#tokens?.trouble, this.store.trouble(), this.#refused];
    return all.filter((text) => text !== undefined);
  }

  /** How it is, in a line for people. */
  summary(): string {
    const links = this.#supervisor.links();
    const states = LINK_STATES.flatMap((state) => {
      const count = links.filter((link) => link.state === state).length;
      return count === 0 ? [] : `${count} ${state}`;
    });
    const noun = links.length === 1 ? 'link' : 'links';
    const counts = [`${links.length} ${noun}`, states.join(', ')].filter(Boolean).join(': ');
    return [counts, ...this.troubles()].join('; ');
  }

  async #openApi(): Promise<void> {
    const { listen, stateDir, version } = this.#options;
    const { host, port } = parseAddress(listen, '--listen');
    const tls = this.#readTls();
    this.log.setMaxListeners(0);
    const tokens = new Tokens(stateDir, ensureToken(stateDir));
    this.#tokens = tokens;
    const supervisor = this.#supervisor;
    const troubles = () => this.troubles();
    const api = buildApi({
      supervisor,
      log: this.log,
      guard: new ApiGuard(host, tokens, tls !== undefined),
      version,
      metrics: new Metrics({ supervisor, log: this.log, loop: this.#loop, version, troubles }),
      history: this.store,
      statusPage: this.#statusPage,
      tls,
      troubles,
      reload: () => this.reload(),
      upgrade: () => this.upgrade(),
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
  }

  /** Throws `UsageError` where the files cannot be read or do not fit each other. */
  #readTls(): TlsFiles | undefined {
    const { tls } = this.#options;
    if (tls === undefined) return undefined;
    const read = (file: string, flag: string) => {
      try {
        return readFileSync(file);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        throw new UsageError('bad-tls', `${flag}: ${file} cannot be read (${code})`);
      }
    };
    const files = { cert: read(tls.cert, '--tls-cert'), key: read(tls.key, '--tls-key') };
    checkTls(files, '--tls-cert');
    return files;
  }

  /** Nobody else may use the directory; a token must be there before anybody asks for one. */
  #openStore(): void {
    const { stateDir } = this.#options;
    ensureToken(stateDir);
    this.#lock = lockState(stateDir);
    try {
      this.store.open();
    } catch (error) {
      this.#end();
      throw error;
    }
    if (this.#lock.trouble !== undefined) this.#note(this.#lock.trouble);
  }

  async #leave(supervised: () => Promise<void>): Promise<void> {
    this.#stopping = true;
    await this.#reloading;
    this.#loop.stop();
    this.#notifier.stop();
    // While links and groups still stand as they are to be remembered.
    await this.#recorder.stop();
    this.log.flush();
    await supervised();
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

  /** What could be started is told of, also where something else could not. */
  async #apply(config: Config): Promise<void> {
    try {
      await this.#supervisor.apply(config);
    } finally {
      this.#notifier.apply(config);
      this.#statusPage.apply(config);
    }
  }
}
