/**
 * Watches one connected TCP socket: sets the kernel's keepalive, reads it back, and reads TCP_INFO
 * so that doubt shows before death. The kernel keeps the clocks; this only listens to it. Knows
 * nothing of reconnecting.
 * @module
 */
import { errorMonitor } from 'node:events';
import type { Socket } from 'node:net';
import type { Evidence, Reason } from '../keepalive/keepalive.ts';
import { ffiMissing } from '../sys/libc.ts';
import { readSubflows } from '../sys/mptcp.ts';
import { SystemError } from '../sys/system-error.ts';
import {
  descriptorOf,
  hurryKeepalive,
  readTcpInfo,
  type TcpOptions,
  writeTcpOptions,
} from '../sys/tcp-socket.ts';
import { UsageError } from '../time/usage-error.ts';
import { bestOfSubflows, decodeSubflows, encodeSubflowQuestion } from '../wire/mptcp-info.ts';
import { decodeTcpInfo, type TcpInfo } from '../wire/tcp-info.ts';
import { errnoOf, reasonOf } from './errno.ts';

/** What a watch concludes. */
export interface TcpVerdicts {
  /** Something arrived since the last look; the round trip as the kernel smooths it. */
  heard(rttMs: number): void;
  /** The kernel's probes or retransmissions go unanswered. */
  doubt(evidence: Evidence): void;
  /** The connection is over. Nothing follows. */
  dead(reason: Reason, evidence: Evidence): void;
  /** Something a person should know. */
  note(text: string): void;
}

/** One lost segment is everyday loss; two retransmissions in a row are a doubt. */
const DOUBTFUL_RETRANSMITS = 2;
/** How often to look while an answer is awaited, and the most often to look at all. */
const SHORTEST_LOOK_MS = 25;
const LONGEST_LOOK_IN_DOUBT_MS = 1_000;
/** Two looks disagree by the kernel's tick about when something was heard. */
const TICK_MS = 5;
/** State of a connection that is over (net/tcp_states.h). */
const TCP_CLOSE = 7;

/** The kernel allows eight subflows of a connection. */
const MOST_SUBFLOWS = 8;

/** Since when `socket.setKeepAlive` takes all three parameters. */
const PORTABLE_SINCE_NODE = 26;

/** Throws `SystemError` (`ffi-missing`) where keepalive can be set neither by FFI nor by Node. */
export function requireKeepalive(): void {
  const missing = ffiMissing();
  if (missing === undefined) return;
  if (Number.parseInt(process.versions.node, 10) >= PORTABLE_SINCE_NODE) return;
  const text = `keepalive cannot be set: ${missing}; or use Node ${PORTABLE_SINCE_NODE}`;
  throw new SystemError('ffi-missing', text);
}

/** Throws `UsageError` for what is no kernel socket. */
function requireDescriptor(socket: Socket): number {
  const fd = descriptorOf(socket);
  if (fd !== undefined) return fd;
  throw new UsageError(
    'not-a-socket',
    'the stream has no open TCP socket under it; pass a connected or connecting net.Socket or tls.TLSSocket',
  );
}

export class TcpWatch {
  readonly #socket: Socket;
  readonly #options: TcpOptions;
  readonly #verdicts: TcpVerdicts;
  #fd = -1;
  #timer: NodeJS.Timeout | undefined;
  #heardAt = 0;
  #reportedAt = 0;
  #probesOut = 0;
  /** A probe asked for by a person: when to stop waiting for its answer. */
  #hurriedUntil = 0;
  #errno: string | undefined;
  #closed = false;
  #ended = false;
  /** Of a connection that is Multipath TCP: what the kernel is asked by. */
  #question: Uint8Array | undefined;
  #subflows = 0;

  /** `multipath`: the socket was made for Multipath TCP, and may have fallen back. */
  constructor(socket: Socket, options: TcpOptions, verdicts: TcpVerdicts, multipath = false) {
    this.#socket = socket;
    this.#options = options;
    this.#verdicts = verdicts;
    if (multipath) this.#question = encodeSubflowQuestion(MOST_SUBFLOWS);
  }

  /** By how many subflows Multipath TCP carries the connection; undefined for plain TCP. */
  get subflows(): number | undefined {
    return this.#question === undefined ? undefined : this.#subflows;
  }

  /** The socket must be connected. Throws `SystemError` if the kernel keeps other values. */
  start(): void {
    this.#heardAt = performance.now();
    this.#reportedAt = this.#heardAt;
    this.#protect();
    this.#socket.on(errorMonitor, this.#onError);
    this.#socket.once('end', this.#onEnd);
    this.#socket.once('close', this.#onClose);
  }

