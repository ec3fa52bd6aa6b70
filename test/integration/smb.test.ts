/** `smb://` and `nbss://` against Debian's smbd: asked, stopped, continued, killed, started, cut off. */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { type Peer, pause, START_MS } from '../support/lab.ts';
import { Samba, sambaMissing } from '../support/samba.ts';

const CLI = 'src/cli/main.ts';
const SMB = 'smb://127.0.0.1';
const NBSS = 'nbss://127.0.0.1';
const TIMING = ['--time', '1s', '--interval', '1s', '--probes', '3'];
const BOUND_MS = 4_000;
/** What a busy machine may be late by. */
const LATE_MS = 3_000;
const ECHOS = 3_000;

interface Event {
  readonly at: string;
  readonly link: string;
  readonly type: string;
  readonly from?: string;
  readonly to?: string;
  readonly reason?: string;
  readonly text?: string;
  readonly rttMs?: number;
  readonly evidence?: { readonly probes?: number };
  readonly detectsWithinMs: number;
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: sambaMissing() };

/** Waits until a link reaches a state, from line `from` on. */
async function state(
  watch: Peer,
  url: string,
  to: string,
  withinMs: number,
  from = 0,
): Promise<Event> {
  const deadline = performance.now() + withinMs;
  for (let at = from; ; ) {
    const line = await watch.line(`"to":"${to}"`, deadline - performance.now(), at);
    at = watch.lines.indexOf(line, at) + 1;
    const event = JSON.parse(line) as Event;
    if (event.link === url) return event;
  }
}

function eventsOf(watch: Peer, type: string, from = 0): Event[] {
  return watch.lines
    .slice(from)
    .map((line) => JSON.parse(line) as Event)
    .filter((event) => event.type === type);
}

/** A server that runs, and links to it that are up. */
async function watching(
  t: TestContext,
  urls: readonly string[],
  timing: readonly string[] = TIMING,
  settings: readonly string[] = [],
): Promise<{ samba: Samba; smbd: Peer; watch: Peer }> {
  const samba = new Samba(t, settings);
  const smbd = await samba.start();
  const watch = samba.lab.start(samba.space, CLI, 'watch', ...urls, '--json', ...timing);
  for (const url of urls) await state(watch, url, 'up', START_MS);
  return { samba, smbd, watch };
}

