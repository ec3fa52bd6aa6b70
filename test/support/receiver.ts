/**
 * An HTTP receiver of messages on loopback that answers as a test tells it, and remembers what it
 * got.
 * @module
 */
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import type { TestContext } from 'node:test';

export interface Received {
  readonly path: string;
  readonly method: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface Receiver {
  readonly port: number;
  readonly url: string;
  readonly received: readonly Received[];
}

/** What it does with request number `index` (from 0). Default: 200. */
export type Answer = (response: http.ServerResponse, index: number) => void;

/** Starts one that ends with its test. */
export async function startReceiver(
  t: TestContext,
  answer: Answer = (response) => response.end('ok'),
  port = 0,
): Promise<Receiver> {
  const received: Received[] = [];
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { url: path = '', method = '', headers } = request;
      received.push({ path, method, headers, body: Buffer.concat(chunks).toString('utf8') });
      answer(response, received.length - 1);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port: bound } = server.address() as net.AddressInfo;
  return { port: bound, url: `http://127.0.0.1:${bound}`, received };
}
