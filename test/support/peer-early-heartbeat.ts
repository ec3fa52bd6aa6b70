/**
 * `node peer-early-heartbeat.ts client|server CA CERTIFICATE KEY`: a handshake of TLS 1.3 into which the
 * peer puts an empty heartbeat request, sealed by its handshake keys. They are read from the file
 * that SSLKEYLOGFILE names. Ours is the side named; prints what became of it.
 * @module
 */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { SecureChannel } from '../../src/link/tls/secure-channel.ts';
import { TlsRecordReader } from '../../src/wire/tls-record.ts';
import { RawPeer } from './raw-peer.ts';
import { SUITES, sessionOptions, Witness } from './secure-pair.ts';

const [side = '', ca = '', certificate = '', key = ''] = process.argv.slice(2);
const pem = { ca: readFileSync(ca), cert: readFileSync(certificate), key: readFileSync(key) };
const priority = SUITES['TLS 1.3 AES-128-GCM'] ?? '';
const oursIsServer = side === 'server';
/** Whose handshake keys the injected record is sealed with: the peer's. */
const LABEL = oursIsServer ? 'CLIENT_HANDSHAKE_TRAFFIC_SECRET' : 'SERVER_HANDSHAKE_TRAFFIC_SECRET';

/** HKDF-Expand-Label (RFC 8446 section 7.1), for lengths of one block. */
function expand(secret: Buffer, label: string, length: number): Buffer {
  const name = `tls13 ${label}`;
  const info = Buffer.concat([
    Buffer.from([length >> 8, length & 0xff, name.length]),
    Buffer.from(name),
    Buffer.from([0, 1]),
  ]);
  return createHmac('sha256', secret).update(info).digest().subarray(0, length);
}

function handshakeKeys(): { key: Buffer; iv: Buffer } {
  const log = readFileSync(process.env['SSLKEYLOGFILE'] ?? '', 'utf8');
  const line = log.split('\n').find((text) => text.startsWith(LABEL));
  const secret = Buffer.from(line?.split(' ')[2] ?? '', 'hex');
  return { key: expand(secret, 'key', 16), iv: expand(secret, 'iv', 12) };
}

function nonce(iv: Buffer, sequence: number): Buffer {
  const bytes = Buffer.from(iv);
  bytes.writeUInt32BE((bytes.readUInt32BE(8) ^ sequence) >>> 0, 8);
  return bytes;
}

/** All records sealed by the peer's handshake keys, one number later, behind an empty request. */
class Injector {
  readonly #reader = new TlsRecordReader();
  #sequence = 0;

  *pass(bytes: Uint8Array): Generator<Uint8Array> {
    for (const record of this.#reader.read(bytes)) {
      const opened = record[0] === 23 ? this.#open(record) : undefined;
      if (opened === undefined) {
        yield Uint8Array.from(record);
        continue;
      }
      if (this.#sequence === 0) {
        process.stdout.write('injected\n');
        yield this.#seal(Buffer.from([1, 0, 0, ...new Uint8Array(16), 24]));
      }
      yield this.#seal(opened);
    }
  }

  #open(record: Uint8Array): Buffer | undefined {
    const { key, iv } = handshakeKeys();
    const before = this.#sequence === 0 ? 0 : this.#sequence - 1;
    const cipher = createDecipheriv('aes-128-gcm', key, nonce(iv, before));
    cipher.setAAD(record.subarray(0, 5)).setAuthTag(record.subarray(-16));
    const plain = cipher.update(record.subarray(5, -16));
    try {
      return Buffer.concat([plain, cipher.final()]);
    } catch {
      return undefined;
    }
  }

  #seal(inner: Buffer): Uint8Array {
    const { key, iv } = handshakeKeys();
    const length = inner.length + 16;
    const header = Buffer.from([23, 3, 3, length >> 8, length & 0xff]);
    const cipher = createCipheriv('aes-128-gcm', key, nonce(iv, this.#sequence));
    this.#sequence += 1;
    cipher.setAAD(header);
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  }
}

const injector = new Injector();
const witness = new Witness();
const ours = new SecureChannel(sessionOptions(pem, priority, oursIsServer), witness);
const peer = new RawPeer(sessionOptions(pem, priority, !oursIsServer), (bytes) => {
  for (const piece of injector.pass(bytes)) setImmediate(() => ours.receive(piece));
});
witness.to = (bytes) => setImmediate(() => peer.receive(bytes));
ours.start();
peer.start();
for (let turns = 0; turns < 200 && !witness.secure && witness.over === undefined; turns += 1) {
  await turn();
}
if (peer.failure !== undefined && witness.over === undefined) throw peer.failure;
const end = witness.over?.error?.message ?? (witness.secure ? 'secure' : 'neither');
process.stdout.write(`our ${side}: ${end}\n`);
ours.close();
