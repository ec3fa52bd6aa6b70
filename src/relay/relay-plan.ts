/**
 * What the relay's process is told and what it tells: one JSON object a line each way. Told is always
 * the whole plan, never a step, so that a message more or less does no harm.
 * @module
 */
import type { ProxyVersion } from '../wire/proxy-protocol.ts';

/** Where flows of a relay may go. */
export interface PlannedTarget {
  /** The path's name. */
  readonly path: string;
  /** An IP address. */
  readonly address: string;
  readonly port: number;
  /** Local IP address to connect from. */
  readonly source?: string | undefined;
  /** Its part of new flows, from 0 to 1; with 0 it is tried after all others. */
  readonly share: number;
}

/** Keepalive of both sides of a flow, in milliseconds (tcp(7)). */
export interface FlowPolicy {
  readonly timeMs: number;
  readonly intervalMs: number;
  readonly probes: number;
  /** 0: the kernel's own limit. */
  readonly userTimeoutMs: number;
}

export interface PlannedRelay {
  readonly name: string;
  readonly protocol: 'tcp' | 'udp';
  /** An IP address of this machine. */
  readonly address: string;
  readonly port: number;
  /** In the order in which they are tried. None: clients are reset. */
  readonly targets: readonly PlannedTarget[];
  readonly policy: FlowPolicy;
  /** How long a path may take to accept a connection before the next is tried. */
  readonly connectTimeoutMs: number;
  /** How long a UDP flow lives without a datagram either way. */
  readonly idleTimeoutMs: number;
  /** Flows at the same time; further clients wait in the kernel's queue. 0: what descriptors allow. */
  readonly maxFlows: number;
  /** New flows a second, with a second's worth at once; further clients wait. 0: no limit. */
  readonly maxRate: number;
  readonly proxy?: ProxyVersion | undefined;
  readonly mptcp: boolean;
}

/** To the relay's process. */
export type RelayOrder =
  /** Take over what a relay before carried, and run this. The first order, once. */
  | { readonly do: 'begin'; readonly directory: string; readonly relays: readonly PlannedRelay[] }
  | { readonly do: 'plan'; readonly relays: readonly PlannedRelay[] }
  /** Reset the flows that a path carries. */
  | { readonly do: 'reset'; readonly relay: string; readonly path: string }
  /** Reset all flows, end the keeper, and end. */
  | { readonly do: 'stop' };

/** How one relay stands. */
export interface RelayCounts {
  /** Flows open now, by path. */
  readonly flows: Readonly<Record<string, number>>;
  /** Flows since the start. */
  readonly accepted: number;
  /** Flows that no path took. */
  readonly refused: number;
  /** Bytes that passed, of flows that have ended too: from clients, and to them. */
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Where Multipath TCP is asked for: flows that it carried, and those that fell back to TCP. */
  readonly mptcp?: { readonly inUse: number; readonly fellBack: number };
}

/** From the relay's process. */
export type RelayNews =
  | { readonly news: 'standing-by' }
  /** It carries now; what it took over from the relay before. */
  | {
      readonly news: 'ready';
      readonly flows: number;
      readonly bytes: number;
      readonly ms: number;
      /** The process before, or 0. */
      readonly replaced: number;
    }
  /** A plan is in force: the ports by relay, and what could not be opened. */
  | {
      readonly news: 'planned';
      readonly ports: Readonly<Record<string, number>>;
      readonly failures: readonly { readonly relay: string; readonly errno: string }[];
    }
  | { readonly news: 'counts'; readonly relays: Readonly<Record<string, RelayCounts>> }
  /** A path did not take a connection, which went by another or was reset. */
  | { readonly news: 'refused'; readonly relay: string; readonly path: string }
  | { readonly news: 'note'; readonly text: string };
