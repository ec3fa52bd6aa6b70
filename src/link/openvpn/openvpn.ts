/**
 * `openvpn://host:1194?config=client.ovpn`: a client of OpenVPN that holds a session and knows when it
 * died. Both sides send pings and each has its own timer; nothing is asked and nothing answered. What
 * counts is what came authentic through the data channel. It carries no user traffic: no device, no
 * addresses, no routes.
 * @module
 */
import type { Evidence } from '../../keepalive/keepalive.ts';
import type { Timing } from '../../keepalive/timing.ts';
import { formatDuration } from '../../time/duration.ts';
import { UsageError } from '../../time/usage-error.ts';
import { Link, type LinkFacts, type LinkStatus } from '../link.ts';
import { hostPort, type LinkUrl, placeOfUrl } from '../link-url.ts';
import { type OpenvpnConfig, readOpenvpnConfig } from './config.ts';
import { type Clocks, type ConnectionHooks, OpenvpnConnection } from './connection.ts';
import { type DataChannel, StaticChannel } from './data-channel.ts';
import type { TryAgain } from './endings.ts';
import { OpenvpnHandshakeLink } from './handshake.ts';
import type { TransportPlace } from './transport.ts';

/** What every such link is and proves. */
export const OPENVPN_FACTS: LinkFacts = {
  kind: 'openvpn',
  class: 'two-sided',
  proves:
    'a whole session: the peer is authentic and its process sends; no user traffic goes by it, nor is any proved',
};

export const DEFAULT_PORT = 1_194;
/** Of OpenVPN's usual `keepalive 10 60`. */
const BEATS_IN_TIME = 6;
/**
 * The first attempt after a session, by the way it ended. OpenVPN goes on for up to two seconds after its
 * goodbye, and would be taken for one that is back (`explicit-exit-notify`, openvpn(8)).
 */
const WAIT_MS: Readonly<Record<TryAgain, number>> = {
  soon: 1_000,
  'when-left': 3_000,
  'when-mended': 30_000,
};
const LONGEST_WAIT_MS = 300_000;
const SHORTEST_JITTER = 0.75;

/** The link of an `openvpn` URL. Throws `UsageError`. */
export function createOpenvpnLink(name: string, url: LinkUrl, timing: Timing, where: string): Link {
  const place = placeOfUrl(where);
  const file = url.parameters.get('config');
  const config = file === undefined ? undefined : readOpenvpnConfig(file, place);
  const probe = url.parameters.get('probe');
  if (probe !== undefined && probe !== 'handshake') {
    throw new UsageError('bad-url', `${place}: probe=${probe.slice(0, 20)} is not handshake`);
  }
  const to = placeFor(url, config, place);
  if (probe === 'handshake') return new OpenvpnHandshakeLink(name, url, timing, config, to, where);
  if (config !== undefined) return new OpenvpnLink(name, url, timing, config, to);
  const mend = 'give config=FILE, or probe=handshake to ask only whether a server answers';
  throw new UsageError('bad-url', `${place}: an openvpn link needs the client's options; ${mend}`);
}

/** Where to: the URL's host, or else the file's remote. */
function placeFor(url: LinkUrl, config: OpenvpnConfig | undefined, where: string): TransportPlace {
  const proto = url.parameters.get('proto');
  if (proto !== undefined && proto !== 'udp' && proto !== 'tcp') {
    throw new UsageError('bad-url', `${where}: proto=${proto.slice(0, 20)} is neither udp nor tcp`);
  }
  const { place } = config ?? {};
  const named = url.host !== '';
  const host = named ? url.host : place?.host;
  if (host === undefined) {
    const mend = 'write openvpn://host:1194, or remote in the config file';
    throw new UsageError('bad-url', `${where}: no host is named; ${mend}`);
  }
  return {
    host,
    port: named ? url.port : (place?.port ?? DEFAULT_PORT),
    transport: proto ?? place?.transport ?? 'udp',
    family: place?.family ?? 0,
    source: url.source ?? place?.local,
    sourcePort: place?.localPort,
  };
}

/** The clocks as the file has them, or the flags; a beat is a sixth of the time by default. */
function clocksFor(timing: Timing, { pingMs, restartMs }: OpenvpnConfig): Clocks {
  const timeMs = restartMs ?? timing.timeMs;
  const beatMs = pingMs ?? timing.beatMs ?? timeMs / BEATS_IN_TIME;
  return { timeMs, beatMs: Math.min(beatMs, timeMs / 2) };
}

export class OpenvpnLink extends Link {
  readonly #config: OpenvpnConfig;
  readonly #place: TransportPlace;
  readonly #channel: DataChannel | undefined;
  readonly #preset: Clocks;
  #clocks: Clocks;
  #connection: OpenvpnConnection | undefined;
  #timer: NodeJS.Timeout | undefined;
  #waitMs = WAIT_MS.soon;

