/**
 * `HOST:PORT` as people write it, IPv6 in brackets.
 * @module
 */
import { isIP } from 'node:net';
import { UsageError } from '../time/usage-error.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Takes `127.0.0.1:7117` or `[::1]:7117` apart. Throws `UsageError` (`bad-address`). */
export function parseAddress(text: string, where: string): Address {
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3]);
  const bracketed = match?.[1] !== undefined;
  if (match === null || port > 65_535 || port === 0 || (bracketed && isIP(host) !== 6)) {
    const hint = 'write ADDRESS:PORT, for example 127.0.0.1:7117 or [::1]:7117';
    throw new UsageError('bad-address', `${where}: "${text}" is no address with a port; ${hint}`);
  }
  return { host, port };
}

/** Whether only this machine can reach the address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
