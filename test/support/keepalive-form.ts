/**
 * What a keepalive must look like on the wire: a probe, its answer, the end (RFC 9293 sections 3.8.4
 * and 3.10.7), and the times that Linux's timers allow. Judges segments that somebody else decoded.
 * @module
 */
import assert from 'node:assert/strict';
import { ACK, RST, type Segment } from './capture.ts';
import type { Silence } from './tcp-wire.ts';

/**
 * The timer wheel rounds up to its next slot. A slot of level n is 8^n ticks wide and serves what is
 * due in 63 × 8^(n-1) ticks or more: never early, late by 8/63 at most (kernel/time/timer.c).
 */
const LATE = 8 / 63;
/** Silence is measured in ticks, 10 ms on the coarsest kernels. */
const TICK_MS = 10;
/** A timer that finds its socket in a system call comes again 50 ms later (tcp_keepalive_timer). */
const AGAIN_MS = 50;

/** The latest moment at which something due after `seconds` may happen. */
export function latestMs(seconds: number): number {
  return seconds * 1_000 * (1 + LATE) + TICK_MS + AGAIN_MS;
}

function assertOnTime(ms: number, seconds: number, what: string): void {
  const earliest = seconds * 1_000 - TICK_MS;
  assert(ms >= earliest, `${what}: ${ms} ms, early for ${seconds} s`);
  assert(ms <= latestMs(seconds), `${what}: ${ms} ms, late for ${seconds} s`);
}

/** Sequence numbers wrap at 2^32. */
function same(a: number, b: number): boolean {
  return ((a - b) | 0) === 0;
}

/** SEQ = SND.NXT − 1, no data, no flag but ACK; all that was sent had been acknowledged. */
export function isProbe({ flags, length, seq, ack }: Segment, { heard }: Silence): boolean {
  const next = heard.seq + heard.length;
  return flags === ACK && length === 0 && same(seq, heard.ack - 1) && same(ack, next);
}

/** Milliseconds from each segment to the next, from the one heard on. */
export function gapsMs({ heard, sent }: Silence): readonly number[] {
  return sent.map(({ atMs }, index) => atMs - (sent[index - 1] ?? heard).atMs);
}

/** Nothing but probes, so many seconds apart. */
export function assertProbes(silence: Silence, seconds: readonly number[]): void {
  const told = JSON.stringify(silence, null, 1);
  assert.equal(silence.sent.length, seconds.length, `not ${seconds.length} segments: ${told}`);
  for (const [index, ms] of gapsMs(silence).entries()) {
    assertOnTime(ms, seconds[index] ?? Number.NaN, `segment ${index} after what came before`);
  }
  for (const segment of silence.sent) assert(isProbe(segment, silence), `no probe: ${told}`);
}

/** Probes and then RST with SEQ = SND.NXT, so many seconds apart, and nothing else. Tells when. */
export function assertDeath({ heard, sent }: Silence, seconds: readonly number[]): string {
  const [probes, reset] = [sent.slice(0, -1), sent.at(-1)];
  const told = JSON.stringify({ heard, sent }, null, 1);
  assert(reset !== undefined, `nothing was sent after ${told}`);
  assert.equal(reset.flags, RST | ACK, `no RST at the end: ${told}`);
  assert.equal(reset.length, 0, told);
  assert(same(reset.seq, heard.ack), `RST without SEQ = SND.NXT: ${told}`);
  assertProbes({ heard, sent: probes }, seconds.slice(0, -1));
  assertOnTime(gapsMs({ heard, sent }).at(-1) ?? Number.NaN, seconds.at(-1) ?? Number.NaN, 'RST');
  const since = sent.map(({ atMs }) => Math.round(atMs - heard.atMs));
  return `probes and RST ${since.join(', ')} ms after the last segment heard`;
}

/** A bare acknowledgement: SEQ = the probe's ACK, ACK = SND.NXT of who probed. */
export function assertAnswer(answer: Segment, probe: Segment): void {
  const told = JSON.stringify({ probe, answer }, null, 1);
  assert.equal(answer.flags, ACK, told);
  assert.equal(answer.length, 0, told);
  assert(same(answer.seq, probe.ack) && same(answer.ack, probe.seq + 1), told);
}

/** What a kernel says that knows no such connection: RST alone, SEQ = the segment's ACK. */
export function assertRefusal(reset: Segment, to: Segment): void {
  const told = JSON.stringify({ to, reset }, null, 1);
  assert.equal(reset.flags, RST, told);
  assert.equal(reset.length, 0, told);
  assert(same(reset.seq, to.ack), told);
}

export interface AnsweredProbe {
  readonly silence: Silence;
  readonly probe: Segment;
  readonly answer: Segment;
}

/** The silences that ended because a probe was answered. */
export function answeredProbes(course: readonly Silence[]): readonly AnsweredProbe[] {
  return course.flatMap((silence, index) => {
    const probe = silence.sent.at(-1);
    const answer = course[index + 1]?.heard;
    if (probe === undefined || answer === undefined || !isProbe(probe, silence)) return [];
    assertAnswer(answer, probe);
    return [{ silence, probe, answer }];
  });
}
