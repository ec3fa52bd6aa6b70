/**
 * OpenVPN's reliable layer, without I/O: control packets are numbered from 0 for each key, acknowledged,
 * repeated until they are, and handed on in order, each once. It knows no TLS and no wrapping.
 *
 * Whoever owns it gives up on a peer that acknowledges nothing; here a packet is repeated for ever.
 * @module
 */
import { earliest, type Instant } from '../../time/instant.ts';
import { type ControlBody, MOST_ACKS } from '../../wire/openvpn-packet.ts';

/** What is to be done. */
export type ReliableOutput =
  | {
      readonly type: 'send';
      /** Undefined: only acknowledges. */
      readonly opcode: number | undefined;
      readonly acks: readonly number[];
      readonly packetId?: number;
      readonly payload: Uint8Array;
    }
  | { readonly type: 'deliver'; readonly opcode: number; readonly payload: Uint8Array };

interface Sending {
  readonly id: number;
  readonly opcode: number;
  readonly payload: Uint8Array;
  /** When it is to be sent again. */
  due: Instant;
  waitMs: number;
}

interface Received {
  readonly opcode: number;
  readonly payload: Uint8Array;
}

/** Packets on their way at once; every OpenVPN has room for so many. */
const SEND_WINDOW = 4;
/** How far ahead of what is missing a packet may be; what is further is dropped before it is kept. */
const RECEIVE_WINDOW = 8;
const MOST_ACKS_WITH_DATA = 4;
const FIRST_WAIT_MS = 1_000;
/** A peer that comes back is found again in so long. */
const LONGEST_WAIT_MS = 4_000;
const NOTHING = new Uint8Array();

export class OpenvpnReliable {
  readonly #outputs: ReliableOutput[] = [];
  readonly #waiting: Received[] = [];
  #sending: Sending[] = [];
  readonly #early = new Map<number, Received>();
  #acks: number[] = [];
  /** The last ones that were acknowledged, the newest first. */
  #acked: number[] = [];
  #nextId = 0;
  #expected = 0;

  /** Whether everything that was sent is acknowledged. */
  get settled(): boolean {
    return this.#sending.length === 0 && this.#waiting.length === 0;
  }

  /** How many packets are kept because one before them is missing. */
  get held(): number {
    return this.#early.size;
  }

  /** Input: something to send. */
  handleSend(opcode: number, payload: Uint8Array, now: Instant): void {
    this.#waiting.push({ opcode, payload });
    this.#fill(now);
  }

  /** Input: an authentic packet of the peer. */
  handlePacket(opcode: number, body: ControlBody, now: Instant): void {
    const { acks, packetId, payload } = body;
    this.#sending = this.#sending.filter(({ id }) => !acks.includes(id));
    if (packetId !== undefined) this.#receive(packetId, { opcode, payload });
    this.#fill(now);
    while (this.#acks.length > 0) {
      const some = this.#takeAcks(MOST_ACKS);
      this.#outputs.push({ type: 'send', opcode: undefined, acks: some, payload: NOTHING });
    }
  }

  /** Input: the clock reached `now`. */
  handleTimeout(now: Instant): void {
    for (const sending of this.#sending) {
      if (now < sending.due) continue;
      sending.waitMs = Math.min(2 * sending.waitMs, LONGEST_WAIT_MS);
      this.#send(sending, now);
    }
  }

  /** Output: the next effect to perform, or `undefined` when drained. */
  pollOutput(): ReliableOutput | undefined {
    return this.#outputs.shift();
  }

  /** Output: when to call `handleTimeout` next, or `undefined` for never. */
  pollTimeout(): Instant | undefined {
    return this.#sending.reduce<Instant | undefined>(
      (first, { due }) => earliest(first, due),
      undefined,
    );
  }

  #receive(id: number, packet: Received): void {
    if (id >= this.#expected + RECEIVE_WINDOW) return;
    // One that came before is acknowledged again: the first acknowledgement was lost.
    if (!this.#acks.includes(id)) this.#acks.push(id);
    if (id < this.#expected || this.#early.has(id)) return;
    this.#early.set(id, { opcode: packet.opcode, payload: packet.payload.slice() });
    for (let next = this.#early.get(this.#expected); next !== undefined; ) {
      this.#early.delete(this.#expected);
      this.#expected += 1;
      this.#outputs.push({ type: 'deliver', ...next });
      next = this.#early.get(this.#expected);
    }
  }

  #fill(now: Instant): void {
    // The window is one of ids: what is ahead of the oldest one by more, a peer would drop.
    while (this.#nextId < (this.#sending[0]?.id ?? this.#nextId) + SEND_WINDOW) {
      const packet = this.#waiting.shift();
      if (packet === undefined) return;
      const sending = { id: this.#nextId, ...packet, due: now, waitMs: FIRST_WAIT_MS };
      this.#nextId += 1;
      this.#sending.push(sending);
      this.#send(sending, now);
    }
  }

  #send(sending: Sending, now: Instant): void {
    const { id, opcode, payload, waitMs } = sending;
    sending.due = now + waitMs;
    const acks = this.#takeAcks(MOST_ACKS_WITH_DATA);
    this.#outputs.push({ type: 'send', opcode, acks, packetId: id, payload });
  }

  /**
   * What is to be acknowledged, and after it what was before: the packet that said so may be lost, and
   * a server that keeps nothing yet knows us only by what we acknowledge.
   */
  #takeAcks(most: number): number[] {
    const due = this.#acks.splice(0, most);
    this.#acked = [...due, ...this.#acked.filter((id) => !due.includes(id))].slice(0, MOST_ACKS);
    return this.#acked.slice(0, most);
  }
}
