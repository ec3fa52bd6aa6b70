/**
 * As much of SMB 2 (MS-SMB2) as asks a server whether it still processes requests: the header
 * (section 2.2.1), NEGOTIATE (2.2.3, 2.2.4) and ECHO (2.2.28, 2.2.29). Little endian:
 *
 *     0  fe 'SMB'     4  StructureSize 64   6  CreditCharge   8  Status         12 Command
 *     14 Credits      16 Flags              20 NextCommand    24 MessageId (8)  32 process, TreeId
 *     40 SessionId (8)                      48 Signature (16)
 *
 * It knows neither framing nor which MessageId comes next.
 * @module
 */
import { DecodeError } from './decode-error.ts';

export const SMB2_HEADER_LENGTH = 64;

export const SMB2_NEGOTIATE = 0x00;
export const SMB2_ECHO = 0x0d;

/** Bits of `Smb2Message.flags`: an answer; one that has an AsyncId in place of a TreeId. */
export const SMB2_FLAG_RESPONSE = 0x1;
export const SMB2_FLAG_ASYNC = 0x2;

/** The dialects that are offered, in the order of the wire: 2.0.2 and 2.1. */
export const SMB2_DIALECTS: readonly number[] = [0x0202, 0x0210];

/** What a server sends of its own accord, such as an oplock break, has this MessageId. */
export const SMB2_UNSOLICITED = 0xffff_ffff_ffff_ffffn;

export const STATUS_SUCCESS = 0;
/** An interim answer: the final one is still to come. */
export const STATUS_PENDING = 0x103;

/** Statuses that a server may give to a client that did not log in (MS-ERREF section 2.3.1). */
const STATUS_NAMES: ReadonlyMap<number, string> = new Map([
  [STATUS_SUCCESS, 'STATUS_SUCCESS'],
  [STATUS_PENDING, 'STATUS_PENDING'],
  [0xc000_000d, 'STATUS_INVALID_PARAMETER'],
  [0xc000_0022, 'STATUS_ACCESS_DENIED'],
  [0xc000_00bb, 'STATUS_NOT_SUPPORTED'],
  [0xc000_00d0, 'STATUS_REQUEST_NOT_ACCEPTED'],
  [0xc000_0203, 'STATUS_USER_SESSION_DELETED'],
  [0xc000_0205, 'STATUS_INSUFF_SERVER_RESOURCES'],
  [0xc000_035c, 'STATUS_NETWORK_SESSION_EXPIRED'],
]);

/** A status for people: its name, or its number. */
export function statusName(status: number): string {
  return STATUS_NAMES.get(status) ?? `status 0x${status.toString(16).padStart(8, '0')}`;
}

/** One message of a frame. `bytes` is all of it, header and body, a view of what it was read from. */
export interface Smb2Message {
  readonly command: number;
  readonly status: number;
  readonly flags: number;
  /** How many more requests the server allows. */
  readonly credits: number;
  readonly messageId: bigint;
  readonly sessionId: bigint;
  readonly bytes: Uint8Array;
}

/** What a server says of itself. */
export interface Smb2Negotiated {
  readonly dialect: number;
  readonly signingRequired: boolean;
  /** Whether a request must say what it costs (SMB2_GLOBAL_CAP_LARGE_MTU). */
  readonly multiCredit: boolean;
  readonly maxTransactSize: number;
  /** The security token, a view of the message. */
  readonly token: Uint8Array;
}

/** What the header of a request needs to know. */
export interface Smb2Request {
  readonly messageId: bigint;
  /** How many credits to ask for. */
  readonly credits: number;
  /** 0 where the server does not have multi-credit requests, else 1 (section 3.2.4.1.5). */
  readonly creditCharge?: 0 | 1;
}

const MAGIC = 0xfe_53_4d_42;
const ERROR_BODY_LENGTH = 8;
const NEGOTIATE_BODY_LENGTH = 64;
const GUID_LENGTH = 16;
const CAP_LARGE_MTU = 0x4;
const SIGNING_REQUIRED = 0x2;

function header(command: number, request: Smb2Request, bodyLength: number): DataView {
  const { messageId, credits, creditCharge = 0 } = request;
  if (messageId < 0n || messageId >= SMB2_UNSOLICITED) {
    throw new RangeError(`${messageId} is no MessageId of a request`);
  }
  if (!Number.isInteger(credits) || credits < 0 || credits > 0xffff) {
    throw new RangeError(`${credits} credits cannot be asked for`);
  }
  const view = new DataView(new ArrayBuffer(SMB2_HEADER_LENGTH + bodyLength));
  view.setUint32(0, MAGIC);
  view.setUint16(4, SMB2_HEADER_LENGTH, true);
  view.setUint16(6, creditCharge, true);
  view.setUint16(12, command, true);
  view.setUint16(14, credits, true);
  view.setBigUint64(24, messageId, true);
  // Where a process id once stood, clients still say 0xfeff; servers ignore it.
  view.setUint32(32, 0xfeff, true);
  return view;
}

