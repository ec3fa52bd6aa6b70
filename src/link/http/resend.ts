/**
 * Sends a request of `node:http` once more where that is safe: it went out on a connection that had
 * been used before, the server ended that connection before a byte of an answer, and the request may
 * be repeated (RFC 9110 section 9.2.2) or none of it had been sent. Node has no way to do so; this
 * takes the request back from its dead socket and puts its bytes where Node keeps those of a request
 * that waits for a socket. A Node without those places is left alone: then nothing is ever repeated.
 * @module
 */
import type { ClientRequest } from 'node:http';
import type { Socket } from 'node:net';

/** What follows when a connection dies under a request that it was used again for. */
export interface ResendRules {
  /** The largest request that is kept, in bytes. */
  readonly mostBytes: number;
  /** The server ended the connection before any answer, after so much idleness. */
  raced(idleMs: number): void;
  /** Gives the request another connection. */
  resend(req: ClientRequest, options: object): void;
}

const IDEMPOTENT = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'];
/** The server's doing. Everything else, a timeout for one, says nothing about what it has done. */
const ENDINGS = ['ECONNRESET', 'EPIPE'];

/** What waits to be written, as Node keeps it. */
interface Output {
  readonly data: string | Uint8Array | null;
  callback: unknown;
}

/** Fields of Node's own. Those that are read are checked before they are used. */
interface Inside {
  outputData: Output[];
  outputSize: number;
  parser: { socket: unknown; outgoing: unknown; close?(): void } | null;
  timeoutCb: unknown;
  res: unknown;
  socket: Socket | null;
  reusedSocket: boolean;
}

type InsideSocket = Socket & { parser?: unknown; _httpMessage?: unknown };

/** Takes the place of a request at its dead socket: as one that has had its answer. */
const NOBODY: object = {
  destroyed: true,
  res: { complete: true, aborted: true, readable: false },
  socket: { _hadError: true },
  emit: () => false,
};

/** Whether a method may be repeated without another effect (RFC 9110 section 9.2.2). */
export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.includes(method);
}

/** A request on a connection that was used before. */
interface Watched {
  readonly req: ClientRequest & Inside;
  readonly options: object;
  readonly idleMs: number;
  readonly written: number;
  readonly read: number;
  kept: Output[] | undefined;
}

/** Stands by a socket all its life, before any request listens to it. */
export class ResendGuard {
  readonly #socket: InsideSocket;
  readonly #rules: ResendRules;
  #watched: Watched | undefined;

  constructor(socket: Socket, rules: ResendRules) {
    this.#socket = socket;
    this.#rules = rules;
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      this.#ended(ENDINGS.includes(code ?? ''));
    });
    socket.on('end', () => this.#ended(true));
    socket.on('close', () => this.#ended(true));
  }

  /** A request is about to be written to the socket, which was idle for so long. */
  watch(req: ClientRequest, options: object, idleMs: number, mayResend: boolean): void {
    const { bytesWritten: written, bytesRead: read } = this.#socket;
    const inside = req as unknown as ClientRequest & Inside;
    const watched = { req: inside, options, idleMs, written, read } as Watched;
    this.#watched = watched;
    // Node tells of the socket just before it writes. Until then the program may give it a body.
    if (mayResend) req.prependOnceListener('socket', () => this.#keepOutput(watched));
  }

  /** The request has come to its end. */
  release(): void {
    this.#watched = undefined;
  }

  /** Copies the whole request, if it is whole, small enough, and where Node used to have it. */
  #keepOutput(watched: Watched): void {
    const { outputData, outputSize, writableEnded } = watched.req;
    if (!writableEnded || !Array.isArray(outputData)) return;
    if (!(outputSize <= this.#rules.mostBytes) || this.#rules.mostBytes === 0) return;
    if (watched.req.getHeader('expect') !== undefined) return;
    const kept: Output[] = [];
    for (const output of outputData) {
      if (output.data === null || output.data === undefined) return;
      kept.push({ ...output });
    }
    watched.kept = kept;
  }

  #ended(byServer: boolean): void {
    const watched = this.#watched;
    if (watched === undefined) return;
    this.#watched = undefined;
    const { req, idleMs, read } = watched;
    if (!byServer || req.destroyed || this.#socket.bytesRead !== read) return;
    this.#rules.raced(idleMs);
    if (!this.#mayRepeat(watched)) return;
    this.#takeBack(watched);
    this.#rules.resend(req, watched.options);
  }

  #mayRepeat({ req, kept, written }: Watched): boolean {
    if (kept === undefined) return false;
    return isIdempotent(req.method) || this.#socket.bytesWritten === written;
  }

  /** The request looks again as it did before it had a socket. */
  #takeBack({ req, kept = [] }: Watched): void {
    const socket = this.#socket;
    const { parser } = req;
    socket._httpMessage = NOBODY;
    socket.parser = null;
    if (parser) {
      parser.socket = null;
      parser.outgoing = null;
      setImmediate(() => parser.close?.());
    }
    socket.destroy();
    req.parser = null;
    req.socket = null;
    req.timeoutCb = null;
    req.reusedSocket = false;
    // That it was written is told once, whichever of the sockets it was.
    if (req.writableFinished) for (const output of kept) output.callback = null;
    req.outputData = kept;
    req.outputSize = kept.reduce((sum, { data }) => sum + (data?.length ?? 0), 0);
  }
}
