/**
 * The client's end of one OpenVPN session with TLS: resets, the negotiation of keys and their renewal
 * from either side, the server's push, and the data channel, as far as it carries pings and goodbyes.
 * Packets come by `handlePacket` and leave by `pollOutput`; timers are polled. Only TLS, which is Node's,
 * comes back by itself, and then calls `wake`.
 *
 * While a key is renewed, both are good to receive with; the newest one seals.
 * @module
 */
import { earliest, type Instant } from '../../time/instant.ts';
import { DecodeError } from '../../wire/decode-error.ts';
import { decodePush, type KeyMethodReply, pushContinues } from '../../wire/openvpn-message.ts';
import { decodeKind, isData, type OpenvpnKind, SOFT_RESET } from '../../wire/openvpn-packet.ts';
import { decodePayload, encodeOcc } from '../../wire/openvpn-payload.ts';
import {
  type Agreement,
  agreeWithPeer,
  agreeWithServer,
  OUR_ABILITIES,
  tell,
} from './agreement.ts';
import type { OpenvpnTls } from './config.ts';
import { OpenvpnControl } from './control.ts';
import { AeadChannel } from './data-channel.ts';
import { type Ending, failureOf, GOODBYE, meaningOf } from './endings.ts';
import { deriveKeys, KEYS_LABEL, PEER_ID_LABEL } from './keys.ts';
import { type NegotiationHooks, OpenvpnNegotiation } from './negotiation.ts';

/** What follows from inputs. */
export type SessionOutput =
  | { readonly type: 'packet'; readonly bytes: Uint8Array }
  /** The data channel can be used. */
  | { readonly type: 'ready'; readonly agreement: Agreement }
  /** The peer answered a question of the data channel. */
  | { readonly type: 'answered' }
  | { readonly type: 'note'; readonly text: string }
  /** The handshake takes longer than a verdict may. */
  | { readonly type: 'late'; readonly silentMs: number; readonly text: string }
  | ({ readonly type: 'over' } & Ending);

/** What a session is for. */
export interface SessionSetup {
  readonly security: OpenvpnTls;
  readonly transport: 'udp' | 'tcp';
  readonly device: string;
  /** When a peer that does not get through the handshake is told dead. */
  readonly verdictMs: number;
  /** What we tell that we can, as bits of IV_PROTO. Default: everything. */
  readonly abilities?: number;
  /** Seconds since 1970, which mark the session in packets below TLS. */
  readonly wallSeconds: number;
}

const ASK_AGAIN_MS = 5_000;
/** How long an old key is still good to receive with (OpenVPN's tran-window). */
const TRANSITION_MS = 3_600_000;
const KEY_LENGTH = 256;
const MOST_PUSHES = 16;
const EMPTY = new Uint8Array();

export class OpenvpnSession {
  readonly #setup: SessionSetup;
  readonly #abilities: number;
  readonly #wake: () => void;
  readonly #control: OpenvpnControl;
  readonly #beganAt: Instant;
  readonly #outputs: SessionOutput[] = [];
  readonly #channels = new Map<number, { channel: AeadChannel; goodUntil: Instant }>();
  /** The newest is the last; one that is not done is a renewal on its way. */
  readonly #negotiations: OpenvpnNegotiation[] = [];
  #agreement: Agreement | undefined;
  #sealing: AeadChannel | undefined;
  #pushes: string[] = [];
  /** What is done once the server has pushed. */
  #finish: ((agreement: Agreement | string) => void) | undefined;
  #token: string | undefined;
  #over = false;
  #verdictAt: Instant | undefined;
  #giveUpAt: Instant | undefined;
  #pullAt: Instant | undefined;
  #renewAt: Instant | undefined;

  constructor(setup: SessionSetup, now: Instant, wake: () => void) {
    this.#setup = setup;
    this.#abilities = setup.abilities ?? OUR_ABILITIES;
    this.#wake = wake;
    this.#beganAt = now;
    this.#verdictAt = now + setup.verdictMs;
    this.#control = new OpenvpnControl(setup.security.wrap, setup.wallSeconds);
    this.#negotiate(0, this.#control.reset, now);
  }

  /** Whether everything we have said is acknowledged. */
  get settled(): boolean {
    return this.#negotiations.at(-1)?.reliable.settled !== false;
  }

