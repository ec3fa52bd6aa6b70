/**
 * A web server of `failover-scene.ts`, told by lines: `slow`, `fast`, `close`, `open`. Answers with its
 * name, and says `listening` and `closed`. Arguments: NAME PORT.
 * @module
 */
import http from 'node:http';
import { createInterface } from 'node:readline';

const SLOW_MS = 3_000;
const [name = '', port = ''] = process.argv.slice(2);

let delayMs = 0;
const server = http.createServer((_request, response) => {
  setTimeout(() => response.end(name), delayMs);
});
const listen = () =>
  server.listen(Number(port), '0.0.0.0', () => process.stdout.write('listening\n'));
listen();

for await (const word of createInterface({ input: process.stdin })) {
  if (word === 'slow') delayMs = SLOW_MS;
  if (word === 'fast') delayMs = 0;
  if (word === 'open') listen();
  if (word !== 'close') continue;
  server.close(() => process.stdout.write('closed\n'));
  server.closeAllConnections();
}
