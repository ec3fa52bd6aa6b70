/**
 * A TCP connection of this process with itself, to try things on that are for others' connections.
 * @module
 */
import { once } from 'node:events';
import net from 'node:net';
import { SystemError } from '../sys/system-error.ts';
import { descriptorOf } from '../sys/tcp-socket.ts';

/** How long it may take to be made; it takes a millisecond. */
const PATIENCE_MS = 5_000;

/** Runs `body` with one end of it and its descriptor, and ends both. Throws what `body` and Node throw. */
export async function withOwnConnection<Result>(
  body: (socket: net.Socket, fd: number) => Result | Promise<Result>,
): Promise<Result> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const server = net.createServer().listen(0, '127.0.0.1');
  let near: net.Socket | undefined;
  let far: net.Socket | undefined;
  try {
    await once(server, 'listening', { signal });
    const accepted = once(server, 'connection', { signal });
    near = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
    const connected = once(near, 'connect', { signal });
    [[far]] = await Promise.all([accepted, connected]);
    // What is tried may be its end.
    for (const socket of [near, far]) socket?.on('error', () => undefined);
    const fd = descriptorOf(near);
    if (fd === undefined) throw new SystemError('no-descriptor', 'this Node does not show sockets');
    return await body(near, fd);
  } finally {
    near?.destroy();
    far?.destroy();
    server.close();
  }
}
