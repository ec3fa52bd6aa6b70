/**
 * Seeded simulation of the notifications' machine: links fall, come back, are drained and lie behind
 * uplinks; groups switch; it is quiet at times; the daemon sleeps, and is started anew with what it
 * remembers. `SIM_SEED` replays one run with `SIM_RUNS=1`.
 * @module
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ruleOptions } from '../../src/daemon/notify/notify-config.ts';
import { NotifyMachine } from '../../src/daemon/notify/notify-machine.ts';
import type { Memory, RuleOutput, Told } from '../../src/daemon/notify/rule.ts';
import type { LinkState } from '../../src/keepalive/keepalive.ts';
import { Prng } from '../support/prng.ts';

const runs = Number(process.env['SIM_RUNS'] ?? 1_500);
const firstSeed = Number(process.env['SIM_SEED'] ?? 1);

const MINUTE = 60_000;
const LASTS_MS = 240 * MINUTE;
/** What the machine may be late by: the end of a quiet minute, and a wait that starts again. */
const MARGIN_MS = MINUTE + 1;
/** Later than this is a gap to the machine. */
const SLACK_MS = 5_000;
/** Flapping links are told as back when they are calm, an hour later at most. */
const CALM_MS = 3_700_000;

interface SimLink {
  readonly name: string;
  /** By index; a link behind another. */
  readonly uplink: SimLink | undefined;
  state: LinkState;
  since: number;
  /** Since when nothing spoke against telling that it is down. */
  tellableSince: number;
  told: boolean;
  toldAs: Set<string>;
  falls: number;
}

interface Tally {
  messages: number;
  down: number;
  back: number;
  behind: number;
  switched: number;
  afterQuiet: number;
  restarts: number;
  reminders: number;
}

class Simulation {
  readonly #prng: Prng;
  readonly #tally: Tally;
  readonly #afterMs: number;
  readonly #recoverMs: number;
  readonly #groupWaitMs: number;
  readonly #remindMs: number | undefined;
  readonly #links: SimLink[] = [];
  readonly #quiet: (readonly [number, number])[] = [];
  readonly #memory = new Map<string, { told: Told; at: number }>();
  #machine: NotifyMachine;
  #now = 0;
  /** Since when the machine has looked without a gap. */
  #observedSince = 0;
  #active = 'l0';
  #toldActive = 'l0';

