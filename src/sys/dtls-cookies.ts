/**
 * The exchange of cookies with which a DTLS server makes sure that a client is where it says
 * (RFC 6347 section 4.2.1), before it keeps anything of it.
 * @module
 */
import { randomBytes } from 'node:crypto';
import { datum, gnutls } from './gnutls-library.ts';
import { Pipe, pipeCallbacks } from './gnutls-pipe.ts';
import type { DtlsPrestate } from './gnutls-session.ts';

const KEY_LENGTH = 16;

export class DtlsCookies {
  readonly #key: Uint8Array = randomBytes(KEY_LENGTH);

  /**
   * Whether `datagram` is a ClientHello with the cookie of `client`, which is an address and a port:
   * what its session begins with, or else the datagram to answer it with, or nothing for what is none.
   */
  judge(datagram: Uint8Array, client: string): DtlsPrestate | Uint8Array | undefined {
    const library = gnutls();
    const who = Buffer.from(client);
    const prestate = { recordSeq: 0, readSeq: 0, writeSeq: 0 };
    const key = datum(this.#key);
    const answer = [key, who, who.length, datagram, datagram.length, prestate] as const;
    if (library.cookieVerify(...answer) >= 0) return prestate;
    const pipe = new Pipe(true, true);
    try {
      const { push } = pipeCallbacks();
      library.cookieSend(key, who, who.length, prestate, pipe.id, push);
      return pipe.take()[0];
    } finally {
      pipe.close();
    }
  }
}
