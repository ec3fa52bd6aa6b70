/**
 * One persistent HTTP/1 connection with one request at a time on it, never two (RFC 9112 section
 * 9.3). Node's own client does the talking; this keeps it to one connection, bounds what a server
 * may send, and tells how the connection came to its end. It has no clock: when to ask, and when to
 * stop waiting, is for whoever asks.
 * @module
 */
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { isPersistent, type KeepAliveHint, parseKeepAlive } from '../../wire/keep-alive-header.ts';

/** Whom to ask what. */
export interface ProbeTarget {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly method: string;
  readonly source: string | undefined;
  /** Certificates to trust instead of those that Node brings. */
  readonly ca: Buffer | undefined;
  /** The name that the certificate must have. */
  readonly servername: string | undefined;
}

/** The head of an answer. */
export interface ProbeAnswer {
  readonly status: number;
  readonly hint: KeepAliveHint;
  /** Whether the connection is kept after it. */
  readonly persistent: boolean;
  /** Answers on this connection so far, with this one. */
  readonly count: number;
}

/** What becomes of a connection. Nothing is told of one that was hung up. */
export interface ProbeOutcome {
  answered(answer: ProbeAnswer): void;
  /** No answer came: the connection could not be made, or ended first. */
  failed(error: Error): void;
  /** The server ended the connection after so much idleness, and nothing was asked. */
  idleClosed(idleMs: number): void;
  /**
   * The same, but a request was on its way (`undefined`: the first of its connection). It must be
   * sent again, on a new connection. Not told twice without an answer in between.
   */
  raced(idleMs: number | undefined): void;
  /** Bytes came that belong to no request. The connection is destroyed. */
  stray(): void;
  /** The answer's body is too long to be read to its end; the connection is destroyed. */
  tooLong(): void;
}

const MOST_HEADER_BYTES = 16_384;
/** A probe is no download. */
export const MOST_BODY_BYTES = 65_536;
/** How a server ends a connection that it no longer wants. */
const ENDINGS = ['ECONNRESET', 'EPIPE'];

/** One socket, kept whatever the server hints: its close is what is to be seen. */
function agentFor(secure: boolean): http.Agent {
  const agent = new (secure ? https.Agent : http.Agent)({ keepAlive: true, maxSockets: 1 });
  agent.keepSocketAlive = () => true;
  return agent;
}

export class HttpProber {
  readonly #target: ProbeTarget;
  readonly #outcome: ProbeOutcome;
  #agent: http.Agent | undefined;
  #request: http.ClientRequest | undefined;
  #socket: Socket | undefined;
  #idleSince: number | undefined;
  #bytesWhenIdle = 0;
  #answered = false;
  /** The request before was sent again because its connection ended, and this may be that one. */
  #raced = false;
  /** The answer after which the connection is to be kept. */
  #keeping: http.IncomingMessage | undefined;
  #count = 0;

  constructor(target: ProbeTarget, outcome: ProbeOutcome) {
    this.#target = target;
    this.#outcome = outcome;
  }

