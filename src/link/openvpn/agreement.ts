/**
 * What two OpenVPN peers tell of themselves in key method 2, and what they have agreed on after it: by
 * a server's push, or, between two peers without a server, by what both can.
 * @module
 */
import {
  CAN_AGREE,
  CAN_BE_PUSHED,
  CAN_DATA_V2,
  CAN_EXIT,
  CAN_EXPORT_KEYS,
  type KeyMethodReply,
  type PushedOptions,
} from '../../wire/openvpn-message.ts';
import type { OpenvpnTls } from './config.ts';
import { type AeadCipher, aeadCipher } from './data-channel.ts';
import type { OurFacts } from './negotiation.ts';

/** What the data channel of a session needs to know. Times are what the server pushed. */
export interface Agreement {
  readonly cipher: AeadCipher;
  /** Undefined: data packets have no peer id. */
  readonly peerId: number | undefined;
  /** Keys come from TLS's exporter. */
  readonly exportKeys: boolean;
  /** A goodbye is said inside TLS, and not in the data channel. */
  readonly controlExit: boolean;
  readonly pingMs: number | undefined;
  readonly restartMs: number | undefined;
}

/** Everything this end can do. */
export const OUR_ABILITIES: number = CAN_DATA_V2 | CAN_EXPORT_KEYS | CAN_EXIT;
/** Of a server that gives no peer id: none is needed then. */
const NO_PEER_ID = 0x76706e;
const OVERHEAD = 21;
const MTU = 1_500;

/** What we tell. `abilities` are bits of IV_PROTO, and `token` what a server gave in place of a password. */
export function tell(
  security: OpenvpnTls,
  transport: 'udp' | 'tcp',
  device: string,
  abilities: number,
  token: string | undefined,
): OurFacts {
  const { ciphers, login, pull } = security;
  const mtu = device === 'tap' ? MTU + 32 : MTU;
  const options = [
    'V4',
    `dev-type ${device}`,
    `link-mtu ${mtu + OVERHEAD}`,
    `tun-mtu ${mtu}`,
    `proto ${transport === 'udp' ? 'UDPv4' : 'TCPv4_CLIENT'}`,
    `cipher ${ciphers[0]}`,
    'auth [null-digest]',
    `keysize ${ciphers[0]?.includes('128') === true ? 128 : 256}`,
    'key-method 2',
    'tls-client',
  ];
  const both = ciphers.includes('AES-256-GCM') && ciphers.includes('AES-128-GCM');
  const peerInfo = [
    `IV_CIPHERS=${ciphers.join(':')}`,
    ...(both ? ['IV_NCP=2'] : []),
    `IV_PROTO=${abilities | (pull ? CAN_BE_PUSHED : CAN_AGREE)}`,
    'IV_GUI_VER=linkhold',
    '',
  ];
  return {
    options: options.join(','),
    username: login?.username ?? '',
    password: login === undefined ? '' : (token ?? login.password),
    peerInfo: peerInfo.join('\n'),
  };
}

/** What a server's push makes of it, or why nothing can. */
export function agreeWithServer(security: OpenvpnTls, pushed: PushedOptions): Agreement | string {
  const { flags, framing } = pushed;
  const [unwanted] = framing;
  if (unwanted !== undefined) {
    return `the server pushes "${unwanted.slice(0, 60)}", which is not supported; remove it there`;
  }
  const wanted = pushed.cipher ?? security.fallback;
  const cipher = aeadCipher(wanted ?? '');
  if (cipher === undefined) return noCipher(wanted);
  return {
    cipher,
    peerId: pushed.peerId,
    exportKeys: flags.includes('tls-ekm'),
    controlExit: flags.includes('cc-exit'),
    pingMs: milliseconds(pushed.ping),
    restartMs: milliseconds(pushed.pingRestart ?? pushed.pingExit),
  };
}

/** What two peers make of it, each told what the other can. `exportPeerId` asks TLS's exporter. */
export function agreeWithPeer(
  security: OpenvpnTls,
  { peerInfo }: KeyMethodReply,
  abilities: number,
  exportPeerId: () => number | undefined,
): Agreement | string {
  const theirs = Number(peerInfo.get('IV_PROTO') ?? '0') & abilities;
  const negotiates = (Number(peerInfo.get('IV_PROTO') ?? '0') & CAN_AGREE) !== 0;
  const offered = (peerInfo.get('IV_CIPHERS') ?? '').split(':').map(aeadCipher);
  // The other one is the TLS server, whose order decides.
  const common = offered.find((one) => one !== undefined && security.ciphers.includes(one));
  const wanted = (negotiates ? common : undefined) ?? security.fallback;
  const cipher = aeadCipher(wanted ?? '');
  if (cipher === undefined) return noCipher(wanted);
  const exportKeys = negotiates && (theirs & CAN_EXPORT_KEYS) !== 0;
  const numbered = negotiates && (theirs & CAN_DATA_V2) !== 0;
  return {
    cipher,
    peerId: numbered ? ((exportKeys ? exportPeerId() : undefined) ?? NO_PEER_ID) : undefined,
    exportKeys,
    controlExit: negotiates && (theirs & CAN_EXIT) !== 0,
    pingMs: undefined,
    restartMs: undefined,
  };
}

function noCipher(name: string | undefined): string {
  const mend = 'let both ends have AES-256-GCM in data-ciphers';
  return name === undefined
    ? `the peer agrees on no cipher; ${mend}`
    : `the peer wants the cipher ${name.slice(0, 40)}, which is not supported; ${mend}`;
}

/** 0 turns a clock off. */
function milliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined || seconds === 0 ? undefined : seconds * 1_000;
}
