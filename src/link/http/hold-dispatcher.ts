/**
 * `holdDispatcher`: what `HoldAgent` is for `node:http`, for `fetch` and undici. It is undici's own
 * Agent with its own pools and clients; ours is which idle connection may be used, and what happens
 * when one dies under a request. HTTP/1.1 only: over HTTP/2 nothing of this is a problem.
 * @module
 */
import type { Socket } from 'node:net';
import { HeldConnection, type HeldOrigin, HeldOrigins } from './held-connection.ts';
import type { LearnedOrigin } from './hold-agent.ts';
import { type HoldLimits, type HoldOptions, resolveHold, splitOptions } from './hold-options.ts';
import { isIdempotent } from './resend.ts';
import {
  builtInClasses,
  type Dispatch,
  type DispatchOptions,
  givenClasses,
  type NewHandler,
  type OldHandler,
  type UndiciModule,
} from './undici-like.ts';

/** What `fetch` of this program's types takes as `dispatcher`. */
export type FetchDispatcher = RequestInit extends { dispatcher?: infer Type }
  ? NonNullable<Type>
  : object;

/** What a dispatcher tells besides. */
export interface HeldDispatcher {
  /** What it has learned, by origin. */
  readonly learned: LearnedOrigin[];
}

/** Ours, and any of undici's `Agent`, for example `connect: { ca }` or `connections`. */
export interface HoldDispatcherOptions extends HoldOptions {
  readonly [option: string]: unknown;
}

type Connector = (
  options: object,
  callback: (error: Error | null, socket: Socket | null) => void,
) => unknown;

/** The server's doing, as undici and Node call it. */
const ENDINGS = ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'];

/**
 * A dispatcher of the undici that a program brings along: `holdDispatcher({ undici })`. Without one,
 * of the undici inside Node: `fetch(url, { dispatcher: holdDispatcher() })`. Throws `UsageError`.
 */
export function holdDispatcher<Agent>(
  options: HoldDispatcherOptions & { readonly undici: UndiciModule<Agent> },
): Agent & HeldDispatcher;
export function holdDispatcher(
  options?: HoldDispatcherOptions & { readonly undici?: undefined },
): FetchDispatcher & HeldDispatcher;
export function holdDispatcher(
  options: HoldDispatcherOptions & { readonly undici?: UndiciModule | undefined } = {},
): object {
  const { undici, ...others } = options;
  const { own, rest } = splitOptions(others as HoldDispatcherOptions);
  const limits = resolveHold(own, 'holdDispatcher');
  const { Agent, Pool, Client } = undici === undefined ? builtInClasses() : givenClasses(undici);
  const origins = new HeldOrigins(limits.idleMs);
  // Undici's own timer is there for what ours misses; a threshold of less than nothing outlasts hints.
  const longest = 2 * limits.idleMs;
  const idle = { keepAliveTimeout: longest, keepAliveMaxTimeout: longest };
  const fixed = { ...idle, keepAliveTimeoutThreshold: -longest, pipelining: 1, allowH2: false };
  const agent = new Agent({
    ...rest,
    ...fixed,
    factory: (origin: string | URL, options: object) => {
      const known = origins.of(String(origin));
      return new Pool(origin, {
        ...options,
        ...fixed,
        factory: (url: unknown, options: { readonly connect: Connector }) => {
          const seat = new Seat(known, limits, options.connect);
          const client = new Client(url, { ...options, ...fixed, connect: seat.connect });
          seat.dispatch = client.dispatch.bind(client);
          seat.isOver = () => client.closed || client.destroyed;
          client.dispatch = (request, handler) => seat.take(request, handler);
          return client;
        },
      });
    },
  });
  const learned = () =>
    [...origins].map(([origin, { learner }]) => ({ origin, ...learner.knowledge }));
  return Object.defineProperty(agent, 'learned', { get: learned });
}

/** The place of one connection in a pool: a client of undici, and its connection of the moment. */
class Seat {
  readonly origin: HeldOrigin;
  readonly limits: HoldLimits;
  readonly #connector: Connector;
  held: HeldConnection | undefined;
  dispatch: Dispatch = () => false;
  isOver: () => boolean = () => false;

  constructor(origin: HeldOrigin, limits: HoldLimits, connector: Connector) {
    this.origin = origin;
    this.limits = limits;
    this.#connector = connector;
  }

  readonly connect: Connector = (options, callback) =>
    this.#connector(options, (error, socket) => {
      this.held =
        socket === null || error !== null
          ? undefined
          : new HeldConnection(socket, this.origin, this.limits, false);
      callback(error, socket);
    });

  /** A request for this seat. A connection that it may not use is closed; undici makes another. */
  take(options: DispatchOptions, handler: OldHandler & NewHandler): boolean {
    const repeatable = isRepeatable(options, this.limits.resendBytes);
    const { held } = this;
    if (held?.idle === true && !held.usable(repeatable)) held.retire();
    const Form = handler.onRequestStart === undefined ? OldForm : NewForm;
    return this.dispatch(options, new Form(this, options, handler, repeatable));
  }
}

