/**
 * An HTTP/1 server on loopback that does what a test tells it for each request, also what no honest
 * server does, and remembers what it got. Its clock is the test's: it closes nothing by itself.
 * @module
 */
import { once } from 'node:events';
import net from 'node:net';
import type { TestContext } from 'node:test';

/** One request as it came. */
export interface Exchange {
  /** Which connection, and which request on it; both count from 1. */
  readonly connection: number;
  readonly request: number;
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly socket: net.Socket;
  /** Answers with 200 and two bytes, and these headers besides. */
  ok(...headers: string[]): void;
}

export interface ScriptedServer {
  readonly port: number;
  readonly exchanges: readonly Exchange[];
  readonly sockets: readonly net.Socket[];
  /** Ends all connections, and takes no more. */
  stop(): void;
}

/** Starts one that ends with its test. */
export async function scriptHttp(
  t: TestContext,
  script: (exchange: Exchange) => void = (exchange) => exchange.ok(),
): Promise<ScriptedServer> {
  const exchanges: Exchange[] = [];
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    const connection = sockets.length;
    let request = 0;
    let text = '';
    socket.on('error', () => undefined).setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      text += chunk;
      for (;;) {
        const end = text.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = text.slice(0, end);
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
        if (text.length < end + 4 + length) return;
        const body = text.slice(end + 4, end + 4 + length);
        text = text.slice(end + 4 + length);
        const [method = '', path = ''] = head.split(' ');
        request += 1;
        const ok = (...headers: string[]) => {
          const content = method === 'HEAD' ? '' : 'ok';
          const lines = ['HTTP/1.1 200 OK', 'Content-Length: 2', ...headers, '', content];
          socket.write(lines.join('\r\n'));
        };
        const exchange = { connection, request, method, path, body, socket, ok };
        exchanges.push(exchange);
        script(exchange);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const stop = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  t.after(stop);
  return { port, exchanges, sockets, stop };
}

/** Resolves once `holds`; rejects when it has not after so long. */
export async function eventually(
  what: string,
  holds: () => boolean,
  boundMs = 5_000,
): Promise<void> {
  const end = performance.now() + boundMs;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within ${boundMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
