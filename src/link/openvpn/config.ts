/**
 * What an OpenVPN options file means to a link: where the peer is, what protects the packets, who is
 * trusted, who we are, and the timing. Files it names are read relative to it. Everything wrong is a
 * `UsageError` (`bad-openvpn-config`) with file and line.
 * @module
 */
import { createHash, getHashes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import path from 'node:path';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { UsageError } from '../../time/usage-error.ts';
import { decodeClientKey, decodeStaticKey } from '../../wire/openvpn-key-file.ts';
import {
  AEAD_CIPHERS,
  type AeadCipher,
  aeadCipher,
  STATIC_CIPHERS,
  type StaticKey,
} from './data-channel.ts';
import { type OpenvpnOption, readOptions } from './options.ts';
import type { WrapKey } from './wrap.ts';

/** Where the peer is, and from where it is spoken to. */
export interface OpenvpnPlace {
  readonly host?: string;
  readonly port?: number;
  readonly transport: 'udp' | 'tcp';
  readonly family: 0 | 4 | 6;
  readonly local?: string;
  readonly localPort?: number;
}

/** Whose certificate is believed, besides being signed by the CA. */
export interface OpenvpnTrust {
  /** The certificate must say that it is a server's. */
  readonly serverOnly: boolean;
  readonly name?: { readonly type: 'subject' | 'name' | 'name-prefix'; readonly value: string };
}

/** A session with TLS. */
export interface OpenvpnTls {
  readonly type: 'tls';
  /** A server tells its options; two peers without one do not. */
  readonly pull: boolean;
  readonly context: SecureContextOptions;
  readonly trust: OpenvpnTrust;
  readonly wrap: WrapKey;
  readonly ciphers: readonly AeadCipher[];
  /** Of peers that do not negotiate. */
  readonly fallback: string | undefined;
  readonly login: { readonly username: string; readonly password: string } | undefined;
  readonly renegMs: number;
  readonly handMs: number;
}

export interface OpenvpnConfig {
  readonly place: OpenvpnPlace;
  readonly security: OpenvpnTls | ({ readonly type: 'static' } & StaticKey);
  readonly device: string;
  readonly pingMs: number | undefined;
  readonly restartMs: number | undefined;
  readonly exitNotify: boolean;
}

const KNOWN = new Set(
  `askpass auth auth-user-pass ca cert cipher client crl-verify data-ciphers
  data-ciphers-fallback dev dev-type explicit-exit-notify extra-certs hand-window keepalive key
  key-direction local lport ncp-ciphers ns-cert-type ping ping-exit ping-restart port proto pull
  remote remote-cert-tls reneg-sec rport secret tls-auth tls-client tls-crypt tls-crypt-v2
  tls-version-min verify-x509-name`.split(/\s+/),
);
const LONGEST_KEY_FILE = 1_048_576;
const LONGEST_SECONDS = 31_536_000;
const RENEG_SECONDS = 3_600;
const HAND_SECONDS = 60;

class Reader {
  readonly #file: string;
  readonly #options: readonly OpenvpnOption[];

  constructor(file: string, text: string) {
    this.#file = file;
    this.#options = readOptions(text, file, KNOWN);
  }

  refuse(option: OpenvpnOption | undefined, text: string): never {
    throw new UsageError('bad-openvpn-config', `${option?.place ?? this.#file}: ${text}`);
  }

  /** As OpenVPN has it, the last one counts, but for `remote`. */
  last(...names: readonly string[]): OpenvpnOption | undefined {
    return this.#options.findLast(({ name }) => names.includes(name));
  }

  first(name: string): OpenvpnOption | undefined {
    return this.#options.find((option) => option.name === name);
  }

  word(name: string, index = 0): string | undefined {
    return this.last(name)?.words[index];
  }

  seconds(name: string, index = 0): number | undefined {
    const option = this.last(name);
    if (option === undefined) return undefined;
    return this.number(option, option.words[index], LONGEST_SECONDS);
  }

  number(option: OpenvpnOption, text: string | undefined, most: number, least = 0): number {
    const number = /^\d{1,10}$/.test(text ?? '') ? Number(text) : Number.NaN;
    if (number >= least && number <= most) return number;
    return this.refuse(option, `${option.name} needs a whole number from ${least} to ${most}`);
  }

  /** The text of a file that an option names, or has inline. */
  text(option: OpenvpnOption): string {
    if (option.inline !== undefined) return option.inline;
    const [name] = option.words;
    if (name === undefined) return this.refuse(option, `${option.name} names no file`);
    const file = path.resolve(path.dirname(this.#file), name);
    try {
      const text = readFileSync(file, 'utf8');
      if (text.length <= LONGEST_KEY_FILE) return text;
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      return this.refuse(option, `the ${option.name} file ${file} cannot be read (${code})`);
    }
    return this.refuse(option, `the ${option.name} file ${file} is too long`);
  }

  direction(option: OpenvpnOption): 0 | 1 | undefined {
    const given = option.inline === undefined ? option.words[1] : undefined;
    const direction = given ?? this.word('key-direction');
    if (direction === undefined) return undefined;
    if (direction === '0' || direction === '1') return direction === '0' ? 0 : 1;
    return this.refuse(option, 'a key direction is 0 or 1');
  }

  key<Key>(option: OpenvpnOption, decode: (text: string) => Key): Key {
    try {
      return decode(this.text(option));
    } catch (error) {
      if ((error as Error).name !== 'DecodeError') throw error;
      const text = `this is no key for ${option.name} (${(error as Error).message})`;
      return this.refuse(option, `${text}; make one with openvpn --genkey`);
    }
  }

  /** A name that `node:crypto` knows. */
  digest(): string {
    const option = this.last('auth');
    const name = (option?.words[0] ?? 'SHA1').toLowerCase().replace('-', '');
    if (!getHashes().includes(name)) this.refuse(option, `auth: no digest "${name}" here`);
    createHash(name);
    return name;
  }
}

/** Reads a file. Throws `UsageError` (`bad-openvpn-config`). */
export function readOpenvpnConfig(file: string, where: string): OpenvpnConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const message = `${where}: the config file ${file} cannot be read (${code})`;
    throw new UsageError('bad-openvpn-config', message);
  }
  return parseOpenvpnConfig(text, file);
}

/** Reads the text of a file; `file` is for errors and for the files it names. */
export function parseOpenvpnConfig(text: string, file: string): OpenvpnConfig {
  const reader = new Reader(file, text);
  const secret = reader.last('secret');
  const ms = (seconds: number | undefined) =>
    seconds === undefined || seconds === 0 ? undefined : seconds * 1_000;
  const pingMs = ms(reader.seconds('ping') ?? reader.seconds('keepalive'));
  const restart = reader.seconds('ping-restart') ?? reader.seconds('ping-exit');
  const restartMs = ms(restart ?? reader.seconds('keepalive', 1));
  if (pingMs !== undefined && restartMs !== undefined && restartMs < 2 * pingMs) {
    const option = reader.last('keepalive', 'ping', 'ping-restart', 'ping-exit');
    reader.refuse(option, 'the second time must be at least twice the first, or one loss kills');
  }
  const dev = reader.word('dev-type') ?? reader.word('dev') ?? 'tun';
  return {
    place: readPlace(reader),
    security: secret === undefined ? readTls(reader) : readStatic(reader, secret),
    device: dev.startsWith('tap') ? 'tap' : 'tun',
    pingMs,
    restartMs,
    exitNotify: reader.word('explicit-exit-notify') !== '0',
  };
}

function readPlace(reader: Reader): OpenvpnPlace {
  const remote = reader.first('remote');
  const [host, remotePort, remoteProto] = remote?.words ?? [];
  const proto = remoteProto ?? reader.word('proto') ?? 'udp';
  const parts = /^(udp|tcp)([46]?)(?:-client)?$/.exec(proto);
  if (parts === null) {
    const option = remoteProto === undefined ? reader.last('proto') : remote;
    return reader.refuse(option, `no protocol "${proto.slice(0, 20)}"; write udp or tcp`);
  }
  const port = (option: OpenvpnOption | undefined, text: string | undefined) =>
    option === undefined ? undefined : reader.number(option, text, 65_535, 1);
  const portOption = reader.last('port', 'rport');
  const port1 =
    remotePort === undefined ? port(portOption, portOption?.words[0]) : port(remote, remotePort);
  const lport = port(reader.last('lport'), reader.word('lport'));
  const local = reader.word('local');
  if (local !== undefined && isIP(local) === 0) {
    reader.refuse(reader.last('local'), 'local needs an IP address of this machine');
  }
  return {
    ...(host === undefined ? {} : { host }),
    ...(port1 === undefined ? {} : { port: port1 }),
    transport: parts[1] === 'tcp' ? 'tcp' : 'udp',
    family: parts[2] === '4' ? 4 : parts[2] === '6' ? 6 : 0,
    ...(local === undefined ? {} : { local }),
    ...(lport === undefined ? {} : { localPort: lport }),
  };
}

function readStatic(
  reader: Reader,
  secret: OpenvpnOption,
): { readonly type: 'static' } & StaticKey {
  const cipher = (reader.word('cipher') ?? '').toUpperCase();
  if (!STATIC_CIPHERS.includes(cipher)) {
    const known = STATIC_CIPHERS.join(', ');
    reader.refuse(reader.last('cipher') ?? secret, `a secret needs a cipher of ${known}`);
  }
  const keys = reader.key(secret, decodeStaticKey);
  return {
    type: 'static',
    keys,
    direction: reader.direction(secret),
    cipher,
    digest: reader.digest(),
  };
}

function readTls(reader: Reader): OpenvpnTls {
  const client = reader.last('client');
  if (client === undefined && reader.last('tls-client') === undefined) {
    reader.refuse(undefined, 'neither client, tls-client nor secret is given; write one of them');
  }
  const cipherOption = reader.last('data-ciphers', 'ncp-ciphers');
  const names = (cipherOption?.words[0] ?? AEAD_CIPHERS.join(':')).split(':');
  const ciphers = names.map((name) => aeadCipher(name.replace(/^\?/, '')));
  const usable = ciphers.filter((cipher) => cipher !== undefined);
  if (usable.length === 0) {
    reader.refuse(cipherOption, `none of these ciphers is known here: ${AEAD_CIPHERS.join(', ')}`);
  }
  return {
    type: 'tls',
    pull: reader.last('client', 'pull') !== undefined,
    context: readContext(reader),
    trust: readTrust(reader),
    wrap: readWrap(reader),
    ciphers: usable,
    fallback: reader.word('data-ciphers-fallback') ?? reader.word('cipher'),
    login: readLogin(reader),
    renegMs: (reader.seconds('reneg-sec') ?? RENEG_SECONDS) * 1_000,
    handMs: (reader.seconds('hand-window') ?? HAND_SECONDS) * 1_000,
  };
}

function readContext(reader: Reader): SecureContextOptions {
  const text = (name: string) => {
    const option = reader.last(name);
    return option === undefined ? {} : { [name]: reader.text(option) };
  };
  const ca = reader.last('ca');
  if (ca === undefined) {
    return reader.refuse(undefined, 'no ca is given, so no server can be trusted');
  }
  // Node takes a text without any for a CA that signs nothing.
  if (!/-----BEGIN (TRUSTED )?CERTIFICATE-----/.test(reader.text(ca))) {
    reader.refuse(ca, 'there is no certificate in the ca file; give it in PEM');
  }
  const askpass = reader.last('askpass');
  const crl = reader.last('crl-verify');
  const minimum = reader.word('tls-version-min');
  const chain = ['cert', 'extra-certs'].flatMap((name) => reader.last(name) ?? []);
  const options: SecureContextOptions = {
    ...text('ca'),
    ...(chain.length === 0 ? {} : { cert: chain.map((one) => reader.text(one)).join('\n') }),
    ...text('key'),
    ...(askpass === undefined ? {} : { passphrase: reader.text(askpass).split(/\r?\n/)[0] ?? '' }),
    ...(crl === undefined ? {} : { crl: reader.text(crl) }),
    minVersion: minimum === '1.3' ? 'TLSv1.3' : 'TLSv1.2',
  };
  try {
    createSecureContext(options);
  } catch (error) {
    const text = `ca, cert and key cannot be used: ${(error as Error).message.trim()}`;
    reader.refuse(reader.last('key', 'cert', 'ca'), text.replaceAll(/\s+/g, ' '));
  }
  return options;
}

function readTrust(reader: Reader): OpenvpnTrust {
  const usage = reader.last('remote-cert-tls', 'ns-cert-type');
  if (usage !== undefined && usage.words[0] !== 'server') {
    reader.refuse(usage, `${usage.name} can only be server: a link is the client`);
  }
  const option = reader.last('verify-x509-name');
  if (option === undefined) return { serverOnly: usage !== undefined };
  const [value = '', type = 'subject'] = option.words;
  if (value === '' || (type !== 'subject' && type !== 'name' && type !== 'name-prefix')) {
    return reader.refuse(option, 'write a name, then subject, name or name-prefix');
  }
  return { serverOnly: usage !== undefined, name: { type, value } };
}

function readWrap(reader: Reader): WrapKey {
  const option = reader.last('tls-auth', 'tls-crypt', 'tls-crypt-v2');
  if (option === undefined) return { type: 'none' };
  if (option.name === 'tls-crypt-v2') {
    const { key, wrapped } = reader.key(option, decodeClientKey);
    return { type: 'tls-crypt', keys: key, wrapped };
  }
  const keys = reader.key(option, decodeStaticKey);
  if (option.name === 'tls-crypt') return { type: 'tls-crypt', keys };
  return { type: 'tls-auth', keys, direction: reader.direction(option), digest: reader.digest() };
}

function readLogin(reader: Reader): OpenvpnTls['login'] {
  const option = reader.last('auth-user-pass');
  if (option === undefined) return undefined;
  if (option.inline === undefined && option.words.length === 0) {
    reader.refuse(option, 'auth-user-pass needs a file of two lines: a link asks nobody');
  }
  const [username = '', password = ''] = reader.text(option).split(/\r?\n/);
  if (username === '' || password === '') {
    reader.refuse(
      option,
      'auth-user-pass needs a name in the first line, a password in the second',
    );
  }
  return { username, password };
}
