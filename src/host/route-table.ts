/**
 * The kernel's routing tables: read, changed and read back by rtnetlink, without a subprocess. A route
 * of ours bears a protocol number of its own and stands in front of whatever leads to the same
 * destination, which stays where it is: so the kernel holds all there is to remember, a killed daemon
 * leaves a route that works, and taking ours away restores what was there. Changes need
 * CAP_NET_ADMIN.
 * @module
 */
import { NETLINK_ROUTE, NetlinkSocket } from '../sys/netlink-socket.ts';
import { SystemError } from '../sys/system-error.ts';
import { formatPrefix, type Prefix } from '../wire/ip-address.ts';
import { decodeNetlink, type NetlinkMessage } from '../wire/netlink.ts';
import {
  decodeDevice,
  decodeDeviceName,
  decodeLoss,
  decodeRoute,
  encodeDeleteRoute,
  encodeDeviceQuestion,
  encodeListRoutes,
  encodeLookup,
  encodePutRoute,
  encodeRightsQuestion,
  isV4Prefix,
  ROUTE_NEWS,
  type Route,
  type RouteEntrance,
  type RouteRequest,
  RTM_NEWLINK,
  RTM_NEWROUTE,
} from '../wire/rtnetlink.ts';
import { exchange } from './netlink-exchange.ts';

/** Our routes' protocol number, which `ip route` shows as `proto 76`; nobody else is known to use it. */
export const OUR_PROTOCOL = 76;

/** Which route is meant, wherever it leads. */
export interface RouteSlot {
  readonly destination: Prefix;
  readonly table: number;
  readonly metric: number;
}

/** Where a route leads: to a gateway, by a device, or both. */
export interface NextHop {
  readonly via: string | undefined;
  readonly dev: string | undefined;
}

/** A slot as people write it. */
export function describeSlot({ destination, table }: RouteSlot): string {
  return `${formatPrefix(destination)} in table ${table}`;
}

/** A next hop as `ip route` writes it. */
export function describeHop({ via, dev }: NextHop): string {
  const words = [via === undefined ? '' : `via ${via}`, dev === undefined ? '' : `dev ${dev}`];
  return words.filter(Boolean).join(' ');
}

/** Throws `SystemError` (EPERM) if routes may not be changed here. */
export function requireRouteRights(): void {
  try {
    exchange(NETLINK_ROUTE, encodeRightsQuestion(), () => undefined);
  } catch (error) {
    const { code } = error as SystemError;
    if (code === 'EINVAL') return;
    if (code !== 'EPERM') throw error;
    throw new SystemError(
      code,
      'changing routes needs CAP_NET_ADMIN; run with it or remove routes:',
    );
  }
}

/** Every route of a family in a table, in the order in which equals are taken. Throws `SystemError`. */
export function listRoutes(v4: boolean, table: number): Route[] {
  try {
    const routes = exchange(NETLINK_ROUTE, encodeListRoutes(v4, table), routeOf);
    return routes.filter((route) => route.table === table);
  } catch (error) {
    // A table without a route does not exist.
    if ((error as SystemError).code === 'ENOENT') return [];
    throw error;
  }
}

/** All routes to the slot's destination, the one that packets take first. Throws `SystemError`. */
export function routesTo({ destination, table }: RouteSlot): Route[] {
  return listRoutes(isV4Prefix(destination), table)
    .filter((route) => route.tos === 0 && isSamePrefix(route.destination, destination))
    .toSorted((a, b) => a.metric - b.metric);
}

/** Whether a route to the slot's destination is ours. */
export function isOurs({ protocol, metric }: Route, slot: RouteSlot): boolean {
  return protocol === OUR_PROTOCOL && metric === slot.metric;
}

/** Whether a route is ours in this slot, and leads there. */
export function leadsTo(route: Route, slot: RouteSlot, { via, dev }: NextHop): boolean {
  if (!isOurs(route, slot) || route.gateway !== via) return false;
  return dev === undefined || route.device === deviceNumber(dev);
}

/**
 * Leads the slot there: replaces our route in one step, or puts it in front of what there is; then reads
 * the kernel's table. Throws `SystemError` if that does not hold what was asked.
 */
export function putRoute(slot: RouteSlot, hop: NextHop): Route {
  const where = `${describeSlot(slot)} ${describeHop(hop)}`;
  const beside: RouteEntrance = isV4Prefix(slot.destination) ? 'front' : 'alone';
  const [first, ...others] = routesTo(slot).filter(({ metric }) => metric === slot.metric);
  const replaces = first !== undefined && isOurs(first, slot);
  try {
    const request = encodePutRoute(requestOf(slot, hop), replaces ? 'replace' : beside);
    // One that stands behind another's carries nothing, and would be taken for the new one.
    if (!replaces && others.some((route) => isOurs(route, slot))) removeRoute(slot);
    exchange(NETLINK_ROUTE, request, () => undefined);
  } catch (error) {
    const { code } = error as SystemError;
    throw new SystemError(code, `${where}: the kernel answered ${code}${mend(code, slot, hop)}`);
  }
  const [held] = routesTo(slot);
  if (held !== undefined && leadsTo(held, slot, hop)) return held;
  const found = held === undefined ? 'no route' : describeRoute(held);
  throw new SystemError('not-held', `${where}: the kernel took it, but ${found} stands in front`);
}

