/**
 * One end of a bare TCP connection: options go straight to the socket, and what the kernel tells is
 * told, each line with the milliseconds of the epoch. Arguments: listen|connect ADDRESS PORT
 * [OPTIONS AS JSON], which a listener sets on itself. Orders on standard input: `send TEXT`,
 * `beat MS COUNT DELAY`, `flood BYTES`, `pause`, `keepalive 0|1` (SO_KEEPALIVE and nothing else),
 * `options`, `vanish` (no FIN, no RST: a peer that rebooted), `mark PORT TEXT` (a datagram, also
 * after the end).
 * @module
 */
import dgram from 'node:dgram';
import net from 'node:net';
import readline from 'node:readline';
import { libc, must } from '../../src/sys/libc.ts';
import { readTcpOptions, type TcpOptions, writeTcpOptions } from '../../src/sys/tcp-socket.ts';

const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_REPAIR = 19;

const [role = '', address = '', port = '', json] = process.argv.slice(2);
const options = json === undefined ? undefined : (JSON.parse(json) as TcpOptions);
const sockets = new Set<net.Socket>();

const say = (what: string) => process.stdout.write(`${Date.now()} ${what}\n`);

function fdOf(holder: net.Socket | net.Server): number {
  return (holder as unknown as { readonly _handle: { readonly fd: number } })._handle.fd;
}

function setInt(socket: net.Socket, level: number, name: number, value: number): void {
  const bytes = Uint8Array.of(value, 0, 0, 0);
  must(`setsockopt(${name})`, libc().setsockopt(fdOf(socket), level, name, bytes, bytes.length));
}

function tell(socket: net.Socket): void {
  sockets.add(socket);
  socket.setNoDelay(true);
  socket.on('data', (bytes) => say(`data ${bytes.toString('latin1', 0, 80)}`));
  socket.on('error', (error: NodeJS.ErrnoException) => say(`error ${error.code}`));
  socket.on('close', () => {
    sockets.delete(socket);
    say('closed');
  });
}

const orders: Readonly<Record<string, (socket: net.Socket, words: readonly string[]) => void>> = {
  send: (socket, words) => socket.write(words.join(' ')),
  beat: (socket, [ms, count, delay]) => {
    let left = Number(count);
    const beat = () => {
      socket.write('.');
      left -= 1;
      if (left > 0) setTimeout(beat, Number(ms));
      else say('beaten');
    };
    setTimeout(beat, Number(delay));
  },
  flood: (socket, [bytes]) => socket.write(Buffer.alloc(Number(bytes))),
  pause: (socket) => {
    socket.pause();
    say('paused');
  },
  keepalive: (socket, [on]) => {
    setInt(socket, SOL_SOCKET, SO_KEEPALIVE, Number(on));
    say(`keepalive ${on}`);
  },
  options: (socket) => say(`options ${JSON.stringify(readTcpOptions(fdOf(socket)))}`),
  vanish: (socket) => {
    setInt(socket, IPPROTO_TCP, TCP_REPAIR, 1);
    socket.destroy();
  },
};

/** It is seen wherever the connection's packets are, after all of them. */
function mark(to: string, text: string): void {
  const sender = dgram.createSocket('udp4');
  sender.send(text, Number(to), address, () => sender.close());
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [order = '', ...words] = line.split(' ');
  if (order === 'mark') mark(words[0] ?? '', words[1] ?? '');
  for (const socket of sockets) orders[order]?.(socket, words);
});

if (role === 'listen') {
  const server = net.createServer(tell).listen(Number(port), address, () => {
    if (options !== undefined) writeTcpOptions(fdOf(server), options);
    say('listening');
  });
} else {
  const socket = net.connect(Number(port), address, () => {
    if (options !== undefined) writeTcpOptions(fdOf(socket), options);
    say('connected');
  });
  tell(socket);
}
