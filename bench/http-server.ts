/**
 * The servers of `bench/http-race.ts`, in a process of their own: some that end an idle connection
 * after a time, with or without a word of it, and Node's own for throughput. Tells the ports.
 * @module
 */
import http from 'node:http';
import net from 'node:net';

/** Ends a connection so long after its last answer, as servers without a hint do. */
function closing(afterMs: number, hint: string): net.Server {
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${hint}\r\nok`;
  return net.createServer((socket) => {
    let timer: NodeJS.Timeout | undefined;
    socket.on('error', () => undefined).once('close', () => clearTimeout(timer));
    socket.on('data', () => {
      clearTimeout(timer);
      socket.write(answer);
      timer = setTimeout(() => socket.destroy(), afterMs);
    });
  });
}

const servers = [
  closing(300, ''),
  closing(2_000, ''),
  closing(2_000, 'Keep-Alive: timeout=2\r\n'),
  http.createServer({ keepAliveTimeout: 60_000 }, (req, res) => {
    req.resume();
    res.end('ok');
  }),
];

const ports = servers.map(
  (server) =>
    new Promise<number>((resolve) => {
      server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, () => {
        resolve((server.address() as net.AddressInfo).port);
      });
    }),
);
process.send?.(await Promise.all(ports));
process.once('disconnect', () => process.exit());
