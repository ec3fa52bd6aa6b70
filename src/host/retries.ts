/**
 * How often this network namespace retransmits before it gives data in flight up (tcp(7)).
 * @module
 */
import { readFileSync } from 'node:fs';

const FILE = '/proc/sys/net/ipv4/tcp_retries2';

/** net.ipv4.tcp_retries2 of the namespace this thread is in. */
export function readRetries2(): number {
  return Number(readFileSync(FILE, 'utf8'));
}