/** Asks for a dialect. `clientGuid` is 16 bytes. Throws `RangeError` for what does not fit. */
export function encodeNegotiate(request: Smb2Request, clientGuid: Uint8Array): Uint8Array {
  if (clientGuid.length !== GUID_LENGTH) {
    throw new RangeError(`a ClientGuid has ${GUID_LENGTH} bytes, got ${clientGuid.length}`);
  }
  const view = header(SMB2_NEGOTIATE, request, 36 + 2 * SMB2_DIALECTS.length);
  const at = SMB2_HEADER_LENGTH;
  view.setUint16(at, 36, true);
  view.setUint16(at + 2, SMB2_DIALECTS.length, true);
  view.setUint16(at + 4, 1, true); // signing is enabled, not required
  const bytes = new Uint8Array(view.buffer);
  bytes.set(clientGuid, at + 12);
  for (const [index, dialect] of SMB2_DIALECTS.entries()) {
    view.setUint16(at + 36 + 2 * index, dialect, true);
  }
  return bytes;
}

/** Asks whether the server still processes requests; without a login. */
export function encodeEcho(request: Smb2Request): Uint8Array {
  const view = header(SMB2_ECHO, request, 4);
  view.setUint16(SMB2_HEADER_LENGTH, 4, true);
  return new Uint8Array(view.buffer);
}

function fail(code: string, value: number): never {
  throw new DecodeError('smb2', code, value);
}

/** The messages of one frame: one, or several that are compounded. Throws `DecodeError`. */
export function* decodeSmb2(frame: Uint8Array): Generator<Smb2Message, void, undefined> {
  for (let at = 0; ; ) {
    const left = frame.length - at;
    if (left < SMB2_HEADER_LENGTH) fail('too-short', left);
    const view = new DataView(frame.buffer, frame.byteOffset + at, left);
    if (view.getUint32(0) !== MAGIC) fail('bad-magic', view.getUint32(0));
    if (view.getUint16(4, true) !== SMB2_HEADER_LENGTH) fail('bad-size', view.getUint16(4, true));
    const next = view.getUint32(20, true);
    // Compounded messages begin at multiples of 8 (section 2.2.1).
    if (next !== 0 && (next < SMB2_HEADER_LENGTH || next % 8 !== 0 || next >= left)) {
      fail('bad-next-command', next);
    }
    yield {
      status: view.getUint32(8, true),
      command: view.getUint16(12, true),
      credits: view.getUint16(14, true),
      flags: view.getUint32(16, true),
      messageId: view.getBigUint64(24, true),
      sessionId: view.getBigUint64(40, true),
      bytes: frame.subarray(at, next === 0 ? frame.length : at + next),
    };
    if (next === 0) return;
    at += next;
  }
}

function bodyOf({ bytes }: Smb2Message, size: number, atLeast: number): DataView {
  const length = bytes.length - SMB2_HEADER_LENGTH;
  if (length < atLeast) fail('body-too-short', length);
  const view = new DataView(bytes.buffer, bytes.byteOffset + SMB2_HEADER_LENGTH, length);
  if (view.getUint16(0, true) !== size) fail('bad-body-size', view.getUint16(0, true));
  return view;
}

/** Checks the body of an answer that is an error, interim ones included. Throws `DecodeError`. */
export function decodeError(message: Smb2Message): void {
  const view = bodyOf(message, 9, ERROR_BODY_LENGTH);
  const data = view.getUint32(4, true);
  if (data > view.byteLength - ERROR_BODY_LENGTH) fail('bad-error-length', data);
}

/** Checks an answer to ECHO, whatever its status. Throws `DecodeError`. */
export function decodeEchoResponse(message: Smb2Message): void {
  if (message.status === STATUS_SUCCESS) bodyOf(message, 4, 4);
  else decodeError(message);
}

/** What a server answered to NEGOTIATE with STATUS_SUCCESS. Throws `DecodeError`. */
export function decodeNegotiateResponse(message: Smb2Message): Smb2Negotiated {
  const view = bodyOf(message, 65, NEGOTIATE_BODY_LENGTH);
  const dialect = view.getUint16(4, true);
  if (!SMB2_DIALECTS.includes(dialect)) fail('bad-dialect', dialect);
  const from = view.getUint16(56, true);
  const length = view.getUint16(58, true);
  const tokenAt = SMB2_HEADER_LENGTH + NEGOTIATE_BODY_LENGTH;
  if (length > 0 && (from < tokenAt || from + length > message.bytes.length)) {
    fail('bad-token', from);
  }
  return {
    dialect,
    signingRequired: (view.getUint16(2, true) & SIGNING_REQUIRED) !== 0,
    multiCredit: dialect !== 0x0202 && (view.getUint32(24, true) & CAP_LARGE_MTU) !== 0,
    maxTransactSize: view.getUint32(28, true),
    token: length === 0 ? new Uint8Array() : message.bytes.subarray(from, from + length),
  };
}
