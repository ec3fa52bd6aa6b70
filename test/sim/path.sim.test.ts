/**
 * Seeded simulation of a path group. Paths work and fail in truth; a prober of period `p` reports
 * a good result for each answer and a bad one from the `k`-th missed answer on; answers get lost;
 * people drain; the observer stalls. `SIM_SEED` replays one run with `SIM_RUNS=1`.
 * @module
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { PathGroup, type PathGroupOutput, type PathOptions } from '../../src/path/path-group.ts';
import type { Instant } from '../../src/time/instant.ts';
import { Prng } from '../support/prng.ts';

const runs = Number(process.env['SIM_RUNS'] ?? 6_000);
const firstSeed = Number(process.env['SIM_SEED'] ?? 1);

/** The slowest answer of a path that works. */
const ANSWER_MS = 40;
/** Answers under way and same-instant events: what the bounds below may be off by. */
const MARGIN_MS = 2 * ANSWER_MS + 2;
/** A stall longer than this (the machine's watch and slack) must not count as waiting. */
const SLEEP_MS = 2_000;

/** One path: its truth, its prober, and what the results so far must mean, reckoned plainly. */
interface SimPath {
  readonly name: string;
  readonly tier: number;
  readonly weight: number;
  works: boolean;
  worksSince: Instant;
  flipAt: Instant;
  readonly upMs: number;
  readonly downMs: number;
  probeAt: Instant;
  answered: boolean;
  lost: boolean;
  misses: number;
  drained: boolean;
  drainChangedAt: Instant;
  drainAt: Instant;
  state: 'unknown' | 'up' | 'down';
  since: Instant;
  streak: number;
  goodAt: Instant;
  penalty: number;
  penaltyAt: Instant;
  heldUntil: Instant;
  flappingUntil: Instant;
}

interface Answer {
  readonly at: Instant;
  readonly path: SimPath;
  readonly good: boolean;
  readonly periodic: boolean;
}

type Tally = Record<
  'failover' | 'unverified' | 'held' | 'flapping' | 'toDrained' | 'drain' | 'failback',
  number
>;

class Simulation {
  readonly #seed: number;
  readonly #tally: Tally;
  readonly #prng: Prng;
  readonly #options: Omit<PathOptions, 'balance' | 'slowStartMs' | 'quality'>;
  readonly #p: number;
  readonly #k: number;
  readonly #loss: number;
  readonly #ends: Instant;
  readonly #paths: readonly SimPath[];
  readonly #group: PathGroup;
  readonly #stalls: { readonly from: Instant; readonly to: Instant }[] = [];
  readonly #bounds: { readonly works: number; readonly died: number; readonly drained: number };
  #answers: Answer[] = [];
  #now: Instant = 0;
  #active: SimPath;
  #activeSince: Instant = 0;
  #calmSince: Instant = 0;
  #watchedSince: Instant = 0;

