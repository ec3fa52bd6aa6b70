/**
 * One connection to an OpenVPN peer, from the first packet to the last: a transport, the session on it
 * (none with a static key), and the `UdpSession` that keeps it alive. It is made, tells what becomes of
 * it, and is not used again.
 * @module
 */
import type { Evidence, Reason } from '../../keepalive/keepalive.ts';
import type { Timing } from '../../keepalive/timing.ts';
import { decodePayload, encodeOcc, encodePing } from '../../wire/openvpn-payload.ts';
import { Driver } from '../driver.ts';
import { errnoOf, reasonOf } from '../errno.ts';
import type { StateEvent } from '../link.ts';
import { UdpSession } from '../udp-session.ts';
import type { Agreement } from './agreement.ts';
import type { OpenvpnConfig } from './config.ts';
import type { DataChannel } from './data-channel.ts';
import { type Ending, GOODBYE } from './endings.ts';
import { OpenvpnSession, type SessionOutput } from './session.ts';
import { createTransport, type OpenvpnTransport, type TransportPlace } from './transport.ts';

/** The two clocks: a beat after so much of sending nothing, death after so much of hearing nothing. */
export type Clocks = Required<Pick<Timing, 'timeMs' | 'beatMs'>>;

/** What a connection is for. */
export interface ConnectionSetup {
  readonly config: OpenvpnConfig;
  readonly place: TransportPlace;
  /** The clocks as long as the peer has pushed no others. */
  readonly clocks: Clocks;
  /** With a static key: what seals and opens, for all connections of a link. */
  readonly channel: DataChannel | undefined;
  /** Bits of IV_PROTO to tell of. Default: all we can. */
  readonly abilities?: number;
}

/** What becomes of a connection. */
export interface ConnectionHooks {
  opened(transport: OpenvpnTransport): void;
  /** The data channel can be used, with these clocks. */
  ready(clocks: Clocks, pushed: boolean): void;
  heard(): void;
  reply(rttMs: number): void;
  doubt(reason: Reason, evidence: Evidence): void;
  /** It has not come up in time, but still may. */
  late(evidence: Evidence, text: string): void;
  note(text: string): void;
  /** Nothing follows. */
  over(ending: Ending & { readonly evidence: Evidence }): void;
}

/** How long a goodbye may take to be acknowledged. */
const GOODBYE_MS = 1_000;
const GOODBYE_LOOK_MS = 20;

export class OpenvpnConnection {
  readonly #setup: ConnectionSetup;
  readonly #hooks: ConnectionHooks;
  readonly #transport: OpenvpnTransport;
  #session: OpenvpnSession | undefined;
  #driver: Driver<SessionOutput> | undefined;
  #held: UdpSession | undefined;
  #clocks: Clocks;
  #heardAt = Number.NEGATIVE_INFINITY;
  #askedAt: number | undefined;
  #closed = false;

  constructor(setup: ConnectionSetup, hooks: ConnectionHooks) {
    this.#setup = setup;
    this.#hooks = hooks;
    this.#clocks = setup.clocks;
    this.#transport = createTransport(setup.place);
  }

