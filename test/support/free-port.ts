/**
 * Ports for programs that must be told theirs. They lie below those that the kernel gives out by itself
 * (ip(7), ip_local_port_range): one of those may be somebody's again before it is used.
 * @module
 */
import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import net from 'node:net';

const [FIRST, END] = [10_000, 32_000];
const TRIES = 100;
const given = new Set<number>();

/** A port of an address that nobody has now, by TCP or by UDP; each time another one. */
export async function freePort(address = '127.0.0.1'): Promise<number> {
  for (let left = TRIES; left > 0; left -= 1) {
    const port = randomInt(FIRST, END);
    if (given.has(port)) continue;
    given.add(port);
    if ((await listens(address, port)) && (await binds(address, port))) return port;
  }
  throw new Error(`none of ${TRIES} ports of ${address} was free`);
}

function listens(address: string, port: number): Promise<boolean> {
  const server = net.createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, address, () => server.close(() => resolve(true)));
  });
}

function binds(address: string, port: number): Promise<boolean> {
  const socket = dgram.createSocket(net.isIPv6(address) ? 'udp6' : 'udp4');
  return new Promise((resolve) => {
    socket.once('error', () => socket.close(() => resolve(false)));
    socket.bind(port, address, () => socket.close(() => resolve(true)));
  });
}
