/**
 * What OpenVPN's peers say to each other inside the data channel, decrypted: the ping, and the messages
 * by which old versions compare options and say goodbye (OCC). Everything else is somebody's IP packet.
 * @module
 */

/** Sixteen bytes that are no IP packet. */
const PING = Uint8Array.of(
  ...[0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb],
  ...[0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48],
);
const OCC = Uint8Array.of(
  ...[0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81],
  ...[0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c],
);

/** OCC's opcodes that matter here; only the first is answered at once, by the second. */
const OCC_OPCODES = { request: 0, reply: 1, exit: 6 } as const;

export type OccName = keyof typeof OCC_OPCODES;

/** What a data packet carries. `traffic` is what a VPN is for, and none of our business. */
export type DataPayload = 'ping' | OccName | 'traffic';

/** The bytes of a ping: no answer is asked for. */
export function encodePing(): Uint8Array {
  return PING.slice();
}

/** An OCC message without a body. */
export function encodeOcc(name: OccName): Uint8Array {
  return Uint8Array.of(...OCC, OCC_OPCODES[name]);
}

/** Reads any bytes; what is nothing else is traffic. */
export function decodePayload(bytes: Uint8Array): DataPayload {
  if (bytes.length === PING.length && begins(bytes, PING)) return 'ping';
  if (bytes.length <= OCC.length || !begins(bytes, OCC)) return 'traffic';
  const opcode = bytes[OCC.length];
  const names = Object.keys(OCC_OPCODES) as OccName[];
  return names.find((name) => OCC_OPCODES[name] === opcode) ?? 'traffic';
}

function begins(bytes: Uint8Array, magic: Uint8Array): boolean {
  return magic.every((byte, index) => bytes[index] === byte);
}
