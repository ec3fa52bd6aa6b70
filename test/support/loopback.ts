/**
 * A TCP connection of this process with itself, gone at the end of the test.
 * @module
 */
import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { descriptorOf } from '../../src/sys/tcp-socket.ts';

export interface Loopback {
  /** The end that connected. */
  readonly socket: net.Socket;
  readonly fd: number;
  /** The end that was accepted. */
  readonly peer: net.Socket;
  /** Of the listener. */
  readonly port: number;
}

export async function loopback(t: TestContext, host = '127.0.0.1'): Promise<Loopback> {
  const server = net.createServer().listen(0, host);
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const socket = net.connect(port, host);
  t.after(() => socket.destroy());
  const [[peer]] = await Promise.all([
    once(server, 'connection') as Promise<[net.Socket]>,
    once(socket, 'connect'),
  ]);
  t.after(() => peer.destroy());
  for (const end of [socket, peer]) end.on('error', () => undefined);
  return { socket, fd: descriptorOf(socket) ?? -1, peer, port };
}
