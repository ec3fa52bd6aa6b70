/**
 * What every link is: a machine, its driver, and the events that tell its story. A kind adds a
 * socket and a codec. Events are the only thing that leaves a link; what may be said to it is
 * *drain*, *resume* and *probe now*.
 * @module
 */
import { EventEmitter } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import {
  type Evidence,
  Keepalive,
  type KeepaliveConfig,
  type KeepaliveOutput,
  type LinkState,
  type Reason,
} from '../keepalive/keepalive.ts';
import { detectionBoundMs, largestSilenceMs, type Timing } from '../keepalive/timing.ts';
import type { Instant } from '../time/instant.ts';
import { Driver } from './driver.ts';
import { onWake } from './wake.ts';

interface Happening {
  /** When, in UTC (ISO 8601). */
  readonly at: string;
  /** The link's name. */
  readonly link: string;
}

/** The link changed its state, and why. */
export interface StateEvent extends Happening {
  readonly type: 'state';
  readonly from: LinkState;
  readonly to: LinkState;
  readonly reason: Reason;
  readonly evidence: Evidence;
  /** The bound promised for noticing a dead peer, in milliseconds. */
  readonly detectsWithinMs: number;
}

/** A probe left. */
export interface ProbeEvent extends Happening {
  readonly type: 'probe';
}

/** An answer came. */
export interface ReplyEvent extends Happening {
  readonly type: 'reply';
  readonly rttMs: number;
}

/** Something a person should know. */
export interface NoteEvent extends Happening {
  readonly type: 'note';
  readonly text: string;
}

export type LinkEvent = StateEvent | ProbeEvent | ReplyEvent | NoteEvent;

/** Who keeps which clock: see the three classes of the design. */
export type LinkClass = 'answered' | 'two-sided' | 'one-way';

/** What is the same for all links of a kind. */
export interface LinkFacts {
  readonly kind: string;
  readonly class: LinkClass;
  /** What `up` proves, and what it does not, in one sentence. */
  readonly proves: string;
}

/** Who a link is: its name in events, its URL without secrets, its timing. */
export interface LinkIdentity {
  readonly name: string;
  readonly url: string;
  readonly timing: Timing;
}

/**
 * What a link found out about its peer, and what its next life would have to find out again. Only what
 * was found out is there; which of it there can be depends on the kind.
 */
export interface Learned {
  /** The server ends a connection that lies idle for so long, in milliseconds. */
  readonly idleTimeoutMs?: number | undefined;
  /** The server ends a connection after so many requests; 1: it keeps none. */
  readonly requestsPerConnection?: number | undefined;
  /** The timing that the server pushed: it is dead after so much silence, in milliseconds. */
  readonly pushedTimeMs?: number | undefined;
  /** The same: after so much of sending nothing a ping leaves, in milliseconds. */
  readonly pushedBeatMs?: number | undefined;
  /** The port that the peer knows us by, and answers to. */
  readonly localPort?: number | undefined;
  /** The server has no ECHO for who has not logged in. */
  readonly echoNeedsLogin?: boolean | undefined;
  /** The server ends a session that begins with NEGOTIATE. */
  readonly refusesNegotiate?: boolean | undefined;
}

/** How a link stood in its life before this one. */
export interface LinkBefore {
  readonly state: LinkState;
  readonly since: string;
  readonly learned?: Learned | undefined;
}

/** A link as shown to people and programs. */
export interface LinkStatus {
  readonly name: string;
  readonly url: string;
  readonly kind: string;
  readonly class: LinkClass;
  readonly state: LinkState;
  readonly since: string;
  readonly reason: Reason;
  readonly rttMs: number | null;
  readonly detectsWithinMs: number;
  readonly largestSilenceMs: number;
  readonly evidence: Evidence;
  readonly local: string | null;
  readonly remote: string | null;
  readonly proves: string;
  /** What it found out about its peer, if anything. */
  readonly learned?: Learned;
  /** Of a link that asked for Multipath TCP: whether it is in use, and by how many subflows. */
  readonly mptcp?: { readonly inUse: boolean; readonly subflows: number };
}

interface LinkEvents {
  state: [StateEvent];
  probe: [ProbeEvent];
  reply: [ReplyEvent];
  note: [NoteEvent];
  learned: [Learned];
  error: [Error];
}

/** Many links have something to tell within one millisecond, and to write it costs more than the rest. */
let writtenMs = Number.NaN;
let written = '';

function isoNow(): string {
  const nowMs = Date.now();
  if (nowMs !== writtenMs) {
    writtenMs = nowMs;
    written = new Date(nowMs).toISOString();
  }
  return written;
}

export abstract class Link extends EventEmitter<LinkEvents> {
  readonly identity: LinkIdentity;
  readonly facts: LinkFacts;
  readonly #machine: Keepalive;
  readonly #driver: Driver<KeepaliveOutput>;
  #forgetWake: (() => void) | undefined;
  #drained = false;
  #state: LinkState = 'unknown';
  #since: string = new Date().toISOString();
  #reason: Reason = 'not-observed';
  #evidence: Evidence = {};
  #rttMs: number | null = null;
  #trouble: string | undefined;
  #recalled: LinkBefore | undefined;
  #learned: Learned = {};
  protected local: string | null = null;
  protected remote: string | null = null;

  constructor(identity: LinkIdentity, facts: LinkFacts, config: KeepaliveConfig) {
    super();
    this.identity = identity;
    this.facts = facts;
    this.#machine = new Keepalive(config, performance.now());
    this.#driver = new Driver(this.#machine, (output) => this.#perform(output));
  }

