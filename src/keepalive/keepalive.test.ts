import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { Keepalive, type KeepaliveConfig, type KeepaliveOutput } from './keepalive.ts';

const ANSWERED = { timeMs: 60_000, intervalMs: 10_000, probes: 3 } as const;
const TWO_SIDED = { timeMs: 60_000, intervalMs: 10_000, probes: 0, beatMs: 10_000 } as const;
const ONE_WAY = { intervalMs: 10_000, probes: 2, beatMs: 20_000 } as const;

function drain(machine: Keepalive): KeepaliveOutput[] {
  const outputs: KeepaliveOutput[] = [];
  for (let out = machine.pollOutput(); out !== undefined; out = machine.pollOutput()) {
    outputs.push(out);
  }
  return outputs;
}

/** Steps to each deadline until `until` and returns every output with its time. */
function run(machine: Keepalive, until: number): (KeepaliveOutput & { at: number })[] {
  const outputs = drain(machine).map((out) => ({ ...out, at: 0 }));
  for (let at = machine.pollTimeout(); at !== undefined && at <= until; ) {
    machine.handleTimeout(at);
    outputs.push(...drain(machine).map((out) => ({ ...out, at: at as number })));
    at = machine.pollTimeout();
  }
  return outputs;
}

function heard(config: KeepaliveConfig): Keepalive {
  const machine = new Keepalive(config, 0);
  machine.handleReceived(0);
  drain(machine);
  return machine;
}

suite('the receive clock', () => {
  test('probes at 60, 70, 80 s of silence and declares the peer dead at 90 s', () => {
    const outputs = run(heard(ANSWERED), 90_000);
    const probes = outputs.filter((out) => out.type === 'probe').map((out) => out.at);
    assert.deepEqual(probes, [60_000, 70_000, 80_000, 90_000]);
    assert.deepEqual(
      outputs.filter((out) => out.type === 'state'),
      [
        {
          type: 'state',
          from: 'up',
          to: 'suspect',
          reason: 'no-answer',
          evidence: { probes: 1, silentMs: 70_000 },
          at: 70_000,
        },
        {
          type: 'state',
          from: 'suspect',
          to: 'down',
          reason: 'no-answer',
          evidence: { probes: 3, silentMs: 90_000 },
          at: 90_000,
        },
      ],
    );
  });

  test('an answer before the last interval ends keeps the peer alive and resets the count', () => {
    const machine = heard(ANSWERED);
    run(machine, 80_000);
    machine.handleAnswer(3, 89_999);
    const outputs = drain(machine);
    assert.deepEqual(outputs[0], { type: 'reply', rttMs: 9_999 });
    assert.equal(machine.state, 'up');
    assert.equal(machine.pollTimeout(), 149_999);
  });

  test('any authentic traffic resets it, not only answers', () => {
    const machine = heard(ANSWERED);
    machine.handleReceived(59_000);
    assert.equal(machine.pollTimeout(), 119_000);
  });

  test('a dead peer is probed on every interval, and its answer brings it up', () => {
    const machine = heard(ANSWERED);
    const probes = run(machine, 150_000).filter((out) => out.type === 'probe');
    assert.equal(machine.state, 'down');
    assert.equal(probes.at(-1)?.at, 150_000);
    machine.handleAnswer(probes.at(-1)?.sequence ?? 0, 150_020);
    assert.equal(machine.state, 'up');
  });

  test('an answer counts once: its duplicate does nothing', () => {
    const machine = heard(ANSWERED);
    run(machine, 60_000);
    machine.handleAnswer(1, 60_010);
    drain(machine);
    machine.handleAnswer(1, 90_000);
    assert.deepEqual(drain(machine), []);
    assert.equal(machine.pollTimeout(), 120_010);
  });

  test('an answer to a probe of an earlier round does nothing', () => {
    const machine = heard(ANSWERED);
    run(machine, 60_000);
    machine.handleReceived(60_010);
    run(machine, 120_010);
    machine.handleAnswer(1, 120_020);
    assert.deepEqual(drain(machine), []);
  });

  test('an invented sequence number does nothing', () => {
    const machine = heard(ANSWERED);
    run(machine, 60_000);
    machine.handleAnswer(2, 60_001);
    machine.handleAnswer(-1, 60_001);
    assert.deepEqual(drain(machine), []);
  });

  test('a probe asked for leaves at once, and only one is ever in flight', () => {
    const machine = heard(ANSWERED);
    machine.handleProbeRequest(1_000);
    machine.handleProbeRequest(1_001);
    assert.deepEqual(drain(machine), [{ type: 'probe', sequence: 1 }]);
    assert.equal(machine.pollTimeout(), 11_000);
  });

  test('a link never heard of goes from unknown to down, with its probes as evidence', () => {
    const machine = new Keepalive(ANSWERED, 0);
    machine.handleProbeRequest(0);
    const states = run(machine, 30_000).filter((out) => out.type === 'state');
    assert.equal(states.length, 1);
    assert.deepEqual(states[0]?.evidence, { probes: 3, silentMs: 30_000 });
    assert.equal(states[0]?.from, 'unknown');
  });

  test('lateness within the slack does not add up: the third probe still leaves at 80 s', () => {
    const machine = heard(ANSWERED);
    machine.handleTimeout(60_900);
    assert.equal(machine.pollTimeout(), 70_000);
    machine.handleTimeout(70_900);
    assert.equal(machine.pollTimeout(), 80_000);
    machine.handleTimeout(80_900);
    assert.equal(machine.pollTimeout(), 90_900, 'the last probe gets its whole interval');
  });

  test('refuses to judge by a single probe (RFC 9293 MUST-29)', () => {
    assert.throws(() => new Keepalive({ ...ANSWERED, probes: 1 }, 0), RangeError);
    assert.throws(() => new Keepalive({ ...ANSWERED, probes: 2.5 }, 0), RangeError);
    assert.throws(() => new Keepalive({ ...ANSWERED, intervalMs: 0 }, 0), RangeError);
    assert.throws(() => new Keepalive({ ...ANSWERED, timeMs: Number.NaN }, 0), RangeError);
  });
});

