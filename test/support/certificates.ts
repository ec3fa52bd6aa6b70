/**
 * A certificate authority of a test's own, and a certificate of it, made by the openssl command.
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** Files in PEM. */
export interface Certified {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/** Why no certificate can be made here, or `false`. */
export function opensslMissing(): string | false {
  const { error } = spawnSync('openssl', ['version'], { stdio: 'ignore' });
  return error === undefined ? false : 'needs the command openssl (Debian: openssl)';
}

/** Certifies `localhost`, or what else is named as OpenSSL's subjectAltName wants it. */
export function certify(
  t: { after(remove: () => void): void },
  names = 'DNS:localhost',
): Certified {
  const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-ca-'));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  const at = (name: string) => path.join(home, name);
  const openssl = (...args: string[]) => {
    const { status, stderr } = spawnSync('openssl', args, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  };
  const make = ['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const root = ['-x509', '-days', '2', '-subj', '/CN=Linkhold test'];
  openssl(...make, ...root, '-keyout', at('ca.key'), '-out', at('ca.pem'));
  openssl(...make, '-subj', '/CN=localhost', '-keyout', at('key.pem'), '-out', at('req.pem'));
  writeFileSync(at('ext'), `subjectAltName=${names}\n`);
  const sign = ['x509', '-req', '-days', '2', '-in', at('req.pem'), '-extfile', at('ext')];
  const signer = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial'];
  openssl(...sign, ...signer, '-out', at('cert.pem'));
  return { ca: at('ca.pem'), key: at('key.pem'), certificate: at('cert.pem') };
}

/** The same, read. */
export function readCertified({ ca, certificate, key }: Certified): {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
} {
  return { ca: readFileSync(ca), cert: readFileSync(certificate), key: readFileSync(key) };
}
