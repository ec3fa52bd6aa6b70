/**
 * One pooled connection to an HTTP server: how long it has been idle, whether it may be used again,
 * and what its end teaches of the server. The pool is another's; this says yes or no, and retires
 * what nobody should use. Knows no HTTP.
 * @module
 */
import type { Socket } from 'node:net';
import { IdleTimeoutLearner } from '../../keepalive/idle-timeout-learner.ts';
import { ffiMissing } from '../../sys/libc.ts';
import { descriptorOf, readTcpInfo, writeTcpOptions } from '../../sys/tcp-socket.ts';
import { parseKeepAlive } from '../../wire/keep-alive-header.ts';
import { decodeTcpInfo } from '../../wire/tcp-info.ts';
import type { HoldLimits } from './hold-options.ts';

/** What is known of one server, by all connections to it. */
export interface HeldOrigin {
  readonly learner: IdleTimeoutLearner;
  /** The connection that is left idle to see when the server ends it. */
  scout: HeldConnection | undefined;
}

/** Origins that nobody has asked for longest are forgotten beyond this number. */
const MOST_ORIGINS = 1_000;
/** A connection that was idle for less is used without asking the kernel. */
const FRESH_MS = 50;
/** One answer of so many on a connection is asked for the server's hint, the first of them. */
const ANSWERS_A_HINT = 16;
/** A connection that dies under a request was hardly idle if it was for less. */
const RACE_MS = 100;
/** A timer so late means that we did not run: what we saw of the time is not the server's. */
const LATE_MS = 250;
/** State of a connection that either end may still use (net/tcp_states.h). */
const TCP_ESTABLISHED = 1;
const SHORTEST_AGE = 0.75;
/** The server's doing, where nothing was in flight. Other errors are the path's. */
const SERVER_ERRORS = ['ECONNRESET', 'EPIPE', 'ECONNABORTED'];

/** The origins that a pool has seen, by its own names for them. */
export class HeldOrigins {
  readonly #origins = new Map<string, HeldOrigin>();
  readonly #longestMs: number;

  constructor(longestMs: number) {
    this.#longestMs = longestMs;
  }

