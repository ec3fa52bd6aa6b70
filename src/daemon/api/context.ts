/**
 * What the API is given of the daemon: what it shows, what it may do, and who may ask.
 * @module
 */
import type { EventLog } from '../event-log.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { StatusPage } from '../status-page/status-page.ts';
import type { Store } from '../store/store.ts';
import type { Supervisor } from '../supervisor.ts';
import type { ApiGuard } from './guard.ts';

export interface ApiContext {
  readonly supervisor: Supervisor;
  readonly log: EventLog;
  readonly guard: ApiGuard;
  readonly version: string;
  readonly metrics: Metrics;
  readonly history: Pick<Store, 'series' | 'bars'>;
  readonly statusPage: StatusPage;
  /** TLS of the listener, as PEM. Without it, plain HTTP. */
  readonly tls?: TlsFiles | undefined;
  /** What is wrong with the daemon itself, a sentence each; empty while all is well. */
  troubles(): readonly string[];
  /** Reads the configuration file anew. Throws `UsageError` and changes nothing then. */
  reload(): Promise<void>;
  /** Has the program replaced by the one on the disk. Throws, and changes nothing then. */
  upgrade(): Promise<void>;
}

/** A certificate with its chain, and its key. */
export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
}
