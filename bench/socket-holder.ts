/**
 * A process that holds loopback connections, both ends, half of them with keepalive on; for
 * `bench/sockets.ts`. Argument: how many. Tells its parent when it has them, and ends with it.
 * @module
 */
import { once } from 'node:events';
import net from 'node:net';

const count = Number(process.argv[2]);
const held: net.Socket[] = [];
const server = net.createServer((socket) => held.push(socket)).listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as net.AddressInfo;
for (let index = 0; index < count; index += 1) {
  const socket = net.connect({ port, host: '127.0.0.1', keepAlive: index % 2 === 0 });
  await once(socket, 'connect');
  held.push(socket);
}
process.once('disconnect', () => process.exit(0));
process.send?.(port);
