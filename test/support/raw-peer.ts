/**
 * A peer with valid keys that seals whatever it likes: any content type, any content, any number of
 * times. After its handshake it reads nothing.
 * @module
 */
import { RecordProtection } from '../../src/link/tls/record-protection.ts';
import { GnutlsSession, type SessionOptions } from '../../src/sys/gnutls-session.ts';

export class RawPeer {
  readonly session: GnutlsSession;
  protection: RecordProtection | undefined;
  failure: unknown;
  readonly #to: (bytes: Uint8Array) => void;

  constructor(options: SessionOptions, to: (bytes: Uint8Array) => void) {
    this.session = new GnutlsSession(options);
    this.#to = to;
  }

  start(): void {
    this.#handshake();
  }

  receive(bytes: Uint8Array): void {
    if (this.protection !== undefined || this.failure !== undefined) return;
    this.session.give(bytes);
    this.#handshake();
  }

  /** Sends a record, sealed. */
  send(type: number, content: Uint8Array): void {
    const record = this.protection?.seal(type, content);
    if (record !== undefined) this.#to(record);
  }

  #handshake(): void {
    try {
      for (;;) {
        const done = this.session.handshake();
        this.#flush();
        if (done) break;
        if (this.session.starved) return;
      }
    } catch (error) {
      this.#flush();
      this.failure = error;
      return;
    }
    const { version, cipher } = this.session;
    if (version !== undefined && cipher !== undefined) {
      this.protection = new RecordProtection(version, cipher, this.session);
    }
  }

  #flush(): void {
    for (const bytes of this.session.take()) this.#to(bytes);
  }
}
