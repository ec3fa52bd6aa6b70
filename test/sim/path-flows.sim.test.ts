/**
 * Seeded simulation of a group and the flows it sends. Detection is instant here, so that nothing
 * but the group's own decisions lies between the truth and where a flow goes: every invariant is
 * checked without a margin. `SIM_SEED` replays one run with `SIM_RUNS=1`.
 * @module
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { PathGroup, type PathGroupOutput } from '../../src/path/path-group.ts';
import type { Instant } from '../../src/time/instant.ts';
import { Prng } from '../support/prng.ts';

const runs = Number(process.env['SIM_RUNS'] ?? 94_000);
const firstSeed = Number(process.env['SIM_SEED'] ?? 1);

const STEPS = 10;
const KEYS = ['k', 'l', 'm'];
/** The first audit of a path that was left. */
const AUDIT_MS = 10_000;
/** A flap in so long keeps the penalty below 2000: ln 2 / 15 min of 2000 is 1000 in 10.8 min. */
const FLAP_EVERY_MS = 649_000;

interface SimPath {
  readonly name: string;
  readonly tier: number;
  readonly links: readonly string[];
  readonly behind: string | undefined;
  works: boolean;
  poor: boolean;
  drained: boolean;
  /** When it last failed, was poor, or was drained. */
  badAt: Instant;
  joinedAt: Instant;
  flows: number;
  /** When it was left by failback, from which on nothing may stay on it. */
  leftAt: Instant | undefined;
  failbacks: number;
  /** Returns that damping is not to slow down: from a drain, or from a dead uplink. */
  excused: number;
}

type Tally = Record<'failover' | 'failback' | 'audited' | 'spread' | 'moved' | 'poor', number>;

class Simulation {
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #tally: Tally;
  readonly #paths: SimPath[] = [];
  readonly #group: PathGroup;
  readonly #fall: number;
  readonly #rise: number;
  readonly #failbackAfterMs: number;
  readonly #slowStartMs: number;
  readonly #damped: boolean;
  readonly #balance: boolean;
  readonly #sent: string[] = [];
  #uplinkWorks = true;
  #active: SimPath;
  #now: Instant = 0;

