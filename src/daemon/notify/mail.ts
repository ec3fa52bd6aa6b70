/**
 * Messages as plain-text mail, by nodemailer over a socket of ours: what takes too long is ended
 * with its socket.
 * @module
 */
import { once } from 'node:events';
import net from 'node:net';
import { createTransport } from 'nodemailer';
import { UsageError } from '../../time/usage-error.ts';
import { type Channel, DELIVERY_LIMIT_MS, DeliveryError, quote } from './channel.ts';
import type { Message } from './message.ts';
import type { MailEntry } from './notify-schema.ts';
import { readFile, readSecret } from './secret.ts';
import { cut, linesOf, titleOf } from './text.ts';

const PORTS = { starttls: 587, tls: 465, none: 25 } as const;
const ADDRESS = /^[^\s@<>,;:"()[\]\\]{1,64}@[^\s@<>,;:"()[\]\\]{1,255}$/;
const LARGEST_CA = 1_024 * 1_024;

/** Throws `UsageError`. */
export function mailChannel(entry: MailEntry, where: string): Channel {
  const { host, tls = 'starttls', port = PORTS[tls], user } = entry;
  const named: [string, string][] = entry.to.map((to, index) => [`to.${index}`, to]);
  for (const [key, address] of [['from', entry.from] as const, ...named]) {
    if (ADDRESS.test(address)) continue;
    const text = 'not a mail address; write NAME@DOMAIN and nothing else';
    throw new UsageError('bad-config', `${where}.${key}: ${text}`);
  }
  const password = readSecret(entry, 'password', where);
  if ((user === undefined) !== (password === undefined)) {
    throw new UsageError('bad-config', `${where}.user: a user and a password come together`);
  }
  const auth = user === undefined ? {} : { auth: { user, pass: password ?? '' } };
  const file = entry.caFile;
  const ca = file === undefined ? {} : { ca: readFile(file, `${where}.caFile`, LARGEST_CA) };
  const secrets = [password ?? '', Buffer.from(password ?? '').toString('base64')];
  const send = async (message: Message, signal: AbortSignal) => {
    const socket = net.connect({ host, port });
    const end = () => socket.destroy(new Error('no answer in time'));
    signal.addEventListener('abort', end, { once: true });
    try {
      await once(socket, 'connect');
      const transport = createTransport({
        host,
        connection: socket,
        secure: tls === 'tls',
        requireTLS: tls === 'starttls',
        ignoreTLS: tls === 'none',
        tls: { ...ca, servername: net.isIP(host) === 0 ? host : '' },
        ...auth,
        disableFileAccess: true,
        disableUrlAccess: true,
      });
      const { response, rejected } = await transport.sendMail(mailOf(message, entry));
      const lost = rejected.length === 0 ? '' : `, but refused ${rejected.join(', ')}`;
      return `${host} answered ${quote(response, secrets)}${lost}`;
    } catch (error) {
      const {
        message: text,
        code,
        responseCode = 0,
      } = error as Error & {
        code?: string;
        responseCode?: number;
      };
      const said = signal.aborted ? 'no answer in time' : quote(text, secrets);
      throw new DeliveryError(`${host}: ${said}`, code === 'EMESSAGE' && responseCode >= 500);
    } finally {
      signal.removeEventListener('abort', end);
      socket.destroy();
    }
  };
  return { limitMs: DELIVERY_LIMIT_MS, send };
}

function mailOf(message: Message, { from, to }: MailEntry) {
  return {
    from: { name: 'Linkhold', address: from },
    to: [...to],
    subject: `[Linkhold] ${cut(titleOf(message), 200)}`,
    text: `${linesOf(message).join('\n')}\n`,
    messageId: `<${message.id}@linkhold>`,
    date: new Date(message.at),
    headers: { 'Auto-Submitted': 'auto-generated' },
  };
}