  /** Stops watching. The socket and its options stay as they are. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#socket.off(errorMonitor, this.#onError);
    this.#socket.off('end', this.#onEnd);
    this.#socket.off('close', this.#onClose);
  }

  /** Has the kernel probe now. Needs FFI; without it there is nothing to ask. */
  probe(): void {
    const info = this.#read();
    // One probe in flight: each more that is lost would count towards the kernel's verdict.
    if (info === undefined || info.probes > 0 || this.#hurriedUntil > 0) return;
    if (info.silentMs < 1_000) {
      this.#verdicts.heard(info.rttMs);
      return;
    }
    this.#guard(() => hurryKeepalive(this.#fd));
    this.#hurriedUntil = performance.now() + Math.max(info.rtoMs, 2 * info.rttMs);
    this.#lookIn(SHORTEST_LOOK_MS);
  }

  #protect(): void {
    const missing = ffiMissing();
    if (missing === undefined) {
      this.#fd = requireDescriptor(this.#socket);
      this.#readInfo();
      writeTcpOptions(this.#fd, this.#options, this.#question !== undefined);
      this.#lookIn(SHORTEST_LOOK_MS);
      return;
    }
    const { timeMs, intervalMs, probes } = this.#options;
    if (Number.parseInt(process.versions.node, 10) < 26)
      throw new SystemError('ffi-missing', missing);
    this.#socket.setKeepAlive(true, timeMs, intervalMs, probes);
    const text = 'keepalive is set through Node but not read back, without user timeout and doubt';
    queueMicrotask(() => this.#verdicts.note(`${text}: ${missing}`));
  }

  #read(): TcpInfo | undefined {
    if (this.#fd < 0 || this.#ended || this.#socket.destroyed) return undefined;
    const info = this.#guard(() => this.#readInfo());
    if (info === undefined) return undefined;
    this.#heardAt = performance.now() - info.silentMs;
    this.#probesOut = info.probes;
    return info;
  }

  /** Of several subflows, the best; what has fallen back is plain TCP from then on. */
  #readInfo(): TcpInfo | undefined {
    if (this.#question !== undefined) {
      const answer = readSubflows(this.#fd, this.#question.slice());
      if (answer !== undefined) {
        const subflows = decodeSubflows(answer);
        this.#subflows = subflows.length;
        return bestOfSubflows(subflows);
      }
      this.#question = undefined;
    }
    return decodeTcpInfo(readTcpInfo(this.#fd));
  }

  readonly #look = (): void => {
    const info = this.#read();
    if (info === undefined) {
      if (this.subflows === 0) this.#lookAtAbandoned();
      return;
    }
    if (info.state === TCP_CLOSE) {
      this.#lookAtClosed(info);
      return;
    }
    const { timeMs, intervalMs } = this.#options;
    const overdue = timeMs + info.rtoMs;
    if (this.#hurriedUntil > 0) this.#finishHurry();
    if ((info.probes > 0 && info.silentMs > overdue) || info.retransmits >= DOUBTFUL_RETRANSMITS) {
      this.#verdicts.doubt({ probes: info.probes, silentMs: info.silentMs });
      this.#lookIn(Math.min(intervalMs, LONGEST_LOOK_IN_DOUBT_MS));
      return;
    }
    if (this.#heardAt > this.#reportedAt + TICK_MS) {
      this.#reportedAt = this.#heardAt;
      this.#verdicts.heard(info.rttMs);
    }
    const wait = Math.min(overdue - info.silentMs + TICK_MS, intervalMs);
    this.#lookIn(this.#hurriedUntil > 0 ? SHORTEST_LOOK_MS : wait);
  };

  /** The answer to a probe asked for is in, or late: the clock goes back to its own time. */
  #finishHurry(): void {
    const answered = this.#heardAt > this.#reportedAt + TICK_MS && this.#probesOut === 0;
    if (!answered && performance.now() < this.#hurriedUntil) return;
    this.#hurriedUntil = 0;
    this.#guard(() => writeTcpOptions(this.#fd, this.#options, this.#question !== undefined));
  }

  /** Nobody waits for these calls: what the kernel refuses now becomes a note. */
  #guard<Result>(call: () => Result): Result | undefined {
    try {
      return call();
    } catch (error) {
      this.#verdicts.note((error as Error).message);
      return undefined;
    }
  }

  /**
   * The kernel has given up. Node tells so, with the errno, unless the program does not read: then
   * nothing ever would. It is given one look's time.
   */
  #lookAtClosed({ silentMs, probes }: TcpInfo): void {
    if (!this.#closed) {
      this.#closed = true;
      this.#lookIn(LONGEST_LOOK_IN_DOUBT_MS);
      return;
    }
    this.#ended = true;
    this.stop();
    const reason = silentMs >= this.#options.timeMs ? 'no-answer' : 'reset';
    this.#verdicts.dead(reason, { probes, silentMs });
  }

  /** No subflow is left; the kernel itself would wait a minute for another (close_timeout). */
  #lookAtAbandoned(): void {
    if (this.#ended || this.#socket.destroyed) return;
    this.#ended = true;
    this.stop();
    const silentMs = Math.round(performance.now() - this.#heardAt);
    this.#verdicts.dead('no-answer', { probes: this.#probesOut, silentMs });
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#look, Math.max(ms, SHORTEST_LOOK_MS)).unref();
  }

  readonly #onError = (error: Error): void => {
    this.#errno = errnoOf(error);
  };

  /** The peer said goodbye: for a link that is the end, even if our side may still write. */
  readonly #onEnd = (): void => this.#conclude();
  readonly #onClose = (): void => this.#conclude();

  #conclude(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.stop();
    const silentMs = Math.round(performance.now() - this.#heardAt);
    const errno = this.#errno;
    if (errno === undefined) this.#verdicts.dead('closed', { silentMs });
    else this.#verdicts.dead(reasonOf(errno), { errno, probes: this.#probesOut, silentMs });
  }
}
