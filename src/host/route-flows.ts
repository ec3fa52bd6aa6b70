/**
 * What connection tracking remembers of flows by a route that was moved: a NAT goes on writing the old
 * path's address into their packets, so that none of them would ever be answered on the new path. With
 * its entry deleted a flow is new: the NAT gives it the new address. Needs CAP_NET_ADMIN.
 * @module
 */
import { NETLINK_NETFILTER } from '../sys/netlink-socket.ts';
import { SystemError } from '../sys/system-error.ts';
import {
  CT_NEW,
  decodeFlow,
  encodeDeleteFlow,
  encodeFlowsQuestion,
  encodeListFlows,
  type TrackedFlow,
} from '../wire/ctnetlink.ts';
import { inPrefix, parseIp } from '../wire/ip-address.ts';
import { isV4Prefix } from '../wire/rtnetlink.ts';
import { exchange } from './netlink-exchange.ts';
import { listRoutes, type RouteSlot } from './route-table.ts';

const MAIN_TABLE = 254;

/**
 * Forgets the flows that go by the slot's route and start from `source`; answers how many. Those that a
 * longer prefix leads elsewhere, such as the probes of the path's own gateway, are let alone. Throws
 * `SystemError`.
 */
export function forgetFlows(slot: RouteSlot, source: string): number {
  const from = parseIp(source);
  if (from === undefined) return 0;
  const v4 = isV4Prefix(slot.destination);
  const longer = [...new Set([slot.table, MAIN_TABLE])]
    .flatMap((table) => listRoutes(v4, table))
    .map(({ destination }) => destination)
    .filter(({ length }) => length > slot.destination.length);
  let forgotten = 0;
  for (const flow of listFlows(v4)) {
    if (!flow.source.every((byte, index) => byte === from[index])) continue;
    if (!inPrefix(flow.remote, slot.destination)) continue;
    if (longer.some((prefix) => inPrefix(flow.remote, prefix))) continue;
    if (forget(flow)) forgotten += 1;
  }
  return forgotten;
}

/** Throws `SystemError`: EPERM without CAP_NET_ADMIN, EINVAL where nothing tracks connections. */
export function askTracking(): void {
  exchange(NETLINK_NETFILTER, encodeFlowsQuestion(), () => undefined);
}

function listFlows(v4: boolean): TrackedFlow[] {
  try {
    return exchange(NETLINK_NETFILTER, encodeListFlows(v4), (view, { type, from, to }) =>
      type === CT_NEW ? decodeFlow(view, from, to) : undefined,
    );
  } catch (error) {
    const { code, message } = error as SystemError;
    // Where nothing tracks connections, nothing holds them to an address.
    if (code === 'EPROTONOSUPPORT' || code === 'EINVAL') return [];
    throw new SystemError(code, `old flows cannot be listed: ${message}`);
  }
}

/** One that ended meanwhile is nobody's loss. */
function forget(flow: TrackedFlow): boolean {
  try {
    exchange(NETLINK_NETFILTER, encodeDeleteFlow(flow), () => undefined);
    return true;
  } catch (error) {
    const { code, message } = error as SystemError;
    if (code === 'ENOENT') return false;
    throw new SystemError(code, `an old flow cannot be forgotten: ${message}`);
  }
}
