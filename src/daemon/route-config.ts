/**
 * The routes of a configuration: what each is called by the kernel, and where each path of its group
 * leads it. Asks nothing of the kernel.
 * @module
 */
import { describeSlot, type NextHop, type RouteSlot } from '../host/route-table.ts';
import { parseDuration } from '../time/duration.ts';
import { UsageError } from '../time/usage-error.ts';
import { formatIp, isMappedV4, parseIp, parsePrefix } from '../wire/ip-address.ts';
import { isV4Prefix } from '../wire/rtnetlink.ts';
import type { Config, OnExit, PathEntry, RouteEntry } from './config-schema.ts';
import type { OldFlows } from './schema-parts.ts';

const MAIN_TABLE = 254;
/** As of relays. */
const DEFAULT_GRACE = '30s';
/** In front of every other: IPv6 has no metric 0. */
const FIRST_METRIC = { v4: 0, v6: 1 } as const;

/** A route, settled. */
export interface RouteConfig {
  readonly slot: RouteSlot;
  readonly group: string;
  /** Where each path leads it. */
  readonly hops: ReadonlyMap<string, NextHop>;
  readonly oldFlows: OldFlows;
  readonly graceMs: number;
  readonly onExit: OnExit;
}

/** The routes of a configuration by name. Throws `UsageError`. */
export function routeConfigs(config: Config): ReadonlyMap<string, RouteConfig> {
  const routes = new Map<string, RouteConfig>();
  const taken = new Map<string, string>();
  for (const [name, entry] of Object.entries(config.routes)) {
    const where = `routes.${name}`;
    const route = settle(config, entry, where);
    const slot = `${describeSlot(route.slot)} with metric ${route.slot.metric}`;
    const other = taken.get(slot);
    if (other !== undefined) fail(`${where}.destination`, `${other} is ${slot} already`);
    taken.set(slot, where);
    routes.set(name, route);
  }
  return routes;
}

function settle(config: Config, entry: RouteEntry, where: string): RouteConfig {
  const { destination: text, table = MAIN_TABLE, group, metric, oldFlows = 'keep' } = entry;
  const destination = parsePrefix(text);
  if (destination === undefined) {
    const mend = 'write 0.0.0.0/0, 10.0.0.0/8 or ::/0';
    return fail(`${where}.destination`, `"${text}" is no range of addresses; ${mend}`);
  }
  if (!Object.hasOwn(config.groups, group)) {
    fail(`${where}.group`, `there is no group "${group}"`);
  }
  const v4 = isV4Prefix(destination);
  const first = v4 ? FIRST_METRIC.v4 : FIRST_METRIC.v6;
  if (metric === 0 && !v4) fail(`${where}.metric`, 'IPv6 has no metric 0; leave it out for 1');
  const paths = config.groups[group]?.paths ?? [];
  const hops = paths.map((path, index) => {
    return [path.link, hopOf(path, v4, `groups.${group}.paths.${index}`, where)] as const;
  });
  return {
    slot: { destination, table, metric: metric ?? first },
    group,
    hops: new Map(hops),
    oldFlows,
    graceMs: parseDuration(entry.grace ?? DEFAULT_GRACE, `${where}.grace`),
    onExit: entry.onExit ?? 'restore',
  };
}

function hopOf({ via, dev }: PathEntry, v4: boolean, where: string, route: string): NextHop {
  if (via === undefined) {
    if (dev === undefined) fail(where, `${route} needs its gateway or device: via or dev`);
    return { via, dev };
  }
  const bytes = parseIp(via);
  if (bytes === undefined) return fail(`${where}.via`, `"${via}" is no address`);
  if (isMappedV4(bytes) !== v4) {
    fail(`${where}.via`, `${via} is no ${v4 ? 'IPv4' : 'IPv6'} address, as ${route} needs`);
  }
  if (!v4 && bytes[0] === 0xfe && (bytes[1] ?? 0) >> 6 === 2 && dev === undefined) {
    fail(`${where}.via`, `${via} is the same on every link; say which with dev`);
  }
  return { via: formatIp(bytes), dev };
}

function fail(where: string, text: string): never {
  throw new UsageError('bad-config', `${where}: ${text}`);
}
