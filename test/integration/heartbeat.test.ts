/** TLS and DTLS heartbeats against the real servers and clients of GnuTLS and OpenSSL. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import {
  connectDtls,
  connectTls,
  createDtlsServer,
  createLink,
  createTlsServer,
  type Link,
  type TimingInput,
} from '../../src/index.ts';
import { gnutlsMissing } from '../../src/sys/gnutls-library.ts';
import { TlsRecordReader } from '../../src/wire/tls-record.ts';
import { certify, opensslMissing, readCertified } from '../support/certificates.ts';
import { runCli, startCli } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { gnutlsBinMissing, startGnutls, startPeer } from '../support/gnutls-server.ts';
import { START_MS } from '../support/lab.ts';
import { next, reaches } from '../support/link-events.ts';
import { eventually } from '../support/scripted-http.ts';
import { loseOneOfFive, UdpRelay } from '../support/udp-relay.ts';

const NEEDS = { skip: gnutlsMissing() ?? (gnutlsBinMissing() || opensslMissing()) };
/** Ends a test that hangs, with a word on where. */
const OPTIONS = { ...NEEDS, concurrency: true, timeout: 90_000 };

const NAMES = 'DNS:localhost,IP:127.0.0.1';
const TIMING = { time: '500ms', interval: '500ms', probes: 3 };
const BOUND_MS = 2_000;
/** What a busy machine may be late by. */
const LATE_MS = 3_000;

/** What gnutls-serv is told to speak. */
const VERSIONS = {
  'TLS 1.2': { priority: 'NORMAL:-VERS-ALL:+VERS-TLS1.2' },
  'TLS 1.2 with ChaCha20': {
    priority: 'NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+CHACHA20-POLY1305',
  },
  'TLS 1.3': { priority: 'NORMAL:-VERS-ALL:+VERS-TLS1.3' },
  'TLS 1.3 with ChaCha20': {
    priority: 'NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305',
  },
  'DTLS 1.2': { datagram: true },
} as const;

function watch(t: TestContext, url: string, timing: TimingInput = TIMING): Link {
  const link = createLink(url, timing);
  t.after(() => link.close());
  return link;
}

async function up(t: TestContext, url: string, timing: TimingInput = TIMING): Promise<Link> {
  const link = watch(t, url, timing);
  const reached = reaches(link, 'up');
  link.start();
  await reached;
  return link;
}

