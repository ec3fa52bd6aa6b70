/**
 * What OpenVPN's peers say to each other inside TLS: the key exchange (key method 2), then messages of
 * text that end with a zero byte, among them the options a server pushes. It knows no keys.
 * @module
 */
import { DecodeError } from './decode-error.ts';
import { joined } from './openvpn-packet.ts';

export const RANDOM_LENGTH = 32;
export const PRE_MASTER_LENGTH = 48;
const METHOD_HEAD_LENGTH = 5;
/** A message longer than this is no message. */
export const LONGEST_MESSAGE = 8_192;
/** A day: whoever pushes a longer time is not believed. */
const LONGEST_SECONDS = 86_400;
const HIGHEST_PEER_ID = 0xff_ffff;

/** Bits of IV_PROTO, by which peers tell what they can: data packets with a peer id, */
export const CAN_DATA_V2 = 0x02;
/** a push that nobody asked for, */
export const CAN_BE_PUSHED = 0x04;
/** keys by TLS's exporter, */
export const CAN_EXPORT_KEYS = 0x08;
/** an agreement on ciphers without a server, */
export const CAN_AGREE = 0x20;
/** and a goodbye inside TLS. */
export const CAN_EXIT = 0x80;

/** What a client contributes to the keys, and tells of itself. */
export interface KeyMethodRequest {
  readonly preMaster: Uint8Array;
  readonly random1: Uint8Array;
  readonly random2: Uint8Array;
  readonly options: string;
  readonly username: string;
  readonly password: string;
  readonly peerInfo: string;
}

/** What the other side contributes; `length` says where the messages of text begin. */
export interface KeyMethodReply {
  readonly random1: Uint8Array;
  readonly random2: Uint8Array;
  readonly options: string;
  readonly peerInfo: ReadonlyMap<string, string>;
  readonly length: number;
}

/** As much of a PUSH_REPLY as matters to a client without traffic. Times in seconds. */
export interface PushedOptions {
  readonly ping?: number;
  readonly pingRestart?: number;
  readonly pingExit?: number;
  readonly peerId?: number;
  readonly cipher?: string;
  readonly authToken?: string;
  /** What the server wants of the protocol: `tls-ekm`, `cc-exit` and others. */
  readonly flags: readonly string[];
  /** Options that would change each packet: whoever gets one must give up or obey. */
  readonly framing: readonly string[];
}

function fail(code: string, value: number): never {
  throw new DecodeError('openvpn', code, value);
}

/** A length of two bytes, the text, and a zero that the length counts; nothing at all is two zeros. */
function field(text: string): Uint8Array {
  if (text === '') return new Uint8Array(2);
  const bytes = new TextEncoder().encode(`${text}\0`);
  if (bytes.length > 0xffff) throw new RangeError(`a field of ${bytes.length} bytes`);
  return joined(Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes);
}

/** The client's half of key method 2. Throws `RangeError` for randoms of the wrong length. */
export function encodeKeyMethod(request: KeyMethodRequest): Uint8Array {
  const { preMaster, random1, random2 } = request;
  const randoms = [random1, random2].every(({ length }) => length === RANDOM_LENGTH);
  if (preMaster.length !== PRE_MASTER_LENGTH || !randoms) throw new RangeError('bad randoms');
  return joined(
    Uint8Array.of(0, 0, 0, 0, 2),
    ...[preMaster, random1, random2],
    ...[request.options, request.username, request.password, request.peerInfo].map(field),
  );
}

/** The server's half, or `undefined` while it is incomplete. Throws `DecodeError`. */
export function decodeKeyMethodReply(bytes: Uint8Array): KeyMethodReply | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length >= 4 && view.getUint32(0) !== 0) fail('bad-key-method', view.getUint32(0));
  const method = (bytes[4] ?? 2) & 0xf;
  if (method !== 2) fail('bad-key-method', method);
  const optionsAt = METHOD_HEAD_LENGTH + 2 * RANDOM_LENGTH;
  if (bytes.length < optionsAt + 2) return undefined;
  const optionsLength = view.getUint16(optionsAt);
  if (optionsLength > LONGEST_MESSAGE) fail('too-long', optionsLength);
  let at = optionsAt + 2 + optionsLength;
  if (bytes.length < at) return undefined;
  const randomAt = METHOD_HEAD_LENGTH + RANDOM_LENGTH;
  const options = textOf(bytes.subarray(optionsAt + 2, at));
  // User, password and peer info may be left out, and a message of text may follow at once. Such a
  // message, read as a length, is longer than all that is there.
  let last = '';
  for (let more = 0; more < 3 && bytes.length >= at + 2; more += 1) {
    const end = at + 2 + view.getUint16(at);
    if (end > bytes.length) break;
    last = textOf(bytes.subarray(at + 2, end));
    at = end;
  }
  return {
    random1: bytes.subarray(METHOD_HEAD_LENGTH, randomAt),
    random2: bytes.subarray(randomAt, optionsAt),
    options,
    peerInfo: new Map(last.split('\n').map((line) => split(line, '='))),
    length: at,
  };
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replace(/\0+$/, '');
}

function split(text: string, at: string): [string, string] {
  const index = text.indexOf(at);
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + at.length)];
}

/** A message of text, ready to be sent. */
export function encodeMessage(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

/** Finds the messages in a stream of TLS. */
export class MessageReader {
  #held: Uint8Array = new Uint8Array();

  /** The messages that these bytes complete, without their zeros. Throws `DecodeError`. */
  read(bytes: Uint8Array): string[] {
    let rest = joined(this.#held, bytes);
    const messages: string[] = [];
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      if (end > LONGEST_MESSAGE) fail('too-long', end);
      if (end > 0) messages.push(textOf(rest.subarray(0, end)));
      rest = rest.subarray(end + 1);
    }
    if (rest.length > LONGEST_MESSAGE) fail('too-long', rest.length);
    this.#held = rest.slice();
    return messages;
  }
}

/** Whether a PUSH_REPLY says that another one follows. */
export function pushContinues(message: string): boolean {
  return /,push-continuation 2$/.test(message);
}

const FRAMING = ['comp-lzo', 'compress', 'fragment', 'auth'];

/** What the server wants, from all of its PUSH_REPLYs. Throws `DecodeError`. */
export function decodePush(messages: readonly string[]): PushedOptions {
  const seconds = (text: string, least: number) => wholeNumber(text, least, LONGEST_SECONDS);
  const pushed: { -readonly [Key in keyof PushedOptions]: PushedOptions[Key] } = {
    flags: [],
    framing: [],
  };
  for (const option of messages.flatMap((message) => message.split(',').slice(1))) {
    const [name, value] = split(option.trim(), ' ');
    if (name === 'ping') pushed.ping = seconds(value, 0);
    if (name === 'ping-restart') pushed.pingRestart = seconds(value, 0);
    if (name === 'ping-exit') pushed.pingExit = seconds(value, 0);
    if (name === 'peer-id') pushed.peerId = wholeNumber(value, 0, HIGHEST_PEER_ID);
    if (name === 'cipher') pushed.cipher = value;
    if (name === 'auth-token') pushed.authToken = value;
    if (name === 'protocol-flags') pushed.flags = [...pushed.flags, ...value.split(' ')];
    if (name === 'key-derivation') pushed.flags = [...pushed.flags, value];
    if (FRAMING.includes(name)) pushed.framing = [...pushed.framing, option];
  }
  return pushed;
}

function wholeNumber(text: string, least: number, most: number): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= least && number <= most)) fail('bad-number', number);
  return number;
}
