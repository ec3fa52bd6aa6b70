/**
 * Whatever a peer sends, with keys or without, during the handshake or after it: the connection may
 * end, the process does not. Each run prints its seed.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { HeartbeatChannel } from '../../src/link/tls/heartbeat-channel.ts';
import { gnutlsMissing } from '../../src/sys/gnutls-library.ts';
import { type Certified, certify, opensslMissing, readCertified } from '../support/certificates.ts';
import { Prng } from '../support/prng.ts';
import { RawPeer } from '../support/raw-peer.ts';
import { isDatagram, SUITES, sessionOptions, Witness } from '../support/secure-pair.ts';

const NEEDS = { skip: gnutlsMissing() ?? opensslMissing() };
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000);
const PRIORITIES = [
  SUITES['TLS 1.2 AES-128-GCM'] ?? '',
  SUITES['TLS 1.3 AES-128-GCM'] ?? '',
  SUITES['DTLS 1.2 AES-128-GCM'] ?? '',
];
/** Connections of each version and side, and what is sent on each. */
const CONNECTIONS = 40;
const RECORDS = 400;
const TYPES = [20, 21, 22, 23, 24, 0, 25, 255];

let certified: Certified;
let pem: { ca: Buffer; cert: Buffer; key: Buffer };
let remove = () => {};
before(() => {
  if (NEEDS.skip !== false) return;
  certified = certify({ after: (body) => (remove = body) });
  pem = readCertified(certified);
});
after(() => remove());

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

interface Meeting {
  readonly ours: HeartbeatChannel;
  readonly witness: Witness;
  readonly peer: RawPeer;
}

/** A handshake on a wire that may change what the peer sends. */
async function meet(
  priority: string,
  server: boolean,
  wire: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes,
): Promise<Meeting> {
  const witness = new Witness();
  const ours = new HeartbeatChannel(sessionOptions(pem, priority, server), {
    send: (bytes) => witness.send(bytes),
    secured: () => witness.secured(),
    heard: () => witness.heard(),
    data: () => {},
    answered: () => {},
    unanswered: () => {},
    ended: (error) => witness.ended(error),
  });
  const peer = new RawPeer(sessionOptions(pem, priority, !server), (bytes) =>
    setImmediate(() => ours.secure.receive(wire(bytes))),
  );
  witness.to = (bytes) => setImmediate(() => peer.receive(bytes));
  ours.secure.start();
  peer.start();
  // Some turns of the loop: a handshake in memory needs no time but that.
  for (let turns = 0; turns < 60 && witness.over === undefined; turns += 1) {
    if (witness.secure && peer.protection !== undefined) break;
    await turn();
  }
  return { ours, witness, peer };
}

function end({ ours, peer }: Meeting): void {
  ours.close();
  peer.session.close();
}

/** Sometimes what it should be, mostly not. */
function content(prng: Prng, type: number): Uint8Array {
  const length = prng.between(0, prng.chance(0.05) ? 16_384 : 60);
  const bytes = Uint8Array.from({ length }, () => prng.between(0, 255));
  if (type === 24 && length > 2) {
    bytes[0] = prng.between(0, 3);
    bytes[1] = prng.chance(0.7) ? 0 : prng.between(0, 255);
    bytes[2] = prng.between(0, 64);
  }
  // Handshake messages with a length that is nearly right.
  if (type === 22 && length > 4) bytes.set([prng.between(0, 25), 0, 0, length - 4]);
  return bytes;
}

