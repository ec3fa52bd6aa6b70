/**
 * What one SMB 2 connection has said so far: which MessageId comes next, how many requests the
 * server still allows (its credits, MS-SMB2 section 3.2.4.1.6), and which answers are awaited. Bytes
 * and instants in, bytes and events out; it owns no socket and no clock.
 * @module
 */
import type { Instant } from '../time/instant.ts';
import { DecodeError } from '../wire/decode-error.ts';
import { encodeNbssMessage, NbssReader } from '../wire/nbss.ts';
import {
  decodeEchoResponse,
  decodeError,
  decodeNegotiateResponse,
  decodeSmb2,
  encodeEcho,
  encodeNegotiate,
  SMB2_ECHO,
  SMB2_FLAG_RESPONSE,
  SMB2_NEGOTIATE,
  SMB2_UNSOLICITED,
  type Smb2Message,
  STATUS_PENDING,
  STATUS_SUCCESS,
} from '../wire/smb2.ts';

/** What a server's bytes mean. */
export type SmbEvent =
  /** NEGOTIATE was answered: ECHO may be asked, or, with an error, may not. */
  | { readonly type: 'negotiated'; readonly status: number; readonly rttMs: number }
  /** The final answer to an ECHO, whatever its status. */
  | { readonly type: 'answer'; readonly rttMs: number }
  /** Well-formed and from the server, but no answer. */
  | { readonly type: 'life' };

interface Pending {
  readonly command: number;
  readonly sentAt: Instant;
}

/** ECHOs whose answers are awaited; one more and the oldest is given up. */
const MOST_PENDING = 256;

export class SmbSession {
  readonly #reader = new NbssReader('direct');
  readonly #pending = new Map<bigint, Pending>();
  readonly #reserve: number;
  #nextId = 0n;
  /** The first MessageId that may not be used: each credit moves it by one. */
  #windowEnd = 1n;
  #creditCharge: 0 | 1 = 0;

  /** `reserve`: how many credits to have in hand, so that unanswered probes do not use them up. */
  constructor(reserve: number) {
    this.#reserve = reserve;
  }

  /** Whether an answer is awaited. */
  get waiting(): boolean {
    return this.#pending.size > 0;
  }

  /** Whether no packet has come in part only. */
  get betweenPackets(): boolean {
    return this.#reader.betweenPackets;
  }

  /** The first thing to send. */
  negotiate(clientGuid: Uint8Array, now: Instant): Uint8Array {
    const messageId = this.#take(SMB2_NEGOTIATE, now) ?? 0n;
    return encodeNbssMessage(encodeNegotiate({ messageId, credits: this.#reserve }, clientGuid));
  }

  /** An ECHO to send, or `undefined` where the server allows no more requests. */
  echo(now: Instant): Uint8Array | undefined {
    const messageId = this.#take(SMB2_ECHO, now);
    if (messageId === undefined) return undefined;
    const left = Number(this.#windowEnd - this.#nextId);
    const credits = left >= this.#reserve ? 1 : this.#reserve - left;
    const creditCharge = this.#creditCharge;
    return encodeNbssMessage(encodeEcho({ messageId, credits, creditCharge }));
  }

  /** What arrived. Throws `DecodeError`, after which the connection is of no use. */
  *receive(bytes: Uint8Array, now: Instant): Generator<SmbEvent, void, undefined> {
    for (const packet of this.#reader.read(bytes)) {
      if (packet.type === 'keepalive') yield { type: 'life' };
      else if (packet.type !== 'message') throw new DecodeError('smb2', 'no-message', 0);
      else {
        for (const message of decodeSmb2(packet.body)) {
          const event = this.#eventOf(message, now);
          if (event !== undefined) yield event;
        }
      }
    }
  }

  #take(command: number, sentAt: Instant): bigint | undefined {
    const messageId = this.#nextId;
    if (messageId >= this.#windowEnd) return undefined;
    this.#nextId += 1n;
    this.#pending.set(messageId, { command, sentAt });
    const [oldest] = this.#pending.keys();
    if (this.#pending.size > MOST_PENDING && oldest !== undefined) this.#pending.delete(oldest);
    return messageId;
  }

  #eventOf(message: Smb2Message, now: Instant): SmbEvent | undefined {
    const { messageId, status, flags, command } = message;
    if ((flags & SMB2_FLAG_RESPONSE) === 0) throw new DecodeError('smb2', 'no-response', flags);
    if (messageId === SMB2_UNSOLICITED) return { type: 'life' };
    const pending = this.#pending.get(messageId);
    // An answer that nobody asked for is to be discarded (section 3.2.5.1.2).
    if (pending === undefined) return undefined;
    if (command !== pending.command) throw new DecodeError('smb2', 'bad-command', command);
    this.#windowEnd += BigInt(message.credits);
    if (status === STATUS_PENDING) {
      decodeError(message);
      return { type: 'life' };
    }
    this.#pending.delete(messageId);
    const rttMs = now - pending.sentAt;
    if (command !== SMB2_NEGOTIATE) {
      decodeEchoResponse(message);
      return { type: 'answer', rttMs };
    }
    if (status !== STATUS_SUCCESS) decodeError(message);
    else this.#creditCharge = decodeNegotiateResponse(message).multiCredit ? 1 : 0;
    return { type: 'negotiated', status, rttMs };
  }
}
