/**
 * The other side of SMB 2, as far as a scripted server needs it: reads what a link asks and makes
 * answers, good ones and bad ones.
 * @module
 */
import assert from 'node:assert/strict';
import { encodeNbssMessage, NbssReader } from '../../src/wire/nbss.ts';
import {
  SMB2_FLAG_ASYNC,
  SMB2_FLAG_RESPONSE,
  SMB2_NEGOTIATE,
  STATUS_PENDING,
  STATUS_SUCCESS,
} from '../../src/wire/smb2.ts';

/** A request as it lies on the wire. */
export interface Asked {
  readonly command: number;
  readonly messageId: bigint;
  readonly creditCharge: number;
  /** How many credits it asks for. */
  readonly credits: number;
}

/** What an answer says other than usual. */
export interface Said {
  readonly status?: number;
  readonly credits?: number;
  readonly flags?: number;
  readonly command?: number;
  readonly messageId?: bigint;
  readonly dialect?: number;
}

/** The requests that these bytes complete. */
export function* requests(reader: NbssReader, bytes: Uint8Array): Generator<Asked> {
  for (const packet of reader.read(bytes)) {
    assert.equal(packet.type, 'message');
    assert('body' in packet);
    const { body } = packet;
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    assert.equal(view.getUint32(0), 0xfe_53_4d_42);
    assert.equal(view.getBigUint64(40, true), 0n, 'a SessionId without a login');
    yield {
      creditCharge: view.getUint16(6, true),
      command: view.getUint16(12, true),
      credits: view.getUint16(14, true),
      messageId: view.getBigUint64(24, true),
    };
  }
}

/** A reader for the requests of one connection. */
export function requestReader(): NbssReader {
  return new NbssReader('direct');
}

/** The framed answer to a request: a good one unless told otherwise. */
export function answerTo(asked: Asked, said: Said = {}): Uint8Array {
  const { status = STATUS_SUCCESS, command = asked.command, dialect = 0x0210 } = said;
  const negotiated = command === SMB2_NEGOTIATE && status === STATUS_SUCCESS;
  const body = status === STATUS_SUCCESS ? (negotiated ? 64 : 4) : 9;
  const bytes = new Uint8Array(64 + body);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xfe_53_4d_42);
  view.setUint16(4, 64, true);
  view.setUint32(8, status, true);
  view.setUint16(12, command, true);
  view.setUint16(14, said.credits ?? asked.credits, true);
  view.setUint32(16, said.flags ?? SMB2_FLAG_RESPONSE, true);
  view.setBigUint64(24, said.messageId ?? asked.messageId, true);
  view.setUint16(64, negotiated ? 65 : body, true);
  if (negotiated) {
    view.setUint16(68, dialect, true);
    view.setUint32(64 + 24, 0x7, true);
  }
  return encodeNbssMessage(bytes);
}

/** The interim answer: the final one is still to come. */
export function pendingTo(asked: Asked, credits = 0): Uint8Array {
  const flags = SMB2_FLAG_RESPONSE | SMB2_FLAG_ASYNC;
  return answerTo(asked, { status: STATUS_PENDING, flags, credits });
}
