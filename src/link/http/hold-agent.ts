/**
 * `HoldAgent`: an agent for `node:http` and `node:https` that never sends a request on a connection
 * which the server is about to end. It subclasses Node's own agents: choosing a free socket, keeping
 * one, and what happens when one dies under a request are ours, everything else is Node's.
 * @module
 */
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { IdleKnowledge } from '../../keepalive/idle-timeout-learner.ts';
import { HeldConnection, HeldOrigins } from './held-connection.ts';
import { type HoldLimits, type HoldOptions, resolveHold, splitOptions } from './hold-options.ts';
import { isIdempotent, ResendGuard } from './resend.ts';

/** Options of Node's agent, and ours. */
export interface HoldAgentOptions
  extends Omit<http.AgentOptions, 'keepAlive' | 'keepAliveMsecs'>,
    HoldOptions {}
/** The same for https: TLS options too. */
export interface HoldHttpsAgentOptions
  extends Omit<https.AgentOptions, 'keepAlive' | 'keepAliveMsecs'>,
    HoldOptions {}

/** What an agent has learned of one server. */
export interface LearnedOrigin extends IdleKnowledge {
  /** Node's name for the origin: `host:port:localAddress…`. */
  readonly origin: string;
}

/** What Node's agents do that their types do not tell. */
interface NodeAgent extends Omit<http.Agent, 'freeSockets' | 'sockets' | 'requests'> {
  readonly options: { readonly timeout?: number };
  readonly scheduling: 'lifo' | 'fifo';
  readonly totalSocketCount: number;
  readonly freeSockets: Record<string, Socket[]>;
  readonly sockets: Readonly<Record<string, Socket[]>>;
  readonly requests: Readonly<Record<string, http.ClientRequest[]>>;
}

type AddRequest = (req: http.ClientRequest, options: object) => void;

/** Node 26 has a socket that is free destroyed by its first byte; it shows by nothing else. */
type AgentSocket = Socket & { _httpMessage?: { res?: http.IncomingMessage } | null };

/** A request while a socket is being chosen for it. */
interface Choice {
  readonly req: http.ClientRequest;
  readonly options: object;
  /** Only a new connection will do. */
  readonly fresh: boolean;
  name: string;
  /** Sockets that are free but not for this request. */
  skipped: Socket[];
}

/** A socket of the agent, and who stands by it. */
interface Place {
  readonly held: HeldConnection;
  readonly guard: ResendGuard;
}

/** What both agents share. */
class AgentHold {
  readonly #limits: HoldLimits;
  readonly #origins: HeldOrigins;
  readonly #agent: NodeAgent;
  readonly #add: AddRequest;
  readonly #places = new WeakMap<Socket, Place>();
  readonly #resent = new WeakSet<http.ClientRequest>();
  #choice: Choice | undefined;
  /** Whether the agent still has to ask for the name of the origin that the choice is for. */
  #unnamed = false;

  constructor(agent: http.Agent, add: AddRequest, limits: HoldLimits) {
    this.#agent = agent as unknown as NodeAgent;
    this.#add = add;
    this.#limits = limits;
    this.#origins = new HeldOrigins(limits.idleMs);
    agent.prependListener('free', (socket: AgentSocket, options: object) => {
      this.#free(socket, options);
    });
  }

  /** Node's agent asks for the origin's name once, before it looks at its free sockets. */
  named(name: string): string {
    if (this.#unnamed && this.#choice !== undefined) {
      this.#unnamed = false;
      this.#choice.name = name;
      this.#choose(this.#choice);
    }
    return name;
  }

  addRequest(req: http.ClientRequest, options: object): void {
    const fresh = this.#resent.has(req);
    const choice: Choice = { req, options, fresh, name: '', skipped: [] };
    this.#choice = choice;
    this.#unnamed = true;
    try {
      this.#add(req, options);
    } finally {
      this.#choice = undefined;
      this.#unnamed = false;
      if (choice.skipped.length > 0) this.#putBack(choice);
    }
  }

