/**
 * Certificates and keys as GnuTLS wants them: whom to trust, and who we are.
 * @module
 */
import {
  check,
  datum,
  type Gnutls,
  gnutls,
  type Pointer,
  type PointerOut,
} from './gnutls-library.ts';
import { TlsError } from './tls-error.ts';

const PEM = 1;

/** All in PEM. Without `ca` nobody is trusted, unless `system` says so. */
export interface CredentialsOptions {
  /** Certificates of the authorities to trust. */
  readonly ca?: Uint8Array | undefined;
  /** Trust those that this machine trusts. Default: no. */
  readonly system?: boolean;
  /** Our certificate, with what leads to its authority. */
  readonly cert?: Uint8Array | undefined;
  /** The key of `cert`. */
  readonly key?: Uint8Array | undefined;
}

/** Freed by the garbage collector, once no session holds them any more. */
const unused = new FinalizationRegistry<Pointer>((pointer) => gnutls().credentialsFree(pointer));

export class GnutlsCredentials {
  readonly pointer: Pointer;

  /** Throws `TlsError` for what is no PEM or does not belong together, `SystemError` without GnuTLS. */
  constructor({ ca, system = false, cert, key }: CredentialsOptions) {
    const library = gnutls();
    const out: PointerOut = [null];
    check('cannot allocate credentials', library.credentialsNew(out));
    this.pointer = out[0] as Pointer;
    unused.register(this, this.pointer);
    if (system) check('cannot read the trusted certificates', library.trustSystem(this.pointer));
    if (ca !== undefined) this.#trust(library, ca);
    if (cert === undefined) return;
    const identity = [datum(cert), datum(key ?? cert), PEM, null, 0] as const;
    check('the certificate and key', library.identify(this.pointer, ...identity));
  }

  #trust(library: Gnutls, ca: Uint8Array): void {
    const count = check('the certificates to trust', library.trust(this.pointer, datum(ca), PEM));
    // GnuTLS is content with a text that holds none.
    if (count > 0) return;
    throw new TlsError('GNUTLS_E_NO_CERTIFICATE_FOUND', 'the certificates to trust: none in there');
  }
}

let ofSystem: GnutlsCredentials | undefined;

/** Trusts whom this machine trusts; shared by all, for it holds hundreds of certificates. */
export function systemCredentials(): GnutlsCredentials {
  ofSystem ??= new GnutlsCredentials({ system: true });
  return ofSystem;
}
