/** Connections of ours with heartbeats, both ends in this process, over real sockets. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, suite, type TestContext, test } from 'node:test';
import {
  connectDtls,
  connectTls,
  createDtlsServer,
  createTlsServer,
  type DtlsConnection,
  type TlsConnection,
  type TlsServer,
} from '../../src/index.ts';
import { gnutlsMissing } from '../../src/sys/gnutls-library.ts';
import { certify, opensslMissing, readCertified } from '../support/certificates.ts';
import { pause } from '../support/lab.ts';
import { next } from '../support/link-events.ts';
import { eventually } from '../support/scripted-http.ts';
import { SUITES } from '../support/secure-pair.ts';
import { UdpRelay } from '../support/udp-relay.ts';

const NEEDS = { skip: gnutlsMissing() ?? opensslMissing(), timeout: 60_000 };
/** Fast enough for a test, slow enough for a busy machine. */
const HEARTBEAT = { time: '100ms', interval: '400ms', probes: 2 };
const MEBIBYTE = 1_048_576;

let pem: { ca: Buffer; cert: Buffer; key: Buffer };
let remove = () => {};
before(() => {
  if (NEEDS.skip !== false) return;
  pem = readCertified(certify({ after: (body) => (remove = body) }, 'DNS:localhost,IP:127.0.0.1'));
});
after(() => remove());

const identity = () => ({ cert: pem.cert, key: pem.key });
const target = (port: number) => ({ host: '127.0.0.1', port, ca: pem.ca });