  constructor(seed: number, tally: Tally) {
    const prng = new Prng(seed);
    this.#seed = seed;
    this.#prng = prng;
    this.#tally = tally;
    this.#fall = prng.between(1, 2);
    this.#rise = prng.between(1, 2);
    this.#failbackAfterMs = prng.between(0, 2) * 30_000;
    this.#slowStartMs = prng.between(0, 1) * 30_000;
    this.#damped = prng.chance(0.8);
    this.#balance = prng.chance(0.5);
    const count = prng.between(2, 4);
    for (let index = 0; index < count; index += 1)
      this.#paths.push(this.#newPath('abcd'.charAt(index)));
    this.#group = new PathGroup(
      {
        paths: this.#paths.map(({ name, tier, links, behind }) => ({
          ...{ name, tier, links, behind },
          atLeast: (links.length + 1) / 2,
          weight: prng.between(1, 3),
        })),
        fall: this.#fall,
        rise: this.#rise,
        failbackAfterMs: this.#failbackAfterMs,
        holdDownMs: this.#damped ? 30_000 : 0,
        quality: { window: 4, lossBad: 50 },
        ...(this.#balance ? { balance: true, slowStartMs: this.#slowStartMs } : {}),
      },
      0,
    );
    this.#active = this.#find(this.#group.active);
  }

  run(): void {
    this.#report('wan', true);
    for (const path of this.#paths) this.#tell(path);
    for (let step = 0; step < STEPS; step += 1) {
      this.#advance(this.#prng.chance(0.65) ? this.#prng.between(1, 5_000) : 100_000);
      this.#happen();
      this.#openFlows();
      this.#check();
    }
    this.#advance(AUDIT_MS);
    for (const { name, leftAt = Infinity, flows } of this.#paths) {
      const audited = leftAt <= this.#now - AUDIT_MS;
      this.#assert(!audited || flows === 0, `${flows} flows stayed behind on ${name}`);
    }
    for (const { name, failbacks, excused } of this.#paths) {
      const most = 3 + excused + this.#now / FLAP_EVERY_MS;
      this.#assert(!this.#damped || failbacks <= most, `${failbacks} failbacks to ${name}`);
    }
  }

  #newPath(name: string): SimPath {
    const prng = this.#prng;
    return {
      name,
      // Most runs have somewhere to fall back to.
      tier: name === 'a' ? 1 : prng.between(1, 2),
      links: prng.chance(0.8) ? [name] : [name, `${name}2`, `${name}3`],
      behind: prng.chance(0.3) ? 'wan' : undefined,
      works: true,
      poor: false,
      drained: false,
      badAt: -Infinity,
      joinedAt: -Infinity,
      flows: 0,
      leftAt: undefined,
      failbacks: 0,
      excused: 0,
    };
  }

  /** To an instant, by way of every deadline. */
  #advance(ms: number): void {
    const end = this.#now + ms;
    for (let steps = 0; ; steps += 1) {
      this.#assert(steps < 5_000, 'no progress');
      const next = this.#group.pollTimeout();
      if (next === undefined || next > end) break;
      this.#assert(next >= this.#now, 'a deadline in the past');
      this.#now = next;
      this.#group.handleTimeout(next);
      this.#perform();
    }
    this.#now = end;
  }

  #happen(): void {
    const last = this.#prng.chance(0.5) ? 0 : this.#paths.length - 1;
    const path = this.#paths[this.#prng.between(0, last)] as SimPath;
    const what = this.#prng.next();
    if (what < 0.45) this.#flip(path, !path.works);
    else if (what < 0.6) this.#drain(path);
    else if (what < 0.7) this.#flipUplink();
    else if (what < 0.8) this.#grade(path);
    else for (const each of this.#paths) this.#tell(each);
  }

  #flip(path: SimPath, works: boolean): void {
    if (path.works === works || (works && path.behind !== undefined && !this.#uplinkWorks)) return;
    path.works = works;
    // What took it down also ended the window of its quality.
    if (!works) path.poor = false;
    path.badAt = this.#now;
    this.#tell(path);
  }

  #drain(path: SimPath): void {
    path.drained = !path.drained;
    path.badAt = this.#now;
    if (!path.drained) path.excused += 1;
    for (const link of path.links) {
      this.#group.handleDrain(link, path.drained, this.#now);
      this.#perform();
    }
  }

  #flipUplink(): void {
    this.#uplinkWorks = !this.#uplinkWorks;
    const first = this.#prng.chance(0.5);
    if (first) this.#report('wan', this.#uplinkWorks);
    for (const path of this.#paths) {
      if (path.behind === undefined) continue;
      if (this.#uplinkWorks) path.excused += 1;
      this.#flip(path, this.#uplinkWorks);
    }
    if (!first) this.#report('wan', this.#uplinkWorks);
  }

  #grade(path: SimPath): void {
    if (!path.works) return;
    path.poor = !path.poor;
    path.badAt = this.#now;
    if (path.poor) this.#tally.poor += 1;
    for (const link of path.links) {
      for (let sample = 0; sample < 4; sample += 1) {
        this.#group.handleSample(link, path.poor ? undefined : 20, this.#now);
        this.#perform();
      }
    }
  }

  /** As many results as settle the matter. */
  #tell({ links, works }: SimPath): void {
    for (const link of links) this.#report(link, works);
  }

  #report(link: string, good: boolean): void {
    if (link === 'wan' && this.#paths.every(({ behind }) => behind === undefined)) return;
    const times = good ? this.#rise : this.#fall;
    for (let result = 0; result < times; result += 1) {
      this.#group.handleResult(link, good, 'no-answer', this.#now);
      this.#perform();
    }
  }

  #perform(): void {
    const group = this.#group;
    for (let out = group.pollOutput(); out !== undefined; out = group.pollOutput()) {
      if (out.type === 'probe') {
        group.handleResult(out.link, this.#find(out.path).works, 'no-answer', this.#now);
      } else if (out.type === 'audit') this.#audit(this.#find(out.path));
      else if (out.type === 'switch') this.#switch(out);
      else if (out.type === 'join') this.#join(this.#find(out.path));
      else if (out.type === 'leave') this.#leave(this.#find(out.path));
    }
  }

  #audit(path: SimPath): void {
    const { flows } = path;
    path.flows = 0;
    if (flows > 0) this.#tally.audited += 1;
    this.#group.handleFlows(path.name, flows, this.#now);
  }

  #switch({ from: left, to: chosen, why }: Extract<PathGroupOutput, { type: 'switch' }>): void {
    const what = `switch ${left} > ${chosen} (${why})`;
    const [from, to] = [this.#find(left), this.#find(chosen)];
    this.#assert(from === this.#active && to !== from, `${what}: not from the path in use`);
    this.#assert(to.works || !from.works, `${what}: from a path that works to one that does not`);
    this.#active = to;
    this.#join(to);
    if (!from.works || from.drained || from.poor) {
      this.#tally.failover += 1;
      from.flows = 0;
      return;
    }
    this.#tally.failback += 1;
    to.failbacks += 1;
    this.#assert(to.tier < from.tier, `${what}: not to a better tier`);
    this.#assert(!to.drained && !to.poor, `${what}: drained or poor`);
    const waited = this.#now - to.badAt;
    this.#assert(waited >= this.#failbackAfterMs, `${what}: after ${waited} ms`);
    const flapping = this.#group.rows(this.#now).find(({ name }) => name === chosen)?.flappingUntil;
    this.#assert(flapping === undefined, `${what}: it is flapping`);
    this.#leave(from);
    from.leftAt = this.#now;
  }

  #join(path: SimPath): void {
    path.joinedAt = this.#now;
    path.leftAt = undefined;
  }

  /** Flows are reset, but now and then one slips through: it was just being opened. */
  #leave(path: SimPath): void {
    path.flows = this.#prng.chance(0.3) ? Math.min(path.flows, 1) : 0;
  }

  #openFlows(): void {
    for (const [index, key] of KEYS.entries()) {
      const name = this.#group.pathFor(key, this.#now);
      const path = this.#find(name);
      path.flows += 1;
      this.#checkFlow(path);
      const before = this.#sent[index];
      if (before !== undefined && before !== name) this.#checkMove(this.#find(before), path);
      if (path !== this.#active) this.#tally.spread += 1;
      this.#sent[index] = name;
    }
  }

  /** Nothing lies between the truth and a flow: the path is the best that there is. */
  #checkFlow(path: SimPath): void {
    const { name, works, drained, poor } = path;
    for (const other of this.#paths) {
      if (!other.works) continue;
      this.#assert(works, `a flow goes to ${name}, which is dead, and ${other.name} works`);
      if (other.drained) continue;
      this.#assert(!drained, `a flow goes to ${name}, which is drained, and ${other.name} is not`);
    }
    if (this.#balance) this.#assert(!poor || path === this.#active, `${name} is poor and shares`);
  }

  /** A flow moves only if its path carries nothing any more, or to one that came or grows. */
  #checkMove(from: SimPath, to: SimPath): void {
    this.#tally.moved += 1;
    const grows = this.#now - to.joinedAt <= this.#slowStartMs + 100_000;
    if (grows || to === this.#active) return;
    const row = this.#group.rows(this.#now).find(({ name }) => name === from.name);
    this.#assert(row?.share === 0, `a flow moved from ${from.name} to ${to.name} without need`);
  }

  #check(): void {
    this.#assert(this.#group.active === this.#active.name, 'active changed without a switch');
    this.#assert((this.#group.pollTimeout() ?? Infinity) > this.#now, 'a deadline is due');
  }

  #find(name: string): SimPath {
    for (const path of this.#paths) if (path.name === name) return path;
    return assert.fail(`no path ${name}`);
  }

  #assert(holds: boolean, text: string): void {
    if (!holds) assert.fail(`seed ${this.#seed} at ${this.#now}: ${text}`);
  }
}

suite('path flows simulation', () => {
  test(`sends every flow where it should for ${runs} seeds from ${firstSeed}`, (t) => {
    const tally: Tally = { failover: 0, failback: 0, audited: 0, spread: 0, moved: 0, poor: 0 };
    for (let seed = firstSeed; seed < firstSeed + runs; seed += 1)
      new Simulation(seed, tally).run();
    t.diagnostic(JSON.stringify(tally));
    if (runs < 1_000) return;
    for (const [kind, times] of Object.entries(tally)) {
      assert(times > runs / 50, `hardly ever seen: ${kind}, ${times} times from seed ${firstSeed}`);
    }
  });
});