/** Takes our route away, wherever it leads; what stood behind it counts again. Throws `SystemError`. */
export function removeRoute(slot: RouteSlot): void {
  for (const route of routesTo(slot)) {
    if (!isOurs(route, slot)) continue;
    try {
      exchange(NETLINK_ROUTE, encodeDeleteRoute(route), () => undefined);
    } catch (error) {
      const { code } = error as SystemError;
      if (code !== 'ESRCH') throw error;
    }
  }
}

/** A route as people read it. */
export function describeRoute(route: Route): string {
  const { gateway, device, metric, protocol, type } = route;
  const words = [
    gateway === undefined ? '' : `via ${gateway}`,
    device === 0 ? '' : `dev ${deviceName(device) ?? device}`,
    type === 1 ? '' : `type ${type}`,
    `proto ${protocol}`,
    `metric ${metric}`,
  ];
  return words.filter(Boolean).join(' ');
}

/**
 * The address of ours that packets by this hop start from, or `undefined` where it cannot be told. It
 * is asked for by the gateway, or, of a hop without one, by an address that nobody has.
 */
export function sourceBy({ destination }: RouteSlot, { via, dev }: NextHop): string | undefined {
  const nobody = isV4Prefix(destination) ? '192.0.2.1' : '2001:db8::1';
  try {
    const request = encodeLookup(via ?? nobody, dev === undefined ? 0 : (deviceNumber(dev) ?? 0));
    return exchange(NETLINK_ROUTE, request, routeOf)[0]?.source;
  } catch {
    return undefined;
  }
}

/** News of routes, devices and addresses, asked for now and then: the kernel keeps it meanwhile. */
export class RouteNews {
  readonly #netlink = new NetlinkSocket(NETLINK_ROUTE);

  /** Throws `SystemError`. */
  constructor() {
    this.#netlink.follow(ROUTE_NEWS);
  }

  /**
   * The devices that may have lost routes without a word since the last call, `all` if too much came;
   * `undefined`: no news.
   */
  read(): ReadonlySet<number> | 'all' | undefined {
    try {
      let devices: Set<number> | undefined;
      for (let view = this.#netlink.receiveNow(); view; view = this.#netlink.receiveNow()) {
        devices ??= new Set();
        for (const message of decodeNetlink(view)) {
          const device = decodeLoss(view, message);
          if (device !== undefined) devices.add(device);
        }
      }
      return devices;
    } catch (error) {
      if ((error as SystemError).code !== 'ENOBUFS') throw error;
      return 'all';
    }
  }

  close(): void {
    this.#netlink.close();
  }
}

function requestOf(slot: RouteSlot, { via, dev }: NextHop): RouteRequest {
  const device = dev === undefined ? 0 : deviceNumber(dev);
  if (device === undefined) throw new SystemError('ENODEV', `there is no device ${dev}`);
  return { ...slot, protocol: OUR_PROTOCOL, gateway: via, device };
}

function mend(code: string, { metric }: RouteSlot, { via, dev }: NextHop): string {
  if (code === 'ENETUNREACH' || code === 'EHOSTUNREACH' || code === 'EINVAL') {
    return `; is ${via ?? dev} on a network of this machine?`;
  }
  if (code === 'ENODEV') return `; there is no device ${dev}`;
  if (code === 'ENETDOWN') return `; bring ${dev ?? 'its device'} up`;
  if (code === 'EEXIST') return `; another route has metric ${metric}: give this one a lower one`;
  if (code === 'EPERM') return '; changing routes needs CAP_NET_ADMIN';
  return '';
}

function routeOf(view: DataView, { type, from, to }: NetlinkMessage): Route | undefined {
  return type === RTM_NEWROUTE ? decodeRoute(view, from, to) : undefined;
}

function isSamePrefix(a: Prefix, b: Prefix): boolean {
  return a.length === b.length && a.bytes.every((byte, index) => byte === b.bytes[index]);
}

function deviceNumber(name: string): number | undefined {
  return askDevice(name, decodeDevice);
}

function deviceName(number: number): string | undefined {
  return askDevice(number, decodeDeviceName);
}

/** `undefined` where there is no such device. */
function askDevice<Answer>(
  which: string | number,
  read: (view: DataView, message: NetlinkMessage) => Answer | undefined,
): Answer | undefined {
  try {
    const [answer] = exchange(NETLINK_ROUTE, encodeDeviceQuestion(which), (view, message) =>
      message.type === RTM_NEWLINK ? read(view, message) : undefined,
    );
    return answer;
  } catch (error) {
    if ((error as SystemError).code === 'ENODEV') return undefined;
    throw error;
  }
}