  /** Input: a packet. Whether it is the peer's, authentic and new, and of the data channel. */
  handlePacket(bytes: Uint8Array, now: Instant): boolean {
    if (this.#over) return false;
    try {
      const kind = decodeKind(bytes);
      if (isData(kind)) return this.#hear(bytes, kind.keyId, now);
      this.#take(bytes, kind, now);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
    }
    this.#drain();
    return false;
  }

  /** Input: the clock reached `now`. */
  handleTimeout(now: Instant): void {
    if (this.#over) return;
    const { verdictMs, security } = this.#setup;
    if (this.#verdictAt !== undefined && now >= this.#verdictAt) {
      // An observer that is late was asleep itself, and blames nobody.
      const asleep = now - this.#verdictAt > verdictMs / 4;
      this.#verdictAt = asleep ? now + verdictMs : undefined;
      if (!asleep) this.#tellLate(now);
    }
    if (this.#giveUpAt !== undefined && now >= this.#giveUpAt) {
      const asleep = now - this.#giveUpAt > security.handMs / 4;
      if (asleep) this.#giveUpAt = now + security.handMs;
      else this.#giveUp(now);
    }
    if (this.#pullAt !== undefined && now >= this.#pullAt) {
      this.#pullAt = now + ASK_AGAIN_MS;
      this.#negotiations.at(-1)?.say('PUSH_REQUEST');
    }
    if (this.#renewAt !== undefined && now >= this.#renewAt) this.#renew(now);
    for (const { reliable } of this.#negotiations) reliable.handleTimeout(now);
    this.#drain();
  }

  /** Output: the next effect to perform, or `undefined` when drained. */
  pollOutput(): SessionOutput | undefined {
    return this.#outputs.shift();
  }

  /** Output: when to call `handleTimeout` next, or `undefined` for never. */
  pollTimeout(): Instant | undefined {
    if (this.#over) return undefined;
    const due = [this.#verdictAt, this.#giveUpAt, this.#pullAt, this.#renewAt];
    for (const { reliable } of this.#negotiations) due.push(reliable.pollTimeout());
    return due.reduce(earliest, undefined);
  }

  /** A packet of the data channel, or `undefined` before there is one. */
  seal(payload: Uint8Array): Uint8Array | undefined {
    return this.#sealing?.seal(payload);
  }

  /** Says goodbye, in the way that was agreed on. A session without a data channel has nothing to say. */
  leave(): void {
    if (this.#over || this.#agreement === undefined) return;
    if (this.#agreement.controlExit) {
      this.#negotiations.findLast(({ done }) => done)?.say('EXIT');
      return;
    }
    const bytes = this.seal(encodeOcc('exit'));
    if (bytes !== undefined) this.#outputs.push({ type: 'packet', bytes });
  }

  /** Ends it without a word. */
  close(): void {
    this.#over = true;
    for (const negotiation of this.#negotiations.splice(0)) negotiation.close();
  }

  #hear(bytes: Uint8Array, keyId: number, now: Instant): boolean {
    const key = this.#channels.get(keyId);
    if (key === undefined || now > key.goodUntil) return false;
    const payload = key.channel.open(bytes);
    if (payload === undefined) return false;
    const kind = decodePayload(payload);
    if (kind === 'exit') this.#end(GOODBYE);
    if (kind === 'reply') this.#outputs.push({ type: 'answered' });
    return true;
  }

  /** Throws `DecodeError`. */
  #take(bytes: Uint8Array, kind: OpenvpnKind, now: Instant): void {
    const { opcode, keyId } = kind;
    const body = this.#control.open(bytes, kind);
    if (body === undefined) return;
    const newest = this.#negotiations.at(-1);
    const renews = opcode === SOFT_RESET && body.packetId === 0 && this.#agreement !== undefined;
    if (renews && newest?.done === true && keyId === nextKeyId(newest.keyId)) {
      this.#negotiate(keyId, SOFT_RESET, now);
    }
    const negotiation = this.#negotiations.findLast((one) => one.keyId === keyId);
    negotiation?.handlePacket(opcode, body, now);
  }

  #negotiate(keyId: number, opcode: number, now: Instant): OpenvpnNegotiation {
    const { security, transport, device } = this.#setup;
    const ours = tell(security, transport, device, this.#abilities, this.#token);
    const hooks: NegotiationHooks = {
      reset: (payload) => {
        negotiation.secure(keyId === 0 ? this.#control.handleReset(payload) : 0);
      },
      agreed: (reply) => this.#agreed(negotiation, reply, performance.now()),
      message: (text) => this.#told(text),
      failed: (error) => this.#failed(negotiation, error),
      changed: () => {
        this.#drain();
        this.#wake();
      },
    };
    const negotiation = new OpenvpnNegotiation(keyId, security, ours, hooks);
    this.#negotiations.push(negotiation);
    this.#giveUpAt = now + security.handMs;
    negotiation.reliable.handleSend(opcode, EMPTY, now);
    this.#drain();
    return negotiation;
  }

  #agreed(negotiation: OpenvpnNegotiation, reply: KeyMethodReply, now: Instant): void {
    const first = this.#agreement === undefined;
    if (!first) this.#turn(negotiation, reply, now);
    else if (this.#setup.security.pull) {
      this.#pullAt = now + ASK_AGAIN_MS;
      this.#finish = (agreement) => this.#begin(agreement, negotiation, reply);
    } else {
      const agreement = agreeWithPeer(this.#setup.security, reply, this.#abilities, () => {
        const bytes = negotiation.exportKey(3, PEER_ID_LABEL);
        return bytes?.reduce((number, byte) => number * 256 + byte, 0);
      });
      this.#begin(agreement, negotiation, reply);
    }
  }

  #begin(
    agreement: Agreement | string,
    negotiation: OpenvpnNegotiation,
    reply: KeyMethodReply,
  ): void {
    if (typeof agreement === 'string') {
      this.#end({ reason: 'protocol-error', text: agreement, again: 'when-mended' });
      return;
    }
    this.#agreement = agreement;
    this.#verdictAt = undefined;
    this.#pullAt = undefined;
    this.#finish = undefined;
    this.#turn(negotiation, reply, performance.now());
    if (!this.#over) this.#outputs.push({ type: 'ready', agreement });
  }

  /** From now on this key seals. */
  #turn(negotiation: OpenvpnNegotiation, reply: KeyMethodReply, now: Instant): void {
    const agreement = this.#agreement;
    const { id, peer: server } = this.#control;
    if (agreement === undefined || server === undefined) return;
    const { preMaster, random1, random2, keyId } = negotiation;
    const keys = agreement.exportKeys
      ? negotiation.exportKey(KEY_LENGTH, KEYS_LABEL)
      : deriveKeys({
          preMaster,
          client: { random1, random2 },
          server: reply,
          clientSession: id,
          serverSession: server,
        });
    if (keys === undefined) {
      const text = "the server wants keys of TLS's exporter, which has none";
      this.#end({ reason: 'protocol-error', text, again: 'when-mended' });
      return;
    }
    for (const key of this.#channels.values()) {
      key.goodUntil = Math.min(key.goodUntil, now + TRANSITION_MS);
    }
    this.#sealing = new AeadChannel(agreement.cipher, keys, keyId, agreement.peerId);
    this.#channels.set(keyId, { channel: this.#sealing, goodUntil: Number.POSITIVE_INFINITY });
    // Two are enough: the newest, and the one before, which the peer may still seal with.
    const old = this.#negotiations.splice(0, Math.max(0, this.#negotiations.length - 2));
    for (const one of old) {
      this.#channels.delete(one.keyId);
      one.close();
    }
    const { renegMs } = this.#setup.security;
    this.#giveUpAt = undefined;
    this.#renewAt = renegMs > 0 ? now + renegMs : undefined;
  }

  /** What was missing tells a person where to look. */
  #tellLate(now: Instant): void {
    const text =
      this.#control.peer === undefined
        ? 'no answer to our reset; a server with tls-auth or tls-crypt answers nobody without its key'
        : this.#finish === undefined
          ? 'the server answers, but no key is agreed on; look whether it trusts our certificate'
          : 'the server has agreed on a key, but pushes nothing; look at its log';
    this.#outputs.push({ type: 'late', silentMs: Math.round(now - this.#beganAt), text });
  }

  #renew(now: Instant): void {
    this.#renewAt = undefined;
    const newest = this.#negotiations.at(-1);
    if (newest?.done === true) this.#negotiate(nextKeyId(newest.keyId), SOFT_RESET, now);
  }

  /** The negotiation on its way has had its time. */
  #giveUp(now: Instant): void {
    this.#giveUpAt = undefined;
    if (this.#agreement === undefined) this.#end({ reason: 'no-answer', again: 'soon' });
    else this.#abandonRenewal(now, 'the peer took too long');
  }

  #abandonRenewal(now: Instant, why: string): void {
    const pending = this.#negotiations.at(-1);
    if (pending === undefined || pending.done) return;
    this.#negotiations.pop();
    pending.close();
    this.#giveUpAt = undefined;
    this.#renewAt = now + this.#setup.security.handMs;
    this.#outputs.push({ type: 'note', text: `the key could not be renewed: ${why}` });
  }

  #told(text: string): void {
    if (text.startsWith('PUSH_REPLY')) this.#pushed(text);
    const meaning = meaningOf(text);
    if (meaning !== undefined) this.#end(meaning);
  }

  #pushed(text: string): void {
    this.#pushes.push(text);
    if (pushContinues(text) && this.#pushes.length < MOST_PUSHES) return;
    const pushed = decodePush(this.#pushes);
    this.#pushes = [];
    this.#token = pushed.authToken ?? this.#token;
    this.#finish?.(agreeWithServer(this.#setup.security, pushed));
  }

  /** A key that is agreed on outlives its TLS, and a renewal that fails leaves the old key as it is. */
  #failed(negotiation: OpenvpnNegotiation, error: Error): void {
    if (this.#agreement !== undefined && negotiation.done) return;
    const { reason, text } = failureOf(error);
    const isOver = this.#agreement === undefined || reason === 'not-authentic';
    if (isOver) this.#end({ reason, text, again: 'when-mended' });
    else this.#abandonRenewal(performance.now(), text);
    this.#wake();
  }

  #end(ending: Ending): void {
    if (this.#over) return;
    this.close();
    this.#outputs.push({ type: 'over', ...ending });
  }

  #drain(): void {
    for (const negotiation of this.#negotiations) {
      for (;;) {
        const output = negotiation.reliable.pollOutput();
        if (output === undefined) break;
        if (output.type === 'deliver') negotiation.deliver(output.opcode, output.payload);
        else {
          const bytes = this.#control.seal(negotiation.keyId, output);
          this.#outputs.push({ type: 'packet', bytes });
        }
      }
    }
  }
}

/** 0 is only ever the first. */
function nextKeyId(keyId: number): number {
  return keyId === 7 ? 1 : keyId + 1;
}
