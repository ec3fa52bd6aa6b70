/**
 * The machine against a link that loses, delays, duplicates and reorders, a peer that may crash and
 * an observer that may sleep. Both promises are held against the truth in every run. A run is a
 * function of its seed: `SIM_SEED=n SIM_RUNS=1` replays one.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { Keepalive } from '../../src/keepalive/keepalive.ts';
import { Prng } from '../support/prng.ts';

const runs = Number(process.env['SIM_RUNS'] ?? 100_000);
const first = Number(process.env['SIM_SEED'] ?? 1);

/** A packet on its way to us: the answer to probe `sequence`, or other traffic (0). */
interface Flight {
  readonly at: number;
  readonly sequence: number;
}

class World {
  readonly prng: Prng;
  readonly timing: { timeMs: number; intervalMs: number; probes: number };
  readonly machine: Keepalive;
  readonly crashAt: number;
  now = 0;
  downs = 0;
  stalls = 0;
  readonly #seed: number;
  readonly #loss: number;
  readonly #flights: Flight[] = [];
  /** The truth about each probe: will an answer to it ever reach us? */
  readonly #answered: boolean[] = [];
  readonly #delivered = new Set<number>();
  /** Since when nothing new has reached an observer that was awake. */
  #silentSince = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.prng = new Prng(seed);
    this.timing = {
      timeMs: this.prng.between(50, 5_000),
      intervalMs: this.prng.between(50, 2_000),
      probes: this.prng.between(2, 9),
    };
    this.#loss = this.prng.chance(0.3) ? 0 : this.prng.next() * 0.7;
    this.crashAt = this.prng.chance(0.5) ? this.prng.between(0, 40_000) : Number.POSITIVE_INFINITY;
    const jitter = this.prng.chance(0.5) ? { random: () => this.prng.next() } : {};
    this.machine = new Keepalive({ ...this.timing, ...jitter }, 0);
    this.machine.handleReceived(0);
    this.#settle();
  }

  get #bound(): number {
    return this.timing.timeMs + this.timing.intervalMs * this.timing.probes;
  }

  /** One step: to the next arrival or deadline, reading what arrived before judging the time. */
  step(sleepy: boolean): void {
    const deadline = this.machine.pollTimeout();
    this.#check(deadline !== undefined && deadline >= this.now, 'a deadline lies in the past');
    if (this.prng.chance(0.05) && this.now < this.crashAt) this.#launch(0);
    const arrival = this.#flights.reduce((at, flight) => Math.min(at, flight.at), Infinity);
    this.now = Math.min(deadline ?? Infinity, arrival);
    if (sleepy && this.prng.chance(0.02)) this.#oversleep();
    for (const flight of this.#takeArrived()) this.#deliver(flight);
    this.machine.handleTimeout(this.now);
    this.#settle();
    if (this.now - this.#silentSince > this.#bound + 1e-6) {
      this.#check(this.machine.state === 'down', `silent for ${this.now - this.#silentSince} ms`);
    }
  }

  #oversleep(): void {
    this.now += this.#bound * (1 + 2 * this.prng.next());
    this.#silentSince = this.now;
    this.stalls += 1;
  }

  /** Draws a round trip's fate at once, so that the truth is known when it is judged. */
  #launch(sequence: number): boolean {
    const longest = this.timing.intervalMs * 0.49;
    const there = this.now + this.prng.next() * longest;
    if (there >= this.crashAt || this.prng.chance(this.#loss)) return false;
    const copies = this.prng.chance(0.15) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      // A duplicate may be very late: long after the peer has died.
      const back = this.prng.next() * longest * (copy === 0 ? 1 : 20);
      this.#flights.push({ at: there + back, sequence });
    }
    return true;
  }

  #takeArrived(): Flight[] {
    const arrived = this.#flights.filter((flight) => flight.at <= this.now);
    for (const flight of arrived) this.#flights.splice(this.#flights.indexOf(flight), 1);
    return arrived.sort((a, b) => a.at - b.at);
  }

  #deliver({ sequence }: Flight): void {
    if (sequence === 0) this.machine.handleReceived(this.now);
    else this.machine.handleAnswer(sequence, this.now);
    if (sequence === 0 || !this.#delivered.has(sequence)) this.#silentSince = this.now;
    this.#delivered.add(sequence);
    this.#settle();
  }

  #settle(): void {
    for (let out = this.machine.pollOutput(); out; out = this.machine.pollOutput()) {
      if (out.type === 'probe') this.#answered[out.sequence] = this.#launch(out.sequence);
      if (out.type === 'state' && out.to === 'down') this.#judgeDown();
    }
  }

  #judgeDown(): void {
    this.downs += 1;
    // The machine probes on as it declares a peer dead: that newest probe is no part of the case.
    const lost = this.#answered.slice(-this.timing.probes).filter((answered) => !answered).length;
    this.#check(lost >= this.timing.probes, `blamed after ${lost} lost of ${this.timing.probes}`);
  }

  #check(ok: boolean, text: string): void {
    assert(ok, `SIM_SEED=${this.#seed} at ${this.now} ms: ${text}`);
  }
}

suite('keepalive simulation', () => {
  test(`no dead peer unnoticed, no live peer blamed (${runs} runs)`, (t) => {
    let downs = 0;
    let stalls = 0;
    for (let seed = first; seed < first + runs; seed += 1) {
      const world = new World(seed);
      const sleepy = world.prng.chance(0.3);
      while (world.now < 60_000) world.step(sleepy);
      downs += world.downs;
      stalls += world.stalls;
    }
    t.diagnostic(`${runs} runs from seed ${first}: ${downs} deaths, ${stalls} overslept`);
    if (runs >= 1_000) assert(downs > runs / 4 && stalls > runs / 10, 'the schedules are too tame');
  });
});
