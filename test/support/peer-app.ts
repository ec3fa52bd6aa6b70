/**
 * An application that holds a TCP connection, with or without Linkhold, and tells what it sees. A
 * line on standard input is sent. Arguments: ADDRESS PORT [OPTIONS AS JSON] [unread].
 * @module
 */
import net from 'node:net';
import readline from 'node:readline';
import { type KeepAliveOptions, keepAlive } from '../../src/link/keep-alive.ts';

const [address = '', port = '', options, unread] = process.argv.slice(2);

const say = (what: string) => process.stdout.write(`${Math.round(performance.now())} ${what}\n`);

const socket = net.connect(Number(port), address);
socket.setNoDelay(true);
socket.on('connect', () => say('connected'));
if (unread === undefined) socket.on('data', (bytes) => say(`data ${String(bytes).trim()}`));
socket.on('error', (error: NodeJS.ErrnoException) => say(`error ${error.code}`));
socket.on('close', () => say('closed'));

if (options !== undefined) {
  const link = keepAlive(socket, JSON.parse(options) as KeepAliveOptions);
  link.on('state', (event) => say(`state ${event.to} ${JSON.stringify(event)}`));
  link.on('note', (event) => say(`note ${event.text}`));
}

readline.createInterface({ input: process.stdin }).on('line', (line) => socket.write(`${line}\n`));
