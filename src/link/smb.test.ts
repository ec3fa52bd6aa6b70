import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { next, reaches } from '../../test/support/link-events.ts';
import {
  type Asked,
  answerTo,
  pendingTo,
  requestReader,
  requests,
} from '../../test/support/smb-answers.ts';
import type { TimingInput } from '../keepalive/timing.ts';
import { SMB2_ECHO, SMB2_NEGOTIATE, SMB2_UNSOLICITED } from '../wire/smb2.ts';
import type { Link } from './link.ts';
import { createLink } from './registry.ts';

/** A bound of 500 ms, with a slack (half an interval) that a busy test machine does not reach. */
const QUICK: TimingInput = { time: '200ms', interval: '100ms', probes: 3 };
const DETECTS_MS = 500;
/** What a busy machine may be late by. */
const LATE_MS = 1_000;
/** Far more than anything here takes; only a test that fails waits so long. */
const BOUND_MS = 5_000;
const KEEPALIVE = Uint8Array.of(0x85, 0, 0, 0);

/** What a server does with a request; `count` numbers the ECHOs of all its connections from 1. */
type Script = (asked: Asked, socket: net.Socket, count: number) => void;

const good: Script = (asked, socket) => socket.write(answerTo(asked));

interface Server {
  readonly port: number;
  readonly connections: net.Socket[];
  /** Errors of its connections, by their code. */
  readonly errors: string[];
  script: Script;
  /** The requests so far. */
  readonly asked: Asked[];
  end(): Promise<void>;
}

async function serve(t: TestContext, script: Script = good, port = 0): Promise<Server> {
  const listener = net.createServer((socket) => {
    const reader = requestReader();
    server.connections.push(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => server.errors.push(error.code ?? ''));
    socket.on('data', (bytes: Uint8Array) => {
      for (const asked of requests(reader, bytes)) {
        server.asked.push(asked);
        const count = server.asked.filter(({ command }) => command === SMB2_ECHO).length;
        server.script(asked, socket, count);
      }
    });
  });
  listener.listen(port, '127.0.0.1');
  await once(listener, 'listening');
  const end = async () => {
    for (const socket of server.connections) socket.destroy();
    if (listener.listening) await new Promise((resolve) => listener.close(resolve));
  };
  const server: Server = {
    port: (listener.address() as net.AddressInfo).port,
    connections: [],
    errors: [],
    asked: [],
    script,
    end,
  };
  t.after(end);
  return server;
}

function makeLink(t: TestContext, port: number, timing = QUICK): Link {
  const link = createLink(`smb://127.0.0.1:${port}`, timing, 'links.a', 'a');
  t.after(() => link.close());
  return link;
}

/** A link that is up, to a server with this script. */
async function upLink(t: TestContext, script = good): Promise<{ link: Link; server: Server }> {
  const server = await serve(t, script);
  const link = makeLink(t, server.port);
  await Promise.all([reaches(link, 'up'), link.start()]);
  return { link, server };
}

/** Answers NEGOTIATE, and does with each ECHO what it is told. */
function onEcho(script: Script): Script {
  return (asked, socket, count) => {
    if (asked.command === SMB2_NEGOTIATE) good(asked, socket, count);
    else script(asked, socket, count);
  };
}