  get name(): string {
    return this.identity.name;
  }

  get state(): LinkState {
    return this.#state;
  }

  /**
   * How it stood when it was last watched: told before `start`, or later if it is known only then.
   * Drained, it is drained; if the first thing observed is what it was, it has been so `since` then;
   * and it knows what it had learned.
   */
  recall(before: LinkBefore): void {
    if (this.#state === 'unknown' || before.state === 'drained') this.#recalled = before;
    this.#learned = { ...before.learned, ...this.#learned };
    if (before.state === 'drained') this.drain();
  }

  /** What it found out about its peer, in this life or one before. */
  get learned(): Learned {
    return this.#learned;
  }

  /** Opens sockets and starts the clocks. Throws `SystemError` if this machine cannot. */
  start(): void {
    this.open();
    this.#forgetWake = onWake(() => this.wake());
    this.#driver.settle();
  }

  /** Ends everything the link holds. No event follows. */
  close(): void {
    this.#forgetWake?.();
    this.#driver.stop();
    this.shut();
    this.removeAllListeners();
  }

  /** Takes the link out: it is watched on, but reported as `drained`. */
  drain(): void {
    if (this.#drained) return;
    this.#drained = true;
    this.#enter('drained', 'drained', {});
  }

  /** Takes the link back in: it is reported as what it is. */
  resume(): void {
    if (!this.#drained) return;
    this.#drained = false;
    this.#enter(this.#machine.state, 'resumed', {});
  }

  /** Asks for evidence now. One probe is in flight at a time; a second request changes nothing. */
  probe(): void {
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  /** The link as it is now. */
  status(): LinkStatus {
    return {
      name: this.identity.name,
      url: this.identity.url,
      kind: this.facts.kind,
      class: this.facts.class,
      state: this.#state,
      since: this.#since,
      reason: this.#reason,
      rttMs: this.#rttMs,
      detectsWithinMs: this.detectsWithinMs,
      largestSilenceMs: largestSilenceMs(this.identity.timing),
      evidence: this.#evidence,
      local: this.local,
      remote: this.remote,
      proves: this.facts.proves,
      ...(Object.keys(this.#learned).length === 0 ? {} : { learned: this.#learned }),
    };
  }

  get detectsWithinMs(): number {
    return detectionBoundMs(this.identity.timing);
  }

  /** Called once by `start`. */
  protected abstract open(): void;
  /** The machine wants an answer. */
  protected abstract sendProbe(sequence: number): void;
  /** Called by `close`; must be safe at any time. */
  protected abstract shut(): void;

  /** The machine wants something sent that asks for no answer. Only kinds with a send clock. */
  protected sendBeat(): void {
    throw new Error(`${this.facts.kind} links have no beat`);
  }

  /** The computer was suspended and is awake again. */
  protected wake(): void {
    this.feed((machine, now) => machine.handleWake(now));
  }

  /** What the machine last concluded, whether or not the link is drained. */
  protected get observed(): LinkState {
    return this.#machine.state;
  }

  /** Gives the machine an input and performs what follows from it. */
  protected feed(input: (machine: Keepalive, now: Instant) => void): void {
    input(this.#machine, performance.now());
    this.#driver.settle();
  }

  /**
   * We cannot hear anybody for now, by our own doing. The clock stands until the next `feed`, and the
   * machine then sees that it was late, and blames nobody.
   */
  protected rest(): void {
    this.#driver.rest();
  }

  protected reportReply(rttMs: number): void {
    this.#rttMs = Math.round(rttMs * 1_000) / 1_000;
    if (this.listenerCount('reply') === 0) return;
    this.emit('reply', { ...this.#happening(), type: 'reply', rttMs: this.#rttMs });
  }

  protected reportNote(text: string): void {
    this.emit('note', { ...this.#happening(), type: 'note', text });
  }

  /** Adds to what is known of the peer; `undefined` forgets. */
  protected learn(news: Learned): void {
    const before = Object.entries(this.#learned);
    const all = Object.entries({ ...this.#learned, ...news });
    const known = all.filter(([, value]) => value !== undefined);
    if (isDeepStrictEqual(known, before)) return;
    this.#learned = Object.fromEntries(known);
    this.emit('learned', this.#learned);
  }

  /** What keeps the link from coming up, told once and not at each attempt. */
  protected reportTrouble(text: string): void {
    if (text === this.#trouble) return;
    this.#trouble = text;
    this.reportNote(text);
  }

  #perform(output: KeepaliveOutput): void {
    if (output.type === 'probe') {
      this.sendProbe(output.sequence);
      if (this.listenerCount('probe') > 0) {
        this.emit('probe', { ...this.#happening(), type: 'probe' });
      }
    } else if (output.type === 'beat') this.sendBeat();
    else if (output.type === 'reply') this.reportReply(output.rttMs);
    else {
      if (output.to === 'up') this.#trouble = undefined;
      if (!this.#drained) this.#enter(output.to, output.reason, output.evidence);
    }
  }

  #enter(to: LinkState, reason: Reason, evidence: Evidence): void {
    const from = this.#state;
    const happening = this.#happening();
    this.#state = to;
    this.#since = this.#recalled?.state === to ? this.#recalled.since : happening.at;
    this.#recalled = undefined;
    this.#reason = reason;
    this.#evidence = evidence;
    const { detectsWithinMs } = this;
    this.emit('state', {
      ...happening,
      type: 'state',
      from,
      to,
      reason,
      evidence,
      detectsWithinMs,
    });
  }

  #happening(): Happening {
    return { at: isoNow(), link: this.name };
  }
}