  open(): void {
    const transport = this.#transport;
    transport.once('open', () => this.#opened());
    transport.once('end', (error) => this.#ended(error));
    transport.open();
  }

  /** Asks for evidence now, of a peer whose data channel can be used. */
  ask(): void {
    if (this.#held === undefined) return;
    const question = this.#question();
    if (question !== undefined) this.#held.send(question);
  }

  /** Ends it. A peer that was heard is told goodbye, which goes on for a moment after this call. */
  close(): void {
    if (this.#closed) return;
    const session = this.#session;
    this.#closed = true;
    this.#held?.close();
    if (this.#held === undefined || !this.#setup.config.exitNotify) this.#drop();
    else if (session === undefined) this.#leaveByPacket();
    else this.#leave(session);
  }

  /** Ends it without a word: the peer is gone. */
  #drop(): void {
    this.#closed = true;
    this.#held?.close();
    this.#driver?.stop();
    this.#session?.close();
    this.#transport.close();
  }

  #leaveByPacket(): void {
    const bytes = this.#seal(encodeOcc('exit'));
    if (bytes !== undefined) this.#transport.send(bytes, () => this.#drop());
    else this.#drop();
  }

  /** Until it is acknowledged: on UDP a goodbye may be lost, and is repeated. */
  #leave(session: OpenvpnSession): void {
    this.#transport.on('message', this.#receive);
    session.leave();
    this.#driver?.settle();
    const lateAt = performance.now() + GOODBYE_MS;
    const look = setInterval(() => {
      if (!session.settled && performance.now() < lateAt) return;
      clearInterval(look);
      this.#drop();
    }, GOODBYE_LOOK_MS);
  }

  #opened(): void {
    const transport = this.#transport;
    this.#hooks.opened(transport);
    const { config, clocks, channel } = this.#setup;
    transport.on('error', (error) => this.#doubt(error));
    if (config.security.type === 'static') {
      if (channel !== undefined) this.#hold(false);
      return;
    }
    transport.on('message', this.#receive);
    const { security, device } = config;
    const { abilities, place } = this.#setup;
    const session = new OpenvpnSession(
      {
        security,
        device,
        transport: place.transport,
        verdictMs: clocks.timeMs,
        wallSeconds: Math.floor(Date.now() / 1_000),
        ...(abilities === undefined ? {} : { abilities }),
      },
      performance.now(),
      () => this.#driver?.settle(),
    );
    this.#session = session;
    this.#driver = new Driver(session, (output) => this.#perform(output));
    this.#driver.settle();
  }

  #perform(output: SessionOutput): void {
    if (output.type === 'packet') this.#send(output.bytes);
    else if (this.#closed) return;
    else if (output.type === 'ready') this.#ready(output.agreement);
    else if (output.type === 'answered') this.#answered();
    else if (output.type === 'note') this.#hooks.note(output.text);
    else if (output.type === 'late') {
      this.#hooks.late({ silentMs: output.silentMs }, output.text);
    } else this.#over({ ...output, evidence: {} });
  }

  #send(bytes: Uint8Array): void {
    if (this.#held !== undefined && !this.#closed) this.#held.send(bytes);
    else this.#transport.send(bytes, (error) => error && this.#doubt(error));
  }

  #ready({ pingMs, restartMs }: Agreement): void {
    const { timeMs, beatMs } = this.#setup.clocks;
    const wantedMs = restartMs ?? timeMs;
    // A server that pushes a ping-restart without a ping, or the reverse, still loses a packet at times.
    this.#clocks = { timeMs: wantedMs, beatMs: Math.min(pingMs ?? beatMs, wantedMs / 2) };
    this.#transport.off('message', this.#receive);
    this.#hold(pingMs !== undefined || restartMs !== undefined);
  }

  /** From now on the two clocks run. */
  #hold(pushed: boolean): void {
    const { timeMs, beatMs } = this.#clocks;
    this.#hooks.ready(this.#clocks, pushed);
    const held = new UdpSession(this.#transport, {
      name: 'openvpn',
      time: `${Math.round(timeMs)}ms`,
      beat: `${Math.floor(beatMs)}ms`,
      makeBeat: () => this.#beat(),
      receive: (bytes) => this.#receive(bytes),
    });
    this.#held = held;
    held.on('state', (event) => this.#changed(event));
    held.start();
  }

  /** A ping; or, where the peer says nothing by itself, a question that it answers. */
  #beat(): Uint8Array | undefined {
    const { timeMs, beatMs } = this.#clocks;
    // A beat of the peer may be late or lost; asked one beat later, it must still answer in time.
    const patienceMs = Math.min(2 * beatMs, timeMs - 1.5 * beatMs);
    const quiet = performance.now() - this.#heardAt >= patienceMs;
    return quiet ? this.#question() : this.#seal(encodePing());
  }

  #seal(payload: Uint8Array): Uint8Array | undefined {
    return (this.#session ?? this.#setup.channel)?.seal(payload);
  }

  /** What every peer with OCC answers at once. */
  #question(): Uint8Array | undefined {
    // Answers have no number: while two are awaited, nobody knows whose the next one is.
    this.#askedAt = this.#askedAt === undefined ? performance.now() : Number.NaN;
    return this.#seal(encodeOcc('request'));
  }

  #answered(): void {
    const rttMs = performance.now() - (this.#askedAt ?? Number.NaN);
    this.#askedAt = undefined;
    if (rttMs >= 0) this.#hooks.reply(rttMs);
  }

  /** Whether the packet is a sign of life. */
  readonly #receive = (bytes: Uint8Array): boolean => {
    const life =
      this.#session === undefined
        ? this.#receiveStatic(bytes)
        : this.#session.handlePacket(bytes, performance.now());
    if (life) this.#heardAt = performance.now();
    this.#driver?.settle();
    return life && !this.#closed;
  };

  #receiveStatic(bytes: Uint8Array): boolean {
    const payload = this.#setup.channel?.open(bytes);
    if (payload === undefined) return false;
    const kind = decodePayload(payload);
    if (kind === 'reply') this.#answered();
    if (kind !== 'exit') return true;
    this.#over({ ...GOODBYE, evidence: {} });
    return false;
  }

  #changed({ to, reason, evidence }: StateEvent): void {
    if (to === 'up') this.#hooks.heard();
    else if (to === 'suspect') this.#hooks.doubt(reason, evidence);
    else if (to === 'down') this.#over({ reason, evidence, again: 'soon' });
  }

  #doubt(error: Error): void {
    if (this.#closed) return;
    const errno = errnoOf(error);
    // Once the clocks run, they are told of it themselves.
    if (this.#held === undefined) this.#hooks.doubt(reasonOf(errno), { errno });
  }

  #ended(error: Error | undefined): void {
    if (this.#closed) return;
    if (error?.name === 'DecodeError') {
      const text = `this is no OpenVPN server: ${error.message}`;
      this.#over({ reason: 'protocol-error', evidence: {}, text, again: 'when-mended' });
      return;
    }
    const errno = error === undefined ? undefined : errnoOf(error);
    const reason = errno === undefined ? 'closed' : reasonOf(errno);
    this.#over({ reason, evidence: errno === undefined ? {} : { errno }, again: 'soon' });
  }

  #over(ending: Parameters<ConnectionHooks['over']>[0]): void {
    if (this.#closed) return;
    this.#drop();
    this.#hooks.over(ending);
  }
}