suite('links to gnutls-serv', OPTIONS, () => {
  for (const [version, options] of Object.entries(VERSIONS)) {
    const datagram = 'datagram' in options;
    const scheme = datagram ? 'dtls+heartbeat' : 'tls+heartbeat';

    test(`${version}: probes are answered; stopped it is down within the bound, and then up again`, async (t) => {
      const certified = certify(t, NAMES);
      const { port, server } = await startGnutls(t, certified, options);
      const link = await up(t, `${scheme}://127.0.0.1:${port}?ca=${certified.ca}`);
      for (let left = 3; left > 0; left -= 1) await next(link, 'reply');
      assert.equal(link.status().detectsWithinMs, BOUND_MS);
      const from = performance.now();
      const down = reaches(link, 'down');
      server.signal('SIGSTOP');
      const event = await down;
      const took = performance.now() - from;
      assert.equal(event.reason, 'no-answer');
      assert(took > 500 && took < BOUND_MS + LATE_MS, `it took ${took} ms`);
      const back = reaches(link, 'up');
      server.signal('SIGCONT');
      await back;
    });
  }

  test('a server that was killed and started again is held again', async (t) => {
    const certified = certify(t, NAMES);
    for (const datagram of [false, true]) {
      const { port, server } = await startGnutls(t, certified, { datagram });
      const scheme = datagram ? 'dtls+heartbeat' : 'tls+heartbeat';
      const link = await up(t, `${scheme}://127.0.0.1:${port}?ca=${certified.ca}`);
      const down = reaches(link, 'down');
      server.signal('SIGKILL');
      await server.exited;
      const { reason } = await down;
      assert(['closed', 'reset', 'refused'].includes(reason), reason);
      const back = reaches(link, 'up');
      await startGnutls(t, certified, { datagram, port });
      await back;
      link.close();
    }
  });

  test('with one of five datagrams lost each way, DTLS is never taken for dead', async (t) => {
    const certified = certify(t, NAMES);
    const { port } = await startGnutls(t, certified, { datagram: true });
    const relay = await UdpRelay.start(t, port);
    const timing = { time: '50ms', interval: '1s', probes: 2 };
    const link = await up(t, `dtls+heartbeat://127.0.0.1:${relay.port}?ca=${certified.ca}`, timing);
    relay.alter = loseOneOfFive(1);
    const states: string[] = [];
    link.on('state', ({ to }) => states.push(to));
    const before = relay.carried;
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${relay.carried} carried`)), 60_000);
      link.on('probe', () => {
        if (relay.carried - before < 200) return;
        clearTimeout(late);
        resolve();
      });
    });
    assert(relay.lost >= 40, `${relay.lost} were lost`);
    assert.deepEqual(states, []);
  });
});

suite('servers that offer none', OPTIONS, () => {
  test('gnutls-serv and OpenSSL without heartbeats: not offered, exit code 1', async (t) => {
    const certified = certify(t, NAMES);
    const plain = await startGnutls(t, certified, { heartbeat: false });
    const udp = await startGnutls(t, certified, { heartbeat: false, datagram: true });
    const openssl = await startOpenssl(t, certified.certificate, certified.key);
    for (const at of [
      `tls+heartbeat://127.0.0.1:${plain.port}`,
      `dtls+heartbeat://127.0.0.1:${udp.port}`,
      `tls+heartbeat://127.0.0.1:${openssl}`,
    ]) {
      const { code, stdout, stderr } = await runCli(t, ['check', `${at}?ca=${certified.ca}`]);
      assert.equal(code, 1, stderr);
      assert.match(stdout, /^down/);
      assert.match(stderr, /not offered/);
    }
  });

  test('no heartbeat record is sent to one', async (t) => {
    const certified = certify(t, NAMES);
    const port = await startOpenssl(t, certified.certificate, certified.key);
    const types = new Set<number>();
    const recorder = net.createServer((socket) => {
      const reader = new TlsRecordReader();
      const back = net.connect(port, '127.0.0.1');
      socket.on('data', (bytes: Uint8Array) => {
        for (const record of reader.read(bytes)) types.add(record[0] ?? 0);
        back.write(bytes);
      });
      back.on('data', (bytes) => socket.write(bytes)).on('error', () => socket.destroy());
      socket.on('error', () => back.destroy()).on('close', () => back.destroy());
    });
    t.after(() => recorder.close());
    recorder.listen(0, '127.0.0.1');
    await once(recorder, 'listening');
    const at = (recorder.address() as net.AddressInfo).port;
    const link = watch(t, `tls+heartbeat://127.0.0.1:${at}?ca=${certified.ca}`);
    const down = reaches(link, 'down');
    link.start();
    assert.equal((await down).reason, 'protocol-error');
    await once(link, 'probe');
    assert(types.has(22), `${[...types]}`);
    assert(!types.has(24));
  });

  test('a certificate of nobody known, or of another name, is refused', async (t) => {
    const certified = certify(t, 'DNS:elsewhere.test');
    const other = certify(t, NAMES);
    const { port } = await startGnutls(t, certified);
    const cases = [
      [`ca=${certified.ca}`, /name in the certificate/],
      [`ca=${other.ca}`, /issuer is unknown/],
      ['', /issuer is unknown/],
    ] as const;
    for (const [query, why] of cases) {
      const url = `tls+heartbeat://127.0.0.1:${port}?${query}`;
      const { code, stdout, stderr } = await runCli(t, ['check', '--json', url]);
      assert.equal(code, 1);
      assert.equal(JSON.parse(stdout)[0].reason, 'not-authentic');
      assert.match(stderr, why);
    }
    const named = `ca=${certified.ca}&servername=elsewhere.test`;
    const { code, stderr } = await runCli(t, [
      'check',
      `tls+heartbeat://127.0.0.1:${port}?${named}`,
    ]);
    assert.equal(code, 0, stderr);
  });
});

/** Resolves to the port of an `openssl s_server` that speaks TLS 1.2, as far as records show types. */
async function startOpenssl(t: TestContext, certificate: string, key: string): Promise<number> {
  const port = await freePort();
  const where = ['-accept', `127.0.0.1:${port}`, '-cert', certificate, '-key', key];
  const server = startPeer(t, 'openssl', ['s_server', '-tls1_2', ...where]);
  await server.line('ACCEPT', START_MS);
  return port;
}

