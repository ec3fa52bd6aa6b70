/**
 * As much of undici as `holdDispatcher` builds on: its classes as a program passes them, or those
 * behind Node's own `fetch`, which are reached by the global dispatcher and its public events.
 * @module
 */
import { UsageError } from '../../time/usage-error.ts';

/** A request as undici's dispatchers take it. */
export interface DispatchOptions {
  readonly method: string;
  readonly body?: unknown;
  readonly upgrade?: unknown;
}

/** Whoever is told of a request's progress: undici's older form, up to version 7. */
export interface OldHandler {
  onConnect?(abort: (error?: Error) => void, context?: unknown): void;
  onUpgrade?(status: number, headers: unknown, socket: unknown): void;
  onHeaders?(status: number, headers: unknown, resume: () => void, text: string): boolean;
  onResponseStarted?(): void;
  onData?(chunk: unknown): boolean;
  onComplete?(trailers: unknown): void;
  onError?(error: Error): void;
  onBodySent?(size: number, total: number): void;
}

/** The newer form. */
export interface NewHandler {
  onRequestStart?(controller: unknown, context: unknown): void;
  onRequestUpgrade?(controller: unknown, status: number, headers: unknown, socket: unknown): void;
  onResponseStart?(controller: unknown, status: number, headers: unknown, text?: string): void;
  onResponseData?(controller: unknown, chunk: unknown): void;
  onResponseEnd?(controller: unknown, trailers: unknown): void;
  onResponseError?(controller: unknown, error: Error): void;
  onResponseStarted?(): void;
  onBodySent?(size: number, total: number): void;
}

export type Dispatch = (options: DispatchOptions, handler: OldHandler & NewHandler) => boolean;

export interface UndiciClient {
  readonly closed: boolean;
  readonly destroyed: boolean;
  dispatch: Dispatch;
}

type Constructor<Instance> = abstract new (...args: never[]) => Instance;

/** The classes of undici: `import * as undici from 'undici'`, or what is needed of them. */
export interface UndiciModule<Agent = unknown> {
  readonly Agent: Constructor<Agent>;
  readonly Pool: Constructor<unknown>;
  readonly Client: Constructor<unknown>;
}

/** The same with constructors that may be called: undici checks what it is given. */
export interface UndiciClasses {
  readonly Agent: new (options: object) => object;
  readonly Pool: new (origin: unknown, options: object) => object;
  readonly Client: new (origin: unknown, options: object) => UndiciClient;
}

interface Probe {
  on(event: string, listener: (origin: unknown, targets: readonly object[]) => void): void;
  dispatch(options: object, handler: object): void;
}

/** Where undici keeps the dispatcher that `fetch` uses; the older form may be a wrapper. */
const GLOBAL = [Symbol.for('undici.globalDispatcher.2'), Symbol.for('undici.globalDispatcher.1')];
const MEND = 'pass undici itself: holdDispatcher({ undici: await import("undici") })';

let builtIn: UndiciClasses | undefined;

function classOf(object: object | undefined, name: string): unknown {
  const found = object?.constructor;
  return found?.name === name ? found : undefined;
}

/** Node's own agent class. The first look at `Headers` loads the undici inside Node. */
function builtInAgent(): UndiciClasses['Agent'] | undefined {
  void globalThis.Headers;
  for (const key of GLOBAL) {
    const dispatcher = (globalThis as unknown as Record<symbol, object | undefined>)[key];
    const found = classOf(dispatcher, 'Agent');
    if (found !== undefined) return found as UndiciClasses['Agent'];
  }
  return undefined;
}

/**
 * The classes behind Node's own `fetch`. An agent tells by its events which pool and client a
 * connection was for: one that is never made is enough. Throws `UsageError` (`no-undici`).
 */
export function builtInClasses(): UndiciClasses {
  if (builtIn !== undefined) return builtIn;
  const Agent = builtInAgent();
  let classes: UndiciClasses | undefined;
  if (Agent !== undefined) {
    const connect = (_: unknown, callback: (error: Error) => void) => callback(new Error('none'));
    const probe = new Agent({ connect }) as Probe;
    probe.on('connectionError', (_origin, targets) => {
      const [, pool, client] = targets;
      const [Pool, Client] = [classOf(pool, 'Pool'), classOf(client, 'Client')];
      if (Pool !== undefined && Client !== undefined) {
        classes = { Agent, Pool, Client } as UndiciClasses;
      }
    });
    const deaf = () => undefined;
    const handler = { onRequestStart: deaf, onResponseStart: deaf, onResponseData: deaf };
    const ends = { onResponseEnd: deaf, onResponseError: deaf };
    probe.dispatch(
      { origin: 'http://localhost', path: '/', method: 'GET' },
      { ...handler, ...ends },
    );
  }
  if (classes === undefined) {
    throw new UsageError(
      'no-undici',
      `holdDispatcher: no undici to be found in this Node; ${MEND}`,
    );
  }
  builtIn = classes;
  return classes;
}

/** The classes that a program passed, checked. Throws `UsageError` (`no-undici`). */
export function givenClasses(module: UndiciModule): UndiciClasses {
  for (const name of ['Agent', 'Pool', 'Client'] as const) {
    if (typeof module[name] === 'function') continue;
    throw new UsageError('no-undici', `holdDispatcher: undici.${name} is no class; ${MEND}`);
  }
  return module as unknown as UndiciClasses;
}