suite('smb', { concurrency: true, timeout: 120_000 }, () => {
  test(`${ECHOS} ECHOs on one connection, without an error of credits or ids`, NEEDS, async (t) => {
    const timing = ['--time', '1ms', '--interval', '2s', '--probes', '3'];
    const { samba, smbd, watch } = await watching(t, [SMB], timing);
    const from = performance.now();
    const answered = () => eventsOf(watch, 'reply').length;
    while (answered() < ECHOS) {
      const seen = watch.lines.length;
      await watch.line('"reply"', START_MS, seen);
      await pause(100);
    }
    const took = performance.now() - from;
    // A server that is asked wrongly disconnects, which would be a state.
    assert.deepEqual(
      eventsOf(watch, 'state').map(({ to }) => to),
      ['up'],
    );
    assert.deepEqual(eventsOf(watch, 'note'), []);
    assert.doesNotMatch(smbd.lines.join('\n'), /credit|invalid|bad message/i);
    const connections = samba.lab.run(
      samba.space,
      'ss',
      '-Htn4',
      'state',
      'established',
      'dport = :445',
    );
    assert.equal(connections.trim().split('\n').length, 1, connections);
    const rtts = eventsOf(watch, 'reply').map(({ rttMs = 0 }) => rttMs);
    const median = rtts.sort((a, b) => a - b)[Math.floor(rtts.length / 2)];
    t.diagnostic(`${answered()} ECHOs in ${Math.round(took)} ms, median ${median} ms`);
  });

  test(
    'smbd is stopped: smb is down within its bound, nbss is not; continued: smb is up by itself',
    NEEDS,
    async (t) => {
      const { samba, watch } = await watching(t, [SMB, NBSS]);
      const seen = watch.lines.length;
      samba.kill('SIGSTOP');
      const stoppedAt = Date.now();
      const down = await state(watch, SMB, 'down', BOUND_MS + LATE_MS, seen);
      const took = Date.parse(down.at) - stoppedAt;
      assert.deepEqual([down.reason, down.evidence?.probes], ['no-answer', 3]);
      assert.equal(down.detectsWithinMs, BOUND_MS);
      await watch.silence(`"link":"${NBSS}","type":"state"`, BOUND_MS, seen);
      const before = watch.lines.length;
      const continuedAt = performance.now();
      samba.kill('SIGCONT');
      await state(watch, SMB, 'up', BOUND_MS + LATE_MS, before);
      const back = performance.now() - continuedAt;
      t.diagnostic(
        `down after ${Math.round(took)} of ${BOUND_MS} ms, up after ${Math.round(back)}`,
      );
    },
  );

  test('smbd ends: both are down at once; it is started: both are up', NEEDS, async (t) => {
    const { samba, smbd, watch } = await watching(t, [SMB, NBSS]);
    const seen = watch.lines.length;
    const endedAt = performance.now();
    smbd.signal('SIGTERM');
    for (const url of [SMB, NBSS]) {
      const { reason } = await state(watch, url, 'down', BOUND_MS, seen);
      assert.match(reason ?? '', /^(closed|reset)$/);
    }
    t.diagnostic(`both down after ${Math.round(performance.now() - endedAt)} ms`);
    await smbd.exited;
    const before = watch.lines.length;
    await samba.start();
    for (const url of [SMB, NBSS]) await state(watch, url, 'up', BOUND_MS + LATE_MS, before);
  });

  test(
    'the process that serves the link is killed: down, and up by another one',
    NEEDS,
    async (t) => {
      const { samba, watch } = await watching(t, [SMB]);
      const seen = watch.lines.length;
      const workers = samba.processes();
      const serving = samba.lab.run(
        samba.space,
        'ss',
        '-Htnp4',
        'state',
        'established',
        'sport = :445',
      );
      const pid = Number(/pid=(\d+)/.exec(serving)?.[1]);
      assert(workers.includes(pid) && pid !== workers[0], `${serving} of ${workers}`);
      process.kill(pid, 'SIGKILL');
      const { reason } = await state(watch, SMB, 'down', BOUND_MS, seen);
      assert.match(reason ?? '', /^(closed|reset)$/);
      await state(watch, SMB, 'up', BOUND_MS, seen);
    },
  );

  test(
    'only the process that serves the link hangs: down, and up by another one',
    NEEDS,
    async (t) => {
      const { samba, watch } = await watching(t, [SMB]);
      const seen = watch.lines.length;
      const serving = samba.lab.run(
        samba.space,
        'ss',
        '-Htnp4',
        'state',
        'established',
        'sport = :445',
      );
      process.kill(Number(/pid=(\d+)/.exec(serving)?.[1]), 'SIGSTOP');
      const { reason } = await state(watch, SMB, 'down', BOUND_MS + LATE_MS, seen);
      assert.equal(reason, 'no-answer');
      // A ClientGuid used again would bring the new connection to the process that hangs.
      await state(watch, SMB, 'up', BOUND_MS, seen);
    },
  );

  test(
    'a server of SMB 3.1.1 only is up by its answer to NEGOTIATE, and a note says so',
    NEEDS,
    async (t) => {
      const { samba, watch } = await watching(t, [SMB], TIMING, ['server min protocol = SMB3_11']);
      const note = JSON.parse(await watch.line('"note"', START_MS)) as Event;
      assert.match(note.text ?? '', /refuses SMB 2\.0\.2 and 2\.1 \(STATUS_NOT_SUPPORTED\)/);
      const seen = watch.lines.length;
      for (let count = 0, from = seen; count < 2; count += 1, from = watch.lines.length) {
        await watch.line('"reply"', BOUND_MS, from);
      }
      samba.kill('SIGSTOP');
      await state(watch, SMB, 'down', BOUND_MS + LATE_MS, seen);
      samba.kill('SIGCONT');
    },
  );

  test('on port 139 smbd accepts a session, whatever name is called', NEEDS, async (t) => {
    const samba = new Samba(t);
    await samba.start();
    for (const url of [NBSS, `${NBSS}?called=NOBODY`]) {
      const checked = samba.lab.run(samba.space, process.execPath, CLI, 'check', url, '--json');
      const [verdict] = JSON.parse(checked) as [{ state: string; rttMs: number; remote: string }];
      assert.deepEqual([verdict.state, verdict.remote], ['up', '127.0.0.1:139']);
      assert(verdict.rttMs > 0);
    }
  });

  test(
    "smbd's own keepalives, which it sends on connections of SMB 1, are tolerated",
    NEEDS,
    async (t) => {
      const samba = new Samba(t, ['server min protocol = NT1', 'keepalive = 1']);
      await samba.start();
      const { lab, space } = samba;
      const relay = lab.start(
        space,
        'test/support/peer-smb1.ts',
        '127.0.0.1',
        '1139',
        '127.0.0.1',
        '139',
      );
      await relay.line('listening', START_MS);
      const url = `${NBSS}:1139`;
      const watch = lab.start(space, CLI, 'watch', url, '--json', ...TIMING);
      await state(watch, url, 'up', START_MS);
      const seen = () => relay.lines.filter((line) => line === 'server: keepalive').length;
      for (let count = 0; count < 3; count += 1) {
        await relay.line('server: keepalive', 5_000, relay.lines.length);
      }
      assert.deepEqual(relay.lines.slice(0, 4), [
        'listening',
        'server: positive',
        'server: message',
        'server: message',
      ]);
      assert.deepEqual(
        eventsOf(watch, 'state').map(({ to }) => to),
        ['up'],
      );
      assert.deepEqual(eventsOf(watch, 'note'), []);
      t.diagnostic(`${seen()} keepalives of smbd`);
    },
  );

  test(
    '8 beats into a session leave it up: smbd tolerates keepalives after NEGOTIATE',
    NEEDS,
    async (t) => {
      const timing = [...TIMING, '--beat', '500ms'];
      const { samba, watch } = await watching(t, [NBSS], timing);
      // A server of SMB 2, as Debian's is, would disconnect if a keepalive came first.
      await watch.silence('"to":"down"', 4_000);
      const sent = samba.lab.run(
        samba.space,
        'ss',
        '-Htni4',
        'state',
        'established',
        'dport = :139',
      );
      const segments = Number(/data_segs_out:(\d+)/.exec(sent)?.[1]);
      assert(segments >= 2 + 7, `request, NEGOTIATE and beats are ${segments} segments: ${sent}`);
      assert.deepEqual(eventsOf(watch, 'note'), []);
    },
  );

  test(
    'the path is cut: both are down within their bounds, healed: both are up',
    NEEDS,
    async (t) => {
      const samba = new Samba(t);
      const { lab, space } = samba;
      const client = lab.space('c');
      lab.join(client, '10.79.1.1', space, '10.79.1.2');
      await samba.start();
      const urls = ['smb://10.79.1.2', 'nbss://10.79.1.2'];
      const watch = lab.start(client, CLI, 'watch', ...urls, '--json', ...TIMING);
      const ups = await Promise.all(urls.map((url) => state(watch, url, 'up', START_MS)));
      const seen = watch.lines.length;
      lab.cut(space);
      const cutAt = Date.now();
      await Promise.all(
        urls.map(async (url, index) => {
          const bound = ups[index]?.detectsWithinMs ?? 0;
          const { reason, at } = await state(watch, url, 'down', bound + LATE_MS, seen);
          const took = Date.parse(at) - cutAt;
          assert.match(reason ?? '', /^(no-answer|unreachable)$/);
          // The kernel has this clock; a busy process of ours is late only to read it.
          if (url.startsWith('nbss:')) assert(took <= bound + 500, `${took} ms`);
          t.diagnostic(`${url}: down by ${reason} after ${Math.round(took)} of ${bound} ms`);
        }),
      );
      const before = watch.lines.length;
      lab.heal(space);
      // Three intervals for an attempt that began before, and one for the next.
      for (const url of urls) await state(watch, url, 'up', 2 * BOUND_MS, before);
    },
  );
});
