/**
 * From a session of TLS to the keys of OpenVPN's data channel, 256 bytes: by TLS's exporter (RFC 5705),
 * or, with peers that lack it, by TLS 1.0's PRF (RFC 2246 section 5) over what both contributed in key
 * method 2. The hashes are `node:crypto`'s.
 * @module
 */
import { createHmac } from 'node:crypto';
import { KEY_FILE_LENGTH } from '../../wire/openvpn-key-file.ts';
import { joined } from '../../wire/openvpn-packet.ts';

/** What the exporter is called with, for keys and for the peer id of two peers without a server. */
export const KEYS_LABEL = 'EXPORTER-OpenVPN-datakeys';
export const PEER_ID_LABEL = 'EXPORTER-OpenVPN-p2p-peerid';

const MASTER_LENGTH = 48;

/** What both sides contributed. */
export interface KeySources {
  readonly preMaster: Uint8Array;
  readonly client: { readonly random1: Uint8Array; readonly random2: Uint8Array };
  readonly server: { readonly random1: Uint8Array; readonly random2: Uint8Array };
  readonly clientSession: Uint8Array;
  readonly serverSession: Uint8Array;
}

/** The 256 bytes of keys, without the exporter. */
export function deriveKeys(sources: KeySources): Uint8Array {
  const { preMaster, client, server, clientSession, serverSession } = sources;
  const masterSeed = joined(client.random1, server.random1);
  const master = prf(preMaster, 'OpenVPN master secret', masterSeed, MASTER_LENGTH);
  const seed = joined(client.random2, server.random2, clientSession, serverSession);
  return prf(master, 'OpenVPN key expansion', seed, KEY_FILE_LENGTH);
}

function prf(secret: Uint8Array, label: string, seed: Uint8Array, length: number): Uint8Array {
  const half = Math.ceil(secret.length / 2);
  const labelled = joined(new TextEncoder().encode(label), seed);
  const md5 = expand('md5', secret.subarray(0, half), labelled, length);
  const sha1 = expand('sha1', secret.subarray(-half), labelled, length);
  return md5.map((byte, index) => byte ^ (sha1[index] ?? 0));
}

function expand(hash: string, secret: Uint8Array, seed: Uint8Array, length: number): Uint8Array {
  const hmac = (...parts: readonly Uint8Array[]) =>
    createHmac(hash, secret)
      .update(joined(...parts))
      .digest();
  let bytes: Uint8Array = new Uint8Array();
  for (let a: Uint8Array = hmac(seed); bytes.length < length; a = hmac(a)) {
    bytes = joined(bytes, hmac(a, seed));
  }
  return bytes.subarray(0, length);
}
