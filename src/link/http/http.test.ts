import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { type Exchange, eventually, scriptHttp } from '../../../test/support/scripted-http.ts';
import type { TimingInput } from '../../keepalive/timing.ts';
import { FLAGS } from '../../time/usage-error.ts';
import type { Link, LinkBefore, NoteEvent, StateEvent } from '../link.ts';
import { createLink } from '../registry.ts';

/** So short that a test takes no second, long enough for a busy machine. */
const SHORT: TimingInput = { time: '200ms', interval: '400ms', probes: 3 };
/** So long that nothing happens by itself. */
const LONG: TimingInput = { time: '60s', interval: '10s', probes: 3 };

interface Watched {
  readonly link: Link;
  readonly states: string[];
  readonly notes: string[];
}

function watch(
  t: TestContext,
  url: string,
  timing: TimingInput = LONG,
  before?: LinkBefore,
): Watched {
  const link = createLink(url, timing, 'links.a', 'a');
  if (before !== undefined) link.recall(before);
  const [states, notes]: [string[], string[]] = [[], []];
  link.on('state', ({ to, reason }: StateEvent) => states.push(`${to} ${reason}`));
  link.on('note', ({ text }: NoteEvent) => notes.push(text));
  t.after(() => link.close());
  link.start();
  return { link, states, notes };
}

const urlOf = ({ port }: { port: number }, rest = '/') => `http://127.0.0.1:${port}${rest}`;

