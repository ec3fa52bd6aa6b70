/**
 * `http://host[:80][/path]` and `https://host[:443][/path]`: one persistent connection, and a small
 * request on it as the probe. An answer of any status is the server's. The server may end an idle
 * connection whenever it likes (RFC 9112 section 9.3): that is no death, and the link connects anew.
 * @module
 */
import { readFileSync } from 'node:fs';
import type { Reason } from '../../keepalive/keepalive.ts';
import type { Timing } from '../../keepalive/timing.ts';
import { formatDuration } from '../../time/duration.ts';
import { placeOf, UsageError } from '../../time/usage-error.ts';
import { errnoOf, reasonOf } from '../errno.ts';
import { Link, type LinkFacts } from '../link.ts';
import { hostPort, type LinkUrl, placeOfUrl } from '../link-url.ts';
import { HttpProber, MOST_BODY_BYTES, type ProbeAnswer } from './http-prober.ts';

const PROVES =
  'the path, and that a server process answers HTTP, with any status; not that what it serves is right';
const METHODS = ['HEAD', 'GET', 'OPTIONS'];
/** What Node says of a certificate that is not to be trusted. */
const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_|CRL_|HOSTNAME_MISMATCH|PATH_LENGTH|INVALID_CA/;
/** Of bytes that are no HTTP or no TLS. */
const NO_HTTP = /^HPE_|^ERR_SSL|^EPROTO$|^ERR_HTTP/;
/** Two idle times that differ by less are told once. */
const SAME_SHARE = 0.1;

function factsOf(secure: boolean): LinkFacts {
  return { kind: secure ? 'https' : 'http', class: 'answered', proves: PROVES };
}

function reasonFor(errno: string): Reason {
  if (UNTRUSTED.test(errno)) return 'not-authentic';
  return NO_HTTP.test(errno) ? 'protocol-error' : reasonOf(errno);
}

/** Throws `UsageError` (`bad-url`). */
function readCa(file: string | undefined, place: string): Buffer | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    throw new UsageError('bad-url', `${place}: the ca file ${file} cannot be read (${code})`);
  }
}

function methodOf(url: LinkUrl, place: string): string {
  const method = url.parameters.get('method') ?? 'HEAD';
  if (METHODS.includes(method)) return method;
  const text = `method=${method.slice(0, 40)} is none of ${METHODS.join(', ')}`;
  throw new UsageError('bad-url', `${place}: ${text.replace(/\p{C}/gu, '�')}`);
}

export class HttpLink extends Link {
  readonly #prober: HttpProber;
  /** The probe that the request on its way is for. */
  #sentAs = 0;
  #reconnectedAt = Number.NEGATIVE_INFINITY;
  #toldStatus = 0;

  constructor(name: string, url: LinkUrl, timing: Timing, where: string) {
    const { timeMs, intervalMs, probes } = timing;
    const secure = url.scheme === 'https';
    const config = { timeMs, intervalMs, probes, random: Math.random };
    super({ name, url: url.redacted, timing }, factsOf(secure), config);
    if (timing.beatMs !== undefined) {
      const text = 'HTTP has no send clock; a shorter `time` holds the link';
      throw new UsageError('bad-timing', `${placeOf(where, 'beat')}: ${text}`);
    }
    const { host, port, source, path = '/', parameters } = url;
    const place = placeOfUrl(where);
    const ca = readCa(parameters.get('ca'), place);
    const target = { secure, host, port, source, path, method: methodOf(url, place), ca };
    this.#prober = new HttpProber(
      { ...target, servername: parameters.get('servername') },
      {
        answered: (answer) => this.#answered(answer),
        failed: (error) => this.#failed(error),
        idleClosed: (idleMs) => this.#idleClosed(idleMs),
        raced: (idleMs) => {
          if (idleMs !== undefined) this.#learnIdle(idleMs);
          this.#prober.send();
        },
        stray: () => this.#strayed(),
        tooLong: () => this.#tooLong(),
      },
    );
    this.remote = hostPort(host, port);
  }

  protected open(): void {
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.#prober.hangUp();
  }

  /**
   * A request, unless one still waits for its answer: nothing is pipelined, and TCP repeats what is
   * lost. One that has waited for as many intervals as there are probes makes way for a new
   * connection; so does an answer that has not come to its end since.
   */
  protected sendProbe(sequence: number): void {
    const { state } = this.#prober;
    const waited = sequence - this.#sentAs;
    if (state === 'waiting' && waited < this.identity.timing.probes) return;
    if (state !== 'idle') this.#prober.hangUp();
    this.#sentAs = sequence;
    this.#prober.send();
  }

  #answered({ status, persistent, count, hint }: ProbeAnswer): void {
    const { socket } = this.#prober;
    if (socket !== undefined) {
      this.local = hostPort(socket.localAddress ?? '', socket.localPort ?? 0);
      this.remote = hostPort(socket.remoteAddress ?? '', socket.remotePort ?? 0);
    }
    if (status !== this.#toldStatus && status >= 400) {
      this.reportNote(`this server answers, with status ${status}`);
    }
    this.#toldStatus = status;
    const last = hint.max === 0 || !persistent;
    if (last) this.#tellNotKept(count);
    this.feed((machine, now) => machine.handleAnswer(this.#sentAs, now));
  }

  #tellNotKept(count: number): void {
    const { requestsPerConnection: told } = this.learned;
    if (told !== undefined && (told === 1) === (count === 1)) return;
    this.learn({ requestsPerConnection: count });
    const text =
      count === 1
        ? 'this server does not keep connections: each probe makes a new one'
        : `this server ends a connection after ${count} requests`;
    this.reportNote(text);
  }

  #failed(error: Error): void {
    const errno = errnoOf(error);
    const reason = reasonFor(errno);
    if (reason === 'not-authentic' || reason === 'protocol-error') {
      this.reportTrouble(error.message.trim());
    }
    this.feed((machine, now) => machine.handleFailure(reason, { errno }, now));
  }

  #idleClosed(idleMs: number): void {
    this.#learnIdle(idleMs);
    const now = performance.now();
    // One that ends every connection at once is not asked all the time.
    if (now - this.#reconnectedAt < this.identity.timing.intervalMs) return;
    this.#reconnectedAt = now;
    this.probe();
  }

  #learnIdle(idleMs: number): void {
    const { idleTimeoutMs: told } = this.learned;
    if (told !== undefined && Math.abs(told - idleMs) <= told * SAME_SHARE) return;
    this.learn({ idleTimeoutMs: idleMs });
    this.reportNote(`this server ends a connection that is idle for ${formatDuration(idleMs)}`);
  }

  #strayed(): void {
    this.reportTrouble('bytes came that nobody asked for; the connection was destroyed');
    this.feed((machine, now) => machine.handleFailure('protocol-error', {}, now));
  }

  #tooLong(): void {
    const text = `the answer is longer than ${MOST_BODY_BYTES} bytes, so its connection is not kept`;
    this.reportTrouble(`${text}; use method=HEAD or another path`);
  }
}
