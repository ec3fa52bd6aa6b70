/**
 * The section `relays` of the configuration: its type and its schema.
 * @module
 */
import { z } from 'zod';
import type { TimingInput } from '../keepalive/timing.ts';
import { PROXY_VERSIONS, type ProxyVersion } from '../wire/proxy-protocol.ts';
import { duration, grace, type OldFlows, oldFlows, type Shape, timing } from './schema-parts.ts';

export const PROTOCOLS = ['tcp', 'udp'] as const;
/** What carries the flows: the kernel, told by a process of its own, or streams of the daemon. */
export const ENGINES = ['splice', 'streams'] as const;
export type EngineName = (typeof ENGINES)[number];

/** A listener in front of a group. */
export interface RelayEntry extends Omit<TimingInput, 'beat'> {
  readonly listen: string;
  readonly group: string;
  readonly protocol?: (typeof PROTOCOLS)[number] | undefined;
  readonly oldFlows?: OldFlows | undefined;
  readonly grace?: string | undefined;
  readonly connectTimeout?: string | undefined;
  readonly idleTimeout?: string | undefined;
  readonly maxFlows?: number | undefined;
  readonly maxRate?: number | undefined;
  readonly proxyProtocol?: ProxyVersion | undefined;
  readonly mptcp?: boolean | undefined;
  readonly engine?: EngineName | undefined;
}

export const relaySchema: z.ZodType<RelayEntry> = z.strictObject({
  listen: z.string().describe('`ADDRESS:PORT` that programs connect to.'),
  group: z.string().describe('The group whose path in use takes the connections.'),
  protocol: z
    .enum(PROTOCOLS)
    .optional()
    .describe('What is carried. A UDP flow is the datagrams of one client address. Default `tcp`.'),
  oldFlows,
  grace,
  connectTimeout: duration
    .optional()
    .describe(
      'How long a path may take to accept a connection; then the next is tried, and the client knows nothing. Too small and distant paths are passed over. Default 3s.',
    ),
  idleTimeout: duration
    .optional()
    .describe('How long a UDP flow lives without a datagram either way (RFC 4787). Default 5m.'),
  maxFlows: z
    .int()
    .min(1)
    .max(60_000)
    .optional()
    .describe(
      'Flows at the same time; further clients wait in the queue of the kernel. Default: what the limit of descriptors allows (two a flow).',
    ),
  maxRate: z
    .int()
    .min(1)
    .max(1_000_000)
    .optional()
    .describe('New flows a second; further clients wait. Default: no limit.'),
  proxyProtocol: z
    .enum(PROXY_VERSIONS)
    .optional()
    .describe(
      'Tells the server first whose connection it is, by the PROXY protocol; it must expect that. Default: no.',
    ),
  mptcp: z
    .boolean()
    .optional()
    .describe('Connect to the paths by Multipath TCP, where their servers have it. Default false.'),
  engine: z
    .enum(ENGINES)
    .optional()
    .describe(
      'What carries: `splice`, a process whose flows survive it and the daemon (Linux, koffi), or `streams`, the daemon itself. Default `splice` where it can be had.',
    ),
  ...timing,
} satisfies Shape<RelayEntry>);
