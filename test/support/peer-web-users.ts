/**
 * The users of `failover-scene.ts`: one for each port, which asks again and again, each time by a new
 * connection, and tells when it was answered and by whom. Arguments: PORT….
 * @module
 */
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE_MS = 500;
const PAUSE_MS = 20;

/** Who answers, or a dash. */
function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    const options = { host: '127.0.0.1', port, agent: false, timeout: PATIENCE_MS };
    const request = http.get(options, (response) => {
      response.setEncoding('utf8').once('data', resolve);
      response.once('close', () => resolve('-'));
    });
    const late = setTimeout(() => request.destroy(), PATIENCE_MS);
    request.once('close', () => clearTimeout(late));
    request.once('error', () => resolve('-'));
  });
}

await Promise.all(
  process.argv.slice(2).map(async (port) => {
    for (;;) {
      const asked = Date.now();
      const who = await ask(Number(port));
      process.stdout.write(`${JSON.stringify({ port, asked, answered: Date.now(), who })}\n`);
      await sleep(PAUSE_MS);
    }
  }),
);
