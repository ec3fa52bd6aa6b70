/**
 * What a channel is to those who deliver by it, and how a failed delivery says whether it is the
 * message or the channel that is at fault.
 * @module
 */
import type { Message } from './message.ts';

/** Something that carries messages to people or programs. */
export interface Channel {
  /**
   * Delivers, and resolves with what the receiver answered, in one line. Rejects with a
   * `DeliveryError`. Ends soon after `signal` is aborted, and then holds nothing any more.
   */
  send(message: Message, signal: AbortSignal): Promise<string>;
  /** How long a delivery may take, in milliseconds. */
  readonly limitMs: number;
}

/** A delivery failed. The text holds no secrets. */
export class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
  /** The receiver will never take this message: it would be in the way of those behind it. */
  readonly final: boolean;
  /** The receiver asked for so much patience. */
  readonly waitMs: number | undefined;

  constructor(text: string, final = false, waitMs?: number) {
    super(text);
    this.final = final;
    this.waitMs = waitMs;
  }
}

/** How long a delivery may take unless the configuration says otherwise. */
export const DELIVERY_LIMIT_MS = 10_000;

/** What a receiver said, fit for a log: one short line, and nothing in it that is secret. */
export function quote(text: string, secrets: readonly string[]): string {
  let quoted = text;
  for (const secret of secrets) if (secret !== '') quoted = quoted.replaceAll(secret, '***');
  const line = quoted.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, ' ').trim();
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}