suite('smb links', { timeout: 60_000, concurrency: 4 }, () => {
  test('is up by the first ECHO, with its round trip and the bound in its status', async (t) => {
    const { link, server } = await upLink(t);
    const { kind, class: clocks, rttMs, remote, detectsWithinMs, proves } = link.status();
    assert.deepEqual([kind, clocks, detectsWithinMs], ['smb', 'answered', DETECTS_MS]);
    assert(rttMs !== null && rttMs > 0 && rttMs < BOUND_MS);
    assert.equal(remote, `127.0.0.1:${server.port}`);
    assert.match(proves, /process answers?; not that a login or a share works/);
    assert.deepEqual(
      server.asked.map(({ command, messageId }) => [command, messageId]),
      [
        [SMB2_NEGOTIATE, 0n],
        [SMB2_ECHO, 1n],
      ],
    );
  });

  test('port 445 is the default, and a beat is refused with what to do', () => {
    assert.equal(createLink('smb://h', {}, 'links.a').status().remote, 'h:445');
    assert.throws(() => createLink('smb://h', { beat: '20s' }, 'links.a'), {
      name: 'UsageError',
      message: /^links\.a\.beat: smb:\/\/ asks, it has no beat; a shorter `time`/,
    });
  });

  test('20 ECHOs on one connection, each with the next MessageId', async (t) => {
    const { link, server } = await upLink(t);
    for (let count = 1; count < 20; count += 1) {
      await Promise.all([next(link, 'reply'), link.probe()]);
    }
    const ids = server.asked.map(({ messageId }) => Number(messageId));
    assert.deepEqual(ids.slice(0, 21), [...Array(21).keys()]);
    assert.equal(server.connections.length, 1);
  });

  test('a server that falls silent is down by 3 probes within 500 ms, reset, and up when it speaks', async (t) => {
    const { link, server } = await upLink(t);
    const silentAt = performance.now();
    server.script = () => undefined;
    const suspect = reaches(link, 'suspect');
    const down = await reaches(link, 'down');
    const tookMs = performance.now() - silentAt;
    assert.equal((await suspect).reason, 'no-answer');
    assert.deepEqual([down.reason, down.evidence.probes], ['no-answer', 3]);
    assert(tookMs <= DETECTS_MS + LATE_MS, `${tookMs} ms`);
    assert(server.asked.filter(({ command }) => command === SMB2_ECHO).length >= 4);
    const up = reaches(link, 'up');
    server.script = good;
    // What its new connection asked while it was silent is not answered; the one after it is.
    assert.equal((await up).from, 'down');
    assert(server.connections.length >= 2);
    assert.equal(server.errors[0], 'ECONNRESET', 'the old connection is not left to the kernel');
  });

  test('16 MiB announced is a protocol error at once, and asked anew after an interval', async (t) => {
    const { link, server } = await upLink(t);
    const note = next(link, 'note');
    const down = reaches(link, 'down');
    server.connections[0]?.write(Uint8Array.of(0, 0xff, 0xff, 0xff));
    assert.equal((await down).reason, 'protocol-error');
    const downAt = performance.now();
    assert.match((await note).text, /no SMB 2 server: nbss: too-long \(16777215\)/);
    assert.equal((await reaches(link, 'up')).from, 'down');
    const anewMs = performance.now() - downAt;
    assert(anewMs >= 74 && anewMs <= 100 + LATE_MS, `${anewMs} ms`);
    const again = next(link, 'note');
    server.connections[1]?.write(Uint8Array.of(0, 0xff, 0xff, 0xff));
    assert.match((await again).text, /too-long/, 'what happens again after an up is told again');
  });

  test('128 KiB announced that never comes is no answer: down within 500 ms', async (t) => {
    const { link, server } = await upLink(t);
    server.script = onEcho(() => undefined);
    const down = reaches(link, 'down');
    const saidAt = performance.now();
    server.connections[0]?.write(Uint8Array.of(0, 1, 0xff, 0xff, 0xfe));
    assert.equal((await down).reason, 'no-answer');
    assert(performance.now() - saidAt <= DETECTS_MS + LATE_MS);
  });

  test('a wrong MessageId never brings a link up: down by no-answer after 300 ms, asked anew', async (t) => {
    const wrong: Script = (asked, socket) =>
      socket.write(answerTo(asked, { messageId: asked.messageId + 5n }));
    const server = await serve(t, onEcho(wrong));
    const link = makeLink(t, server.port);
    link.on('reply', () => assert.fail('it took a wrong answer'));
    const startedAt = performance.now();
    link.start();
    const down = await reaches(link, 'down');
    assert.deepEqual([down.from, down.reason], ['unknown', 'no-answer']);
    assert(performance.now() - startedAt <= 300 + LATE_MS);
    link.removeAllListeners('reply');
    server.script = good;
    await reaches(link, 'up');
  });

  test('wrong MessageIds bring a link that was up down within 500 ms', async (t) => {
    const { link, server } = await upLink(t);
    server.script = onEcho((asked, socket) =>
      socket.write(answerTo(asked, { messageId: asked.messageId + 5n })),
    );
    const from = performance.now();
    assert.equal((await reaches(link, 'down')).reason, 'no-answer');
    assert(performance.now() - from <= DETECTS_MS + LATE_MS);
  });

  test('keepalives and oplock breaks each 50 ms are life: up for 4 bounds, and not asked', async (t) => {
    const { link, server } = await upLink(t);
    const [socket] = server.connections;
    const asked: Asked = {
      command: 0x12,
      messageId: SMB2_UNSOLICITED,
      credits: 0,
      creditCharge: 0,
    };
    for (const type of ['state', 'probe', 'reply'] as const) {
      link.on(type, () => assert.fail(`there was a ${type}`));
    }
    for (let count = 0; count * 50 < 4 * DETECTS_MS; count += 1) {
      socket?.write(count % 2 === 0 ? KEEPALIVE : answerTo(asked));
      // The passing of time is what is tested.
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(link.state, 'up');
  });

  test('STATUS_PENDING for ever is life and no answer: up for 10 probes without a reply', async (t) => {
    const { link, server } = await upLink(t);
    link.on('state', ({ to }) => assert.fail(`it went ${to}`));
    link.on('reply', () => assert.fail('that is no answer'));
    server.script = onEcho((asked, socket) => socket.write(pendingTo(asked, 1)));
    for (let count = 0; count < 10; count += 1) await next(link, 'probe');
  });

  test('ECHOs that are never answered use up the credits: what cannot be asked is not answered', async (t) => {
    const { link, server } = await upLink(t);
    server.script = onEcho((_, socket) => socket.write(KEEPALIVE));
    const { reason } = await reaches(link, 'down');
    assert.equal(reason, 'no-answer');
    const ids = server.asked.map(({ messageId }) => messageId).filter((id) => id > 0n);
    assert(ids.length <= 9, `${ids.length} requests for 9 credits`);
  });

  test('STATUS_PENDING and the final answer 150 ms later: one reply of 150 ms, never suspect', async (t) => {
    const { link, server } = await upLink(t);
    link.on('state', ({ to }) => assert.fail(`it went ${to}`));
    server.script = onEcho((asked, socket) => {
      socket.write(pendingTo(asked, 1));
      setTimeout(() => socket.write(answerTo(asked, { flags: 3 })), 150);
    });
    const [{ rttMs }] = await Promise.all([next(link, 'reply'), link.probe()]);
    assert(rttMs >= 149 && rttMs < 150 + LATE_MS, `${rttMs} ms`);
  });

  test('killed in the middle of an answer is down with closed at once, and up by a new connection', async (t) => {
    const { link, server } = await upLink(t);
    server.script = onEcho((asked, socket) => {
      socket.end(answerTo(asked).subarray(0, 30));
      server.script = good;
    });
    const down = reaches(link, 'down');
    link.probe();
    const { from, reason } = await down;
    assert.deepEqual([from, reason], ['up', 'closed']);
    await reaches(link, 'up');
    assert.equal(server.connections.length, 2);
  });

  test('killed in the middle of the first answer is down with closed, not up', async (t) => {
    const server = await serve(
      t,
      onEcho((asked, socket) => socket.end(answerTo(asked).subarray(0, 30))),
    );
    const link = makeLink(t, server.port);
    link.start();
    const { reason } = await reaches(link, 'down');
    assert.equal(reason, 'closed');
  });

  test('answers that come byte by byte are answers', async (t) => {
    const drip: Script = (asked, socket) => {
      const bytes = [...answerTo(asked)];
      const one = () => {
        const byte = bytes.shift();
        if (byte === undefined || socket.destroyed) return;
        socket.write(Uint8Array.of(byte), () => setImmediate(one));
      };
      socket.setNoDelay(true);
      one();
    };
    const { link, server } = await upLink(t, drip);
    await Promise.all([next(link, 'reply'), link.probe()]);
    assert.equal(server.connections.length, 1);
  });

  test('a server that grants nothing after the first ECHO is a protocol error that says so', async (t) => {
    const { link } = await upLink(t, (asked, socket) =>
      socket.write(answerTo(asked, { credits: asked.command === SMB2_NEGOTIATE ? 1 : 0 })),
    );
    const note = next(link, 'note');
    const { from, reason } = await reaches(link, 'down');
    assert.deepEqual([from, reason], ['up', 'protocol-error']);
    assert.match((await note).text, /the server allows no more requests \(0 credits\)/);
  });

  test('a server that grants nothing at all is a protocol error, noted once in 3 attempts', async (t) => {
    const server = await serve(t, (asked, socket) => socket.write(answerTo(asked, { credits: 0 })));
    const link = makeLink(t, server.port);
    const notes: string[] = [];
    link.on('note', ({ text }) => notes.push(text));
    link.start();
    assert.equal((await reaches(link, 'down')).reason, 'protocol-error');
    while (server.connections.length < 3) await next(link, 'probe');
    assert.equal(notes.length, 1, notes.join('\n'));
  });

  test('one that disconnects at ECHO is asked by NEGOTIATE on new connections, and says so once', async (t) => {
    const server = await serve(
      t,
      onEcho((_, socket) => socket.destroy()),
    );
    const link = makeLink(t, server.port);
    const notes: string[] = [];
    link.on('note', ({ text }) => notes.push(text));
    const up = reaches(link, 'up');
    link.start();
    assert.equal((await up).from, 'unknown');
    link.on('state', ({ to }) => assert.fail(`it went ${to}`));
    for (let count = 0; count < 5; count += 1) {
      const [{ rttMs }] = await Promise.all([next(link, 'reply'), link.probe()]);
      assert(rttMs > 0);
    }
    assert.equal(server.asked.filter(({ command }) => command === SMB2_ECHO).length, 1);
    assert(server.connections.length >= 6);
    assert.equal(notes.length, 1);
    assert.match(notes[0] ?? '', /no ECHO without a login: it disconnects .*3\.3\.5\.17/);
    link.removeAllListeners('state');
    const down = reaches(link, 'down');
    const endedAt = performance.now();
    await server.end();
    assert.equal((await down).reason, 'refused');
    assert(performance.now() - endedAt <= DETECTS_MS + LATE_MS);
  });

  test('one that is asked by NEGOTIATE and falls silent is down within 500 ms', async (t) => {
    const { link, server } = await upLink(
      t,
      onEcho((_, socket) => socket.destroy()),
    );
    server.script = () => undefined;
    const from = performance.now();
    assert.equal((await reaches(link, 'down')).reason, 'no-answer');
    assert(performance.now() - from <= DETECTS_MS + LATE_MS);
    server.script = good;
    await reaches(link, 'up');
    await Promise.all([next(link, 'reply'), link.probe()]);
    assert(server.asked.filter(({ command }) => command === SMB2_ECHO).length >= 2, 'ECHO again');
  });

  test('one that refuses 2.0.2 and 2.1 is up by that answer, with the status in a note', async (t) => {
    const server = await serve(t, (asked, socket) =>
      socket.write(answerTo(asked, { status: 0xc000_00bb })),
    );
    const link = makeLink(t, server.port);
    const notes: string[] = [];
    link.on('note', ({ text }) => notes.push(text));
    link.start();
    await reaches(link, 'up');
    for (let count = 0; count < 3; count += 1) {
      await Promise.all([next(link, 'reply'), link.probe()]);
    }
    assert.equal(notes.length, 1);
    assert.match(notes[0] ?? '', /refuses SMB 2\.0\.2 and 2\.1 \(STATUS_NOT_SUPPORTED\)/);
  });

  test('one that never answers NEGOTIATE is down after 3 intervals, and tried anew', async (t) => {
    const server = await serve(t, () => undefined);
    const link = makeLink(t, server.port);
    const startedAt = performance.now();
    link.start();
    const { reason, evidence } = await reaches(link, 'down');
    assert.deepEqual([reason, evidence.probes], ['no-answer', 3]);
    assert(performance.now() - startedAt <= 300 + LATE_MS);
    while (server.connections.length < 3) await next(link, 'probe');
    server.script = good;
    await reaches(link, 'up');
  });

  test('one that answers NEGOTIATE after 150 ms, later than an interval, is up', async (t) => {
    const slow: Script = (asked, socket) => setTimeout(() => socket.write(answerTo(asked)), 150);
    const { server } = await upLink(t, (asked, socket, count) =>
      (asked.command === SMB2_NEGOTIATE ? slow : good)(asked, socket, count),
    );
    assert.equal(server.connections.length, 1);
  });

  test('a web server is down with protocol-error and a note that says what came', async (t) => {
    const listener = net.createServer((socket) => {
      socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    t.after(() => listener.close());
    const link = makeLink(t, (listener.address() as net.AddressInfo).port);
    const note = next(link, 'note');
    link.start();
    assert.equal((await reaches(link, 'down')).reason, 'protocol-error');
    assert.match((await note).text, /no SMB 2 server: nbss: bad-type \(72\)/);
  });

  test('a port where nobody listens is down at once, refused', async (t) => {
    const server = await serve(t);
    await server.end();
    const link = makeLink(t, server.port);
    link.start();
    const { reason, evidence } = await reaches(link, 'down');
    assert.deepEqual([reason, evidence.errno], ['refused', 'ECONNREFUSED']);
    await serve(t, good, server.port);
    await reaches(link, 'up');
  });

  test('a reset is down with ECONNRESET', async (t) => {
    const { link, server } = await upLink(t);
    const down = reaches(link, 'down');
    server.connections[0]?.resetAndDestroy();
    const { reason, evidence } = await down;
    assert.deepEqual([reason, evidence.errno], ['reset', 'ECONNRESET']);
  });

  test('close ends the connection, and no event follows', async (t) => {
    const { link, server } = await upLink(t);
    link.on('state', ({ to }) => assert.fail(`told of ${to} after close`));
    const [socket] = server.connections;
    assert(socket !== undefined);
    link.close();
    await once(socket, 'close', { signal: AbortSignal.timeout(BOUND_MS) });
    assert.equal(server.connections.length, 1);
  });
});

/** One after another: they keep the whole process busy, and the others watch a clock. */
suite('smb links in a flood', { timeout: 30_000 }, () => {
  test('1,000,000 keepalives before the answer to NEGOTIATE keep nobody up', async (t) => {
    const flood = Buffer.alloc(4_000_000, KEEPALIVE);
    const server = await serve(t, (asked, socket) => {
      if (asked.command === SMB2_NEGOTIATE) socket.write(flood);
    });
    const link = makeLink(t, server.port);
    link.start();
    const down = await reaches(link, 'down');
    assert.deepEqual([down.from, down.reason], ['unknown', 'no-answer']);
  });

  test('1,000,000 keepalives between question and answer are life: up all along, and the answer counts', async (t) => {
    const { link, server } = await upLink(t);
    link.on('state', ({ to }) => assert.fail(`it went ${to}`));
    const flood = Buffer.alloc(4_000_000, KEEPALIVE);
    server.script = (asked, socket, count) => {
      socket.write(flood);
      good(asked, socket, count);
    };
    await Promise.all([next(link, 'reply'), link.probe()]);
    assert.equal(link.state, 'up');
  });
});
