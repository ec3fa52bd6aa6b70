/**
 * Who may be believed on a `beat://` link: both ends hold a key, and every packet carries an
 * HMAC-SHA-256 tag made with it (`node:crypto`).
 * @module
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { UsageError } from '../time/usage-error.ts';
import {
  BEAT_TAG_OFFSET,
  type BeatPacket,
  type BeatType,
  decodeBeat,
  encodeBeat,
} from '../wire/beat.ts';
import { DecodeError } from '../wire/decode-error.ts';

const LONGEST_KEY = 4_096;

/** Where a key may come from; the environment variable LINKHOLD_KEY comes last. */
export interface KeySource {
  readonly key?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** The shared key, or a `UsageError` (`no-key`) that says where to put it. */
export function readKey(source: KeySource, where: string): KeyObject {
  if (source.key !== undefined && source.keyFile !== undefined) {
    throw new UsageError('no-key', `${where}: give key or keyFile, not both`);
  }
  const text =
    source.keyFile === undefined
      ? (source.key ?? process.env['LINKHOLD_KEY'] ?? '')
      : readKeyFile(source.keyFile, where);
  if (text === '') {
    const mend = 'give key=SECRET, keyFile=FILE or the variable LINKHOLD_KEY';
    throw new UsageError('no-key', `${where}: beat links need a key that both ends share; ${mend}`);
  }
  if (text.length > LONGEST_KEY) {
    throw new UsageError('no-key', `${where}: the key is longer than ${LONGEST_KEY} characters`);
  }
  return createSecretKey(text, 'utf8');
}

function readKeyFile(file: string, where: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trimEnd();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError('no-key', `${where}: the key file ${file} cannot be read (${code})`);
  }
  if (text === '') throw new UsageError('no-key', `${where}: the key file ${file} is empty`);
  return text;
}

function tagOf(bytes: Uint8Array, key: KeyObject): Uint8Array {
  const hmac = createHmac('sha256', key).update(bytes.subarray(0, BEAT_TAG_OFFSET));
  return hmac.digest().subarray(0, bytes.length - BEAT_TAG_OFFSET);
}

/** A packet ready for the wire. */
export function sealBeat(
  type: BeatType,
  sequence: number,
  nonce: Uint8Array,
  key: KeyObject,
): Uint8Array {
  const bytes = encodeBeat(type, sequence, nonce);
  bytes.set(tagOf(bytes, key), BEAT_TAG_OFFSET);
  return bytes;
}

/** The packet in `bytes` if it is one and its tag is right, else why not. */
export function openBeat(
  bytes: Uint8Array,
  key: KeyObject,
): BeatPacket | 'malformed' | 'not-authentic' {
  try {
    const packet = decodeBeat(bytes);
    return timingSafeEqual(tagOf(bytes, key), packet.tag) ? packet : 'not-authentic';
  } catch (error) {
    if (error instanceof DecodeError) return 'malformed';
    throw error;
  }
}
