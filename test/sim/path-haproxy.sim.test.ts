/**
 * Differential: HAProxy's health counter, written anew as its manual describes it, watches the same
 * random schedules as a link of ours. With equal fall and rise both tell the same ups and downs. It is
 * fast and needs no HAProxy; that the real one does the same is `conformance/haproxy-checks.test.ts`.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { LinkHealth } from '../../src/path/link-health.ts';
import { Prng } from '../support/prng.ts';

const SCHEDULES = 1_000;
const CHECKS = 200;

/**
 * One number tells it all: 0 to rise − 1 is down, rise to rise + fall − 1 is up. A good check adds
 * one, and any good check of an up server restores it to the top; a bad one takes one, and any bad
 * check of a down server drops it to 0.
 */
class HaproxyServer {
  readonly #rise: number;
  readonly #fall: number;
  #health: number;

  constructor(rise: number, fall: number) {
    this.#rise = rise;
    this.#fall = fall;
    // Up before its first check, which takes it down if it is bad.
    this.#health = rise;
  }

  get isUp(): boolean {
    return this.#health >= this.#rise;
  }

  check(good: boolean): void {
    const top = this.#rise + this.#fall - 1;
    if (good) {
      this.#health += 1;
      if (this.#health >= this.#rise) this.#health = top;
    } else {
      this.#health -= 1;
      if (this.#health < this.#rise) this.#health = 0;
    }
  }
}

suite('LinkHealth beside HAProxy', () => {
  test(`the same ups and downs in ${SCHEDULES} schedules of ${CHECKS} checks`, (t) => {
    let changes = 0;
    for (let seed = 1; seed <= SCHEDULES; seed += 1) {
      const prng = new Prng(seed);
      const [fall, rise] = [prng.between(1, 5), prng.between(1, 5)];
      const theirs = new HaproxyServer(rise, fall);
      const ours = new LinkHealth('s', { fall, rise, doubtIntervalMs: 1_000, quality: undefined });
      // Only before the first good check do they differ.
      theirs.check(true);
      ours.handleResult(true, '', 0);
      // Runs of equal results, or no long count would ever be reached.
      const staying = 0.2 + 0.7 * prng.next();
      let good = true;
      for (let check = 1; check <= CHECKS; check += 1) {
        if (!prng.chance(staying)) good = !good;
        const before = theirs.isUp;
        theirs.check(good);
        ours.handleResult(good, 'refused', check * 1_000);
        if (theirs.isUp !== before) changes += 1;
        const where = `seed ${seed}, fall ${fall}, rise ${rise}, check ${check}`;
        assert.equal(ours.state, theirs.isUp ? 'up' : 'down', where);
      }
    }
    t.diagnostic(`${changes} changes`);
    assert(changes > 10 * SCHEDULES, 'the schedules are too tame');
  });
});
