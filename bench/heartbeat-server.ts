/**
 * The servers of `bench/heartbeat.ts`, in a process of their own: ours over TLS and DTLS, and Node's own
 * TLS server that echoes. `node heartbeat-server.ts CERTIFICATE KEY`; tells the three ports.
 * @module
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { createDtlsServer, createTlsServer } from '../src/index.ts';

const [certificate = '', key = ''] = process.argv.slice(2);
const identity = { cert: readFileSync(certificate), key: readFileSync(key) };
/** It answers, and asks nothing itself. */
const heartbeat = { time: '2h' };

const ours = createTlsServer({ ...identity, heartbeat }, (connection) => {
  connection.on('error', () => undefined).resume();
});
const datagrams = createDtlsServer({ ...identity, heartbeat }, (connection) => {
  connection.on('error', () => undefined);
});
const node = tls.createServer(identity, (socket) => {
  socket.setNoDelay(true).on('error', () => undefined);
  socket.pipe(socket);
});
node.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 });
await once(node, 'listening');

const ports = [
  await ours.listen(0, '127.0.0.1'),
  await datagrams.listen(0),
  (node.address() as AddressInfo).port,
];
process.send?.(ports);
process.once('disconnect', () => process.exit());