/** Whether a request may go out twice, and can: its body must still be there. */
function isRepeatable({ method, body, upgrade }: DispatchOptions, mostBytes: number): boolean {
  if (mostBytes === 0 || upgrade || !isIdempotent(method)) return false;
  if (body === undefined || body === null) return true;
  if (typeof body === 'string') return body.length <= mostBytes;
  return body instanceof Uint8Array && body.byteLength <= mostBytes;
}

/** What is the same for both forms of handlers. */
abstract class SeatedRequest {
  readonly #seat: Seat;
  readonly #options: DispatchOptions;
  protected readonly handler: OldHandler & NewHandler;
  /** The server's hint, if it was asked for. */
  protected hint: string | undefined;
  #mayRepeat: boolean;
  #held: HeldConnection | undefined;
  #idleMs = 0;
  #answered = false;

  constructor(
    seat: Seat,
    options: DispatchOptions,
    handler: OldHandler & NewHandler,
    repeatable: boolean,
  ) {
    this.#seat = seat;
    this.#options = options;
    this.handler = handler;
    this.#mayRepeat = repeatable;
  }

  /** It is being written to the connection of the seat. */
  protected started(): void {
    this.#held = this.#seat.held;
    this.#idleMs = this.#held?.leaveIdle() ?? 0;
  }

  /** The head of an answer came. True: its hint is wanted. */
  protected answered(status: number): boolean {
    this.#answered = true;
    return status >= 200 && this.#held?.listens === true;
  }

  protected ended(): void {
    const held = this.#held;
    if (held === undefined) return;
    if (!held.enterIdle(this.hint)) held.retire();
  }

  /** The request failed. True: it was sent again, and nobody need know. */
  protected failed(error: Error): boolean {
    const held = this.#held;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (held === undefined || held.requests === 0 || this.#answered) return false;
    if (!ENDINGS.includes(code)) return false;
    held.handleRace(this.#idleMs);
    if (!this.#mayRepeat || this.#seat.isOver()) return false;
    this.#mayRepeat = false;
    this.#held = undefined;
    this.#seat.dispatch(this.#options, this as OldHandler & NewHandler);
    return true;
  }
}

/** Undici's form of handlers up to version 7. */
class OldForm extends SeatedRequest implements OldHandler {
  onConnect(abort: (error?: Error) => void, context?: unknown): void {
    this.started();
    this.handler.onConnect?.(abort, context);
  }

  onUpgrade(status: number, headers: unknown, socket: unknown): void {
    this.handler.onUpgrade?.(status, headers, socket);
  }

  onResponseStarted(): void {
    this.handler.onResponseStarted?.();
  }

  onHeaders(status: number, headers: unknown, resume: () => void, text: string): boolean {
    if (this.answered(status)) this.hint = hintIn(headers as readonly Uint8Array[]);
    return this.handler.onHeaders?.(status, headers, resume, text) ?? true;
  }

  onData(chunk: unknown): boolean {
    return this.handler.onData?.(chunk) ?? true;
  }

  onComplete(trailers: unknown): void {
    this.ended();
    this.handler.onComplete?.(trailers);
  }

  onBodySent(size: number, total: number): void {
    this.handler.onBodySent?.(size, total);
  }

  onError(error: Error): void {
    if (!this.failed(error)) this.handler.onError?.(error);
  }
}

const HINT = 'keep-alive';
const HINT_BYTES = new TextEncoder().encode(HINT);

/** Whether these bytes are the header's name, in any case. */
function isHint(name: Uint8Array): boolean {
  if (name.length !== HINT_BYTES.length) return false;
  for (let at = 0; at < name.length; at += 1) {
    if (((name[at] ?? 0) | 0x20) !== HINT_BYTES[at]) return false;
  }
  return true;
}

/** The Keep-Alive header among raw ones: name, value, name, value. */
function hintIn(headers: readonly Uint8Array[] | null): string | undefined {
  if (headers === null) return undefined;
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index];
    if (name !== undefined && isHint(name)) return String(headers[index + 1]);
  }
  return undefined;
}

/** Undici's newer form of handlers. */
class NewForm extends SeatedRequest implements NewHandler {
  onRequestStart(controller: unknown, context: unknown): void {
    this.started();
    this.handler.onRequestStart?.(controller, context);
  }

  onRequestUpgrade(controller: unknown, status: number, headers: unknown, socket: unknown): void {
    this.handler.onRequestUpgrade?.(controller, status, headers, socket);
  }

  onResponseStarted(): void {
    this.handler.onResponseStarted?.();
  }

  onResponseStart(controller: unknown, status: number, headers: unknown, text?: string): void {
    if (this.answered(status)) {
      const value = (headers as Readonly<Record<string, string | string[]>>)[HINT];
      this.hint = Array.isArray(value) ? value.join(',') : value;
    }
    this.handler.onResponseStart?.(controller, status, headers, text);
  }

  onResponseData(controller: unknown, chunk: unknown): void {
    this.handler.onResponseData?.(controller, chunk);
  }

  onResponseEnd(controller: unknown, trailers: unknown): void {
    this.ended();
    this.handler.onResponseEnd?.(controller, trailers);
  }

  onBodySent(size: number, total: number): void {
    this.handler.onBodySent?.(size, total);
  }

  onResponseError(controller: unknown, error: Error): void {
    if (!this.failed(error)) this.handler.onResponseError?.(controller, error);
  }
}