  constructor(seed: number, tally: Tally) {
    const prng = new Prng(seed);
    const pick = (...values: readonly number[]): number =>
      values[prng.between(0, values.length - 1)] ?? 0;
    this.#seed = seed;
    this.#tally = tally;
    this.#prng = prng;
    this.#options = {
      fall: prng.between(1, 3),
      rise: prng.between(1, 3),
      holdDownMs: pick(0, 1_000, 5_000, 30_000),
      failbackAfterMs: pick(0, 2_000, 7_000, 15_000),
      verifyWithinMs: pick(100, 300, 1_000),
      doubtIntervalMs: pick(200, 1_000),
    };
    this.#p = prng.between(200, 1_500);
    this.#k = prng.between(2, 3);
    this.#loss = prng.chance(0.5) ? 0 : 0.3 * prng.next();
    this.#ends = prng.between(30_000, 150_000);
    const count = prng.between(2, 4);
    this.#paths = Array.from({ length: count }, (_, index) => this.#newPath('abcd'.charAt(index)));
    for (let at = this.#gap(40_000); prng.chance(0.3) && at < this.#ends; at += this.#gap(20_000)) {
      this.#stalls.push({ from: at, to: at + pick(300, 1_500, 2_500, 12_000) });
      at = this.#stalls.at(-1)?.to ?? at;
    }
    const { fall, rise, verifyWithinMs } = this.#options;
    // Death just after an answered probe: k more go unanswered, then each period counts once.
    const detected = (this.#k + fall) * this.#p;
    // One answer in two may be lost, and the misses of before may cost one more bad result.
    const recovered = (2 * rise + 3) * this.#p;
    // Every other path is asked once before the one that works.
    const chosen = count * verifyWithinMs + MARGIN_MS;
    this.#bounds = {
      works: recovered + chosen,
      died: detected + chosen,
      drained: recovered + detected + 2 * this.#p + chosen,
    };
    const paths = this.#paths.map(({ name, tier, weight }) => ({ name, tier, weight }));
    this.#group = new PathGroup({ paths, ...this.#options }, 0);
    const ranked = this.#paths.toSorted((a, b) => a.tier - b.tier || b.weight - a.weight);
    this.#active = ranked[0] as SimPath;
  }

  run(): void {
    for (let steps = 0; this.#now < this.#ends; steps += 1) {
      this.#assert(steps < 50_000, 'no progress');
      let due = this.#group.pollTimeout() ?? Infinity;
      let flip = Infinity;
      for (const { at } of this.#answers) due = Math.min(due, at);
      for (const path of this.#paths) {
        due = Math.min(due, path.probeAt, path.drainAt);
        flip = Math.min(flip, path.flipAt);
      }
      const next = this.#awake(due);
      this.#checkInvariants(Math.min(flip, next));
      // Truth does not wait for the observer.
      if (flip <= next) this.#flip(flip);
      else this.#observe(next);
    }
  }

  #newPath(name: string): SimPath {
    const prng = this.#prng;
    const flaps = prng.chance(0.3);
    const works = prng.chance(0.7);
    return {
      name,
      tier: prng.between(1, 3),
      weight: prng.between(1, 2),
      works,
      worksSince: 0,
      upMs: flaps ? 4_000 : 30_000,
      downMs: flaps ? 3_000 : 15_000,
      flipAt: this.#gap(flaps ? 4_000 : 30_000),
      probeAt: prng.between(0, this.#p),
      answered: true,
      lost: false,
      misses: 0,
      drained: false,
      drainChangedAt: 0,
      drainAt: prng.chance(0.3) ? this.#gap(20_000) : Infinity,
      state: 'unknown',
      since: 0,
      streak: 0,
      goodAt: -Infinity,
      penalty: 0,
      penaltyAt: 0,
      heldUntil: -Infinity,
      flappingUntil: -Infinity,
    };
  }

  #gap(meanMs: number): number {
    return this.#prng.between(1, 2 * meanMs);
  }

  /** When the observer gets to see what happens at this instant. */
  #awake(at: Instant): Instant {
    const stall = this.#stalls[0];
    return stall !== undefined && at >= stall.from
      ? Math.max(at, stall.to)
      : Math.max(at, this.#now);
  }

  #flip(at: Instant): void {
    this.#now = Math.max(at, this.#now);
    for (const path of this.#paths) {
      if (path.flipAt > at) continue;
      path.works = !path.works;
      path.worksSince = at;
      path.flipAt = at + this.#gap(path.works ? path.upMs : path.downMs);
    }
  }

  #observe(now: Instant): void {
    this.#now = now;
    const stall = this.#stalls[0];
    if (stall !== undefined && now >= stall.to) {
      this.#stalls.shift();
      this.#calmSince = stall.to;
      if (stall.to - stall.from > SLEEP_MS) this.#watchedSince = stall.to;
    }
    // After a stall timers and sockets are both ready; either may be served first.
    const timerFirst = this.#prng.chance(0.5);
    if (timerFirst) this.#timeout();
    const due = this.#answers.filter(({ at }) => at <= now);
    this.#answers = this.#answers.filter(({ at }) => at > now);
    for (const { path, good, periodic } of due) {
      if (periodic) path.answered = true;
      if (periodic) path.misses = 0;
      this.#result(path, good);
    }
    for (const path of this.#paths) {
      if (path.probeAt <= now) this.#period(path);
      if (path.drainAt <= now) this.#drain(path);
    }
    if (!timerFirst) this.#timeout();
  }

  #timeout(): void {
    this.#group.handleTimeout(this.#now);
    this.#perform();
  }

  #period(path: SimPath): void {
    const late = this.#now - path.probeAt > 1_000;
    if (late) path.misses = 0;
    else if (!path.answered) path.misses += 1;
    if (path.misses >= this.#k) this.#result(path, false);
    path.answered = false;
    path.probeAt = this.#now + this.#p;
    path.lost = !path.lost && this.#prng.chance(this.#loss);
    if (path.works && !path.lost) this.#answer(path, true, true);
  }

  #answer(path: SimPath, good: boolean, periodic: boolean): void {
    const at = this.#now + this.#prng.between(1, ANSWER_MS);
    this.#answers.push({ at, path, good, periodic });
  }

  #drain(path: SimPath): void {
    path.drained = !path.drained;
    path.drainChangedAt = this.#now;
    path.drainAt = this.#now + this.#gap(10_000);
    this.#group.handleDrain(path.name, path.drained, this.#now);
    this.#perform();
  }

  /** Reckons by itself what the result means, then tells the group. */
  #result(path: SimPath, good: boolean): void {
    const { fall, rise } = this.#options;
    path.streak = good === path.streak > 0 ? path.streak + (good ? 1 : -1) : good ? 1 : -1;
    if (good) path.goodAt = this.#now;
    const rises = path.streak >= (path.state === 'unknown' ? 1 : rise) && path.state !== 'up';
    const falls = -path.streak >= fall && path.state !== 'down';
    if (falls && path.state === 'up') this.#damp(path);
    if (rises || falls) {
      path.state = rises ? 'up' : 'down';
      path.since = this.#now;
    }
    this.#group.handleResult(path.name, good, good ? 'heard' : 'no-answer', this.#now);
    this.#perform();
  }

  #damp(path: SimPath): void {
    const { holdDownMs } = this.#options;
    if (holdDownMs === 0) return;
    const left = path.penalty * 0.5 ** ((this.#now - path.penaltyAt) / 900_000);
    path.penalty = Math.min(12_000, left + 1_000);
    path.penaltyAt = this.#now;
    const again = Math.round(path.penalty / 1_000) - 1;
    if (again > 0) path.heldUntil = this.#now + Math.min(300_000, holdDownMs * again);
    // A run is far shorter than any path's way back from above 2000 to 750.
    if (path.penalty > 2_000) path.flappingUntil = Infinity;
  }

  #perform(): void {
    const group = this.#group;
    for (let out = group.pollOutput(); out !== undefined; out = group.pollOutput()) {
      if (out.type === 'switch') this.#checkSwitch(out);
      if (out.type === 'probe') this.#probe(out.path);
    }
    const deadline = group.pollTimeout() ?? Infinity;
    this.#assert(deadline > this.#now, `deadline ${deadline} is not in the future`);
    this.#assert(group.active === this.#active.name, 'active changed without a switch');
    // Rows cost more than all the rest, and what they tell does not pass unseen.
    if (this.#prng.chance(0.9)) return;
    for (const row of group.rows(this.#now)) {
      const { state, flappingUntil } = this.#find(row.name);
      this.#assert(row.state === state, `${row.name} is not ${row.state}`);
      const flaps = row.flappingUntil !== undefined;
      this.#assert(flaps === flappingUntil > this.#now, `${row.name} flapping: ${flaps}`);
    }
  }

  #probe(name: string): void {
    const path = this.#find(name);
    if (path.works && !this.#prng.chance(this.#loss)) this.#answer(path, true, false);
    else if (!path.works && this.#prng.chance(0.3)) this.#answer(path, false, false);
  }

  #checkSwitch(out: Extract<PathGroupOutput, { type: 'switch' }>): void {
    const now = this.#now;
    const what = `switch ${out.from} > ${out.to} (${out.why})`;
    const [from, to] = [this.#find(out.from), this.#find(out.to)];
    const fresh = (path: SimPath): boolean =>
      path.streak > 0 && now - path.goodAt <= this.#options.verifyWithinMs;
    const held = (path: SimPath): boolean => path.heldUntil > now;
    const flaps = (path: SimPath): boolean => path.flappingUntil > now;
    this.#assert(from === this.#active && to !== from, `${what}: not from the path in use`);
    this.#assert(out.why !== '' && out.why === this.#group.activeWhy, `${what}: why?`);
    this.#assert(to.state === 'up', `${what}: to a path that is ${to.state}`);
    const others = this.#paths.filter((path) => path !== from && path.state === 'up');
    const undrained = others.filter((path) => !path.drained);
    if (from.state === 'down') {
      this.#assert(!to.drained || undrained.length === 0, `${what}: to a drained path`);
      const unverified = !fresh(to) && !to.drained;
      this.#assert(!unverified || !undrained.some(fresh), `${what}: another was verified`);
      const better = undrained.some((path) => fresh(path) && !held(path));
      this.#assert(!held(to) || !better, `${what}: another was not held`);
      const calm = undrained.some((path) => fresh(path) && !held(path) && !flaps(path));
      this.#assert(!flaps(to) || !calm, `${what}: another was calm`);
      if (flaps(to) && !held(to)) this.#tally.flapping += 1;
      this.#tally.failover += 1;
      if (!fresh(to)) this.#tally.unverified += 1;
      if (held(to)) this.#tally.held += 1;
      if (to.drained) this.#tally.toDrained += 1;
    } else if (from.drained) {
      this.#assert(!to.drained && fresh(to), `${what}: drained or not verified`);
      this.#tally.drain += 1;
    } else {
      this.#assert(from.state === 'up', `${what}: no verdict yet`);
      this.#assert(to.tier < from.tier, `${what}: not to a better tier`);
      const fit = !to.drained && !held(to) && !flaps(to) && fresh(to);
      this.#assert(fit, `${what}: drained, held, flapping or not verified`);
      const since = Math.max(this.#eligibleSince(to), this.#watchedSince);
      const waited = now - since;
      this.#assert(waited >= this.#options.failbackAfterMs, `${what}: after only ${waited} ms`);
      this.#tally.failback += 1;
    }
    this.#active = to;
    this.#activeSince = now;
  }

  #eligibleSince(path: SimPath): Instant {
    return Math.max(path.since, path.heldUntil, path.flappingUntil, path.drainChangedAt);
  }

  /** What must hold just before the next event. */
  #checkInvariants(until: Instant): void {
    const active = this.#active;
    const calm = this.#calmSince;
    const quiet = (since: Instant): number => until - Math.max(since, calm);
    const stall = this.#stalls[0];
    if (stall !== undefined && until > stall.from) return;
    for (const path of this.#paths) {
      if (path === active || path.drained || !path.works) continue;
      const worked = quiet(Math.max(path.worksSince, path.drainChangedAt));
      if (!active.works && worked > this.#bounds.works) {
        const dead = quiet(active.worksSince);
        const text = `${path.name} works for ${worked} ms, ${active.name} in use is dead for ${dead}`;
        this.#assert(dead <= this.#bounds.died, text);
      }
      if (active.drained && worked > this.#bounds.drained) {
        const drained = quiet(Math.max(active.drainChangedAt, this.#activeSince));
        const text = `${path.name} works for ${worked} ms, drained ${active.name} is in use`;
        this.#assert(drained <= this.#bounds.drained, text);
      }
      if (path.tier < active.tier && path.state === 'up' && this.#loss === 0) {
        const { failbackAfterMs, doubtIntervalMs, verifyWithinMs } = this.#options;
        const bound = Math.max(failbackAfterMs, doubtIntervalMs) + 4 * verifyWithinMs + MARGIN_MS;
        // The misses of before it worked may cost a bad result in its first two periods.
        const good = path.worksSince + 2 * this.#p;
        const waited = quiet(Math.max(this.#eligibleSince(path), good));
        this.#assert(waited <= bound, `no failback to ${path.name} for ${waited} ms`);
      }
    }
  }

  #find(name: string): SimPath {
    const path = this.#paths.find((candidate) => candidate.name === name);
    assert(path !== undefined);
    return path;
  }

  #assert(holds: boolean, text: string): void {
    if (!holds) assert.fail(`seed ${this.#seed} at ${this.#now}: ${text}`);
  }
}

suite('path group simulation', () => {
  test(`keeps its promises for ${runs} seeds from ${firstSeed}`, (t) => {
    const tally: Tally = {
      failover: 0,
      unverified: 0,
      held: 0,
      flapping: 0,
      toDrained: 0,
      drain: 0,
      failback: 0,
    };
    for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
      new Simulation(seed, tally).run();
    }
    if (runs < 1_000) return;
    t.diagnostic(JSON.stringify(tally));
    for (const [kind, times] of Object.entries(tally)) {
      assert(times > runs / 50, `hardly ever seen: ${kind}, ${times} times from seed ${firstSeed}`);
    }
  });
});
