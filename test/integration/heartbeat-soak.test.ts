/** Memory stays flat over many heartbeats and many connections. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, suite, type TestContext, test } from 'node:test';
import v8 from 'node:v8';
import vm from 'node:vm';
import { gnutlsMissing } from '../../src/sys/gnutls-library.ts';
import { decodeHeartbeat, encodeHeartbeat } from '../../src/wire/heartbeat.ts';
import { certify, opensslMissing, readCertified } from '../support/certificates.ts';
import { type SecurePair, SUITES, securePair, until } from '../support/secure-pair.ts';

const NEEDS = { skip: gnutlsMissing() ?? opensslMissing(), timeout: 120_000 };
const BEATS = 50_000;
const HANDSHAKES = 400;
/**
 * Of what JavaScript holds, and of all: the allocator's share levels off only after some 250,000
 * heartbeats. A cipher's context left behind by each, of 700 bytes or more, would be over it.
 */
const MOST_HEAP_KIB = 1_024;
const MOST_RSS_KIB = 32_768;

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc') as () => void;

let pem: { ca: Buffer; cert: Buffer; key: Buffer };
let remove = () => {};
before(() => {
  if (NEEDS.skip !== false) return;
  pem = readCertified(certify({ after: (body) => (remove = body) }));
});
after(() => remove());

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Memory in KiB, once what can be freed has had the time to be. */
async function memory(): Promise<{ heap: number; rss: number }> {
  for (let round = 0; round < 3; round += 1) {
    collect();
    await turn();
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heap: (heapUsed + external) / 1_024, rss: rss / 1_024 };
}

/** That what was done between two looks left nothing behind. */
async function assertFlat(t: TestContext, before: { heap: number; rss: number }): Promise<void> {
  const now = await memory();
  const [heap, rss] = [now.heap - before.heap, now.rss - before.rss];
  t.diagnostic(`${heap.toFixed(0)} KiB more in the heap, ${rss.toFixed(0)} KiB in all`);
  assert(heap < MOST_HEAP_KIB, `${heap} KiB more in the heap`);
  assert(rss < MOST_RSS_KIB, `${rss} KiB more in all`);
}

async function secured(priority: string): Promise<SecurePair> {
  const pair = securePair(pem, priority);
  const { atClient, atServer } = pair;
  await until('both are secure', [atClient, atServer], () => atClient.secure && atServer.secure);
  return pair;
}

/** There and back again, so often. */
async function beat({ client, server, atClient, atServer }: SecurePair, beats: number) {
  const { client: there, server: back } = { client, server };
  for (let sent = 1; sent <= beats; sent += 1) {
    const payload = randomBytes(16);
    there.sendHeartbeat(encodeHeartbeat({ type: 'request', payload }, randomBytes(16)));
    const request = decodeHeartbeat(atServer.heartbeats.pop() ?? new Uint8Array());
    const answer = encodeHeartbeat({ type: 'response', payload: request.payload }, randomBytes(16));
    back.sendHeartbeat(answer);
    const { payload: echoed } = decodeHeartbeat(atClient.heartbeats.pop() ?? new Uint8Array());
    assert(payload.equals(echoed));
    // A loop that never yields lets nothing be freed that waits for a finalizer.
    if (sent % 500 === 0) await turn();
  }
}

suite('memory', NEEDS, () => {
  for (const name of ['TLS 1.2 AES-128-GCM', 'TLS 1.3 CHACHA20', 'DTLS 1.2 AES-128-GCM']) {
    test(`stays flat over ${BEATS} heartbeats there and back: ${name}`, async (t) => {
      const pair = await secured(SUITES[name] ?? '');
      t.after(() => pair.close());
      pair.atClient.to = (bytes) => pair.server.receive(bytes);
      pair.atServer.to = (bytes) => pair.client.receive(bytes);
      await beat(pair, BEATS / 5);
      const from = await memory();
      await beat(pair, BEATS);
      await assertFlat(t, from);
    });
  }

  test(`stays flat over ${HANDSHAKES} connections of each kind`, async (t) => {
    const connect = async (count: number) => {
      for (let made = 0; made < count; made += 1) {
        for (const name of ['TLS 1.2 AES-128-GCM', 'TLS 1.3 AES-128-GCM', 'DTLS 1.2 AES-128-GCM']) {
          (await secured(SUITES[name] ?? '')).close();
        }
      }
    };
    await connect(HANDSHAKES / 2);
    const from = await memory();
    await connect(HANDSHAKES);
    await assertFlat(t, from);
  });
});