async function serve(
  t: TestContext,
  onConnection: (connection: TlsConnection) => void,
  options: Parameters<typeof createTlsServer>[0] = {},
): Promise<{ server: TlsServer; port: number }> {
  const server = createTlsServer({ ...identity(), heartbeat: HEARTBEAT, ...options }, onConnection);
  t.after(() => server.close());
  return { server, port: await server.listen(0, '127.0.0.1') };
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

suite('TLS connections of ours', NEEDS, () => {
  for (const [name, priority] of Object.entries(SUITES)) {
    if (name.startsWith('DTLS')) continue;
    test(`${name}: 16 MiB there and back with heartbeats among them, and new keys`, async (t) => {
      const { port } = await serve(t, (connection) => connection.pipe(connection));
      const client = connectTls({ ...target(port), priority, heartbeat: HEARTBEAT });
      await once(client, 'secure');
      const sent = randomBytes(16 * MEBIBYTE);
      const received: Buffer[] = [];
      client.on('data', (bytes: Buffer) => received.push(bytes));
      const ended = once(client, 'end');
      for (let at = 0; at < sent.length; at += MEBIBYTE) {
        if (!client.write(sent.subarray(at, at + MEBIBYTE))) await once(client, 'drain');
        // No more than GnuTLS takes in a second.
        if (client.version === 'TLSv1.3' && at % (4 * MEBIBYTE) === 0) client.updateKeys();
        await client.heartbeat();
      }
      client.end();
      await ended;
      assert.equal(digest(Buffer.concat(received)), digest(sent));
      assert(client.heartbeats.answered >= 16);
      assert.equal(client.heartbeats.discarded, 0);
    });
  }

  test('a peer that vanishes ends the connection within the bound, by ETIMEDOUT', async (t) => {
    const { port } = await serve(t, (connection) => connection.on('error', () => {}));
    // A path that ends without a word: both sides still believe in it.
    let silent = false;
    const path = net.createServer((socket) => {
      const back = net.connect(port, '127.0.0.1');
      const carry = (from: net.Socket, to: net.Socket) =>
        from
          .on('error', () => {})
          .on('data', (bytes) => {
            if (!silent) to.write(bytes);
          });
      carry(socket, back);
      carry(back, socket);
      t.after(() => {
        socket.destroy();
        back.destroy();
      });
    });
    t.after(() => path.close());
    path.listen(0, '127.0.0.1');
    await once(path, 'listening');
    const client = connectTls({
      ...target((path.address() as net.AddressInfo).port),
      heartbeat: HEARTBEAT,
    });
    await once(client, 'secure');
    const { link } = client;
    assert(link !== undefined);
    await next(link, 'reply');
    const states: string[] = [];
    link.on('state', ({ to }) => states.push(to));
    const from = performance.now();
    silent = true;
    const [error] = await once(client, 'error');
    const took = performance.now() - from;
    assert.equal(error.code, 'ETIMEDOUT');
    assert.deepEqual(states, ['suspect', 'down']);
    assert(took >= 500 && took < 900 + 2_000, `it took ${took} ms`);
  });

  test('while the program does not read, the peer is not judged, nor blamed after it', async (t) => {
    const bytes = randomBytes(4 * MEBIBYTE);
    // The peer has more patience: it would take us for dead, for we do not hear it either.
    const { port } = await serve(t, (connection) => connection.write(bytes), {
      heartbeat: { time: '60s' },
    });
    const client = connectTls({ ...target(port), heartbeat: HEARTBEAT });
    client.on('error', () => {});
    await once(client, 'secure');
    assert(client.heartbeatAllowed);
    // Three times the bound of 900 ms, with data waiting.
    await pause(2_700);
    assert.equal(client.destroyed, false);
    assert.notEqual(client.link?.state, 'down');
    const received: Buffer[] = [];
    let length = 0;
    for await (const piece of client) {
      received.push(piece as Buffer);
      length += piece.length;
      if (length === bytes.length) break;
    }
    assert.equal(digest(Buffer.concat(received)), digest(bytes));
  });

  test('a client without a certificate is turned away where one is asked for', async (t) => {
    const { server, port } = await serve(t, (connection) => connection.end('welcome'), {
      ca: pem.ca,
      requestCert: true,
    });
    const refused = once(server, 'clientError');
    const stranger = connectTls(target(port));
    const [error] = await Promise.all([once(stranger, 'error'), refused]);
    assert.match(error[0].message, /alert|closed|goodbye|reset/i);
    const known = connectTls({ ...target(port), ...identity() });
    const [greeting] = await once(known, 'data');
    assert.equal(String(greeting), 'welcome');
    known.end();
    await once(known, 'close');
  });

  test('protocols are agreed on, and a certificate of another name is refused', async (t) => {
    const { port } = await serve(t, () => {}, { alpnProtocols: ['lh/2', 'lh/1'] });
    const client = connectTls({ ...target(port), alpnProtocols: ['lh/1'] });
    await once(client, 'secure');
    assert.equal(client.alpnProtocol, 'lh/1');
    client.destroy();
    const wrong = connectTls({ ...target(port), servername: 'elsewhere.test' });
    const [error] = await once(wrong, 'error');
    assert.equal(error.code, 'GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR');
    const careless = connectTls({
      ...target(port),
      servername: 'elsewhere.test',
      rejectUnauthorized: false,
    });
    await once(careless, 'secure');
    careless.destroy();
  });

  test('a server that never finishes the handshake is given up in time', async (t) => {
    const mute = net.createServer((socket) => t.after(() => socket.destroy()));
    t.after(() => mute.close());
    mute.listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as net.AddressInfo;
    const client = connectTls({ ...target(port), heartbeat: HEARTBEAT });
    const [error] = await once(client, 'error');
    assert.equal(error.code, 'ETIMEDOUT');
  });

  test('heartbeats that are not offered are not sent, and the data goes on', async (t) => {
    const { port } = await serve(t, (connection) => connection.pipe(connection), {
      heartbeat: false,
    });
    const client = connectTls({ ...target(port), heartbeat: HEARTBEAT });
    await once(client, 'secure');
    assert.equal(client.heartbeatAllowed, false);
    assert.equal(client.link, undefined);
    await assert.rejects(client.heartbeat(), /does not allow/);
    client.write('still');
    assert.equal(String((await once(client, 'data'))[0]), 'still');
    client.end();
    await once(client, 'close');
  });
});

suite('DTLS connections of ours', NEEDS, () => {
  /** A server behind a path that can be made bad. */
  async function behind(t: TestContext, onConnection: (connection: DtlsConnection) => void) {
    const server = createDtlsServer({ ...identity(), heartbeat: HEARTBEAT }, onConnection);
    t.after(() => server.close());
    const relay = await UdpRelay.start(t, await server.listen(0));
    return { server, relay, port: relay.port };
  }

  test('messages keep their bounds, and one that fits no datagram is refused', async (t) => {
    const { port } = await behind(t, (connection) => {
      connection.on('message', (message) => connection.send(message));
    });
    const client = connectDtls({ ...target(port), heartbeat: HEARTBEAT });
    await once(client, 'secure');
    for (const length of [1, 100, client.longestMessage]) {
      const message = randomBytes(length);
      client.send(message);
      const [back] = await once(client, 'message');
      assert.deepEqual(Buffer.from(back), message);
    }
    assert.throws(() => client.send(randomBytes(client.longestMessage + 1)), RangeError);
    assert.throws(() => client.send(new Uint8Array()), RangeError);
    client.close();
  });

  test('the largest datagram is found exactly, in a path that drops longer ones', async (t) => {
    const { relay, port } = await behind(t, () => {});
    const client = connectDtls({ ...target(port), heartbeat: HEARTBEAT });
    t.after(() => client.close());
    await once(client, 'secure');
    for (const longest of [900, 1_472]) {
      relay.alter = (packet) => (packet.length > longest ? undefined : packet);
      const { datagramBytes, pathMtuBytes } = await client.measurePathMtu();
      assert.equal(datagramBytes, longest);
      assert.equal(pathMtuBytes, longest + 28);
    }
    assert.equal(client.link?.state, 'up');
  });

  test('the server forgets a client that vanishes, and takes it back from the same port', async (t) => {
    const codes: string[] = [];
    const { server, relay, port } = await behind(t, (connection) => {
      connection.on('error', (error) => codes.push((error as NodeJS.ErrnoException).code ?? ''));
    });
    const client = connectDtls({ ...target(port), heartbeat: HEARTBEAT });
    client.on('error', (error) => codes.push((error as NodeJS.ErrnoException).code ?? ''));
    await once(client, 'secure');
    relay.alter = () => undefined;
    await eventually('both know', () => codes.length === 2);
    assert.deepEqual(codes, ['ETIMEDOUT', 'ETIMEDOUT']);
    assert.equal(server.connections, 0);
    relay.alter = (packet) => packet;
    const again = connectDtls({ ...target(port), heartbeat: HEARTBEAT });
    await once(again, 'secure');
    assert.equal(server.connections, 1);
    again.close();
    await eventually('it is gone', () => server.connections === 0);
  });

  test('nothing is kept of who shows no cookie', async (t) => {
    const { server, port } = await behind(t, () => {});
    const { createSocket } = await import('node:dgram');
    const socket = createSocket('udp4');
    t.after(() => socket.close());
    let answers = 0;
    socket.on('message', () => {
      answers += 1;
    });
    // A ClientHello that is none behind its first bytes, and noise.
    const hello = Buffer.from(`16fefd${'00'.repeat(8)}0010${'01'}${'00'.repeat(15)}`, 'hex');
    for (let left = 200; left > 0; left -= 1) {
      socket.send(left % 2 === 0 ? hello : randomBytes(60), port, '127.0.0.1');
    }
    const client = connectDtls(target(port));
    await once(client, 'secure');
    assert.equal(server.connections, 1);
    assert(answers <= 200);
    client.close();
  });
});