  /** A request is under way: `waiting` for its answer, or `reading` the rest of it. */
  get state(): 'idle' | 'waiting' | 'reading' {
    if (this.#request === undefined) return 'idle';
    return this.#answered ? 'reading' : 'waiting';
  }

  get socket(): Socket | undefined {
    return this.#socket;
  }

  /** Sends a request, on the connection there is or on a new one. None must be under way. */
  send(): void {
    const { secure, host, port, path, method, source, ca, servername } = this.#target;
    const agent = this.#agent ?? this.#openAgent();
    const idleMs = this.#leaveIdle();
    this.#answered = false;
    this.#keeping = undefined;
    const request = (secure ? https : http).request({
      host,
      port,
      path,
      method,
      agent,
      maxHeaderSize: MOST_HEADER_BYTES,
      headers: { 'User-Agent': 'linkhold' },
      ...(source === undefined ? {} : { localAddress: source }),
      ...(ca === undefined ? {} : { ca }),
      ...(servername === undefined ? {} : { servername }),
    });
    this.#request = request;
    const mine = () => this.#request === request;
    request.once('socket', (socket) => mine() && this.#adopt(socket));
    request.once('response', (response) => mine() && this.#read(request, response));
    request.once('upgrade', (_response, socket: Duplex) => {
      socket.destroy();
      const error = new Error('the server switches to a protocol that nobody asked for');
      if (mine()) this.#fail(Object.assign(error, { code: 'ERR_HTTP_UPGRADE' }));
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (!mine()) return;
      const ended = ENDINGS.includes(error.code ?? '') && !this.#answered;
      // Whoever reads along can forge one RST; a second is the server's.
      if (!ended || this.#raced) this.#fail(error);
      else {
        this.#raced = true;
        this.hangUp();
        this.#outcome.raced(idleMs);
      }
    });
    request.end();
  }

  /** Ends what there is without a word. */
  hangUp(): void {
    const request = this.#request;
    this.#request = undefined;
    this.#socket = undefined;
    this.#idleSince = undefined;
    this.#count = 0;
    request?.destroy();
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  #openAgent(): http.Agent {
    const agent = agentFor(this.#target.secure);
    this.#agent = agent;
    agent.on('free', (socket: Socket) => {
      if (this.#agent === agent && !socket.destroyed) this.#enterIdle(socket);
    });
    return agent;
  }

  #adopt(socket: Socket): void {
    if (socket === this.#socket) return;
    this.#socket = socket;
    this.#count = 0;
    let ended = false;
    socket
      .on('error', () => undefined)
      .once('end', () => {
        ended = true;
      });
    socket.once('close', () => this.#closed(socket, ended));
  }

  #read(request: http.ClientRequest, response: http.IncomingMessage): void {
    this.#answered = true;
    this.#raced = false;
    this.#count += 1;
    const { statusCode: status = 0, httpVersion, headers } = response;
    let length = 0;
    response.on('data', (chunk: Uint8Array) => {
      length += chunk.length;
      if (length <= MOST_BODY_BYTES || this.#request !== request) return;
      this.hangUp();
      this.#outcome.tooLong();
    });
    response
      .on('error', () => undefined)
      .once('end', () => {
        // Node tells that the socket is free one tick later; what it reads until then is looked at.
        if (this.#request === request) this.#bytesWhenIdle = this.#socket?.bytesRead ?? 0;
      });
    const persistent = this.#persists(request, isPersistent(httpVersion, headers.connection));
    if (persistent) this.#keeping = response;
    const hint = parseKeepAlive(headers['keep-alive'] as string | undefined);
    this.#outcome.answered({ status, hint, persistent, count: this.#count });
  }

  /**
   * Node takes an answer without a length for one that lasts until the connection ends. So it is,
   * but for HEAD, whose answer has no body at all (RFC 9112 section 6.3).
   */
  #persists(request: http.ClientRequest & { shouldKeepAlive?: boolean }, said: boolean): boolean {
    if (said && request.method === 'HEAD') request.shouldKeepAlive = true;
    return said && request.shouldKeepAlive !== false;
  }

  #enterIdle(socket: Socket): void {
    if (socket !== this.#socket) return;
    this.#request = undefined;
    this.#idleSince = performance.now();
    if (socket.bytesRead !== this.#bytesWhenIdle) this.#strayed();
    else socket.on('data', this.#strayed);
  }

  #leaveIdle(): number | undefined {
    const since = this.#idleSince;
    this.#idleSince = undefined;
    this.#socket?.off('data', this.#strayed);
    return since === undefined ? undefined : performance.now() - since;
  }

  readonly #strayed = (): void => {
    this.hangUp();
    this.#outcome.stray();
  };

  #closed(socket: Socket, ended: boolean): void {
    if (socket !== this.#socket) return;
    const since = this.#idleSince;
    if (since === undefined) {
      // Node ends a connection on which one answer follows another, and does not say why.
      const unasked = this.#keeping?.complete === true && !ended && socket.errored === null;
      if (this.#answered) this.hangUp();
      if (unasked) this.#outcome.stray();
      return;
    }
    const strayed = socket.bytesRead !== this.#bytesWhenIdle;
    this.hangUp();
    if (strayed) this.#outcome.stray();
    else this.#outcome.idleClosed(performance.now() - since);
  }

  #fail(error: Error): void {
    const { code = '' } = error as NodeJS.ErrnoException;
    const answered = this.#answered;
    this.hangUp();
    if (!answered) this.#outcome.failed(error);
    else if (code.startsWith('HPE_')) this.#outcome.stray();
  }
}
