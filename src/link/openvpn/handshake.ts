/**
 * `openvpn://host?probe=handshake`: the cheap check of a server whose credentials one does not have. The
 * first packet of a session, a reset, is the probe; the server's reset is the answer, and must
 * acknowledge our random session id. No session follows. A server with tls-auth or tls-crypt answers
 * nobody without its key, which a config file may bring.
 * @module
 */
import { randomBytes } from 'node:crypto';
import type { Timing } from '../../keepalive/timing.ts';
import { placeOf, UsageError } from '../../time/usage-error.ts';
import { DecodeError } from '../../wire/decode-error.ts';
import {
  CLIENT_RESET,
  CLIENT_RESET_WITH_KEY,
  decodeControlBody,
  decodeKind,
  decodeSessionId,
  encodeControlBody,
  encodeControlHead,
  joined,
  SERVER_RESET,
  SESSION_ID_LENGTH,
} from '../../wire/openvpn-packet.ts';
import { errnoOf, reasonOf } from '../errno.ts';
import { Link, type LinkFacts } from '../link.ts';
import { hostPort, type LinkUrl } from '../link-url.ts';
import type { OpenvpnConfig } from './config.ts';
import { createTransport, type OpenvpnTransport, type TransportPlace } from './transport.ts';
import { type ControlWrap, createWrap, type WrapKey } from './wrap.ts';

const HANDSHAKE_FACTS: LinkFacts = {
  kind: 'openvpn',
  class: 'answered',
  proves: 'the path, and that an OpenVPN server answers a reset; not that a session can be had',
};
const NOTHING = new Uint8Array();

interface Asked {
  readonly sequence: number;
  readonly id: Uint8Array;
  readonly wrap: ControlWrap;
}

export class OpenvpnHandshakeLink extends Link {
  readonly #place: TransportPlace;
  readonly #key: WrapKey;
  readonly #probes: number;
  /** The last probes; an older one's answer does not count. */
  #asked: Asked[] = [];
  #transport: OpenvpnTransport | undefined;
  #packet: Uint8Array | undefined;
  #ready = false;
  #answered = false;

  constructor(
    name: string,
    url: LinkUrl,
    timing: Timing,
    config: OpenvpnConfig | undefined,
    place: TransportPlace,
    where: string,
  ) {
    const { timeMs, intervalMs, probes, beatMs } = timing;
    if (beatMs !== undefined) {
      const text = 'probe=handshake asks, it has no beat; a shorter `time` asks more often';
      throw new UsageError('bad-timing', `${placeOf(where, 'beat')}: ${text}`);
    }
    const machine = { timeMs, intervalMs, probes, random: Math.random };
    super({ name, url: url.redacted, timing }, HANDSHAKE_FACTS, machine);
    if (config?.security.type === 'static') {
      const text = 'peers with a static key have no handshake; leave out probe=handshake';
      throw new UsageError('bad-url', `${placeOf(where, 'url')}: ${text}`);
    }
    this.#key = config?.security.wrap ?? { type: 'none' };
    this.#place = place;
    this.#probes = probes;
    this.remote = hostPort(place.host, place.port);
  }

  protected open(): void {
    this.feed((machine, now) => machine.handleProbeRequest(now));
  }

  protected shut(): void {
    this.#transport?.close();
    this.#transport = undefined;
    this.#ready = false;
  }

  protected sendProbe(sequence: number): void {
    this.#tellSilence();
    const id = randomBytes(SESSION_ID_LENGTH);
    const wrap = createWrap(this.#key, Math.floor(Date.now() / 1_000));
    this.#asked = [...this.#asked, { sequence, id, wrap }].slice(-this.#probes);
    this.#packet = this.#reset(id, wrap);
    // A server keeps what came on a connection together, so there each probe has its own; and one that
    // does not answer is looked up anew now and then.
    const fresh = this.#place.transport === 'tcp' || sequence % this.#probes === 0;
    if (fresh && (this.#place.transport === 'tcp' || this.observed === 'down')) this.shut();
    if (this.#transport === undefined) this.#connect();
    else if (this.#ready) this.#send();
  }

  /** A server that has never answered may well live, and want its key. */
  #tellSilence(): void {
    const silent = this.observed === 'down' && this.status().reason === 'no-answer';
    if (!silent || this.#answered || this.#key.type !== 'none') return;
    const text = 'no answer; a server with tls-auth or tls-crypt answers nobody without its key';
    this.reportTrouble(`${text}: give it one with config=FILE`);
  }

  #reset(id: Uint8Array, wrap: ControlWrap): Uint8Array {
    const wrapped = this.#key.type === 'tls-crypt' ? this.#key.wrapped : undefined;
    const opcode = wrapped === undefined ? CLIENT_RESET : CLIENT_RESET_WITH_KEY;
    const body = encodeControlBody({ acks: [], packetId: 0, payload: NOTHING });
    const packet = wrap.seal(encodeControlHead({ opcode, keyId: 0 }, id), body);
    return wrapped === undefined ? packet : joined(packet, wrapped);
  }

  #connect(): void {
    const transport = createTransport(this.#place);
    this.#transport = transport;
    transport.once('open', () => {
      this.#ready = true;
      this.local = transport.local;
      this.remote = transport.remote;
      this.#send();
    });
    transport.on('message', (bytes) => this.#receive(bytes));
    transport.on('error', (error) => this.#doubt(error));
    transport.once('end', (error) => this.#ended(transport, error));
    transport.open();
  }

  #send(): void {
    if (this.#packet === undefined) return;
    this.#transport?.send(this.#packet, (error) => error && this.#doubt(error));
    this.#packet = undefined;
  }

  #receive(bytes: Uint8Array): void {
    const answered = this.#asked.find((asked) => isAnswer(bytes, asked));
    if (answered === undefined) return;
    this.#answered = true;
    // Nothing more is to be had of this connection.
    if (this.#place.transport === 'tcp') this.shut();
    this.feed((machine, now) => machine.handleAnswer(answered.sequence, now));
  }

  #doubt(error: Error): void {
    const errno = errnoOf(error);
    this.feed((machine) => machine.handleDoubt(reasonOf(errno), { errno }));
  }

  #ended(transport: OpenvpnTransport, error: Error | undefined): void {
    if (this.#transport !== transport) return;
    this.shut();
    const errno = error === undefined ? undefined : errnoOf(error);
    const reason = errno === undefined ? 'closed' : reasonOf(errno);
    const evidence = errno === undefined ? {} : { errno };
    this.feed((machine, now) => machine.handleFailure(reason, evidence, now));
  }
}

/** Whether it is a server's reset that acknowledges this very probe. */
function isAnswer(bytes: Uint8Array, { id, wrap }: Asked): boolean {
  try {
    const { opcode, keyId } = decodeKind(bytes);
    if (opcode !== SERVER_RESET || keyId !== 0) return false;
    decodeSessionId(bytes);
    const opened = wrap.open(bytes);
    if (opened === undefined) return false;
    const { acks, ackedSession } = decodeControlBody(opened, opcode);
    return acks.includes(0) && ackedSession !== undefined && Buffer.compare(ackedSession, id) === 0;
  } catch (error) {
    if (error instanceof DecodeError) return false;
    throw error;
  }
}
