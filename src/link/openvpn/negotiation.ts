/**
 * How one key of an OpenVPN session comes to be: resets, then TLS over the reliable layer, and inside it
 * key method 2 and the messages of text. TLS is Node's; it sees a stream, the peer sees packets. Each
 * renewal of the key is a negotiation of its own. It knows no wrapping and no sockets.
 * @module
 */
import { randomBytes } from 'node:crypto';
import { Duplex } from 'node:stream';
import tls from 'node:tls';
import type { Instant } from '../../time/instant.ts';
import {
  decodeKeyMethodReply,
  encodeKeyMethod,
  encodeMessage,
  type KeyMethodReply,
  LONGEST_MESSAGE,
  MessageReader,
  PRE_MASTER_LENGTH,
  RANDOM_LENGTH,
} from '../../wire/openvpn-message.ts';
import { CONTROL, type ControlBody, joined } from '../../wire/openvpn-packet.ts';
import type { OpenvpnTls, OpenvpnTrust } from './config.ts';
import { OpenvpnReliable } from './reliable.ts';

/** What we tell in key method 2. */
export interface OurFacts {
  readonly options: string;
  readonly username: string;
  readonly password: string;
  readonly peerInfo: string;
}

/** What becomes of it. All may be called long after the input that led to it. */
export interface NegotiationHooks {
  /** The peer's reset came; TLS begins after it. */
  reset(payload: Uint8Array): void;
  /** Both have contributed to the keys. */
  agreed(reply: KeyMethodReply): void;
  message(text: string): void;
  /** TLS failed, or the peer said what cannot be read. */
  failed(error: Error): void;
  /** There may be packets to send. */
  changed(): void;
}

/** With the wrapping and the heads of UDP and IP, a packet of this much fits everywhere. */
const LONGEST_PAYLOAD = 1_100;
const LEAST_PAYLOAD = 200;
const SERVER_USAGE = '1.3.6.1.5.5.7.3.1';

export class OpenvpnNegotiation {
  readonly keyId: number;
  readonly reliable: OpenvpnReliable = new OpenvpnReliable();
  readonly preMaster: Uint8Array = randomBytes(PRE_MASTER_LENGTH);
  readonly random1: Uint8Array = randomBytes(RANDOM_LENGTH);
  readonly random2: Uint8Array = randomBytes(RANDOM_LENGTH);
  readonly #security: OpenvpnTls;
  readonly #ours: OurFacts;
  readonly #hooks: NegotiationHooks;
  readonly #messages = new MessageReader();
  readonly #stream: Duplex;
  #tls: tls.TLSSocket | undefined;
  /** How much less the first packet may carry, for what is put behind it. */
  #reserved = 0;
  #reply: Uint8Array | undefined = new Uint8Array();
  #closed = false;

