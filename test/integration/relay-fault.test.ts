/**
 * The relay's process ends before and after every single system call that four kinds of flow need, from
 * the takeover on; the next one goes on, and both ends of each flow see what they would have seen
 * without any of it.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { planned, type RelayPeer, RelayRig } from '../support/relay-rig.ts';

const PROGRAM = path.join(import.meta.dirname, '../support/peer-relay-fault.ts');
/**
 * Calls between which something is stored or handed over, with how often each is the last one;
 * `RELAY_FAULTS` says so for all.
 */
const CALLS: readonly (readonly [call: string, when: 'before' | 'after', times: number])[] = [
  ['accept', 'after', 12],
  ['socket', 'after', 4],
  ['connect', 'after', 4],
  ['pipe', 'after', 2],
  ['splice', 'before', 10],
  ['splice', 'after', 40],
  ['shutdown', 'before', 3],
  ['shutdown', 'after', 3],
  ['close', 'after', 12],
  ['epollCtl', 'after', 6],
  ['pidfdGetfd', 'after', 6],
  ['clone', 'after', 2],
  ['kill', 'after', 2],
];
const MOST = process.env['RELAY_FAULTS'];
const BYTES = randomBytes(300_000);
/** Without end, a flow that hangs would hide behind the test's own limit. */
const FLOW_MS = 20_000;

type Sight = { readonly bytes: number; readonly end: string };

/** What one end sees until it is over: bytes that are right, and how it ended. */
function watch(socket: net.Socket, expected: Buffer): Promise<Sight> {
  return new Promise((resolve) => {
    let seen = 0;
    let end = 'open';
    const giveUp = setTimeout(() => socket.destroy(new Error('nothing more came')), FLOW_MS);
    socket.on('data', (chunk: Buffer) => {
      const same = chunk.equals(expected.subarray(seen, seen + chunk.length));
      seen += chunk.length;
      if (!same) socket.destroy(new Error(`another byte than expected before ${seen}`));
    });
    socket.on('end', () => {
      end = 'clean';
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      end = error.code ?? error.message;
    });
    socket.on('close', () => {
      clearTimeout(giveUp);
      resolve({ bytes: seen, end });
    });
  });
}

/** A server that does with each client what its first byte says. */
async function serve(t: TestContext): Promise<{ port: number; sights: Promise<Sight>[] }> {
  const sights: Promise<Sight>[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.once('error', () => undefined);
    socket.once('readable', () => {
      const what = String(socket.read(1));
      if (what === 'e') socket.pipe(socket);
      if (what === 'r') socket.once('data', () => socket.resetAndDestroy());
      if (what === 'h') {
        socket.resume().once('end', () => {
          socket.write(BYTES.subarray(0, 1_000));
          setTimeout(() => socket.resetAndDestroy(), 30);
        });
      }
      if (what === 'c') {
        sights.push(watch(socket, BYTES));
        socket.once('data', () => socket.write(BYTES.subarray(0, 1)));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return { port: (server.address() as net.AddressInfo).port, sights };
}

/** The four kinds, at the same time. */
async function runFlows(port: number, sights: Promise<Sight>[]): Promise<void> {
  const connect = (first: string) => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    socket.write(first);
    return socket;
  };
  const echoed = connect('e');
  echoed.end(BYTES);
  const cut = connect('r');
  cut.write('something');
  const cutLate = connect('h');
  cutLate.end('all said');
  const cutting = connect('c');
  cutting.write(BYTES.subarray(0, 1_000));
  // Not before the server has something: what a reset overtakes is lost, as without a relay.
  cutting.once('data', () => cutting.resetAndDestroy());
  const ended = [echoed, cut, cutLate, cutting].map((socket) => watch(socket, BYTES));
  const seen = await Promise.all(ended);
  assert.deepEqual(seen[0], { bytes: BYTES.length, end: 'clean' }, 'an echo');
  assert.equal(seen[1]?.end, 'ECONNRESET', 'reset by the server');
  assert.equal(seen[2]?.end, 'ECONNRESET', 'reset by the server after the client had said all');
  assert.deepEqual(seen[3], { bytes: 1, end: 'open' }, 'heard, and reset by itself');
  const [sight] = await Promise.all(sights.splice(0));
  assert.equal(sight?.end, 'ECONNRESET', 'reset by the client');
}

/** True: the fault came about. */
async function runCase(rig: RelayRig, fault: string[], port: number, sights: Promise<Sight>[]) {
  const faulty: RelayPeer = rig.spawn(PROGRAM, ...fault);
  const gone = once(faulty.child, 'exit').then(() => true);
  faulty.tell({ do: 'begin', directory: rig.directory, relays: rig.relays });
  const healthy = rig.spawn();
  rig.current = healthy;
  // It may end while it takes over.
  const ready = faulty.hear('ready').then(() => false);
  ready.catch(() => undefined);
  const early = await Promise.race([gone, ready]);
  let over = false;
  // Twice, so that numbers of descriptors and rows are used again.
  const flows = runFlows(port, sights)
    .then(() => runFlows(port, sights))
    .finally(() => {
      over = true;
    });
  flows.catch(() => undefined);
  if (!early) await Promise.race([gone, flows]);
  const happened = !over || early;
  await rig.begin(healthy);
  await flows;
  await faulty.kill();
  return happened;
}

suite('a relay that ends between any two system calls', { concurrency: 2 }, () => {
  for (const [call, when, times] of CALLS) {
    test(`${when} ${call}`, { timeout: 180_000 }, async (t) => {
      const { port: server, sights } = await serve(t);
      const target = { path: 'p', address: '127.0.0.1', port: server, share: 1 };
      const rig = await RelayRig.start(t, [planned({ targets: [target] })]);
      const port = await rig.port();
      const most = Number(MOST ?? times);
      let n = 1;
      while (n <= most && (await runCase(rig, [call, String(n), when], port, sights))) n += 1;
      t.diagnostic(`${n - 1} faults`);
      assert(n > 1, 'none came about');
    });
  }
});