  /** A socket was made for an origin. */
  hold(socket: Socket, name: string): void {
    const origin = this.#origins.of(name);
    const held = new HeldConnection(socket, origin, this.#limits, true);
    const guard = new ResendGuard(socket, {
      mostBytes: this.#limits.resendBytes,
      raced: (idleMs) => held.handleRace(idleMs),
      resend: (req, options) => {
        this.#resent.add(req);
        this.addRequest(req, options);
      },
    });
    this.#places.set(socket, { held, guard });
  }

  /** Node asks whether a socket may lie free. */
  keep(socket: AgentSocket): boolean {
    const place = this.#places.get(socket);
    if (place === undefined) return false;
    place.guard.release();
    if (!place.held.enterIdle(place.held.listens ? hintOf(socket) : undefined)) return false;
    // A program's limit for answers is none for idleness: Node has ended it, and reuse renews it.
    socket.unref();
    return true;
  }

  /** Node has taken a free socket for a request. */
  reuse(socket: Socket, req: http.ClientRequest): void {
    const { timeout } = this.#agent.options;
    if (timeout) socket.setTimeout(timeout);
    const place = this.#places.get(socket);
    if (place !== undefined) this.#watch(place, req, this.#choice?.options ?? {});
  }

  #watch({ held, guard }: Place, req: http.ClientRequest, options: object): void {
    guard.watch(req, options, held.leaveIdle(), !this.#resent.has(req));
  }

  /** Before Node hands a free socket to a request that waits, or pools it. */
  #free(socket: AgentSocket, options: object): void {
    if (isEmpty(this.#agent.requests)) return;
    const waiting = this.#agent.requests[this.#agent.getName(options)]?.[0];
    const place = this.#places.get(socket);
    if (waiting === undefined || place === undefined || !socket.writable) return;
    // A new socket that was made for the queue has carried nothing yet.
    if (!socket._httpMessage) return;
    place.guard.release();
    if (
      place.held.enterIdle(place.held.listens ? hintOf(socket) : undefined) &&
      !place.held.spoilt
    ) {
      this.#watch(place, waiting, options);
    } else place.held.retire();
  }

  /** Puts the free sockets in such an order that Node takes the right one, or none. */
  #choose(choice: Choice): void {
    const { freeSockets, scheduling } = this.#agent;
    const { name, req, fresh, skipped } = choice;
    const free = freeSockets[name];
    if (free === undefined) return;
    const repeatable = isIdempotent(req.method);
    const last = scheduling === 'lifo';
    for (let socket = free.at(last ? -1 : 0); socket; socket = free.at(last ? -1 : 0)) {
      const held = socket.destroyed ? undefined : this.#places.get(socket)?.held;
      if (held !== undefined && !fresh && held.usable(repeatable)) return;
      if (last) free.pop();
      else free.shift();
      if (held === undefined) continue;
      if (held.spoilt) held.retire();
      else {
        held.report();
        skipped.push(socket);
      }
    }
    delete freeSockets[name];
    this.#makeRoom(name, skipped);
  }

  /** What was skipped lies where it is looked at last. */
  #putBack({ name, skipped }: Choice): void {
    const { freeSockets, scheduling } = this.#agent;
    const free = freeSockets[name] ?? [];
    const rest = skipped.filter(({ destroyed }) => !destroyed);
    const all = scheduling === 'lifo' ? [...rest.reverse(), ...free] : [...free, ...rest];
    if (all.length > 0) freeSockets[name] = all;
  }

  /** A free socket that this request may not use must not keep it from getting another. */
  #makeRoom(name: string, skipped: Socket[]): void {
    const { maxSockets, maxTotalSockets, totalSocketCount, sockets } = this.#agent;
    const here = skipped.length + (sockets[name]?.length ?? 0);
    if (here < maxSockets && totalSocketCount < maxTotalSockets) return;
    const oldest = skipped.pop();
    if (oldest !== undefined) this.#places.get(oldest)?.held.retire();
  }

  learned(): LearnedOrigin[] {
    return [...this.#origins].map(([origin, { learner }]) => ({ origin, ...learner.knowledge }));
  }
}