suite('a late observer', () => {
  test('asleep through the last deadline: probes afresh three times before it says dead', () => {
    const machine = heard(ANSWERED);
    run(machine, 80_000);
    machine.handleTimeout(500_000);
    assert.deepEqual(drain(machine), [{ type: 'probe', sequence: 4 }]);
    assert.equal(machine.state, 'suspect');
    const down = run(machine, 600_000).find((out) => out.type === 'state');
    assert.equal(down?.at, 530_000);
    assert.deepEqual(down?.evidence, { probes: 3, silentMs: 30_000 });
  });

  test('asleep with a two-sided link: the silence starts again', () => {
    const machine = heard(TWO_SIDED);
    machine.handleTimeout(500_000);
    assert.equal(machine.state, 'up');
    assert.deepEqual(drain(machine), [{ type: 'beat' }]);
    const down = run(machine, 600_000).find((out) => out.type === 'state');
    assert.equal(down?.at, 560_000);
  });

  test('woken from suspend: probes at once although no deadline was missed', () => {
    const machine = heard(ANSWERED);
    machine.handleWake(5_000);
    assert.deepEqual(drain(machine), [{ type: 'probe', sequence: 1 }]);
  });
});

suite('the send clock', () => {
  test('a two-sided link beats every 10 s and dies after 60 s of silence alone', () => {
    const outputs = run(heard(TWO_SIDED), 70_000);
    assert.deepEqual(
      outputs.filter((out) => out.type === 'beat').map((out) => out.at),
      [10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 70_000],
    );
    const [down] = outputs.filter((out) => out.type === 'state');
    assert.equal(down?.at, 60_000);
    assert.equal(down?.reason, 'silent');
  });

  test('a one-way link beats and never judges', () => {
    const machine = new Keepalive(ONE_WAY, 0);
    const outputs = run(machine, 100_000);
    assert.equal(outputs.length, 5);
    assert.equal(machine.state, 'unknown');
    machine.handleFailure('reset', { errno: 'ECONNRESET' }, 100_000);
    assert.equal(machine.state, 'down');
  });

  test('anything sent postpones the next beat', () => {
    const machine = new Keepalive(ONE_WAY, 0);
    machine.handleSent(15_000);
    assert.equal(machine.pollTimeout(), 35_000);
  });
});