suite('http links', { timeout: 30_000, concurrency: 8 }, () => {
  test('asks HEAD for its path, and is up by the answer, with addresses and round trip', async (t) => {
    const server = await scriptHttp(t);
    const { link, states, notes } = watch(t, urlOf(server, '/health?method=HEAD'));
    await eventually('up', () => link.state === 'up');
    const [{ method, path } = {}] = server.exchanges;
    assert.deepEqual([method, path], ['HEAD', '/health']);
    assert.deepEqual([states, notes], [['up heard'], []]);
    const status = link.status();
    assert.deepEqual([status.kind, status.class], ['http', 'answered']);
    assert.equal(status.remote, `127.0.0.1:${server.port}`);
    assert.match(status.local ?? '', /^127\.0\.0\.1:\d+$/);
    assert((status.rttMs ?? 0) > 0 && (status.rttMs ?? 0) < 5_000);
    assert.equal(status.detectsWithinMs, 90_000);
  });

  test('probes by the same connection again and again, one request at a time', async (t) => {
    const server = await scriptHttp(t);
    const { link } = watch(t, urlOf(server, '/?method=GET'), SHORT);
    await eventually('five probes', () => server.exchanges.length >= 5);
    assert.equal(server.sockets.length, 1);
    assert.equal(link.status().local, `127.0.0.1:${server.sockets[0]?.remotePort}`);
  });

  test('pipelines nothing: a server that never answers sees one request, and is down', async (t) => {
    const server = await scriptHttp(t, (exchange) => {
      if (exchange.connection === 1 && exchange.request < 3) exchange.ok();
    });
    const { link, states } = watch(t, urlOf(server), SHORT);
    await eventually('down', () => link.state === 'down');
    assert.deepEqual(states, ['up heard', 'suspect no-answer', 'down no-answer']);
    assert.equal(link.status().evidence.probes, 3);
    await eventually('a third connection', () => server.sockets.length === 3);
    assert.deepEqual(
      server.exchanges.map(({ connection }) => connection),
      [1, 1, 1, 2, 3].slice(0, server.exchanges.length),
    );
  });

  test('an answer later than its interval still counts', async (t) => {
    const server = await scriptHttp(t, (exchange) => {
      if (exchange.request === 2) setTimeout(() => exchange.ok(), 500);
      else exchange.ok();
    });
    const { states } = watch(t, urlOf(server), SHORT);
    await eventually('three probes', () => server.exchanges.length >= 3);
    assert.equal(server.sockets.length, 1);
    assert(!states.some((state) => state.startsWith('down')), states.join());
  });

  test('the close of an idle connection is no death: it connects anew at once, and learns', async (t) => {
    const server = await scriptHttp(t);
    const { link, states, notes } = watch(t, urlOf(server));
    await eventually('up', () => link.state === 'up');
    await new Promise((resolve) => setTimeout(resolve, 300));
    server.sockets[0]?.end();
    await eventually('a second connection', () => server.exchanges.length === 2);
    assert.deepEqual(states, ['up heard']);
    const told = /^this server ends a connection that is idle for (\d+)ms$/.exec(notes[0] ?? '');
    const idleMs = Number(told?.[1]);
    assert(idleMs >= 290 && idleMs < 2_000, notes.join());
    const { learned } = link.status();
    assert(Math.abs((learned?.idleTimeoutMs ?? 0) - idleMs) <= 1, JSON.stringify(learned));
  });

  test('what it learned in a life before is in its status from the start, and is not told again', async (t) => {
    const server = await scriptHttp(t, (exchange) => exchange.ok('Connection: close'));
    const learned = { requestsPerConnection: 1, idleTimeoutMs: 5_000 };
    const { link, notes } = watch(t, urlOf(server), LONG, { state: 'up', since: '', learned });
    assert.deepEqual(link.status().learned, learned);
    await eventually('up', () => link.state === 'up');
    assert.deepEqual([notes, link.learned], [[], learned]);
    const { link: fresh, notes: told } = watch(t, urlOf(server));
    await eventually('up', () => fresh.state === 'up');
    assert.equal(told.length, 1);
    assert.deepEqual(fresh.learned, { requestsPerConnection: 1 });
  });

  test('it does so once an interval, not in a circle', async (t) => {
    const server = await scriptHttp(t, (exchange) => {
      exchange.ok();
      setTimeout(() => exchange.socket.end(), 20);
    });
    const { link } = watch(t, urlOf(server));
    await eventually('a second connection', () => server.sockets.length === 2);
    await eventually('its end', () => server.sockets[1]?.closed === true);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(server.sockets.length, 2);
    assert.equal(link.state, 'up');
  });

  test('only a connection that cannot be made anew is down, and at once', async (t) => {
    const server = await scriptHttp(t);
    const { link, states } = watch(t, urlOf(server));
    await eventually('up', () => link.state === 'up');
    server.stop();
    await eventually('down', () => link.state === 'down');
    assert.deepEqual(states, ['up heard', 'down refused']);
    assert.equal(link.status().evidence.errno, 'ECONNREFUSED');
  });

  test('a probe that crosses the close of its connection is sent again, and nobody is down', async (t) => {
    const server = await scriptHttp(t, (exchange) => {
      if (exchange.connection === 1 && exchange.request === 2) exchange.socket.destroy();
      else exchange.ok();
    });
    const { states } = watch(t, urlOf(server), SHORT);
    await eventually('an answer on the second', () => server.exchanges.length >= 4);
    assert.equal(server.exchanges[2]?.connection, 2);
    assert.deepEqual(states, ['up heard']);
  });

  test('one reset of a new connection, which may be forged, is asked again; two in a row are death', async (t) => {
    let resets = 1;
    const server = await scriptHttp(t, (exchange) => {
      if (resets === 0) exchange.ok('Connection: close');
      else exchange.socket.resetAndDestroy();
      resets = Math.max(0, resets - 1);
    });
    const { link, states } = watch(t, urlOf(server));
    for (const answers of [1, 2]) {
      await eventually('an answer', () => server.exchanges.length === 2 * answers);
      await eventually('up', () => link.state === 'up');
      resets = 1;
      await eventually('its end', () => server.sockets.at(-1)?.closed === true);
      if (answers === 1) link.probe();
    }
    assert.deepEqual(states, ['up heard']);
    resets = 2;
    link.probe();
    await eventually('down', () => link.state === 'down');
    assert.deepEqual([states, server.exchanges.length], [['up heard', 'down reset'], 6]);
  });

  for (const [what, lines] of [
    ['Connection: close', ['HTTP/1.1 200 OK', 'Connection: close']],
    ['HTTP/1.0 without keep-alive', ['HTTP/1.0 200 OK']],
  ] as const) {
    test(`${what} is an answer, and a note says that nothing is kept`, async (t) => {
      const server = await scriptHttp(t, ({ socket }) =>
        socket.end(`${[...lines, 'Content-Length: 0'].join('\r\n')}\r\n\r\n`),
      );
      const { states, notes } = watch(t, urlOf(server), SHORT);
      await eventually('three probes', () => server.exchanges.length >= 3);
      assert.deepEqual(states, ['up heard']);
      assert.deepEqual(notes, [
        'this server does not keep connections: each probe makes a new one',
      ]);
      assert.equal(server.sockets.length, server.exchanges.length);
    });
  }

  test('HTTP/1.0 with keep-alive is kept', async (t) => {
    const head = 'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n';
    const server = await scriptHttp(t, ({ socket }) => socket.write(head));
    const { notes } = watch(t, urlOf(server), SHORT);
    await eventually('three probes', () => server.exchanges.length >= 3);
    assert.deepEqual([notes, server.sockets.length], [[], 1]);
  });

  test("an answer to HEAD needs no length to keep its connection, a GET's does", async (t) => {
    for (const [method, kept] of [
      ['HEAD', true],
      ['GET', false],
    ] as const) {
      const server = await scriptHttp(t, ({ socket }) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        if (method === 'GET') socket.end('until the end');
      });
      const { states, notes } = watch(t, urlOf(server, `/?method=${method}`), SHORT);
      await eventually('three probes', () => server.exchanges.length >= 3);
      assert.deepEqual(states, ['up heard']);
      assert.equal(server.sockets.length === 1, kept, method);
      assert.equal(notes.length, kept ? 0 : 1);
    }
  });

  test('a hint of 0, of a day or of nonsense changes nothing: what happens counts', async (t) => {
    const hints = ['timeout=0', 'timeout=99999999, max=5', 'ti\tme=;;,=', 'timeout=1'];
    const server = await scriptHttp(t, (exchange) => {
      exchange.ok(`Keep-Alive: ${hints[exchange.request % hints.length]}`);
    });
    const { states } = watch(t, urlOf(server), SHORT);
    await eventually('six probes', () => server.exchanges.length >= 6);
    assert.deepEqual([states, server.sockets.length], [['up heard'], 1]);
  });

  test('a status of 503 is an answer of the server, and a note tells it once', async (t) => {
    const server = await scriptHttp(t, ({ socket }) =>
      socket.write('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n'),
    );
    const { states, notes } = watch(t, urlOf(server), SHORT);
    await eventually('three probes', () => server.exchanges.length >= 3);
    assert.deepEqual(states, ['up heard']);
    assert.deepEqual(notes, ['this server answers, with status 503']);
  });
});

