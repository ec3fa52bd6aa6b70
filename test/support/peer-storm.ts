/**
 * `peer-storm.ts SERVER_PORT RELAY_PORT CONNECTIONS MIB`: a server and its clients, each connection
 * with so many MiB both ways at once. Every byte is compared with what must be at its place, every end
 * with where it must be. Prints `listening`, then `connected`, each sixteenth as `passed N`, and a verdict.
 * @module
 */
import { randomBytes } from 'node:crypto';
import net from 'node:net';

const [serverPort = 0, relayPort = 0, connections = 0, mib = 0] = process.argv.slice(2).map(Number);
const total = mib * 1_024 * 1_024;
/** A prime length, so that no lost or doubled chunk of any usual size fits by chance. */
const PATTERN = randomBytes(1_048_573);
const PIECE = 64 * 1_024;
const PARTS = 16;
const TWICE = Buffer.concat([PATTERN, PATTERN.subarray(0, PIECE)]);

const faults: string[] = [];
let passed = 0;
let shown = 0;
let ended = 0;

/** What one side sends: the pattern from a place of its own. */
function start(id: number, side: number): number {
  return (id * 7_919 + side * 524_287) % PATTERN.length;
}

function send(socket: net.Socket, from: number): void {
  let sent = 0;
  const more = () => {
    while (sent < total) {
      const at = (from + sent) % PATTERN.length;
      const length = Math.min(PIECE, total - sent);
      sent += length;
      if (!socket.write(TWICE.subarray(at, at + length))) return;
    }
    socket.off('drain', more);
    socket.end();
  };
  socket.on('drain', more);
  more();
}

function verify(socket: net.Socket, from: number, who: string): void {
  let seen = 0;
  socket.on('data', (chunk: Buffer) => {
    for (let done = 0; done < chunk.length; ) {
      const at = (from + seen) % PATTERN.length;
      const length = Math.min(chunk.length - done, TWICE.length - at);
      if (chunk.compare(TWICE, at, at + length, done, done + length) !== 0) {
        faults.push(`${who}: another byte than expected after ${seen}`);
        socket.destroy();
        return;
      }
      seen += length;
      done += length;
      passed += length;
    }
    const part = Math.floor((passed / (2 * connections * total)) * PARTS);
    for (; shown < part; shown += 1) process.stdout.write(`passed ${shown + 1}\n`);
  });
  socket.on('error', (error) => faults.push(`${who}: ${error.message} after ${seen}`));
  socket.on('end', () => {
    if (seen !== total) faults.push(`${who}: it ended after ${seen} of ${total}`);
  });
  socket.on('close', () => {
    ended += 1;
    if (ended < 2 * connections) return;
    process.stdout.write(`verdict ${JSON.stringify({ bytes: passed, faults })}\n`);
    process.exit();
  });
}

const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  // The client's number comes first.
  socket.once('readable', () => {
    const id = (socket.read(4) as Buffer).readUInt32BE();
    verify(socket, start(id, 0), `server of ${id}`);
    send(socket, start(id, 1));
  });
});
server.listen(serverPort, '127.0.0.1', () => process.stdout.write('listening\n'));

process.stdin.once('data', () => {
  let connected = 0;
  for (let id = 0; id < connections; id += 1) {
    const socket = net.connect({ port: relayPort, host: '127.0.0.1', allowHalfOpen: true }, () => {
      connected += 1;
      if (connected === connections) process.stdout.write('connected\n');
    });
    const first = Buffer.alloc(4);
    first.writeUInt32BE(id);
    socket.write(first);
    verify(socket, start(id, 1), `client ${id}`);
    send(socket, start(id, 0));
  }
});
