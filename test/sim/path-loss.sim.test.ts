/**
 * Seeded simulation of a way that loses packets for an hour: the machine of a link, fed with what
 * arrives, and the group that hears of it as the daemon tells it. However much is lost, damping must
 * keep traffic calm on the other path. `SIM_SEED` replays one run with `SIM_RUNS=1`.
 * @module
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Keepalive } from '../../src/keepalive/keepalive.ts';
import { PathGroup } from '../../src/path/path-group.ts';
import type { Instant } from '../../src/time/instant.ts';
import { Prng } from '../support/prng.ts';

const runs = Number(process.env['SIM_RUNS'] ?? 60);
const firstSeed = Number(process.env['SIM_SEED'] ?? 1);

const HOUR_MS = 3_600_000;
const ANSWER_MS = 5;
const TIMING = { timeMs: 500, intervalMs: 100, probes: 3 };
/** A flap in so long keeps the penalty below 2000: ln 2 / 15 min of 2000 is 1000 in 10.8 min. */
const FLAP_EVERY_MS = 649_000;

/** One link over a way with loss, told to a group as the daemon tells it. */
class LossyLink {
  readonly name: string;
  readonly machine: Keepalive;
  readonly #group: PathGroup;
  readonly #lost: () => boolean;
  /** What the daemon has heard of last: the answer that brings a link up is told once. */
  #state = 'unknown';
  /** The first probe after the verdict says nothing new. */
  #asked = false;
  #answers: { readonly at: Instant; readonly sequence: number }[] = [];

  constructor(name: string, group: PathGroup, lost: () => boolean) {
    this.name = name;
    this.#group = group;
    this.#lost = lost;
    this.machine = new Keepalive(TIMING, 0);
  }

  get deadline(): Instant {
    return Math.min(this.#answers[0]?.at ?? Infinity, this.machine.pollTimeout() ?? Infinity);
  }

  wake(now: Instant): void {
    while ((this.#answers[0]?.at ?? Infinity) <= now) {
      this.machine.handleAnswer(this.#answers.shift()?.sequence ?? 0, now);
      this.settle(now);
    }
    this.machine.handleTimeout(now);
    this.settle(now);
  }

  settle(now: Instant): void {
    const { machine } = this;
    for (let out = machine.pollOutput(); out !== undefined; out = machine.pollOutput()) {
      if (out.type === 'probe') {
        if (!this.#lost()) this.#answers.push({ at: now + ANSWER_MS, sequence: out.sequence });
        if (this.#state === 'down') {
          if (this.#asked) this.#tell(false, now);
          this.#asked = true;
        }
      } else if (out.type === 'state') {
        this.#state = out.to;
        this.#asked = false;
        if (out.to === 'up' || out.to === 'down') this.#tell(out.to === 'up', now);
      } else if (out.type === 'reply' && this.#state === 'up') this.#tell(true, now);
    }
  }

  #tell(good: boolean, now: Instant): void {
    this.#group.handleResult(this.name, good, 'no-answer', now);
  }
}

/** An hour with a first path that loses so much each way. Answers how often traffic came back. */
function failbacks(seed: number, loss: number, holdDownMs: number): number {
  const prng = new Prng(seed);
  const paths = [{ name: 'a' }, { name: 'b', tier: 2 }];
  const group = new PathGroup({ paths, failbackAfterMs: 0, holdDownMs }, 0);
  const a = new LossyLink('a', group, () => prng.chance(loss) || prng.chance(loss));
  const b = new LossyLink('b', group, () => false);
  const links = [a, b];
  let now = 0;
  let count = 0;
  for (let steps = 0; now < HOUR_MS; steps += 1) {
    assert(steps < 1_000_000, `seed ${seed} at ${now}: no progress`);
    now = Math.min(a.deadline, b.deadline, group.pollTimeout() ?? Infinity);
    for (const link of links) if (link.deadline <= now) link.wake(now);
    group.handleTimeout(now);
    for (let out = group.pollOutput(); out !== undefined; out = group.pollOutput()) {
      if (out.type === 'switch' && out.to === 'a') count += 1;
      if (out.type !== 'probe') continue;
      const link = out.link === 'a' ? a : b;
      link.machine.handleProbeRequest(now);
      link.settle(now);
    }
  }
  return count;
}

suite('path loss simulation', () => {
  test(`damping keeps ${runs} hours of loss calm, from seed ${firstSeed}`, (t) => {
    let [calm, wild] = [0, 0];
    for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
      // From a loss that takes the path down every few minutes to one that hardly lets it up.
      const loss = 0.1 + 0.05 * (seed % 9);
      const damped = failbacks(seed, loss, 30_000);
      const most = 2 + HOUR_MS / FLAP_EVERY_MS;
      assert(damped <= most, `seed ${seed}: ${damped} failbacks in an hour of ${loss} lost`);
      calm += damped;
      wild += failbacks(seed, loss, 0);
    }
    t.diagnostic(`${calm} failbacks, ${wild} without damping`);
    if (runs > 10) assert(wild > 50 * calm, 'the way is too good');
  });
});
