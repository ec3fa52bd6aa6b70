/**
 * The other end, as a process that can be killed or stopped: a TCP server that greets with its
 * name, echoes, and pushes what it is told on standard input; with a key it answers beats on the
 * same port. Arguments: ADDRESS PORT NAME [KEY].
 * @module
 */
import { createSecretKey } from 'node:crypto';
import net from 'node:net';
import readline from 'node:readline';
import { BeatResponder } from '../../src/link/beat-responder.ts';

const [address = '', port = '', name = '', key] = process.argv.slice(2);
const sockets: net.Socket[] = [];

const server = net.createServer((socket) => {
  sockets.push(socket);
  socket.setNoDelay(true);
  socket.write(`${name}\n`);
  socket.on('data', (bytes) => {
    process.stdout.write(`received ${String(bytes).trim()}\n`);
    socket.write(bytes);
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    process.stdout.write(`error ${error.code}\n`);
  });
  socket.on('close', () => process.stdout.write('closed\n'));
});

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  for (const socket of sockets) if (!socket.destroyed) socket.write(`${line}\n`);
});

server.listen(Number(port), address, async () => {
  if (key !== undefined) {
    await new BeatResponder(address, Number(port), createSecretKey(key, 'utf8')).start();
  }
  process.stdout.write('listening\n');
});