function isEmpty(record: object): boolean {
  for (const _ in record) return false;
  return true;
}

/** What the server said of idle connections in the answer that has just come to its end. */
function hintOf(socket: AgentSocket): string | undefined {
  const value = socket._httpMessage?.res?.headers['keep-alive'];
  return Array.isArray(value) ? value.join(',') : value;
}

/**
 * An agent for `node:http` whose `https` is the same for `node:https`. `destroy()` ends both.
 *
 *     const agent = new HoldAgent();
 *     http.get('http://…', { agent });
 *     https.get('https://…', { agent: agent.https });
 */
export class HoldAgent extends http.Agent {
  readonly #hold: AgentHold;
  readonly #given: HoldAgentOptions;
  #https: HoldHttpsAgent | undefined;

  /** Throws `UsageError` for impossible options. */
  constructor(options: HoldAgentOptions = {}) {
    const { own, rest } = splitOptions(options);
    super({ ...rest, keepAlive: true });
    this.#given = options;
    const add = (http.Agent.prototype as unknown as { addRequest: AddRequest }).addRequest;
    this.#hold = new AgentHold(this, add.bind(this), resolveHold(own, 'HoldAgent'));
  }

  /** The same agent for https, made when first asked for. */
  get https(): HoldHttpsAgent {
    this.#https ??= new HoldHttpsAgent(this.#given as HoldHttpsAgentOptions);
    return this.#https;
  }

  /** What it has learned, by origin. */
  get learned(): LearnedOrigin[] {
    return [...this.#hold.learned(), ...(this.#https?.learned ?? [])];
  }

  addRequest(req: http.ClientRequest, options: object): void {
    this.#hold.addRequest(req, options);
  }

  override getName(options?: http.ClientRequestArgs): string {
    return this.#hold.named(super.getName(options));
  }

  override createConnection(
    options: http.ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const socket = super.createConnection(options, callback) as Socket;
    this.#hold.hold(socket, super.getName(options));
    return socket;
  }

  override keepSocketAlive(socket: Duplex): boolean {
    return this.#hold.keep(socket as AgentSocket);
  }

  override reuseSocket(socket: Duplex, req: http.ClientRequest): void {
    super.reuseSocket(socket, req);
    this.#hold.reuse(socket as Socket, req);
  }

  override destroy(): void {
    super.destroy();
    this.#https?.destroy();
  }
}

/** The same for `node:https`. Certificates are verified, as Node does. */
export class HoldHttpsAgent extends https.Agent {
  readonly #hold: AgentHold;

  /** Throws `UsageError` for impossible options. */
  constructor(options: HoldHttpsAgentOptions = {}) {
    const { own, rest } = splitOptions(options);
    super({ ...rest, keepAlive: true });
    const add = (http.Agent.prototype as unknown as { addRequest: AddRequest }).addRequest;
    this.#hold = new AgentHold(this, add.bind(this), resolveHold(own, 'HoldHttpsAgent'));
  }

  /** What it has learned, by origin. */
  get learned(): LearnedOrigin[] {
    return this.#hold.learned();
  }

  addRequest(req: http.ClientRequest, options: object): void {
    this.#hold.addRequest(req, options);
  }

  override getName(options?: https.RequestOptions): string {
    return this.#hold.named(super.getName(options));
  }

  override createConnection(
    options: https.RequestOptions,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const socket = super.createConnection(options, callback) as Socket;
    this.#hold.hold(socket, super.getName(options));
    return socket;
  }

  override keepSocketAlive(socket: Duplex): boolean {
    return this.#hold.keep(socket as AgentSocket);
  }

  override reuseSocket(socket: Duplex, req: http.ClientRequest): void {
    super.reuseSocket(socket, req);
    this.#hold.reuse(socket as Socket, req);
  }
}
