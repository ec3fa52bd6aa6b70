/**
 * What `HoldAgent` and `holdDispatcher` let a program choose, checked. Knows no sockets.
 * @module
 */
import { tcpLimitsOf } from '../../keepalive/tcp-limits.ts';
import { resolveTiming, type TimingInput } from '../../keepalive/timing.ts';
import type { TcpOptions } from '../../sys/tcp-socket.ts';
import { parseDuration } from '../../time/duration.ts';
import { placeOf, UsageError } from '../../time/usage-error.ts';

/** How pooled connections are kept. Everything has a default. */
export interface HoldOptions extends Omit<TimingInput, 'beat'> {
  /**
   * The longest that a connection may lie idle in the pool, whatever the server promises. Default
   * `60s`. Too small: connections are made anew; too large: they pile up, and a NAT forgets them.
   */
  readonly idle?: string | undefined;
  /**
   * How old a connection may become, shortened at random by up to a quarter. Default `10m`. Too
   * small: handshakes; too large: a changed DNS entry or a new server behind a balancer goes unseen.
   */
  readonly maxAge?: string | undefined;
  /**
   * Requests on one connection before it is closed. Default 10,000. Too small: handshakes; too large:
   * the same as for `maxAge`.
   */
  readonly maxRequests?: number | undefined;
  /**
   * The largest request, in bytes, that is kept so that it can be sent again. Default 65,536; 0:
   * nothing is ever sent again. Too large: memory for every request in flight.
   */
  readonly resendBytes?: number | undefined;
}

/** The options, resolved. */
export interface HoldLimits {
  readonly idleMs: number;
  readonly maxAgeMs: number;
  readonly maxRequests: number;
  readonly resendBytes: number;
  /** The kernel's keepalive on every pooled connection. */
  readonly tcp: TcpOptions;
}

const OWN = ['idle', 'maxAge', 'maxRequests', 'resendBytes'] as const;
const TIMING = ['profile', 'time', 'interval', 'probes', 'userTimeout'] as const;

/** Parts our options from those that are for Node's or undici's agent. */
export function splitOptions<Options extends HoldOptions>(
  options: Options,
): { own: HoldOptions; rest: Omit<Options, keyof HoldOptions> } {
  const own: Record<string, unknown> = {};
  const rest: Record<string, unknown> = { ...(options as object) };
  for (const key of [...OWN, ...TIMING]) {
    own[key] = rest[key];
    delete rest[key];
  }
  return { own, rest: rest as Omit<Options, keyof HoldOptions> };
}

/** Throws `UsageError` (`bad-duration`, `bad-timing`, `bad-option`). */
export function resolveHold(options: HoldOptions, where: string): HoldLimits {
  const duration = (key: 'idle' | 'maxAge', standard: string): number => {
    const ms = parseDuration(options[key] ?? standard, placeOf(where, key));
    if (ms > 0) return ms;
    throw new UsageError('bad-timing', `${placeOf(where, key)}: must be longer than 0`);
  };
  const count = (key: 'maxRequests' | 'resendBytes', standard: number, least: number): number => {
    const value = options[key] ?? standard;
    if (Number.isInteger(value) && value >= least) return value;
    const text = `${value} is not a whole number of at least ${least}`;
    throw new UsageError('bad-option', `${placeOf(where, key)}: ${text}`);
  };
  const timing = resolveTiming(options, where);
  return {
    idleMs: duration('idle', '60s'),
    maxAgeMs: duration('maxAge', '10m'),
    maxRequests: count('maxRequests', 10_000, 1),
    resendBytes: count('resendBytes', 65_536, 0),
    tcp: { enabled: true, ...tcpLimitsOf(timing, where) },
  };
}
