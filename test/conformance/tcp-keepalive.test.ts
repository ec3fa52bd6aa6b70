/**
 * RFC 9293 section 3.8.4 and what Linux makes of it, on the wire: two real kernels, a capture between
 * them, decoded by tshark. What our own calls refuse and read back: src/sys/tcp-socket.test.ts.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { suite, test } from 'node:test';
import { profiles, resolveTiming } from '../../src/keepalive/timing.ts';
import { keepAlive } from '../../src/link/keep-alive.ts';
import { ffiMissing } from '../../src/sys/libc.ts';
import { type TcpOptions, writeTcpOptions } from '../../src/sys/tcp-socket.ts';
import { captureMissing, RST } from '../support/capture.ts';
import {
  answeredProbes,
  assertAnswer,
  assertDeath,
  assertProbes,
  assertRefusal,
  gapsMs,
  latestMs,
} from '../support/keepalive-form.ts';
import { Lab, labMissing, pause, START_MS } from '../support/lab.ts';
import {
  CLIENT,
  first,
  lastSilence,
  options,
  SERVER,
  silences,
  TcpWire,
} from '../support/tcp-wire.ts';

const END = 'test/support/peer-tcp.ts';

/** When a line of a peer was said, in milliseconds of the epoch: the clock of the capture. */
const saidAt = (line: string) => Number(line.split(' ', 1)[0]);

/** Lets clocks run out one after the other, each as late as it may be, and a delayed answer come. */
const runOut = (...seconds: readonly number[]) =>
  pause(seconds.reduce((ms, one) => ms + latestMs(one), 200));

/** A program on a busy machine tells late what its kernel did in time. */
const TELL_MS = 500;

/** A death that only the program saw: not early after one moment, not late after another. */
function assertTold(seconds: number, sinceMs: number, countedFromMs: number = sinceMs): void {
  assert(sinceMs >= seconds * 1_000 - 10, `dead after ${sinceMs} ms, early for ${seconds} s`);
  const latest = latestMs(seconds) + TELL_MS;
  assert(countedFromMs <= latest, `dead after ${countedFromMs} ms, late for ${seconds} s`);
}

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS_FFI = { skip: ffiMissing() ?? false };
const NEEDS = { skip: NEEDS_FFI.skip || labMissing() || captureMissing() };