suite('the command', OPTIONS, () => {
  test('`watch` holds both kinds and tells of replies', async (t) => {
    const certified = certify(t, NAMES);
    const tls = await startGnutls(t, certified);
    const udp = await startGnutls(t, certified, { datagram: true });
    const urls = [
      `tls+heartbeat://127.0.0.1:${tls.port}?ca=${certified.ca}`,
      `dtls+heartbeat://127.0.0.1:${udp.port}?ca=${certified.ca}`,
    ];
    const flags = ['--time', '200ms', '--interval', '500ms'];
    const command = startCli(t, ['watch', '--json', ...flags, ...urls]);
    for (const url of urls) {
      const link = `"link":"${url.replaceAll(/[?+.]/g, '\\$&')}".*`;
      await command.line(new RegExp(`${link}"to":"up"`), START_MS);
      await command.line(new RegExp(`${link}"rttMs"`), START_MS);
    }
    command.kill('SIGINT');
    assert.equal((await command.ended()).code, 0);
  });

  const mounts = spawnSync('unshare', ['-m', 'true'], { stdio: 'ignore' }).status === 0;
  const unmountable = mounts ? {} : { skip: 'needs the right to make a mount namespace' };
  test('without GnuTLS: exit code 3, and the package by name', unmountable, async (t) => {
    const { stdout } = spawnSync('ldconfig', ['-p'], { encoding: 'utf8' });
    const library = /libgnutls\.so\.30 .*=> (.*)$/m.exec(stdout)?.[1] ?? '';
    const hide = `mount --bind /dev/null ${realpathSync(library)} && exec "$@"`;
    const under = ['unshare', '-m', 'sh', '-c', hide, 'sh'];
    const url = 'tls+heartbeat://127.0.0.1:1';
    const { code, stderr } = await runCli(t, ['check', url], { under });
    assert.equal(code, 3);
    assert.match(stderr, /libgnutls\.so\.30 cannot be loaded.*libgnutls30/);
    assert.equal(stderr.trim().split('\n').length, 1);
  });
});

suite('connections of the library', OPTIONS, () => {
  for (const [version, options] of Object.entries(VERSIONS)) {
    test(`${version}: gnutls-serv asks us by a heartbeat, and gets its data too`, async (t) => {
      const certified = certify(t, NAMES);
      const { ca } = readCertified(certified);
      const { port } = await startGnutls(t, certified, options);
      const target = { host: '127.0.0.1', port, ca };
      let said = '';
      const told = (bytes: Uint8Array) => {
        said += Buffer.from(bytes).toString();
      };
      if ('datagram' in options) {
        const connection = connectDtls(target);
        connection.on('message', told);
        await once(connection, 'secure');
        // gnutls-serv takes a request for the answer it waits for, and so is to have had ours.
        assert((await connection.heartbeat()) > 0);
        connection.send(Buffer.from('**HEARTBEAT**\n'));
        // Over UDP it says nothing of it, and loses what comes before our answer.
        await eventually('it is answered', () => connection.heartbeats.peerAnswered === 1);
        connection.send(Buffer.from('Successfully executed command'));
        await once(connection, 'message');
        assert.equal(connection.heartbeats.peerAnswered, 1);
        connection.close();
      } else {
        const connection = connectTls(target);
        connection.on('data', told);
        await once(connection, 'secure');
        assert((await connection.heartbeat()) > 0);
        connection.write('**HEARTBEAT**\n');
        await once(connection, 'data');
        assert.equal(connection.heartbeats.peerAnswered, 1);
        connection.end();
        await once(connection, 'close');
      }
      assert.match(said, /Successfully executed command/);
    });
  }

  test('gnutls-cli answers the heartbeats of our servers', async (t) => {
    const certified = certify(t, NAMES);
    const { cert, key } = readCertified(certified);
    const heartbeat = { time: '100ms', interval: '500ms' };
    const tls = createTlsServer({ cert, key, heartbeat });
    const udp = createDtlsServer({ cert, key, heartbeat });
    t.after(() => Promise.all([tls.close(), udp.close()]));
    const ports = [await tls.listen(0, '127.0.0.1'), await udp.listen(0)] as const;
    const common = ['--heartbeat', '--x509cafile', certified.ca, '--verify-hostname', 'localhost'];
    for (const [args, server, port] of [
      [['--priority', 'NORMAL:-VERS-ALL:+VERS-TLS1.2'], tls, ports[0]],
      [['--priority', 'NORMAL:-VERS-ALL:+VERS-TLS1.3'], tls, ports[0]],
      [['--udp'], udp, ports[1]],
    ] as const) {
      const connected = once(server, 'connection');
      const client = startPeer(t, 'gnutls-cli', [
        ...common,
        ...args,
        '-p',
        String(port),
        '127.0.0.1',
      ]);
      const [connection] = await connected;
      const { link } = connection;
      assert(link !== undefined, 'the client allows no heartbeats');
      for (let left = 3; left > 0; left -= 1) await next(link, 'reply');
      const died = once(connection, 'error');
      client.signal('SIGSTOP');
      // It never says goodbye: the heartbeats find out.
      const [error] = await died;
      assert.equal(error.code, 'ETIMEDOUT');
      assert(connection.heartbeats.answered >= 3);
    }
  });
});