suite('any bytes at all', NEEDS, () => {
  test('sealed records of any type and content end no process', async () => {
    process.stdout.write(`# seed ${SEED}\n`);
    const prng = new Prng(SEED);
    let ended = 0;
    let sent = 0;
    for (const priority of PRIORITIES) {
      for (let round = 0; round < 2 * CONNECTIONS; round += 1) {
        const meeting = await meet(priority, round % 2 === 0);
        assert(meeting.witness.secure, 'no handshake');
        // Half of the connections are spared alerts and handshakes, and so live long.
        const types = round % 4 < 2 ? [23, 24] : TYPES;
        for (let left = RECORDS; left > 0 && meeting.witness.over === undefined; left -= 1) {
          const type = types[prng.between(0, types.length - 1)] ?? 24;
          meeting.peer.send(type, content(prng, type));
          sent += 1;
          if (left % 20 === 0) await turn();
        }
        await turn();
        if (meeting.witness.over !== undefined) ended += 1;
        end(meeting);
      }
    }
    assert(sent > 40_000, `only ${sent} records`);
    assert(ended > 20, `only ${ended} connections ended: were alerts read?`);
  });

  test('a handshake with any bytes changed ends no process', async () => {
    process.stdout.write(`# seed ${SEED}\n`);
    const prng = new Prng(SEED + 1);
    let failed = 0;
    let made = 0;
    for (const priority of PRIORITIES) {
      for (let round = 0; round < 2 * CONNECTIONS; round += 1) {
        const meeting = await meet(priority, round % 2 === 0, (bytes) => {
          if (prng.chance(0.5)) return bytes;
          const changed = Uint8Array.from(bytes);
          // Often behind the header: what is in there is to be parsed.
          const from = prng.chance(0.8) ? Math.min(5, changed.length - 1) : 0;
          for (let left = prng.between(1, 3); left > 0; left -= 1) {
            changed[prng.between(from, changed.length - 1)] = prng.between(0, 255);
          }
          return prng.chance(0.1) ? changed.subarray(0, prng.between(0, changed.length)) : changed;
        });
        if (meeting.witness.secure) made += 1;
        else failed += 1;
        end(meeting);
      }
    }
    assert(failed > 100, `only ${failed} of ${failed + made} handshakes failed`);
  });

  test('bytes that are no handshake end no process', async () => {
    const prng = new Prng(SEED + 2);
    for (const priority of PRIORITIES) {
      for (let round = 0; round < 200; round += 1) {
        const witness = new Witness();
        const server = round % 2 === 0;
        const options = sessionOptions(pem, priority, server);
        const ours = new HeartbeatChannel(options, {
          send: () => {},
          secured: () => witness.secured(),
          heard: () => {},
          data: () => {},
          answered: () => {},
          unanswered: () => {},
          ended: (error) => witness.ended(error),
        });
        ours.secure.start();
        for (let left = 20; left > 0; left -= 1) {
          const length = prng.between(0, 200);
          const bytes = Uint8Array.from({ length }, () => prng.between(0, 255));
          if (prng.chance(0.7) && length > 13) {
            bytes.set([prng.between(20, 24), 3, prng.between(1, 4), 0, length - 5]);
            if (isDatagram(priority)) {
              bytes.set([22, 254, 253, 0, 0, 0, 0, 0, 0, 0, left, 0, length - 13]);
            }
          }
          ours.secure.receive(bytes);
          if (left % 5 === 0) await turn();
        }
        assert.equal(witness.secure, false);
        ours.close();
      }
    }
  });

  test('new keys and requests to begin anew, a thousand of each, end no process', async () => {
    const tls13 = await meet(PRIORITIES[1] ?? '', true);
    for (let left = 1_000; left > 0; left -= 1) {
      // The peer's own library has a bound on them; ours is asked for it by the peer.
      tls13.peer.send(22, Uint8Array.of(24, 0, 0, 1, left % 2));
    }
    await turn();
    await turn();
    end(tls13);
    const tls12 = await meet(PRIORITIES[0] ?? '', false);
    for (let left = 1_000; left > 0; left -= 1) tls12.peer.send(22, Uint8Array.of(0, 0, 0, 0));
    await turn();
    await turn();
    end(tls12);
  });
});

suite('a heartbeat inside the handshake of TLS 1.3', NEEDS, () => {
  for (const side of ['client', 'server']) {
    test(`an empty request, sealed by handshake keys, does not end our ${side}`, () => {
      const program = path.join(import.meta.dirname, '../support/peer-early-heartbeat.ts');
      const args = [program, side, certified.ca, certified.certificate, certified.key];
      const keys = path.join(path.dirname(certified.ca), `keys-${side}`);
      const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, {
        encoding: 'utf8',
        env: { ...process.env, SSLKEYLOGFILE: keys },
      });
      assert.equal(signal, null, `it was ended by ${signal}: ${stderr}`);
      assert.equal(status, 0, `${stdout}\n${stderr}`);
      assert.match(stdout, /injected/);
    });
  }
});