suite("the transport's word", () => {
  test('a doubt makes an up link suspect, and names the reason when its probes agree', () => {
    const machine = heard(ANSWERED);
    machine.handleDoubt('refused', { errno: 'ECONNREFUSED' });
    assert.equal(machine.state, 'suspect');
    const down = run(machine, 90_000).find((out) => out.type === 'state' && out.to === 'down');
    assert(down?.type === 'state');
    assert.equal(down.reason, 'refused');
    assert.deepEqual(down.evidence, { errno: 'ECONNREFUSED', probes: 3, silentMs: 90_000 });
  });

  test('a forged doubt is forgotten at the next answer', () => {
    const machine = heard(ANSWERED);
    machine.handleDoubt('refused', {});
    machine.handleReceived(1);
    const down = run(machine, 100_000).find((out) => out.type === 'state' && out.to === 'down');
    assert(down?.type === 'state');
    assert.equal(down.reason, 'no-answer');
  });

  test('a failure is a verdict at once, and the next probe leaves one interval later', () => {
    const machine = heard(ANSWERED);
    machine.handleFailure('reset', { errno: 'ECONNRESET' }, 5_000);
    assert.equal(machine.state, 'down');
    assert.equal(machine.pollTimeout(), 15_000);
    assert.equal(run(machine, 15_000).at(-1)?.type, 'probe');
  });

  test('a doubt about a link never heard of is a verdict', () => {
    const machine = new Keepalive(ANSWERED, 0);
    machine.handleDoubt('refused', {});
    assert.equal(machine.state, 'down');
  });
});

suite('for any schedule of inputs', () => {
  const config = fc.record({
    timeMs: fc.integer({ min: 1, max: 5_000 }),
    intervalMs: fc.integer({ min: 1, max: 2_000 }),
    probes: fc.constantFrom(0, 2, 3, 9),
    beatMs: fc.integer({ min: 1, max: 5_000 }),
  });
  const input = fc.tuple(
    fc.constantFrom('timeout', 'received', 'answer', 'probe', 'wake', 'sent', 'doubt', 'failure'),
    fc.integer({ min: 0, max: 3_000 }),
  );

  test('deadlines are never in the past, probes count up, states chain and never repeat', () => {
    fc.assert(
      fc.property(
        config,
        fc.array(input, { maxLength: 60 }),
        fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
        (timing, inputs, jitter) => {
          const machine = new Keepalive({ ...timing, random: () => jitter.next().value ?? 0 }, 0);
          let now = 0;
          let sequence = 0;
          let state = machine.state;
          for (const [kind, wait] of inputs) {
            now += wait;
            if (kind === 'timeout') machine.handleTimeout(now);
            if (kind === 'received') machine.handleReceived(now);
            if (kind === 'answer') machine.handleAnswer(sequence, now);
            if (kind === 'probe') machine.handleProbeRequest(now);
            if (kind === 'wake') machine.handleWake(now);
            if (kind === 'sent') machine.handleSent(now);
            if (kind === 'doubt') machine.handleDoubt('refused', {});
            if (kind === 'failure') machine.handleFailure('reset', {}, now);
            for (const out of drain(machine)) {
              if (out.type === 'probe') assert.equal(out.sequence, ++sequence);
              if (out.type === 'reply') assert(out.rttMs >= 0);
              if (out.type === 'state') {
                assert.equal(out.from, state);
                assert.notEqual(out.to, state);
                state = out.to;
              }
            }
            const deadline = machine.pollTimeout();
            if (kind === 'timeout') assert(deadline === undefined || deadline > now);
            machine.handleTimeout(Math.min(now, (deadline ?? now) - 1));
            assert.deepEqual(drain(machine), [], 'an early call did something');
          }
          assert.equal(machine.state, state);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('jitter only shortens: death is never later than time + interval × probes', () => {
    fc.assert(
      fc.property(
        config,
        fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
        (timing, jitter) => {
          const machine = new Keepalive({ ...timing, random: () => jitter.next().value ?? 0 }, 0);
          machine.handleReceived(0);
          drain(machine);
          const bound = timing.timeMs + timing.intervalMs * timing.probes;
          const states = run(machine, bound + 1e-6).filter((out) => out.type === 'state');
          const down = states.find((out) => out.to === 'down');
          assert(down !== undefined);
          assert(
            down.at >= 0.75 * (timing.probes === 0 ? timing.timeMs : bound - timing.intervalMs),
          );
        },
      ),
    );
  });
});
