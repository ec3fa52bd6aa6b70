/** Peers that mean harm, with valid keys: what they send is discarded, and nothing of ours dies. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { after, before, suite, test } from 'node:test';
import { createTlsServer, type TlsConnection } from '../../src/index.ts';
import { HeartbeatChannel } from '../../src/link/tls/heartbeat-channel.ts';
import { SecureChannel } from '../../src/link/tls/secure-channel.ts';
import { gnutlsMissing } from '../../src/sys/gnutls-library.ts';
import { decodeHeartbeat } from '../../src/wire/heartbeat.ts';
import { certify, opensslMissing, readCertified } from '../support/certificates.ts';
import { eventually } from '../support/scripted-http.ts';
import {
  isDatagram,
  join,
  SUITES,
  sessionOptions,
  until,
  Witness,
} from '../support/secure-pair.ts';

const NEEDS = { skip: gnutlsMissing() ?? opensslMissing() };

const PADDING = new Uint8Array(16);
const bytes = (...parts: (number | Uint8Array)[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'number' ? [part] : [...part])));
const request = (claimed: number, payload: Uint8Array, padding = PADDING) =>
  bytes(1, claimed >> 8, claimed & 0xff, payload, padding);
const response = (claimed: number, payload: Uint8Array, padding = PADDING) =>
  bytes(2, claimed >> 8, claimed & 0xff, payload, padding);
const A18 = new Uint8Array(18).fill(0x41);

/** What RFC 6520 has discarded, by name. */
const DISCARDED: Readonly<Record<string, Uint8Array>> = {
  'a length that lies by one': request(19, A18),
  'a length of 0x4000 with three bytes (CVE-2014-0160)': bytes(1, 0x40, 0),
  'a length of 0x4000 with padding': request(0x4000, new Uint8Array()),
  'a length of 0xffff': request(0xffff, A18),
  'padding of 15 bytes': request(18, A18, new Uint8Array(15)),
  'an answer to nothing': response(18, A18),
  'an empty answer to nothing': response(0, new Uint8Array()),
  'type 3': bytes(3, 0, 18, A18, PADDING),
  'type 0': bytes(0, 0, 18, A18, PADDING),
  'one byte': bytes(1),
  nothing: bytes(),
};

let pem: { ca: Buffer; cert: Buffer; key: Buffer };
let remove = () => {};
before(() => {
  if (NEEDS.skip !== false) return;
  pem = readCertified(certify({ after: (body) => (remove = body) }));
});
after(() => remove());

/** Ours, and a peer that can send whatever it likes. */
interface Meeting {
  readonly ours: HeartbeatChannel;
  readonly atOurs: Witness & { answers: number };
  readonly evil: SecureChannel;
  readonly atEvil: Witness;
  /** Every datagram or piece that the peer sent. */
  readonly sent: Uint8Array[];
  close(): void;
}

async function meet(priority: string, server: boolean): Promise<Meeting> {
  const atOurs = Object.assign(new Witness(), { answers: 0 });
  const atEvil = new Witness();
  const sent: Uint8Array[] = [];
  const ours = new HeartbeatChannel(sessionOptions(pem, priority, server), {
    send: (piece) => atOurs.send(piece),
    secured: () => atOurs.secured(),
    heard: () => atOurs.heard(),
    data: (piece) => atOurs.data(piece),
    ended: (error) => atOurs.ended(error),
    answered: () => {
      atOurs.answers += 1;
      atOurs.changed();
    },
    unanswered: () => {},
  });
  const evil = new SecureChannel(sessionOptions(pem, priority, !server), atEvil);
  join(atOurs, () => evil);
  join(
    atEvil,
    () => ours.secure,
    (piece) => {
      sent.push(piece);
      return [piece];
    },
  );
  ours.secure.start();
  evil.start();
  await until('both are secure', [atOurs, atEvil], () => atOurs.secure && atEvil.secure);
  const close = () => {
    ours.close();
    evil.close();
  };
  return { ours, atOurs, evil, atEvil, sent, close };
}

/** That everything sent before has been read: data comes behind it. */
async function alive({ evil, atOurs, atEvil, ours }: Meeting): Promise<void> {
  const word = randomBytes(6).toString('hex');
  evil.write(Buffer.from(word));
  await until('data still comes', [atOurs, atEvil], () => atOurs.text.endsWith(word));
  ours.secure.write(Buffer.from(word));
  await until('data still goes', [atOurs, atEvil], () => atEvil.text.endsWith(word));
}

