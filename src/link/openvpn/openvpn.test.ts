import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, suite, type TestContext, test } from 'node:test';
import { next, reaches } from '../../../test/support/link-events.ts';
import {
  ACK,
  CLIENT_RESET,
  decodeKind,
  decodeSessionId,
  encodeControlBody,
  encodeControlHead,
  encodeTcpPacket,
  joined,
  SERVER_RESET,
  TcpPacketReader,
} from '../../wire/openvpn-packet.ts';
import { decodePayload, encodeOcc, encodePing } from '../../wire/openvpn-payload.ts';
import type { Link } from '../link.ts';
import { createLink, linkTarget } from '../registry.ts';
import { StaticChannel } from './data-channel.ts';

const HOST = '127.0.0.1';
const directory = mkdtempSync(path.join(os.tmpdir(), 'linkhold-link-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const KEYS = Uint8Array.from({ length: 256 }, (_, index) => index);
const HEX = Buffer.from(KEYS).toString('hex');
const FILE = path.join(directory, 'peer.ovpn');
writeFileSync(
  FILE,
  `<secret>
-----BEGIN OpenVPN Static key V1-----
${HEX}
-----END OpenVPN Static key V1-----
</secret>
cipher AES-256-CBC
remote ${HOST} 9
`,
);
const FAST = { time: '300ms', beat: '50ms' };
const ASKING = { time: '200ms', interval: '100ms', probes: 3 };
const SERVER = Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9);

function start(t: TestContext, link: Link): Link {
  t.after(() => link.close());
  link.start();
  return link;
}

/** The other one of two peers with a secret. */
class SecretPeer {
  readonly socket = dgram.createSocket('udp4');
  readonly heard: string[] = [];
  readonly #channel = new StaticChannel(
    { keys: KEYS, direction: undefined, cipher: 'AES-256-CBC', digest: 'sha1' },
    1_000,
  );
  #from: dgram.RemoteInfo | undefined;
  #beating: NodeJS.Timeout | undefined;
  /** The last packet it sent. */
  last: Uint8Array = new Uint8Array();

  constructor(t: TestContext) {
    t.after(() => {
      clearInterval(this.#beating);
      this.socket.close();
    });
    this.socket.on('message', (bytes, from) => {
      this.#from = from;
      const payload = this.#channel.open(bytes);
      if (payload !== undefined) this.heard.push(decodePayload(payload));
    });
  }

  async bind(): Promise<number> {
    this.socket.bind(0, HOST);
    await once(this.socket, 'listening');
    this.beat();
    return this.socket.address().port;
  }

  beat(): void {
    this.#beating = setInterval(() => this.say(encodePing()), 50);
  }

  mute(): void {
    clearInterval(this.#beating);
  }

  say(payload: Uint8Array): void {
    this.last = this.#channel.seal(payload) ?? this.last;
    this.repeat();
  }

  repeat(): void {
    if (this.#from !== undefined) this.socket.send(this.last, this.#from.port, HOST);
  }
}

/** A server's answer to a reset. */
function answerTo(packet: Uint8Array, turned = 0): Uint8Array {
  assert.equal(decodeKind(packet).opcode, CLIENT_RESET);
  const ackedSession = Uint8Array.from(decodeSessionId(packet));
  ackedSession[7] = (ackedSession[7] ?? 0) ^ turned;
  const body = encodeControlBody({
    acks: [0],
    ackedSession,
    packetId: 0,
    payload: new Uint8Array(),
  });
  return joined(encodeControlHead({ opcode: SERVER_RESET, keyId: 0 }, SERVER), body);
}

suite('openvpn links', { concurrency: true }, () => {
  for (const [url, text] of [
    ['openvpn://host', /needs the client's options; give config=FILE, or probe=handshake/],
    ['openvpn://host?probe=ping', /probe=ping is not handshake/],
    ['openvpn://host?probe=handshake&proto=sctp', /proto=sctp is neither udp nor tcp/],
    ['openvpn://?probe=handshake', /names no host/],
    ['openvpn://host?config=/nowhere', /the config file \/nowhere cannot be read \(ENOENT\)/],
    [`openvpn://host?probe=handshake&config=${FILE}`, /static key have no handshake/],
  ] as const) {
    test(`refuses ${url}`, () => {
      assert.throws(() => createLink(url), { name: 'UsageError', message: text });
    });
  }

  test('without a host in the URL nothing leads there but the file', () => {
    const url = `openvpn://?config=${FILE}`;
    assert.equal(createLink(url).status().remote, `${HOST}:9`);
    assert.throws(() => linkTarget(url, 'relays.x'), /relays\.x: .*names no host itself/);
    assert.equal(linkTarget('openvpn://h?config=x', 'relays.x').port, 1_194);
  });

  test('the time is 60 s and the beat 10 s where neither file nor flags say more', () => {
    const { detectsWithinMs, largestSilenceMs } = createLink(`openvpn://h?config=${FILE}`).status();
    assert.deepEqual([detectsWithinMs, largestSilenceMs], [60_000, 10_000]);
    const flags = createLink(`openvpn://h?config=${FILE}`, { time: '30s' }).status();
    assert.deepEqual([flags.detectsWithinMs, flags.largestSilenceMs], [30_000, 5_000]);
    assert.match(flags.proves, /no user traffic/);
    // Two beats must fit in it, or one lost packet would kill.
    const tight = { time: '10s', beat: '8s' };
    assert.equal(createLink(`openvpn://h?config=${FILE}`, tight).status().largestSilenceMs, 5_000);
  });

  test('a peer with the secret: up, silent and down after 300 ms, up again', async (t) => {
    const peer = new SecretPeer(t);
    const link = createLink(`openvpn://${HOST}:${await peer.bind()}?config=${FILE}`, FAST);
    const up = reaches(link, 'up');
    start(t, link);
    await up;
    assert.equal(peer.heard[0], 'request', 'a peer of which nothing is heard is asked');
    const down = reaches(link, 'down');
    peer.mute();
    // A replay is no life, however often it comes.
    const again = setInterval(() => peer.repeat(), 20);
    t.after(() => clearInterval(again));
    const { reason, evidence } = await down;
    assert.equal(reason, 'silent');
    assert((evidence.silentMs ?? 0) >= 300);
    assert(peer.heard.includes('ping'), `${peer.heard}`);
    const back = reaches(link, 'up');
    peer.beat();
    await back;
  });

  test('its goodbye ends the link at once, and ours is sent on close', async (t) => {
    const peer = new SecretPeer(t);
    const link = createLink(`openvpn://${HOST}:${await peer.bind()}?config=${FILE}`);
    const up = reaches(link, 'up');
    start(t, link);
    await up;
    const down = reaches(link, 'down');
    peer.say(encodeOcc('exit'));
    assert.equal((await down).reason, 'closed');
    const leftAt = performance.now();
    await reaches(link, 'up');
    // As long as a peer that leaves may go on, which this one does.
    assert(performance.now() - leftAt > 2_000);
    link.close();
    for (let left = 100; !peer.heard.includes('exit') && left > 0; left -= 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(peer.heard.at(-1), 'exit');
  });

  test('probe now asks a peer that is up', async (t) => {
    const peer = new SecretPeer(t);
    const link = createLink(`openvpn://${HOST}:${await peer.bind()}?config=${FILE}`);
    const up = reaches(link, 'up');
    start(t, link);
    await up;
    const asked = () => peer.heard.filter((kind) => kind === 'request').length;
    const before = asked();
    link.probe();
    for (let left = 100; asked() === before && left > 0; left -= 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(asked(), before + 1);
  });

  test('a port nobody has: down by refusal at once, and a name nobody has: so too', async (t) => {
    const socket = dgram.createSocket('udp4').bind(0, HOST);
    await once(socket, 'listening');
    const { port } = socket.address();
    socket.close();
    const refused = createLink(`openvpn://${HOST}:${port}?config=${FILE}`);
    const down = reaches(refused, 'down');
    start(t, refused);
    assert.deepEqual(
      [(await down).reason, (await down).evidence.errno],
      ['refused', 'ECONNREFUSED'],
    );
    const unknown = createLink(`openvpn://no-such-host.invalid?config=${FILE}`);
    const lost = reaches(unknown, 'down');
    start(t, unknown);
    assert.equal((await lost).reason, 'name-not-found');
  });
});

suite('openvpn handshakes', { concurrency: true }, () => {
  test('UDP: a reset of 14 bytes is the probe, and its acknowledgement the answer', async (t) => {
    const server = dgram.createSocket('udp4').bind(0, HOST);
    t.after(() => server.close());
    await once(server, 'listening');
    const ids = new Set<string>();
    server.on('message', (packet, from) => {
      assert.equal(packet.length, 14);
      ids.add(Buffer.from(decodeSessionId(packet)).toString('hex'));
      server.send(answerTo(packet), from.port, from.address);
    });
    const url = `openvpn://${HOST}:${server.address().port}?probe=handshake`;
    const link = createLink(url, ASKING);
    const up = reaches(link, 'up');
    const reply = next(link, 'reply');
    start(t, link);
    await up;
    assert((await reply).rttMs > 0);
    await next(link, 'reply');
    assert.equal(ids.size, 2, 'each probe has its own id');
    assert.deepEqual([link.facts.class, link.detectsWithinMs], ['answered', 500]);
  });

  for (const [name, answer] of [
    ['acknowledges another id', (packet: Uint8Array) => answerTo(packet, 1)],
    ['only acknowledges', (packet: Uint8Array) => joined(Uint8Array.of(ACK << 3), packet.slice(1))],
    ['is our own packet', (packet: Uint8Array) => packet],
    ['is nothing', () => new Uint8Array()],
  ] as const) {
    test(`UDP: what ${name} is no answer: down after 500 ms`, async (t) => {
      const server = dgram.createSocket('udp4').bind(0, HOST);
      t.after(() => server.close());
      await once(server, 'listening');
      server.on('message', (packet, from) => server.send(answer(packet), from.port, from.address));
      const url = `openvpn://${HOST}:${server.address().port}?probe=handshake`;
      const link = createLink(url, ASKING);
      const down = reaches(link, 'down');
      start(t, link);
      const { from, reason, evidence } = await down;
      assert.deepEqual([from, reason, evidence.probes], ['unknown', 'no-answer', 3]);
    });
  }

  test('TCP: a connection for each probe, closed after its answer', async (t) => {
    let connections = 0;
    const server = net.createServer((socket) => {
      connections += 1;
      const reader = new TcpPacketReader();
      socket.on('error', () => undefined);
      socket.on('data', (bytes: Buffer) => {
        for (const packet of reader.read(bytes)) socket.write(encodeTcpPacket(answerTo(packet)));
      });
    });
    server.listen(0, HOST);
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const link = createLink(`openvpn://${HOST}:${port}?probe=handshake&proto=tcp`, ASKING);
    const up = reaches(link, 'up');
    start(t, link);
    await up;
    await next(link, 'reply');
    assert.equal(connections, 2);
  });

  test('a beat cannot be asked for', () => {
    assert.throws(() => createLink('openvpn://h?probe=handshake', { beat: '5s' }), {
      code: 'bad-timing',
      message: /probe=handshake asks, it has no beat/,
    });
  });
});
