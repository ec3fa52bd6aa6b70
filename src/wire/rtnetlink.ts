/**
 * Routes in rtnetlink (rtnetlink(7), linux/rtnetlink.h): the requests that list, look up, add, replace
 * and delete one, a route of an answer, and whom news of a device is about. IPv4 is the family of
 * prefixes within `::ffff:0:0/96`. Routes with several next hops are read as one without any.
 * @module
 */
import { DecodeError } from './decode-error.ts';
import { formatIp, formatV4, isMappedV4, type Prefix, parseIp } from './ip-address.ts';
import {
  encodeAttributes,
  encodeNetlink,
  findAttribute,
  NETLINK_ACK,
  NETLINK_DUMP,
  NETLINK_REQUEST,
  type NetlinkMessage,
} from './netlink.ts';

/** A route as the kernel holds it. */
export interface Route {
  readonly destination: Prefix;
  readonly table: number;
  /** Lower is preferred among routes to the same destination. */
  readonly metric: number;
  /** Who made it: 3 is a person's `ip route`, 16 a DHCP client. */
  readonly protocol: number;
  /** 1 for an ordinary one that passes packets on. */
  readonly type: number;
  /** Only packets with this type of service take it. 0: all. */
  readonly tos: number;
  readonly gateway: string | undefined;
  /** The number of the device it leaves by; 0: none, or several. */
  readonly device: number;
  /** The local address that packets start from, where the kernel tells. */
  readonly source: string | undefined;
}

/** What is asked for of a route. */
export type RouteRequest = Pick<
  Route,
  'destination' | 'table' | 'metric' | 'protocol' | 'gateway' | 'device'
>;

/**
 * How a route comes in: `replace` the first one to this destination with this metric, `front` of those
 * (IPv4), or `alone`: refused with EEXIST where there is one.
 */
export type RouteEntrance = 'replace' | 'front' | 'alone';

export const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
export const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_DELLINK = 17;
const RTM_DELADDR = 21;
const IFF_UP = 1;

/** Groups of news (RTNLGRP_*): devices, addresses and routes of both families. */
export const ROUTE_NEWS: readonly number[] = [1, 5, 7, 9, 11];

const ENTRANCES: Readonly<Record<RouteEntrance, number>> = {
  replace: 0x100,
  front: 0x400,
  alone: 0x400 | 0x200,
};

const RTA = { dst: 1, oif: 4, gateway: 5, priority: 6, prefSrc: 7, table: 15 } as const;
const IFLA_IFNAME = 3;
/** IFNAMSIZ. */
const LONGEST_NAME = 16;
const AF_INET = 2;
const AF_INET6 = 10;
const ROUTE_LENGTH = 12;
const LINK_LENGTH = 16;
const ADDRESS_LENGTH = 8;
const V4_BITS = 96;
const UNICAST = 1;
const SCOPE = { universe: 0, link: 253, any: 255 } as const;

/** Whether a prefix is one of IPv4. */
export function isV4Prefix({ bytes, length }: Prefix): boolean {
  return length >= V4_BITS && isMappedV4(bytes);
}

/** Asks to put a route (CAP_NET_ADMIN). */
export function encodePutRoute(route: RouteRequest, entrance: RouteEntrance): Uint8Array {
  const direct = route.gateway === undefined && isV4Prefix(route.destination);
  const payload = encodeRoute(route, direct ? SCOPE.link : SCOPE.universe);
  const flags = NETLINK_REQUEST | NETLINK_ACK | ENTRANCES[entrance];
  return encodeNetlink(RTM_NEWROUTE, flags, payload);
}

/** Asks to delete this very route (CAP_NET_ADMIN). */
export function encodeDeleteRoute(route: RouteRequest): Uint8Array {
  const payload = encodeRoute(route, SCOPE.any);
  return encodeNetlink(RTM_DELROUTE, NETLINK_REQUEST | NETLINK_ACK, payload);
}

/** Asks for nothing: EPERM without CAP_NET_ADMIN, EINVAL with it. */
export function encodeRightsQuestion(): Uint8Array {
  const tooShort = Uint8Array.of(AF_INET, 0, 0, 0);
  return encodeNetlink(RTM_NEWROUTE, NETLINK_REQUEST | NETLINK_ACK, tooShort);
}

/** Asks for every route of a table. */
export function encodeListRoutes(v4: boolean, table: number): Uint8Array {
  const payload = message(v4, { attributes: [[RTA.table, word(table)]] });
  return encodeNetlink(RTM_GETROUTE, NETLINK_REQUEST | NETLINK_DUMP, payload);
}

/** Asks which way a packet to `address` would take, by that device (0: any). */
export function encodeLookup(address: string, device: number): Uint8Array {
  const bytes = parseIp(address) ?? new Uint8Array(16);
  const v4 = isMappedV4(bytes);
  const attributes: Attribute[] = [[RTA.dst, ofFamily(bytes, v4)]];
  if (device !== 0) attributes.push([RTA.oif, word(device)]);
  const payload = message(v4, { bits: v4 ? 32 : 128, attributes });
  return encodeNetlink(RTM_GETROUTE, NETLINK_REQUEST | NETLINK_ACK, payload);
}

/** Asks for a device by its name or its number. */
export function encodeDeviceQuestion(which: string | number): Uint8Array {
  const name = typeof which === 'string' ? which : undefined;
  const text = Uint8Array.from([...(name ?? ''), '\0'], (letter) => letter.charCodeAt(0));
  const attributes = encodeAttributes(name === undefined ? [] : [[IFLA_IFNAME, text]]);
  const payload = new Uint8Array(LINK_LENGTH + attributes.length);
  if (typeof which === 'number') payload.set(word(which), 4);
  payload.set(attributes, LINK_LENGTH);
  return encodeNetlink(RTM_GETLINK, NETLINK_REQUEST | NETLINK_ACK, payload);
}