  constructor(seed: number, tally: Tally) {
    const prng = new Prng(seed);
    this.#prng = prng;
    this.#tally = tally;
    this.#afterMs = prng.between(0, 60) * 1_000;
    this.#recoverMs = prng.between(0, 120) * 1_000;
    this.#groupWaitMs = prng.between(0, 30) * 1_000;
    this.#remindMs = prng.chance(0.5) ? prng.between(1, 30) * MINUTE : undefined;
    for (let index = 0; index < prng.between(2, 8); index += 1) {
      const uplink = index >= 2 && prng.chance(0.6) ? this.#links[prng.between(0, 1)] : undefined;
      this.#links.push({
        name: `l${index}`,
        uplink,
        state: 'unknown',
        since: 0,
        tellableSince: 0,
        told: false,
        toldAs: new Set(),
        falls: 0,
      });
    }
    for (let at = 0; at < LASTS_MS; ) {
      const from = at + prng.between(10, 120) * MINUTE;
      at = from + prng.between(1, 60) * MINUTE;
      if (prng.chance(0.7)) this.#quiet.push([from, at]);
    }
    this.#machine = this.#start();
  }

  run(): void {
    while (this.#now < LASTS_MS) {
      this.#pass(this.#prng.chance(0.5) ? this.#prng.between(0, 20_000) : this.#longWait());
      this.#happen();
    }
  }

  #longWait(): number {
    return this.#prng.between(0, this.#prng.chance(0.1) ? 5_000_000 : 300_000);
  }

  #happen(): void {
    const prng = this.#prng;
    if (prng.chance(0.02)) this.#restart();
    if (prng.chance(0.03)) this.#sleep(prng.between(6_000, 600_000));
    if (prng.chance(0.1)) this.#switch(`l${prng.between(0, 1)}`);
    const link = this.#links[prng.between(0, this.#links.length - 1)];
    if (link === undefined) return;
    const states = ['up', 'up', 'down', 'down', 'suspect', 'drained', 'unknown'] as const;
    const to = states[prng.between(0, states.length - 1)] ?? 'up';
    if (to === link.state) return;
    if (to === 'down') link.falls += 1;
    const from = link.state;
    link.state = to;
    link.since = this.#now;
    link.tellableSince = this.#now;
    for (const below of this.#links) {
      // An uplink that is or may be down excuses; so does the moment it no longer is.
      if (below.uplink === link && (from !== 'up' || to !== 'up')) below.tellableSince = this.#now;
    }
    this.#feed(link);
    this.#drain();
  }

  #feed({ name, state, since }: SimLink): void {
    const news = { state, at: isoAt(since), reason: 'no-answer', evidence: {} };
    this.#machine.handleLink(name, news, this.#now);
  }

  #switch(to: string): void {
    this.#active = to;
    this.#machine.handleSwitch('g', to, 'why', isoAt(this.#now), this.#now);
    this.#drain();
  }

  #start(): NotifyMachine {
    const duration = (ms: number) => `${ms}ms`;
    const { quiet: _, ...options } = ruleOptions('r', {
      to: ['x'],
      on: ['down', 'suspect', 'flapping', 'switch', 'back'],
      after: duration(this.#afterMs),
      recoverAfter: duration(this.#recoverMs),
      groupWait: duration(this.#groupWaitMs),
      remindEvery: this.#remindMs === undefined ? undefined : duration(this.#remindMs),
    });
    const memory = new Map<string, Memory>();
    for (const [key, { told, at }] of this.#memory)
      memory.set(key, { told, agoMs: this.#now - at });
    const paths = this.#links.map(({ name, uplink }) => {
      return { links: [name], atLeast: 1, behind: uplink?.name };
    });
    const group = { name: 'g', active: this.#active, why: 'start', since: isoAt(this.#now), paths };
    this.#observedSince = this.#now;
    return new NotifyMachine(
      {
        links: this.#links.map(({ name }) => ({ name, tags: [] })),
        groups: [group],
        rules: [{ ...options, memory, quietUntil: (now) => this.#quietUntil(now) }],
      },
      this.#now,
    );
  }

  #restart(): void {
    this.#tally.restarts += 1;
    // Without a word of a switch there is no memory of the path, and none is told.
    if (!this.#memory.has('group:g')) this.#toldActive = this.#active;
    this.#machine = this.#start();
    for (const link of this.#links) {
      link.falls = 0;
      link.tellableSince = Math.max(link.tellableSince, this.#now);
      this.#feed(link);
    }
    this.#drain();
  }

  #sleep(ms: number): void {
    this.#now += ms;
    // Waits that ended while nobody looked count from now on; others go on.
    const missed = this.#machine.pollTimeout() ?? Number.POSITIVE_INFINITY;
    if (this.#now > missed + SLACK_MS) this.#observedSince = this.#now;
    this.#machine.handleTimeout(this.#now);
    this.#drain();
  }

  #quietUntil(now: number): number | undefined {
    if (!this.#quiet.some(([from, to]) => now >= from && now < to)) return undefined;
    return (Math.floor(now / MINUTE) + 1) * MINUTE;
  }

  #pass(ms: number): void {
    const end = this.#now + ms;
    for (let steps = 0; ; steps += 1) {
      assert(steps < 10_000, 'it asks to be woken without end');
      const next = this.#machine.pollTimeout();
      if (next === undefined || next > end) break;
      assert(next >= this.#now, `a deadline in the past: ${next} < ${this.#now}`);
      this.#now = next;
      this.#machine.handleTimeout(this.#now);
      this.#drain();
    }
    this.#now = end;
    this.#checkNothingIsMissing();
  }

  #drain(): void {
    for (;;) {
      const output = this.#machine.pollOutput();
      if (output === undefined) return;
      this.#check(output);
      for (const [key, told] of output.memory) {
        if (told === undefined) this.#memory.delete(key);
        else this.#memory.set(key, { told, at: this.#now });
      }
    }
  }

  #check({ notices, afterQuiet }: RuleOutput): void {
    assert.equal(this.#quietUntil(this.#now), undefined, 'told in a quiet time');
    this.#tally.messages += 1;
    if (afterQuiet) this.#tally.afterQuiet += 1;
    for (const { kind, of, name, reminder, behind, from, to, ended } of notices) {
      if (kind === 'switch') {
        this.#tally.switched += 1;
        assert.deepEqual([from, to], [this.#toldActive, this.#active]);
        assert.notEqual(from, to);
        this.#toldActive = this.#active;
      }
      if (of === 'group') continue;
      const link = this.#links.find((one) => one.name === name);
      assert(link !== undefined, `no such link: ${name}`);
      const lastedMs = this.#now - Math.max(link.since, this.#observedSince);
      if (kind === 'back') {
        this.#tally.back += 1;
        assert.equal(link.state, 'up');
        assert(lastedMs >= this.#recoverMs, `back after ${lastedMs}`);
        assert.deepEqual(new Set(Object.keys(ended ?? {})), link.toldAs);
        link.toldAs.clear();
      } else {
        if (kind !== 'flapping') assert.equal(link.state, kind);
        if (kind !== 'flapping') assert(lastedMs >= this.#afterMs, `${kind} after ${lastedMs}`);
        assert(link.state !== 'drained' && link.state !== 'unknown');
        assert.notEqual(link.uplink?.state, 'down', 'told although its uplink is down');
        assert.equal(link.toldAs.has(kind), reminder === true, `${name} ${kind} twice`);
        link.toldAs.add(kind);
        if (kind === 'down') this.#tally.down += 1;
        if (reminder) this.#tally.reminders += 1;
      }
      if (behind === undefined) continue;
      this.#tally.behind += 1;
      for (const below of behind.names.filter((one) => one !== 'g')) {
        const one = this.#links.find((other) => other.name === below);
        assert.deepEqual([one?.state, one?.uplink?.name], ['down', name]);
      }
    }
  }

  /** What was so for long enough has been told, in so far as it may be. */
  #checkNothingIsMissing(): void {
    const loudSince = this.#quiet.reduce((since, [from, to]) => {
      return from <= this.#now && to > since ? Math.min(to, this.#now) : since;
    }, 0);
    const longAgo = (since: number, ms: number) =>
      this.#now - Math.max(since, this.#observedSince, loudSince) > ms + MARGIN_MS;
    for (const link of this.#links) {
      const { state, uplink, toldAs, name } = link;
      const excused = uplink?.state === 'down' || uplink?.state === 'suspect';
      const wait = this.#afterMs + this.#groupWaitMs;
      if (state === 'down' && !excused && longAgo(link.tellableSince, wait)) {
        assert(toldAs.has('down'), `${name} is down and nobody was told`);
      }
      const calm = link.falls < 3 ? 0 : CALM_MS;
      if (state === 'up' && longAgo(link.since, this.#recoverMs + this.#groupWaitMs + calm)) {
        assert.deepEqual([...toldAs], [], `${name} is up and nobody was told`);
      }
    }
    if (longAgo(0, 0) && this.#machine.pollTimeout() === undefined) {
      assert.equal(this.#toldActive, this.#active);
    }
  }
}

function isoAt(now: number): string {
  return new Date(Date.UTC(2026, 10, 24) + now).toISOString();
}

suite('simulated notifications', () => {
  test(`${runs} runs of 4 hours from seed ${firstSeed}: no word that is not so, none missing`, () => {
    const tally: Tally = {
      ...{ messages: 0, down: 0, back: 0, behind: 0 },
      ...{ switched: 0, afterQuiet: 0, restarts: 0, reminders: 0 },
    };
    for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
      try {
        new Simulation(seed, tally).run();
      } catch (error) {
        (error as Error).message = `SIM_SEED=${seed}: ${(error as Error).message}`;
        throw error;
      }
    }
    // Each of these happened often enough to mean something.
    if (runs < 1_000) return;
    for (const [what, count] of Object.entries(tally)) assert(count > 500, `${what}: ${count}`);
  });
});
