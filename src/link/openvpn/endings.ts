/**
 * How OpenVPN sessions end: what servers say in a message of text, and what TLS says of certificates,
 * each as a link's reason and a line for a person.
 * @module
 */
import type { Reason } from '../../keepalive/keepalive.ts';

/**
 * When it is of use to try again: at once, when the peer has left (for a moment it still answers), or
 * when a person has mended something.
 */
export type TryAgain = 'soon' | 'when-left' | 'when-mended';

/** Why a session is over. */
export interface Ending {
  readonly reason: Reason;
  /** For a person, where there is more to say than the reason. */
  readonly text?: string;
  readonly again: TryAgain;
}

/** OCC's goodbye in the data channel, or EXIT inside TLS. */
export const GOODBYE: Ending = ended('the peer has said goodbye', 'when-left');

const LONGEST_SHOWN = 120;
/** What Node says of a certificate that is not to be trusted. */
const UNTRUSTED = /^CERT_|SELF_SIGNED|UNABLE_TO_|CRL_|^INVALID_|PATH_LENGTH/;
/** And of an alert by which the server says the same of ours. */
const REFUSED = /ALERT.*(CERTIFICATE|CA|ACCESS|DECRYPT|HANDSHAKE)/i;

/** What the server may go on to say, on one line. */
function shownOf(text: string): string {
  return text.replaceAll(/\p{C}/gu, '\uFFFD').slice(0, LONGEST_SHOWN);
}

/** What a message of text ends, or `undefined` if nothing. */
export function meaningOf(message: string): Ending | undefined {
  const [kind, ...rest] = message.split(',');
  const more = rest.length === 0 ? '' : ` ("${shownOf(rest.join(','))}")`;
  if (kind === 'AUTH_FAILED') {
    // A token that is too old: the password, which is still there, is asked for again.
    const again = /^(SESSION|TEMP)/.test(rest.join(',')) ? 'soon' : 'when-mended';
    const text = `the server refuses the login${more}; look at auth-user-pass and cert`;
    return { reason: 'refused', text, again };
  }
  if (kind === 'RESTART') return ended(`the server restarts${more}`, 'when-left');
  if (kind === 'HALT') return ended(`the server asks its clients to stop${more}`, 'when-mended');
  return kind === 'EXIT' ? GOODBYE : undefined;
}

function ended(text: string, again: TryAgain): Ending {
  return { reason: 'closed', text, again };
}

/** What an error of TLS, or of the decoder, means. */
export function failureOf(error: Error): { readonly reason: Reason; readonly text: string } {
  const { code = '' } = error as NodeJS.ErrnoException;
  // Node goes on to say what to do about its own trust, which is not asked here.
  const message = shownOf(error.message.replace(/; if .*/s, '').trim());
  if (UNTRUSTED.test(code)) {
    const mend = 'look at ca, remote-cert-tls and verify-x509-name';
    return {
      reason: 'not-authentic',
      text: `the server is not to be trusted: ${message}; ${mend}`,
    };
  }
  if (REFUSED.test(code)) {
    return { reason: 'refused', text: `the server refuses our certificate (${code})` };
  }
  return { reason: 'protocol-error', text: `this is no OpenVPN server: ${message}` };
}