  constructor(keyId: number, security: OpenvpnTls, ours: OurFacts, hooks: NegotiationHooks) {
    this.keyId = keyId;
    this.#security = security;
    this.#ours = ours;
    this.#hooks = hooks;
    this.#stream = new Duplex({
      read: () => undefined,
      write: (bytes: Uint8Array, _encoding, done) => {
        this.#send(bytes);
        done();
      },
    });
    this.#stream.on('error', () => undefined);
  }

  /** Whether both have contributed to the keys. */
  get done(): boolean {
    return this.#reply === undefined;
  }

  /** Input: an authentic control packet of this key. */
  handlePacket(opcode: number, body: ControlBody, now: Instant): void {
    this.reliable.handlePacket(opcode, body, now);
  }

  /** What the reliable layer handed on, in order. */
  deliver(opcode: number, payload: Uint8Array): void {
    if (this.#closed) return;
    if (opcode !== CONTROL) this.#hooks.reset(payload);
    else if (this.#tls !== undefined && payload.length > 0) this.#stream.push(payload);
  }

  /** Begins TLS; `reserved` bytes are left free in its first packet. */
  secure(reserved: number): void {
    if (this.#tls !== undefined) return;
    this.#reserved = reserved;
    const { context, trust } = this.#security;
    const socket = tls.connect({
      ...context,
      socket: this.#stream,
      checkServerIdentity: (_host, certificate) => distrust(certificate, trust),
    });
    this.#tls = socket;
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the peer ended TLS')));
    socket.on('data', (bytes: Uint8Array) => this.#take(bytes));
    socket.once('secureConnect', () => {
      const { preMaster, random1, random2 } = this;
      socket.write(encodeKeyMethod({ preMaster, random1, random2, ...this.#ours }));
    });
  }

  /** Says something inside TLS. */
  say(text: string): void {
    this.#tls?.write(encodeMessage(text));
  }

  /** TLS's exporter, or `undefined` where this TLS has none. */
  exportKey(length: number, label: string): Uint8Array | undefined {
    // No context is not an empty one (RFC 5705 section 4), which Node's types would have.
    const none = undefined as unknown as Buffer;
    try {
      return this.#tls?.exportKeyingMaterial(length, label, none);
    } catch {
      return undefined;
    }
  }

  /** Ends it without a word. */
  close(): void {
    this.#closed = true;
    this.#tls?.destroy();
    this.#stream.destroy();
  }

  #send(bytes: Uint8Array): void {
    if (this.#closed) return;
    const now = performance.now();
    for (let at = 0; at < bytes.length; ) {
      const room = Math.max(LONGEST_PAYLOAD - this.#reserved, LEAST_PAYLOAD);
      this.#reserved = 0;
      this.reliable.handleSend(CONTROL, bytes.slice(at, at + room), now);
      at += room;
    }
    this.#hooks.changed();
  }

  #take(bytes: Uint8Array): void {
    if (this.#closed) return;
    try {
      this.#read(bytes);
    } catch (error) {
      if ((error as Error).name !== 'DecodeError') throw error;
      this.#fail(error as Error);
    }
    this.#hooks.changed();
  }

  #read(bytes: Uint8Array): void {
    let rest = bytes;
    if (this.#reply !== undefined) {
      const all = joined(this.#reply, bytes);
      const reply = decodeKeyMethodReply(all);
      if (reply === undefined) {
        if (all.length > 2 * LONGEST_MESSAGE) this.#fail(new Error('key method 2 has no end'));
        this.#reply = all;
        return;
      }
      this.#reply = undefined;
      rest = all.subarray(reply.length);
      this.#hooks.agreed(reply);
    }
    for (const text of this.#messages.read(rest)) if (!this.#closed) this.#hooks.message(text);
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.close();
    this.#hooks.failed(error);
  }
}

/** What is wrong with a certificate that the CA has signed, or `undefined`. */
export function distrust(
  certificate: tls.PeerCertificate,
  { serverOnly, name }: OpenvpnTrust,
): Error | undefined {
  const refuse = (text: string) => Object.assign(new Error(text), { code: 'CERT_NOT_WANTED' });
  if (serverOnly && certificate.ext_key_usage?.includes(SERVER_USAGE) !== true) {
    return refuse('its certificate is not for a server, as remote-cert-tls demands');
  }
  if (name === undefined) return undefined;
  const subject = certificate.subject as unknown as Readonly<Record<string, string | string[]>>;
  const common = [subject['CN'] ?? ''].flat()[0] ?? '';
  const whole = Object.entries(subject)
    .flatMap(([key, values]) => [values].flat().map((value) => `${key}=${value}`))
    .join(', ');
  const right =
    name.type === 'subject'
      ? whole === name.value
      : name.type === 'name'
        ? common === name.value
        : common.startsWith(name.value);
  if (right) return undefined;
  const shown = name.type === 'subject' ? whole : common;
  return refuse(`its certificate is of "${shown.slice(0, 100)}", not ${name.type} "${name.value}"`);
}
