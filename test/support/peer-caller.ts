/**
 * Makes one new connection after another and tells who answered: `MS name` or `MS nobody`. A call
 * that hears nothing for 400 ms has failed. Arguments: ADDRESS PORT. Ends with its standard input.
 * @module
 */
import net from 'node:net';

const [address = '', port = ''] = process.argv.slice(2);
const PATIENCE_MS = 400;
const GAP_MS = 50;

function call(): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(Number(port), address);
    const end = (answer: string) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PATIENCE_MS, () => end('nobody'));
    socket.once('data', (bytes) => end(String(bytes).trim()));
    socket.once('error', () => end('nobody'));
    socket.once('close', () => end('nobody'));
  });
}

process.stdin.resume().once('end', () => process.exit(0));
for (;;) {
  const answer = await call();
  process.stdout.write(`${Math.round(performance.now())} ${answer}\n`);
  await new Promise((resolve) => setTimeout(resolve, GAP_MS));
}