const BAD = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno';

suite('http links and bad servers', { timeout: 30_000, concurrency: 8 }, () => {
  for (const [what, misdeed] of [
    ['later', ({ socket }: Exchange) => setTimeout(() => socket.write(BAD), 50)],
    ['in the same packet as the answer', ({ socket }: Exchange) => socket.write(`${BAD}${BAD}`)],
    ['that are no HTTP', ({ socket }: Exchange) => socket.write(`${BAD}\u0000\u0001`)],
  ] as const) {
    test(`bytes that nobody asked for, ${what}, end the connection: protocol-error`, async (t) => {
      const server = await scriptHttp(t, (exchange) => {
        if (what === 'later') exchange.ok();
        misdeed(exchange);
      });
      const { link, states, notes } = watch(t, urlOf(server, '/?method=GET'));
      await eventually('down', () => link.state === 'down');
      assert.deepEqual(states, ['up heard', 'down protocol-error']);
      assert.match(notes[0] ?? '', /bytes came that nobody asked for/);
      await eventually('the end', () => server.sockets[0]?.destroyed === true);
    });
  }

  for (const [what, bytes, errno] of [
    ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', /^HPE_/],
    ['a head of 32 KiB', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(32_768)}\r\n\r\n`, /^HPE_HEADER/],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', /^HPE_/],
  ] as const) {
    test(`${what} is a protocol error`, async (t) => {
      const server = await scriptHttp(t, ({ socket }) => socket.write(bytes));
      const { link } = watch(t, urlOf(server));
      await eventually('down', () => link.state === 'down');
      assert.equal(link.status().reason, 'protocol-error');
      assert.match(link.status().evidence.errno ?? '', errno);
    });
  }

  test('a body of a megabyte is not read to its end, and a note says what to do', async (t) => {
    const body = Buffer.alloc(1_048_576, 'x');
    const server = await scriptHttp(t, ({ socket }) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body);
    });
    const { link, notes } = watch(t, urlOf(server, '/big?method=GET'), SHORT);
    await eventually('three probes', () => server.exchanges.length >= 3);
    assert.equal(link.state, 'up');
    assert.match(notes.join(), /longer than 65536 bytes.*use method=HEAD/);
    assert.equal(server.sockets.length, server.exchanges.length);
  });

  test('a body that never ends does not hold up the next probe', async (t) => {
    const server = await scriptHttp(t, ({ socket }) =>
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx'),
    );
    const { states } = watch(t, urlOf(server, '/?method=GET'), SHORT);
    await eventually('three probes', () => server.exchanges.length >= 3);
    assert.deepEqual(states, ['up heard']);
  });

  test('a head that never ends is no answer', async (t) => {
    const server = await scriptHttp(t, ({ socket }) => socket.write('HTTP/1.1 200 OK\r\nX: '));
    const { link } = watch(t, urlOf(server), SHORT);
    await eventually('down', () => link.state === 'down');
    assert.equal(link.status().reason, 'no-answer');
  });

  test('an upgrade that nobody asked for is a protocol error', async (t) => {
    const server = await scriptHttp(t, ({ socket }) =>
      socket.write('HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'),
    );
    const { link } = watch(t, urlOf(server));
    await eventually('down', () => link.state === 'down');
    assert.match(link.status().reason, /^(protocol-error|reset)$/);
  });

  for (const [url, message] of [
    ['http://h/?method=POST', /^URL: method=POST is none of HEAD, GET, OPTIONS/],
    ['http://h/?ca=x', /^URL: .*no parameter "ca"; http knows source, method/],
    ['https://h/?ca=/nowhere.pem', /^URL: the ca file \/nowhere\.pem cannot be read \(ENOENT\)/],
    ['http://u:p@h/', /no login goes in there/],
    ['http://h/#top', /no fragment goes in there/],
  ] as const) {
    test(`refuses ${url}`, () => {
      assert.throws(() => createLink(url, {}, FLAGS), { name: 'UsageError', message });
    });
  }

  test('refuses a beat, which HTTP does not have', () => {
    const message = /^--beat: HTTP has no send clock/;
    assert.throws(() => createLink('http://h/', { beat: '5s' }, FLAGS), { message });
  });

  test('has the ports of its schemes, a path of any kind, and a short name', () => {
    assert.equal(createLink('http://h', {}, FLAGS).status().remote, 'h:80');
    assert.equal(createLink('https://h', {}, FLAGS).status().remote, 'h:443');
    assert.equal(createLink('http://h:8080', {}, FLAGS).name, 'http://h:8080');
    assert.equal(createLink('http://h/a%0d/ b', {}, FLAGS).name, 'http://h/a%0d/%20b');
  });
});