  constructor(
    name: string,
    url: LinkUrl,
    timing: Timing,
    config: OpenvpnConfig,
    place: TransportPlace,
  ) {
    const clocks = clocksFor(timing, config);
    const identity = { name, url: url.redacted, timing: { ...timing, ...clocks, probes: 0 } };
    // The clocks are those of each connection's session; here its verdicts become the link's.
    super(identity, OPENVPN_FACTS, { intervalMs: clocks.timeMs, probes: 0 });
    const { security } = config;
    this.#config = config;
    this.#place = place;
    this.#preset = clocks;
    this.#clocks = clocks;
    this.#channel =
      security.type === 'static'
        ? new StaticChannel(security, Math.floor(Date.now() / 1_000))
        : undefined;
    this.remote = hostPort(place.host, place.port);
  }

  override get detectsWithinMs(): number {
    return this.#clocks.timeMs;
  }

  override status(): LinkStatus {
    return { ...super.status(), largestSilenceMs: this.#clocks.beatMs };
  }

  protected open(): void {
    this.#connect();
  }

  protected shut(): void {
    clearTimeout(this.#timer);
    this.#connection?.close();
    this.#connection = undefined;
  }

  /** Somebody wants evidence now: the peer is asked, and a link that waits to be made anew is. */
  override probe(): void {
    if (this.#connection === undefined) this.#connect();
    else this.#connection.ask();
  }

  protected sendProbe(): void {
    throw new Error('openvpn links have no probes');
  }

  #connect(): void {
    clearTimeout(this.#timer);
    this.#clocks = this.#preset;
    const setup = {
      config: this.#config,
      place: { ...this.#place, sourcePort: this.#place.sourcePort ?? this.learned.localPort },
      clocks: this.#preset,
      channel: this.#channel,
    };
    this.#connection = new OpenvpnConnection(setup, this.#hooks);
    this.#connection.open();
  }

  readonly #hooks: ConnectionHooks = {
    opened: ({ local, localPort, remote }) => {
      this.local = local;
      this.remote = remote;
      const { security } = this.#config;
      const alone = security.type === 'static' || !security.pull;
      // A peer without a server answers there until it has lost us itself.
      if (alone && this.#place.transport === 'udp') this.learn({ localPort });
    },
    ready: (clocks, pushed) => {
      this.#clocks = clocks;
      if (pushed) this.#tellClocks();
    },
    heard: () => {
      this.#waitMs = WAIT_MS.soon;
      this.feed((machine, now) => machine.handleReceived(now));
    },
    reply: (rttMs) => this.reportReply(rttMs),
    doubt: (reason, evidence) => this.feed((machine) => machine.handleDoubt(reason, evidence)),
    late: (evidence, text) => {
      this.reportTrouble(text);
      this.#failed('no-answer', evidence);
    },
    note: (text) => this.reportNote(text),
    over: ({ reason, evidence, text, again }) => {
      this.#connection = undefined;
      if (evidence.errno === 'EADDRINUSE') this.learn({ localPort: undefined });
      if (text !== undefined) this.reportTrouble(text);
      this.#connectLater(again);
      this.#failed(reason, evidence);
    },
  };

  #failed(reason: Parameters<ConnectionHooks['doubt']>[0], evidence: Evidence): void {
    this.feed((machine, now) => machine.handleFailure(reason, evidence, now));
  }

  /** Each attempt that fails doubles the wait, up to the link's own time; jitter only shortens it. */
  #connectLater(again: TryAgain): void {
    const wait = Math.max(this.#waitMs, WAIT_MS[again]);
    const most =
      again === 'when-mended' ? LONGEST_WAIT_MS : Math.max(this.#preset.timeMs, WAIT_MS.soon);
    if (again !== 'when-left') this.#waitMs = Math.min(2 * wait, most);
    const jitter = SHORTEST_JITTER + (1 - SHORTEST_JITTER) * Math.random();
    this.#timer = setTimeout(() => this.#connect(), wait * jitter);
  }

  #tellClocks(): void {
    const { timeMs, beatMs } = this.#clocks;
    const { pushedTimeMs, pushedBeatMs } = this.learned;
    if (timeMs === pushedTimeMs && beatMs === pushedBeatMs) return;
    this.learn({ pushedTimeMs: timeMs, pushedBeatMs: beatMs });
    const text = `the server pushes its own timing: a ping after ${formatDuration(beatMs)} of sending nothing, dead after ${formatDuration(timeMs)} of hearing nothing`;
    this.reportNote(text);
  }
}