for (const [name, priority] of Object.entries(SUITES)) {
  for (const side of ['client', 'server'] as const) {
    suite(`a peer of our ${side} over ${name}`, NEEDS, () => {
      test('an empty request, the first of all, is answered, and so is the longest', async (t) => {
        const meeting = await meet(priority, side === 'server');
        t.after(() => meeting.close());
        const longest = isDatagram(priority) ? 1_300 : 16_365;
        for (const length of [0, 1, 18, longest]) {
          const payload = randomBytes(length);
          const before = meeting.atEvil.heartbeats.length;
          meeting.evil.sendHeartbeat(request(length, payload));
          await until(`${length} bytes are answered`, [meeting.atEvil, meeting.atOurs], () => {
            return meeting.atEvil.heartbeats.length > before;
          });
          const answer = decodeHeartbeat(meeting.atEvil.heartbeats[before] ?? bytes());
          assert.equal(answer.type, 'response');
          assert.deepEqual(Buffer.from(answer.payload), payload);
        }
        await alive(meeting);
      });

      test('what RFC 6520 has discarded is discarded, with no answer and no end', async (t) => {
        const meeting = await meet(priority, side === 'server');
        t.after(() => meeting.close());
        for (const message of Object.values(DISCARDED)) meeting.evil.sendHeartbeat(message);
        await alive(meeting);
        assert.equal(meeting.ours.counts.discarded, Object.keys(DISCARDED).length);
        assert.equal(meeting.atEvil.heartbeats.length, 0);
        assert.equal(meeting.atOurs.over, undefined);
      });

      test('only the very answer counts, and once', async (t) => {
        const meeting = await meet(priority, side === 'server');
        t.after(() => meeting.close());
        const { ours, evil, atEvil, atOurs } = meeting;
        ours.ask({ withinMs: 60_000 });
        await until('the request comes', [atEvil, atOurs], () => atEvil.heartbeats.length === 1);
        const { payload } = decodeHeartbeat(atEvil.heartbeats[0] ?? bytes());
        const wrong = Uint8Array.from(payload, (byte, at) => (at === 15 ? byte ^ 1 : byte));
        evil.sendHeartbeat(response(16, wrong));
        evil.sendHeartbeat(response(15, payload.subarray(0, 15)));
        evil.sendHeartbeat(response(0, new Uint8Array()));
        await alive(meeting);
        assert.equal(atOurs.answers, 0);
        assert.equal(ours.asking, true);
        evil.sendHeartbeat(response(16, payload));
        evil.sendHeartbeat(response(16, payload));
        await alive(meeting);
        assert.equal(atOurs.answers, 1);
        assert.equal(ours.counts.discarded, 4);
      });
    });
  }
}

suite('a peer that does too much', NEEDS, () => {
  const TLS12 = SUITES['TLS 1.2 AES-128-GCM'] ?? '';
  const DTLS = SUITES['DTLS 1.2 AES-128-GCM'] ?? '';

  test('of 20,000 requests in a flood 500 and 500 a second are answered', async (t) => {
    const meeting = await meet(TLS12, true);
    t.after(() => meeting.close());
    const from = performance.now();
    for (let left = 20_000; left > 0; left -= 1) meeting.evil.sendHeartbeat(request(18, A18));
    await alive(meeting);
    const seconds = (performance.now() - from) / 1_000;
    const { peerAnswered, overRate } = meeting.ours.counts;
    assert.equal(peerAnswered + overRate, 20_000);
    assert(peerAnswered >= 500, `${peerAnswered}`);
    assert(peerAnswered <= 500 + Math.ceil(seconds * 500), `${peerAnswered} in ${seconds} s`);
    assert.equal(meeting.atEvil.heartbeats.length, peerAnswered);
  });

  test('every datagram is taken once, in any order, and none that is too old', async (t) => {
    const meeting = await meet(DTLS, true);
    t.after(() => meeting.close());
    const { evil, sent, ours, atOurs, atEvil } = meeting;
    const from = sent.length;
    evil.sendHeartbeat(request(18, A18));
    evil.write(Buffer.from('once'));
    const replayed = sent.slice(from);
    await alive(meeting);
    for (const datagram of [...replayed, ...replayed]) ours.secure.receive(datagram);
    await alive(meeting);
    assert.equal(ours.counts.peerAnswered, 1);
    assert.equal(atOurs.text.split('once').length, 2);
    // Changed ones are no life, and not answered.
    const heard = atOurs.heardCount;
    for (const datagram of sent.slice(from)) {
      for (let at = 3; at < datagram.length; at += 1) {
        const changed = Uint8Array.from(datagram, (byte, place) =>
          place === at ? byte ^ 4 : byte,
        );
        ours.secure.receive(changed);
      }
    }
    assert.equal(atOurs.heardCount, heard);
    assert.equal(atEvil.heartbeats.length, 1);
    await alive(meeting);
  });

  test('who asks and never reads gets no answers that would fill our memory', async (t) => {
    const server = createTlsServer({ cert: pem.cert, key: pem.key });
    t.after(() => server.close());
    const port = await server.listen(0, '127.0.0.1');
    const atEvil = new Witness();
    const evil = new SecureChannel(sessionOptions(pem, TLS12, false), atEvil);
    t.after(() => evil.close());
    const socket = net.connect(port, '127.0.0.1');
    t.after(() => socket.destroy());
    atEvil.to = (piece) => socket.write(piece);
    socket.on('connect', () => evil.start()).on('data', (piece: Uint8Array) => evil.receive(piece));
    const [connection] = (await once(server, 'connection')) as [TlsConnection];
    await until('it is secure', [atEvil], () => atEvil.secure);
    socket.pause();
    const longest = request(16_365, new Uint8Array(16_365));
    const counted = () => {
      const { peerAnswered, overRate } = connection.heartbeats;
      return peerAnswered + overRate;
    };
    for (let asked = 1; asked <= 1_000; asked += 1) {
      evil.sendHeartbeat(longest);
      if (socket.writableNeedDrain) await once(socket, 'drain');
    }
    await eventually('all were read', () => counted() === 1_000);
    const { peerAnswered, overRate } = connection.heartbeats;
    assert(peerAnswered < 500, `${peerAnswered} answers of 16 KiB were made`);
    assert(overRate > 500, `${overRate}`);
  });
});
