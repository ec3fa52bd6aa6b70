import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { certify, opensslMissing, readCertified } from '../../../test/support/certificates.ts';
import { gnutlsMissing } from '../../sys/gnutls-library.ts';
import { checkClient, checkServer } from './secure-options.ts';

const NEEDS = { skip: gnutlsMissing() ?? opensslMissing() };

let pem: { ca: Buffer; cert: Buffer; key: Buffer };
let other: { ca: Buffer; cert: Buffer; key: Buffer };
const removals: (() => void)[] = [];
before(() => {
  if (NEEDS.skip !== false) return;
  const t = { after: (remove: () => void) => removals.push(remove) };
  pem = readCertified(certify(t));
  other = readCertified(certify(t));
});
after(() => {
  for (const remove of removals) remove();
});

/** That an option is refused in one line that says where and what. */
function refused(body: () => unknown, what: RegExp): void {
  assert.throws(body, (error: Error) => {
    assert.equal(error.name, 'UsageError');
    assert.match(error.message, what);
    assert(!error.message.includes('\n'));
    return true;
  });
}

suite('options of TLS and DTLS connections', NEEDS, () => {
  test('the name to verify is servername, or else the host; an address is not asked for by name', () => {
    const named = checkClient({ host: 'a.test', port: 1, ca: pem.ca }, 'here').session;
    assert.deepEqual([named.hostname, named.serverName, named.verify], ['a.test', 'a.test', true]);
    const address = checkClient({ host: '::1', port: 1, ca: pem.ca }, 'here').session;
    assert.deepEqual([address.hostname, address.serverName], ['::1', undefined]);
    const other = { host: '::1', servername: 'b.test', port: 1, ca: pem.ca };
    assert.equal(checkClient(other, 'here').session.serverName, 'b.test');
  });

  test('heartbeats are on by default at 60s/10s/3, take a timing, and can be left out', () => {
    const client = { port: 1, ca: pem.ca };
    const { session, timing } = checkClient(client, 'here');
    assert.equal(session.heartbeat, true);
    assert.deepEqual([timing.timeMs, timing.intervalMs, timing.probes], [60_000, 10_000, 3]);
    const fast = checkClient({ ...client, heartbeat: { time: '1s' } }, 'here');
    assert.equal(fast.timing.timeMs, 1_000);
    assert.equal(checkClient({ ...client, heartbeat: false }, 'here').session.heartbeat, false);
    refused(() => checkClient({ ...client, heartbeat: { time: '0s' } }, 'here'), /here\.time/);
  });

  test('what is no certificate, or not its key, is refused', () => {
    refused(() => checkClient({ port: 1, ca: 'junk' }, 'here'), /here: the certificates to trust/);
    refused(() => checkServer({ cert: 'junk', key: pem.key }, 'here'), /here: the certificate/);
    refused(() => checkServer({ cert: pem.cert, key: other.key }, 'here'), /here: the certificate/);
    assert.equal(checkServer({ cert: pem.cert, key: pem.key }, 'here').session.server, true);
    const joined = Buffer.concat([pem.cert, pem.key]);
    assert.equal(checkServer({ cert: joined }, 'here').session.server, true);
  });

  test('a server needs a certificate, and a ca to ask its clients for one', () => {
    refused(() => checkServer({}, 'here'), /a server needs a cert/);
    const own = { cert: pem.cert, key: pem.key };
    refused(() => checkServer({ ...own, requestCert: true }, 'here'), /requestCert needs the `ca`/);
    const asking = { ...own, ca: other.ca, requestCert: true };
    assert.equal(checkServer(asking, 'here').session.verify, true);
    assert.equal(checkServer(own, 'here').session.verify, false);
  });

  test('a priority string that GnuTLS does not know is refused', () => {
    const client = { port: 1, ca: pem.ca, priority: 'NONSENSE' };
    refused(() => checkClient(client, 'here'), /here: the priority string "NONSENSE"/);
  });
});
