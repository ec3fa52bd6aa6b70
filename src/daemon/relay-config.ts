/**
 * What the section `relays` says, with its durations counted and its defaults filled in.
 * @module
 */
import { tcpLimitsOf } from '../keepalive/tcp-limits.ts';
import { resolveTiming } from '../keepalive/timing.ts';
import type { FlowPolicy } from '../relay/relay-plan.ts';
import { parseDuration } from '../time/duration.ts';
import { UsageError } from '../time/usage-error.ts';
import type { ProxyVersion } from '../wire/proxy-protocol.ts';
import { parseAddress } from './address.ts';
import type { Config } from './config-schema.ts';
import type { EngineName, RelayEntry } from './relay-schema.ts';
import type { OldFlows } from './schema-parts.ts';

/** Of SYNs lost on the way, the kernel's second and third still come within. */
const CONNECT_TIMEOUT = '3s';
/** RFC 4787 REQ-5 recommends it for bindings. */
const IDLE_TIMEOUT = '5m';
const GRACE = '30s';

/** One relay. */
export interface RelayConfig {
  readonly name: string;
  /** As written. */
  readonly listen: string;
  readonly host: string;
  readonly port: number;
  readonly group: string;
  readonly protocol: 'tcp' | 'udp';
  readonly oldFlows: OldFlows;
  readonly graceMs: number;
  readonly policy: FlowPolicy;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** 0: what the descriptors allow. */
  readonly maxFlows: number;
  /** 0: no limit. */
  readonly maxRate: number;
  readonly proxy: ProxyVersion | undefined;
  readonly mptcp: boolean;
  /** `undefined`: the better one that can be had. */
  readonly engine: EngineName | undefined;
}

/** All relays by name. Throws `UsageError`. */
export function relayConfigs(config: Config): ReadonlyMap<string, RelayConfig> {
  const relays = Object.entries(config.relays);
  return new Map(relays.map(([name, entry]) => [name, relayConfig(name, entry, config)]));
}

function relayConfig(name: string, entry: RelayEntry, config: Config): RelayConfig {
  const where = `relays.${name}`;
  const { listen, group, protocol = 'tcp', engine, mptcp = false, proxyProtocol } = entry;
  const { profile, time, interval, probes, userTimeout } = entry;
  if (!Object.hasOwn(config.groups, group)) {
    throw new UsageError('bad-config', `${where}.group: there is no group "${group}"`);
  }
  if (protocol === 'udp') refuseForUdp(entry, where);
  const timing = resolveTiming({ profile, time, interval, probes, userTimeout }, where);
  const inMs = (key: 'grace' | 'connectTimeout' | 'idleTimeout', usual: string) =>
    parseDuration(entry[key] ?? usual, `${where}.${key}`);
  return {
    name,
    listen,
    ...parseAddress(listen, `${where}.listen`),
    group,
    protocol,
    oldFlows: entry.oldFlows ?? 'keep',
    graceMs: inMs('grace', GRACE),
    policy: tcpLimitsOf(timing, where),
    connectTimeoutMs: inMs('connectTimeout', CONNECT_TIMEOUT),
    idleTimeoutMs: inMs('idleTimeout', IDLE_TIMEOUT),
    maxFlows: entry.maxFlows ?? 0,
    maxRate: entry.maxRate ?? 0,
    proxy: proxyProtocol,
    mptcp,
    engine,
  };
}

/** What only connections have. */
function refuseForUdp(entry: RelayEntry, where: string): void {
  const refused = {
    mptcp: entry.mptcp === true,
    proxyProtocol: entry.proxyProtocol !== undefined,
    engine: entry.engine === 'streams',
  };
  for (const [key, isThere] of Object.entries(refused)) {
    if (!isThere) continue;
    const text = `UDP flows have no such thing; leave it out`;
    throw new UsageError('bad-config', `${where}.${key}: ${text}`);
  }
}
