/**
 * Rules say which connections get which keepalive. One table serves everybody who matches: this
 * file for sockets that exist, the kernel's longest-prefix trie for those to come. Pure.
 *
 * A rule names a port of either end, a prefix of the remote address, both or neither. Of several
 * that fit, one for the remote port goes before one for the local port, that before one without a
 * port; among equals the longest prefix wins, and of the same rule twice the later one.
 * @module
 */
import type { TcpOptions } from '../sys/tcp-socket.ts';
import { UsageError } from '../time/usage-error.ts';
import { formatPrefix, inPrefix, type Prefix, parseIp, parsePrefix } from '../wire/ip-address.ts';

export interface Rule {
  /** 0: any. */
  readonly port: number;
  /** `undefined`: any address. */
  readonly to: Prefix | undefined;
  readonly options: TcpOptions;
  /** The program cannot change these options by itself any more. */
  readonly lock: boolean;
}

/** Where a connection leads: what rules look at. */
export interface Ends {
  readonly localPort: number;
  readonly remotePort: number;
  readonly remoteAddress: string;
}

/** `struct { u32 prefix bits; u32 port; u8 address[16] }`: the port counts as a prefix's first part. */
export const RULE_KEY_LENGTH = 24;
export const PORT_BITS = 32;
/** time s, interval s, probes, user timeout ms, flags, 0; then sockets set and failed, 64 bits each. */
export const RULE_VALUE_LENGTH = 40;
export const RULE_VALUE = {
  time: 0,
  interval: 4,
  probes: 8,
  userTimeout: 12,
  flags: 16,
  applied: 24,
  failed: 32,
} as const;
export const LOCK_FLAG = 1;
export const MOST_RULES = 4_096;

const ANY: Prefix = { bytes: new Uint8Array(16), length: 0 };

/** Reads `--to 10.0.0.0/8`. Throws `UsageError` (`bad-prefix`). */
export function parseTo(text: string, where: string): Prefix {
  const prefix = parsePrefix(text.trim());
  if (prefix !== undefined) return prefix;
  const hint = 'write an address or a prefix: 10.0.0.5, 10.0.0.0/8, fd00::/8';
  throw new UsageError('bad-prefix', `${where}: "${text}" is no address or prefix; ${hint}`);
}

/** The rule for a connection, or `undefined`. */
export function matchRule(rules: readonly Rule[], ends: Ends): Rule | undefined {
  const address = parseIp(ends.remoteAddress);
  if (address === undefined) return undefined;
  for (const port of [ends.remotePort, ends.localPort, 0]) {
    let best: Rule | undefined;
    for (const rule of rules) {
      if (rule.port !== port || !inPrefix(address, rule.to ?? ANY)) continue;
      if (best === undefined || bits(rule) >= bits(best)) best = rule;
    }
    if (best !== undefined) return best;
  }
  return undefined;
}

function bits(rule: Rule): number {
  return (rule.to ?? ANY).length;
}

/** The rule's place in the kernel's table. */
export function encodeRuleKey({ port, to = ANY }: Pick<Rule, 'port' | 'to'>): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(RULE_KEY_LENGTH));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, PORT_BITS + to.length, true);
  view.setUint32(4, port, true);
  bytes.set(to.bytes, 8);
  return bytes;
}

export function encodeRuleValue({ options, lock }: Rule): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(RULE_VALUE_LENGTH));
  const view = new DataView(bytes.buffer);
  view.setUint32(RULE_VALUE.time, options.timeMs / 1_000, true);
  view.setUint32(RULE_VALUE.interval, options.intervalMs / 1_000, true);
  view.setUint32(RULE_VALUE.probes, options.probes, true);
  view.setUint32(RULE_VALUE.userTimeout, options.userTimeoutMs, true);
  view.setUint32(RULE_VALUE.flags, lock ? LOCK_FLAG : 0, true);
  return bytes;
}

/** A rule as the kernel holds it, with how many new connections it was applied to. */
export interface CountedRule extends Rule {
  readonly applied: number;
  readonly failed: number;
}

export function decodeRule(key: Uint8Array, value: Uint8Array): CountedRule {
  const place = new DataView(key.buffer, key.byteOffset, RULE_KEY_LENGTH);
  const view = new DataView(value.buffer, value.byteOffset, RULE_VALUE_LENGTH);
  const length = place.getUint32(0, true) - PORT_BITS;
  return {
    port: place.getUint32(4, true),
    to: length === 0 ? undefined : { bytes: key.slice(8), length },
    options: {
      enabled: true,
      timeMs: view.getUint32(RULE_VALUE.time, true) * 1_000,
      intervalMs: view.getUint32(RULE_VALUE.interval, true) * 1_000,
      probes: view.getUint32(RULE_VALUE.probes, true),
      userTimeoutMs: view.getUint32(RULE_VALUE.userTimeout, true),
    },
    lock: (view.getUint32(RULE_VALUE.flags, true) & LOCK_FLAG) !== 0,
    applied: Number(view.getBigUint64(RULE_VALUE.applied, true)),
    failed: Number(view.getBigUint64(RULE_VALUE.failed, true)),
  };
}

/** Which connections a rule is for, for people: `port 5432 to 10.0.0.0/8`. */
export function describeMatch({ port, to }: Pick<Rule, 'port' | 'to'>): string {
  const parts: string[] = [];
  if (port !== 0) parts.push(`port ${port}`);
  if (to !== undefined) parts.push(`to ${formatPrefix(to)}`);
  return parts.length === 0 ? 'every connection' : parts.join(' ');
}
