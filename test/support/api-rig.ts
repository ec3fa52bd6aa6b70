/**
 * An API over a supervisor of its own, asked without a socket; and checks of what it answers. A problem
 * is known by its media type and its four keys.
 * @module
 */
import assert from 'node:assert/strict';
import http from 'node:http';
import type { TestContext } from 'node:test';
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';
import { buildApi } from '../../src/daemon/api/api.ts';
import type { TlsFiles } from '../../src/daemon/api/context.ts';
import { ApiGuard } from '../../src/daemon/api/guard.ts';
import type { Config } from '../../src/daemon/config-schema.ts';
import { EventLog } from '../../src/daemon/event-log.ts';
import { LoopWatch } from '../../src/daemon/loop-watch.ts';
import { Metrics } from '../../src/daemon/metrics/metrics.ts';
import { StatusPage } from '../../src/daemon/status-page/status-page.ts';
import { Store } from '../../src/daemon/store/store.ts';
import { Supervisor } from '../../src/daemon/supervisor.ts';
import { Tokens } from '../../src/daemon/tokens.ts';
import { temporaryDirectory } from './cli.ts';

export const TOKEN = 'the-right-token';
export const BEARER: Readonly<Record<string, string>> = { authorization: `Bearer ${TOKEN}` };
export const POST: { readonly method: 'POST'; readonly headers: typeof BEARER } = {
  method: 'POST',
  headers: BEARER,
};

const NOTHING: Config = { links: {}, groups: {}, relays: {}, routes: {}, respond: [], protect: [] };

export interface ApiRig {
  readonly app: FastifyInstance;
  readonly supervisor: Supervisor;
  readonly log: EventLog;
  readonly store: Store;
  /** Where its tokens are. */
  readonly stateDir: string;
  /** A GET unless told otherwise. */
  readonly ask: (url: string, more?: InjectOptions) => Promise<LightMyRequestResponse>;
}

export interface ApiRigOptions {
  readonly host?: string;
  readonly config?: Partial<Config>;
  readonly tls?: TlsFiles;
  /** Events are kept in its store, as a daemon does. Default: in memory alone. */
  readonly keeps?: boolean;
  readonly troubles?: () => readonly string[];
  readonly reload?: () => Promise<void>;
}

export async function apiRig(t: TestContext, options: ApiRigOptions = {}): Promise<ApiRig> {
  const { host = '127.0.0.1', tls, troubles = () => [] } = options;
  const stateDir = temporaryDirectory(t);
  const store = new Store({ directory: stateDir, note: () => undefined });
  if (options.keeps === true) store.open();
  const log = new EventLog(options.keeps === true ? store : undefined);
  log.setMaxListeners(0);
  const supervisor = new Supervisor(log);
  const statusPage = new StatusPage(supervisor, log, store);
  const version = '1.2.3';
  const app = buildApi({
    supervisor,
    log,
    guard: new ApiGuard(host, new Tokens(stateDir, TOKEN), tls !== undefined),
    version,
    metrics: new Metrics({ supervisor, log, loop: new LoopWatch(), version, troubles }),
    history: store,
    statusPage,
    tls,
    troubles,
    upgrade: async () => undefined,
    reload: options.reload ?? (async () => undefined),
  });
  t.after(async () => {
    await app.close();
    await supervisor.close();
    log.close();
    store.close();
  });
  const config = { ...NOTHING, ...options.config };
  await supervisor.apply(config);
  statusPage.apply(config);
  const ask = async (url: string, more: InjectOptions = {}) =>
    await app.inject({ method: 'GET', url, ...more });
  return { app, supervisor, log, store, stateDir, ask };
}

/** Links to an address that refuses at once and whose timers are far away. */
export function linksCalled(...names: readonly string[]): Partial<Config> {
  const entry = { url: 'tcp://127.0.0.1:1', time: '1h', interval: '1h' };
  return { links: Object.fromEntries(names.map((name) => [name, entry])) };
}

/** Checks that the answer is a problem document of this status, and returns its detail. */
export function problemIn(response: LightMyRequestResponse, status: number): string {
  assert.equal(response.statusCode, status, response.body);
  assert.match(String(response.headers['content-type']), /^application\/problem\+json\b/);
  const body = response.json() as Record<string, unknown>;
  assert.deepEqual(new Set(Object.keys(body)), new Set(['type', 'title', 'status', 'detail']));
  assert.equal(body['status'], status);
  assert.equal(body['type'], 'about:blank');
  assert.equal(body['title'], http.STATUS_CODES[status]);
  return String(body['detail']);
}
