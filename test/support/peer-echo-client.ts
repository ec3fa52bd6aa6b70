/**
 * `node peer-echo-client.ts PORT MEBIBYTES`: sends so much to an echo on this machine, a MiB at a time,
 * each when the one before has come back unchanged. Tells each, and `done` at the end.
 * @module
 */
import { randomBytes } from 'node:crypto';
import net from 'node:net';

const MEBIBYTE = 1_048_576;
const [port = '', count = ''] = process.argv.slice(2);

const socket = net.connect(Number(port), '127.0.0.1');
socket.on('error', (error) => {
  process.stdout.write(`failed: ${error.message}\n`);
  process.exit(1);
});

for (let sent = 1; sent <= Number(count); sent += 1) {
  const block = randomBytes(MEBIBYTE);
  socket.write(block);
  const back: Buffer[] = [];
  for (let length = 0; length < MEBIBYTE; ) {
    const piece = (socket.read() as Buffer | null) ?? undefined;
    if (piece === undefined) {
      await new Promise((resolve) => socket.once('readable', resolve));
      continue;
    }
    back.push(piece);
    length += piece.length;
  }
  if (!Buffer.concat(back).equals(block)) {
    process.stdout.write('failed: other bytes came back\n');
    process.exit(1);
  }
  process.stdout.write(`block ${sent}\n`);
}
process.stdout.write('done\n');
socket.end();