  of(name: string): HeldOrigin {
    const known = this.#origins.get(name);
    if (known !== undefined) return known;
    const origin = { learner: new IdleTimeoutLearner(this.#longestMs), scout: undefined };
    this.#origins.set(name, origin);
    if (this.#origins.size > MOST_ORIGINS) {
      const [oldest] = this.#origins.keys();
      if (oldest !== undefined) this.#origins.delete(oldest);
    }
    return origin;
  }

  [Symbol.iterator](): IterableIterator<[string, HeldOrigin]> {
    return this.#origins.entries();
  }
}

/** Sets the kernel's keepalive; where that cannot be done, Node's own has to do. */
function keepTcp(socket: Socket, { tcp }: HoldLimits): void {
  try {
    const fd = ffiMissing() === undefined ? descriptorOf(socket) : undefined;
    if (fd !== undefined) {
      writeTcpOptions(fd, tcp);
      return;
    }
  } catch {
    // A value that this kernel refuses must not cost the request.
  }
  socket.setKeepAlive(true, tcp.timeMs, tcp.intervalMs, tcp.probes);
}

export class HeldConnection {
  readonly socket: Socket;
  readonly origin: HeldOrigin;
  readonly #limits: HoldLimits;
  readonly #tooOldAt: number;
  #requests = 0;
  #idleSince: number | undefined;
  /** When it was last looked at, to be used. */
  #lookedAt = 0;
  /** How long it was idle before the request that it carries. */
  #leftIdleAfterMs = 0;
  #bytesWhenIdle = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  /** We were not running for a while: the silence that we saw proves nothing. */
  #late = false;
  #ours = false;
  readonly #silentEnd: boolean;
  /** The server said that nothing more will come. */
  #ended = false;
  #resetBy: string | undefined;

  /**
   * Watches a socket, connected or connecting, until it closes. Where its pool hides the server's
   * end (`silentEnd`), an end that nobody asked for is the server's.
   */
  constructor(socket: Socket, origin: HeldOrigin, limits: HoldLimits, silentEnd: boolean) {
    this.socket = socket;
    this.origin = origin;
    this.#limits = limits;
    this.#silentEnd = silentEnd;
    socket.once('end', () => {
      this.#ended = true;
    });
    const age = limits.maxAgeMs * (SHORTEST_AGE + (1 - SHORTEST_AGE) * Math.random());
    this.#tooOldAt = performance.now() + age;
    if (socket.connecting) socket.once('connect', () => keepTcp(socket, limits));
    else keepTcp(socket, limits);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#resetBy ??= error.code ?? error.message;
    });
    socket.once('close', () => this.#closed());
  }

  /** Requests that it has carried to their end. */
  get requests(): number {
    return this.#requests;
  }

  get idle(): boolean {
    return this.#idleSince !== undefined;
  }

  /** Whether it wants to know the server's hint: it is the same in most answers. */
  get listens(): boolean {
    return this.#requests % ANSWERS_A_HINT === 0;
  }

  /**
   * A request on it was answered, with this `Keep-Alive` header or none, if it listens. False: nobody
   * should use it again, and whoever pools it has to close it.
   */
  enterIdle(header: string | undefined): boolean {
    const now = performance.now();
    const { learner } = this.origin;
    if (this.listens) learner.handleHint(parseKeepAlive(header).timeoutMs);
    this.#requests += 1;
    if (this.#leftIdleAfterMs > FRESH_MS) learner.handleSurvival(this.#leftIdleAfterMs, now);
    this.#leftIdleAfterMs = 0;
    if (this.#requests >= this.#limits.maxRequests || now >= this.#tooOldAt) return this.#refuse();
    const limit = learner.limitMs(true);
    if (limit <= 0 && !this.#becomeScout(now)) return this.#refuse();
    this.#idleSince = now;
    this.#bytesWhenIdle = this.socket.bytesRead;
    this.#late = false;
    this.#armFor(now + limit);
    return true;
  }

  /** A request is sent on it, for which it was looked at. Answers how long it was idle, in ms. */
  leaveIdle(): number {
    const since = this.#idleSince;
    const idleMs = since === undefined ? 0 : Math.max(this.#lookedAt - since, 0);
    this.#idleSince = undefined;
    this.#leftIdleAfterMs = idleMs;
    this.#stopScouting();
    return idleMs;
  }

  /**
   * Whether a request may be sent on it now: it has not been idle for too long, nothing came that
   * nobody asked for, and the kernel has not heard of its end.
   */
  usable(repeatable: boolean): boolean {
    if (this.origin.scout === this || this.#idleSince === undefined) return false;
    const now = performance.now();
    this.#lookedAt = now;
    const idleMs = now - this.#idleSince;
    if (idleMs > this.origin.learner.limitMs(repeatable) || now >= this.#tooOldAt) return false;
    return this.#intact() && (idleMs < FRESH_MS || this.#established());
  }

  /** Lets the learner know that it is still open, if it is. */
  report(): void {
    if (this.#idleSince === undefined || this.#late) return;
    const idleMs = performance.now() - this.#idleSince;
    if (idleMs <= this.origin.learner.knowledge.provenMs) return;
    if (this.#intact() && this.#established()) this.origin.learner.handleOpen(idleMs);
  }

  /** Nobody can use it any more: bytes came unasked, or the connection is over. */
  get spoilt(): boolean {
    return !this.#intact();
  }

  /** A request that was sent after `idleMs` of idleness ended by the server's close, unanswered. */
  handleRace(idleMs: number): void {
    // So soon it was no idle timeout: the server went away, or did not like the request.
    if (idleMs < RACE_MS) return;
    this.origin.learner.handleIdleClose(idleMs, performance.now());
  }

  /** Closes it; what follows teaches nothing of the server. */
  retire(): void {
    if (this.#idleSince !== undefined && !this.#late && this.#intact() && this.#established()) {
      const now = performance.now();
      this.origin.learner.handleSurvival(now - this.#idleSince, now);
    }
    this.#ours = true;
    this.socket.destroy();
  }

  #refuse(): false {
    this.#ours = true;
    return false;
  }

  #intact(): boolean {
    const { socket } = this;
    if (socket.destroyed || socket.readableEnded || !socket.writable) return false;
    return socket.bytesRead === this.#bytesWhenIdle && socket.readableLength === 0;
  }

  /** The kernel knows of a FIN or RST before Node has read it. */
  #established(): boolean {
    if (ffiMissing() !== undefined) return true;
    try {
      const fd = descriptorOf(this.socket);
      return fd !== undefined && decodeTcpInfo(readTcpInfo(fd)).state === TCP_ESTABLISHED;
    } catch {
      return false;
    }
  }

  #becomeScout(now: number): boolean {
    const { origin } = this;
    if (origin.scout !== undefined || !origin.learner.wantsScout(now)) return false;
    origin.scout = this;
    return true;
  }

  #stopScouting(): void {
    if (this.origin.scout === this) this.origin.scout = undefined;
  }

  /** One timer for many idle times: where it comes too early it is set anew. */
  #armFor(at: number): void {
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    const delay = Math.max(at - performance.now(), 1);
    this.#timer = setTimeout(() => this.#expired(), delay).unref();
  }

  #expired(): void {
    const now = performance.now();
    this.#timer = undefined;
    if (this.#idleSince === undefined) return;
    if (now - this.#timerAt > LATE_MS) this.#late = true;
    const idleMs = now - this.#idleSince;
    const longest = this.#limits.idleMs;
    if (this.origin.scout === this) {
      this.#scout(now, idleMs);
      return;
    }
    const limit = this.origin.learner.limitMs(true);
    if (idleMs < limit && now < this.#tooOldAt) this.#armFor(this.#idleSince + limit);
    else if (idleMs < longest && this.#becomeScout(now)) this.#scout(now, idleMs);
    else this.retire();
  }

  /** Left idle: first it may outlive what was learned, then what the pool allows. */
  #scout(now: number, idleMs: number): void {
    const { learner } = this.origin;
    const longest = this.#limits.idleMs;
    if (idleMs >= longest) {
      this.retire();
      return;
    }
    const next = learner.outlivedAfterMs() ?? longest;
    if (idleMs >= next && this.#intact()) learner.handleSurvival(idleMs, now);
    const wait = idleMs >= next ? longest : Math.min(next, longest);
    this.#armFor(now - idleMs + wait);
  }

  #closed(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stopScouting();
    if (this.#idleSince === undefined || this.#ours || this.#late) return;
    if (!this.#endedByServer() || this.socket.bytesRead !== this.#bytesWhenIdle) return;
    const now = performance.now();
    this.origin.learner.handleIdleClose(now - this.#idleSince, now);
  }

  #endedByServer(): boolean {
    if (this.#ended) return true;
    if (this.#resetBy === undefined) return this.#silentEnd;
    return SERVER_ERRORS.includes(this.#resetBy);
  }
}
