/**
 * The error for a TLS or DTLS connection that cannot be or cannot go on.
 * @module
 */

/**
 * A handshake or a record was refused, by us or by the peer. `code` is the name GnuTLS has for it,
 * such as `GNUTLS_E_FATAL_ALERT_RECEIVED`; the message says the rest, the peer's alert included.
 */
export class TlsError extends Error {
  override readonly name = 'TlsError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }

  /** Whether it is the peer's certificate that was refused, by us. */
  get ofCertificate(): boolean {
    return /CERTIFICATE/.test(this.code);
  }
}