/** The name of the device of a RTM_NEWLINK message. Throws `DecodeError`. */
export function decodeDeviceName(view: DataView, { from, to }: NetlinkMessage): string {
  const name = findAttribute(view, from + LINK_LENGTH, to, IFLA_IFNAME);
  if (name === undefined) throw new DecodeError('rtnetlink', 'incomplete', IFLA_IFNAME);
  const bytes = new Uint8Array(view.buffer, view.byteOffset + name.at, name.length);
  return String.fromCharCode(...bytes.subarray(0, Math.min(bytes.indexOf(0) >>> 0, LONGEST_NAME)));
}

/** The number of the device that a message about it or its address has. Throws `DecodeError`. */
export function decodeDevice(view: DataView, { from, to }: NetlinkMessage): number {
  if (to - from < ADDRESS_LENGTH) throw new DecodeError('rtnetlink', 'cut-short', to - from);
  return view.getUint32(from + 4, true);
}

/**
 * The device whose routes may have gone with what a message tells, for the kernel does not tell of them
 * all: it is down, or gone, or has an address less. `undefined` for other news. Throws `DecodeError`.
 */
export function decodeLoss(view: DataView, message: NetlinkMessage): number | undefined {
  const { type, from, to } = message;
  if (![RTM_NEWLINK, RTM_DELLINK, RTM_DELADDR].includes(type)) return undefined;
  const device = decodeDevice(view, message);
  if (type !== RTM_NEWLINK) return device;
  if (to - from < LINK_LENGTH) throw new DecodeError('rtnetlink', 'cut-short', to - from);
  return (view.getUint32(from + 8, true) & IFF_UP) === 0 ? device : undefined;
}

/** The route of a message's payload. Throws `DecodeError`. */
export function decodeRoute(view: DataView, from: number, to: number): Route {
  if (to - from < ROUTE_LENGTH || to > view.byteLength) {
    throw new DecodeError('rtnetlink', 'cut-short', to - from);
  }
  const family = view.getUint8(from);
  if (family !== AF_INET && family !== AF_INET6) {
    throw new DecodeError('rtnetlink', 'bad-family', family);
  }
  const v4 = family === AF_INET;
  const bits = view.getUint8(from + 1);
  if (bits > (v4 ? 32 : 128)) throw new DecodeError('rtnetlink', 'bad-prefix', bits);
  const find = (type: number) => findAttribute(view, from + ROUTE_LENGTH, to, type);
  const number = (type: number) => {
    const found = find(type);
    return found !== undefined && found.length >= 4 ? view.getUint32(found.at, true) : undefined;
  };
  const address = (type: number) => {
    const found = find(type);
    if (found?.length !== (v4 ? 4 : 16)) return undefined;
    return new Uint8Array(view.buffer, view.byteOffset + found.at, found.length);
  };
  const text = (type: number) => {
    const bytes = address(type);
    if (bytes === undefined) return undefined;
    return v4 ? formatV4(bytes, 0) : formatIp(bytes);
  };
  return {
    destination: prefixOf(address(RTA.dst), bits, v4),
    table: number(RTA.table) ?? view.getUint8(from + 4),
    metric: number(RTA.priority) ?? 0,
    protocol: view.getUint8(from + 5),
    type: view.getUint8(from + 7),
    tos: view.getUint8(from + 3),
    gateway: text(RTA.gateway),
    device: number(RTA.oif) ?? 0,
    source: text(RTA.prefSrc),
  };
}

type Attribute = readonly [type: number, payload: Uint8Array];

function encodeRoute(route: RouteRequest, scope: number): Uint8Array {
  const v4 = isV4Prefix(route.destination);
  const { bytes, length } = route.destination;
  const bits = v4 ? length - V4_BITS : length;
  const attributes: Attribute[] = [[RTA.table, word(route.table)]];
  if (bits > 0) attributes.push([RTA.dst, ofFamily(bytes, v4)]);
  if (route.metric > 0) attributes.push([RTA.priority, word(route.metric)]);
  const gateway = route.gateway === undefined ? undefined : parseIp(route.gateway);
  if (gateway !== undefined) attributes.push([RTA.gateway, ofFamily(gateway, v4)]);
  if (route.device !== 0) attributes.push([RTA.oif, word(route.device)]);
  return message(v4, { bits, protocol: route.protocol, scope, type: UNICAST, attributes });
}

function message(
  v4: boolean,
  {
    bits = 0,
    protocol = 0,
    scope = 0,
    type = 0,
    attributes,
  }: { bits?: number; protocol?: number; scope?: number; type?: number; attributes: Attribute[] },
): Uint8Array {
  const behind = encodeAttributes(attributes);
  const payload = new Uint8Array(ROUTE_LENGTH + behind.length);
  payload.set([v4 ? AF_INET : AF_INET6, bits, 0, 0, 0, protocol, scope, type]);
  payload.set(behind, ROUTE_LENGTH);
  return payload;
}

function prefixOf(address: Uint8Array | undefined, bits: number, v4: boolean): Prefix {
  const bytes = new Uint8Array(16);
  if (v4) bytes.fill(0xff, 10, 12);
  if (address !== undefined) bytes.set(address, v4 ? 12 : 0);
  return { bytes, length: v4 ? V4_BITS + bits : bits };
}

/** An address as the kernel has it in a route of that family: 4 bytes, or 16. */
function ofFamily(bytes: Uint8Array, v4: boolean): Uint8Array {
  return v4 ? bytes.subarray(12) : bytes;
}

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