suite('TCP keepalive on the wire', { concurrency: 8, timeout: 120_000 }, () => {
  test(
    'MAY-5, MUST-27: 3 s / 2 s / 4 in a silent drop probes at 3, 5, 7, 9 s with SEQ = SND.NXT − 1, resets at 11 s, and the program sees ETIMEDOUT',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peer = await wire.connect(options(3, 2, 4));
      wire.deafen(wire.server);
      await peer.line('error ETIMEDOUT', START_MS);
      const segments = await wire.segments(peer);
      t.diagnostic(assertDeath(lastSilence(segments, CLIENT), [3, 2, 2, 2, 2]));
    },
  );

  test(
    'SHLD-12: a probe and its answer carry no data, in frames of 66 bytes with timestamps and of 54 without',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      await wire.connect(options(1, 1, 2));
      wire.lab.run(wire.client, 'sysctl', '-qw', 'net.ipv4.tcp_timestamps=0');
      const peer = await wire.connect(options(1, 1, 2));
      await runOut(1);
      const segments = await wire.segments(peer);
      for (const [stream, bytes] of [66, 54].entries()) {
        const pairs = answeredProbes(silences(segments, CLIENT, stream));
        assert(pairs.length > 0, `no answered probe in stream ${stream}`);
        for (const { silence, probe, answer } of pairs) {
          assertProbes(silence, [1]);
          for (const { frame, packet } of [probe, answer]) {
            assert.deepEqual({ frame, packet }, { frame: bytes, packet: bytes - 14 });
          }
        }
      }
    },
  );

  test(
    'MUST-29: 2 s / 1 s / 2 lives when exactly one probe is lost, and waits 2 s anew',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peer = await wire.connect(options(2, 1, 2));
      wire.filter(wire.server, `${first(1)} drop`);
      await runOut(2, 1, 2);
      await wire.say(peer, 'alive');
      const pairs = answeredProbes(silences(await wire.segments(peer), CLIENT));
      const lossy = pairs.filter(({ silence }) => silence.sent.length > 1);
      assert.equal(lossy.length, 1, JSON.stringify(pairs, null, 1));
      assert(pairs.at(-1) !== lossy[0], 'no answered probe after the lost one');
      for (const one of pairs) assertProbes(one.silence, one === lossy[0] ? [2, 1] : [2]);
      assert(!peer.lines.some((line) => line.includes('error')), peer.lines.join('\n'));
    },
  );

  test(
    'an answer gives the whole budget back: of 2 s / 1 s / 3 two probes are lost, the third is answered, and it takes 3 more to end it',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peer = await wire.connect(options(2, 1, 3));
      const rules = [`${first(2)} drop`, `${first(1)} accept`, 'meta l4proto tcp drop'];
      wire.filter(wire.server, ...rules);
      await peer.line('error ETIMEDOUT', START_MS);
      const course = silences(await wire.segments(peer), CLIENT);
      const pairs = answeredProbes(course);
      assertProbes(pairs.at(-1)?.silence ?? assert.fail(), [2, 1, 1]);
      t.diagnostic(assertDeath(course.at(-1) ?? assert.fail(), [2, 1, 1, 1]));
    },
  );

  test(
    'a segment that comes after the death is refused by RST with SEQ = its ACK, and the other program sees ECONNRESET',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peer = await wire.connect(options(1, 1, 2));
      wire.deafen(wire.server);
      await peer.line('error ETIMEDOUT', START_MS);
      wire.heal(wire.server);
      wire.listener.tell('send late');
      await wire.listener.line('error ECONNRESET', START_MS);
      const segments = await wire.segments(peer);
      const { heard, sent } = lastSilence(segments, CLIENT);
      assert.equal(heard.length, 'late'.length);
      assert.equal(sent.length, 1, JSON.stringify(sent));
      assertRefusal(sent[0] ?? assert.fail(), heard);
    },
  );

  test(
    'accepted sockets inherit all five options: listeners of 2 s / 1 s / 3 and of 2 s / 1 s / 10 with a user timeout of 4 s give up after 5 s and 4 s',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t, options(2, 1, 3));
      const other = await wire.listen(7_001, options(2, 1, 10, 4_000));
      const peer = await wire.connect();
      await wire.connect(undefined, 7_001, other);
      wire.deafen(wire.client);
      await wire.listener.line('error ETIMEDOUT', START_MS);
      await other.line('error ETIMEDOUT', START_MS);
      const segments = await wire.segments(peer);
      t.diagnostic(assertDeath(lastSilence(segments, SERVER, 0), [2, 1, 1, 1]));
      t.diagnostic(assertDeath(lastSilence(segments, SERVER, 1), [2, 1, 1]));
    },
  );

  test(
    'MUST-24, MUST-25: where the kernel is told 1 s / 1 s / 2, only the connection that turned keepalive on probes; the one that did not and the one that turned it off again say nothing',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const names = ['time=1', 'intvl=1', 'probes=2'];
      const settings = names.map((name) => `net.ipv4.tcp_keepalive_${name}`);
      wire.lab.run(wire.client, 'sysctl', '-qw', ...settings);
      const [untouched, on, off] = [
        await wire.connect(),
        await wire.connect(),
        await wire.connect(),
      ];
      for (const [peer, value] of [
        [on, 1],
        [off, 1],
        [off, 0],
      ] as const) {
        peer.tell(`keepalive ${value}`);
        await peer.line(`keepalive ${value}`, START_MS);
      }
      for (const peer of [untouched, off, on]) await wire.say(peer, 'still here');
      wire.deafen(wire.server);
      await on.line('error ETIMEDOUT', START_MS);
      wire.heal(wire.server);
      const segments = await wire.segments(on);
      t.diagnostic(assertDeath(lastSilence(segments, CLIENT, 1), [1, 1, 1]));
      assert.deepEqual(lastSilence(segments, CLIENT, 0).sent, []);
      assert.deepEqual(lastSilence(segments, CLIENT, 2).sent, []);
      for (const peer of [untouched, off]) await wire.say(peer, 'and alive');
    },
  );

  test(
    'MUST-28: a fresh namespace has keepalive off and 7200 s / 75 s / 9, as the profile linux says',
    NEEDS,
    async (t) => {
      const lab = new Lab(t);
      const space = lab.space('f');
      const names = ['time', 'intvl', 'probes'].map((name) => `net.ipv4.tcp_keepalive_${name}`);
      const told = lab.run(space, 'sysctl', '-n', ...names);
      const [time, interval, probes] = told.trim().split('\n').map(Number);
      assert.deepEqual([time, interval, probes], [7_200, 75, 9]);
      const { timeMs, intervalMs } = profiles.linux;
      const ofProfile = [timeMs / 1_000, intervalMs / 1_000, profiles.linux.probes];
      assert.deepEqual(ofProfile, [time, interval, probes]);
      const listener = lab.start(space, END, 'listen', '127.0.0.1', '7000');
      await listener.line('listening', START_MS);
      const peer = lab.start(space, END, 'connect', '127.0.0.1', '7000');
      await peer.line('connected', START_MS);
      peer.tell('options');
      const line = await peer.line('options', START_MS);
      assert.deepEqual(JSON.parse(line.slice(line.indexOf('{'))), {
        ...options(7_200, 75, 9),
        enabled: false,
      });
    },
  );

  test(
    'MUST-27: the kernel takes 1 to 32767 s and 1 to 127 probes, and answers EINVAL beyond',
    NEEDS_FFI,
    async () => {
      const server = net.createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
      await once(socket, 'connect');
      const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle;
      try {
        for (const one of [options(1, 1, 1), options(32_767, 32_767, 127)])
          writeTcpOptions(fd, one);
        const refused: readonly [TcpOptions, RegExp][] = [
          [options(0, 1, 1), /TCP_KEEPIDLE/],
          [options(32_768, 1, 1), /TCP_KEEPIDLE/],
          [options(1, 32_768, 1), /TCP_KEEPINTVL/],
          [options(1, 1, 0), /TCP_KEEPCNT/],
        ];
        for (const [one, message] of refused) {
          assert.throws(() => writeTcpOptions(fd, one), { code: 'EINVAL', message });
        }
      } finally {
        socket.destroy();
        server.close();
      }
    },
  );

  test(
    'MUST-26, MUST-21: data in flight is retransmitted without a probe of 1 s / 1 s / 2, and the connection ends by its own user timeout of 5 s',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peer = await wire.connect(options(1, 1, 2, 5_000));
      wire.deafen(wire.server);
      peer.tell('send void');
      const diedAt = saidAt(await peer.line('error ETIMEDOUT', START_MS));
      const silence = lastSilence(await wire.segments(peer), CLIENT);
      // A slow machine may have been idle for a second before it came to send.
      const sentAt = silence.sent.findIndex(({ length }) => length > 0);
      const flight = silence.sent.slice(sentAt);
      const told = JSON.stringify(silence, null, 1);
      assert(flight.length >= 4, told);
      for (const { seq, length } of flight) {
        assert.deepEqual({ seq, length }, { seq: silence.heard.ack, length: 4 }, told);
      }
      const sinceMs = flight.map(({ atMs }) => Math.round(diedAt - atMs));
      t.diagnostic(`sent ${sinceMs.join(', ')} ms before the death`);
      // The kernel counts from the first retransmission by timeout, which is the second or the third.
      assertTold(5, sinceMs[0] ?? Number.NaN, sinceMs[2] ?? Number.NaN);
    },
  );

  test(
    'MUST-26: no probe of 2 s / 1 s / 3 while data or acknowledgements arrive twice a second; one 2 s after the last',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peer = await wire.connect(options(2, 1, 3));
      wire.listener.tell('beat 500 6 500');
      peer.tell('beat 500 6 3500');
      await peer.line('beaten', START_MS);
      await runOut(2);
      const segments = await wire.segments(peer);
      const beats = segments.filter(({ length }) => length === 1).map(({ atMs }) => atMs);
      const [from, to] = [beats[0] ?? assert.fail(), beats.at(-1) ?? assert.fail()];
      const pairs = answeredProbes(silences(segments, CLIENT));
      const among = pairs.filter(({ probe }) => probe.atMs >= from && probe.atMs <= to);
      assert.deepEqual(among, [], `beats at ${beats.join(' ')}`);
      const after = pairs.find(({ probe }) => probe.atMs > to) ?? assert.fail();
      assertProbes(after.silence, [2]);
      assert.equal(beats.length, 12);
      assert(to - from >= 5_500 - 20, `only ${to - from} ms of traffic`);
      const gap = Math.round(gapsMs(after.silence)[0] ?? Number.NaN);
      t.diagnostic(`no probe in ${Math.round(to - from)} ms of traffic, one ${gap} ms after it`);
    },
  );

  test(
    'a user timeout overrides the count: 2 s / 1 s / 10 with 4 s ends after 2 probes, 2 s / 1 s / 2 with 6 s after 4, and 2 s / 1 s / 3 with 0.5 s after a single one',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peers = [
        await wire.connect(options(2, 1, 10, 4_000)),
        await wire.connect(options(2, 1, 2, 6_000)),
        await wire.connect(options(2, 1, 3, 500)),
      ];
      wire.deafen(wire.server);
      for (const peer of peers) await peer.line('error ETIMEDOUT', START_MS);
      const segments = await wire.segments(peers[0] ?? assert.fail());
      for (const [stream, seconds] of [
        [2, 1, 1],
        [2, 1, 1, 1, 1],
        [2, 1],
      ].entries()) {
        t.diagnostic(assertDeath(lastSilence(segments, CLIENT, stream), seconds));
      }
    },
  );

  test('MUST-29: a user timeout that lets a single lost probe kill is refused, with what to choose instead', () => {
    const input = { time: '2s', interval: '1s', probes: 3 };
    for (const userTimeout of ['500ms', '3s']) {
      const message = new RegExp(
        `userTimeout: ${userTimeout} would let one lost probe kill; choose at least 4s`,
      );
      const asked = { ...input, userTimeout };
      assert.throws(() => resolveTiming(asked, 'links.db'), { code: 'bad-timing', message });
      const socket = new net.Socket();
      assert.throws(() => keepAlive(socket, asked), { code: 'bad-timing', message });
    }
  });

  test(
    'a peer that rebooted answers the first probe of 2 s / 5 s / 3 by RST: ECONNRESET after 2 s, not after 17',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peer = await wire.connect(options(2, 5, 3));
      wire.listener.tell('vanish');
      await wire.listener.line('closed', START_MS);
      await peer.line('error ECONNRESET', START_MS);
      const [silence, last, ...more] = silences(await wire.segments(peer), CLIENT).slice(-2);
      assert.deepEqual(more, []);
      assert(silence !== undefined && last !== undefined);
      assertProbes(silence, [2]);
      assertRefusal(last.heard, silence.sent[0] ?? assert.fail());
      assert.deepEqual(last.sent, []);
    },
  );

  test(
    'MAY-6: a probe with one old octet, which Linux never sends, is answered like an empty one, and the program does not see the octet',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const peer = await wire.connect();
      // Its acknowledgement is seen here and lost behind: so the octet comes a second time.
      wire.filter(wire.server, `${first(1)} drop`);
      wire.listener.tell('send x');
      await peer.line('data x', START_MS);
      // The kernel's own time before it sends again: 0.2 s, more where a round trip took long.
      await pause(1_000);
      const [lost, answer, ...more] = silences(await wire.segments(peer), SERVER).slice(-2);
      const [probe, ...others] = lost?.sent ?? [];
      const told = JSON.stringify({ lost, answer }, null, 1);
      assert(lost !== undefined && probe !== undefined && answer !== undefined, told);
      assert.deepEqual([more, others, answer.sent], [[], [], []], told);
      const { seq, length } = probe;
      assert.deepEqual({ seq, length }, { seq: lost.heard.ack - 1, length: 1 }, told);
      assertAnswer(answer.heard, probe);
      assert.equal(peer.lines.filter((line) => line.includes('data')).length, 1);
    },
  );

  test(
    'MUST-37: a peer with a closed window that answers probes lives on, unless a user timeout of 3 s ends it',
    NEEDS,
    async (t) => {
      const wire = await TcpWire.start(t);
      const patient = await wire.connect(options(1, 1, 2));
      const strict = await wire.connect(options(1, 1, 2, 3_000));
      wire.listener.tell('pause');
      await wire.listener.line('paused', START_MS);
      for (const peer of [patient, strict]) peer.tell('flood 16000000');
      const diedAt = saidAt(await strict.line('error ETIMEDOUT', START_MS));
      // Longer than the other one was given.
      await pause(2_000);
      const segments = await wire.segments(patient);
      for (const stream of [0, 1]) {
        const course = silences(segments, CLIENT, stream);
        const last = course.at(-1) ?? assert.fail();
        // Nothing more was acknowledged: from here on the window was closed.
        const stuck = course.filter(({ heard }) => heard.ack === last.heard.ack);
        const pairs = answeredProbes(stuck);
        assert(pairs.length >= (stream === 0 ? 2 : 1), JSON.stringify(stuck, null, 1));
        if (stream === 0) continue;
        const since = diedAt - (stuck[0]?.sent[0]?.atMs ?? Number.NaN);
        assertTold(3, since);
        const heardMs = diedAt - last.heard.atMs;
        assert(heardMs < 3_000, `heard ${heardMs} ms before`);
        const ago = `${Math.round(since)} ms after the first, ${Math.round(heardMs)} after an answer`;
        t.diagnostic(`${pairs.length} probes of a closed window were answered; dead ${ago}`);
      }
      assert(!patient.lines.some((line) => /error|closed/.test(line)), patient.lines.join('\n'));
      assert(segments.every(({ stream, flags }) => stream !== 0 || (flags & RST) === 0));
    },
  );
});
