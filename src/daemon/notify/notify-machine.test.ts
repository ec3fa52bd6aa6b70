import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { LinkState } from '../../keepalive/keepalive.ts';
import { ruleOptions } from './notify-config.ts';
import { NotifyMachine } from './notify-machine.ts';
import type { RuleEntry } from './notify-schema.ts';
import type { GroupConfig } from './picture.ts';
import type { Memory, RuleOutput, Told } from './rule.ts';

const SECOND = 1_000;
const MINUTE = 60_000;

interface Setup {
  readonly rule?: Partial<RuleEntry>;
  readonly links?: readonly string[];
  readonly tags?: readonly string[];
  readonly groups?: readonly Omit<GroupConfig, 'why' | 'since'>[];
  readonly memory?: ReadonlyMap<string, Memory>;
  /** Quiet from this instant to that. */
  readonly quiet?: readonly [number, number];
}

/** A machine with one rule, its clock, and what it told. */
class Rig {
  readonly machine: NotifyMachine;
  readonly outputs: (RuleOutput & { readonly at: number })[] = [];
  readonly told = new Map<string, Told>();
  now = 0;

  constructor({
    rule,
    links = ['a', 'b', 'c'],
    tags = [],
    groups = [],
    memory,
    quiet,
  }: Setup = {}) {
    const { quiet: _, ...options } = ruleOptions('all', { to: ['x'], ...rule });
    const [from = 0, to = 0] = quiet ?? [];
    const quietUntil = (now: number) =>
      now >= from && now < to ? (Math.floor(now / MINUTE) + 1) * MINUTE : undefined;
    this.machine = new NotifyMachine(
      {
        links: links.map((name) => ({ name, tags })),
        groups: groups.map((group) => ({ ...group, why: 'start', since: isoAt(0) })),
        rules: [{ ...options, quietUntil, memory: memory ?? new Map() }],
      },
      0,
    );
  }

  /** Lets time pass, stopping at each deadline. */
  pass(ms: number): this {
    const end = this.now + ms;
    for (;;) {
      const next = this.machine.pollTimeout();
      if (next === undefined || next > end) break;
      this.now = Math.max(this.now, next);
      this.machine.handleTimeout(this.now);
      this.#drain();
    }
    this.now = end;
    return this;
  }

  /** Nobody looks for so long. */
  sleep(ms: number): this {
    this.now += ms;
    this.machine.handleTimeout(this.now);
    this.#drain();
    return this;
  }

  enter(state: LinkState, ...links: string[]): this {
    for (const link of links) {
      const news = { state, at: isoAt(this.now), reason: 'no-answer', evidence: {} };
      this.machine.handleLink(link, news, this.now);
    }
    this.#drain();
    return this;
  }

  switch(group: string, to: string): this {
    this.machine.handleSwitch(group, to, 'because', isoAt(this.now), this.now);
    this.#drain();
    return this;
  }

  /** `10s a down, b back` for each message. */
  get story(): string[] {
    return this.outputs
      .filter(({ notices }) => notices.length > 0)
      .map(({ at, notices, afterQuiet }) => {
        const facts = notices.map(({ name, kind, reminder }) => {
          return `${name} ${reminder ? 'still ' : ''}${kind}`;
        });
        return `${at / SECOND}s${afterQuiet ? ' (quiet)' : ''} ${facts.join(', ')}`;
      });
  }

  #drain(): void {
    for (;;) {
      const output = this.machine.pollOutput();
      if (output === undefined) return;
      this.outputs.push({ ...output, at: this.now });
      for (const [key, told] of output.memory) {
        if (told === undefined) this.told.delete(key);
        else this.told.set(key, told);
      }
    }
  }
}

function isoAt(now: number): string {
  return new Date(Date.UTC(2026, 10, 24) + now).toISOString();
}

function remembered(told: ReadonlyMap<string, Told>, agoMs = 0): Map<string, Memory> {
  return new Map([...told].map(([key, one]) => [key, { told: one, agoMs }]));
}

const WAN: Omit<GroupConfig, 'why' | 'since'> = {
  name: 'wan',
  active: 'a',
  paths: [
    { links: ['a'], atLeast: 1 },
    { links: ['b'], atLeast: 1 },
  ],
};

suite('what a rule tells', () => {
  test('a link down for 10 s is told 10 s later, and up for 30 s as back 10 s later', () => {
    const rig = new Rig().enter('up', 'a').enter('down', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, ['20s a down']);
    rig.enter('up', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, ['20s a down', '100s a back']);
    assert.deepEqual(rig.outputs[0]?.notices[0], {
      kind: 'down',
      of: 'link',
      name: 'a',
      since: isoAt(0),
      reason: 'no-answer',
      evidence: {},
      incident: `all/link:a@${isoAt(0)}`,
    });
    assert.deepEqual(rig.outputs[1]?.notices[0], {
      kind: 'back',
      of: 'link',
      name: 'a',
      since: isoAt(MINUTE),
      ended: { down: isoAt(0) },
      incident: `all/link:a@${isoAt(0)}`,
    });
  });

  test('down for 9.9 s is not told; nor is one that is up again while the message waits', () => {
    const rig = new Rig().enter('up', 'a').enter('down', 'a').pass(9_900).enter('up', 'a');
    rig
      .pass(MINUTE)
      .enter('down', 'a')
      .pass(15 * SECOND)
      .enter('up', 'a')
      .pass(10 * MINUTE);
    assert.deepEqual(rig.story, []);
    assert.equal(rig.machine.pollTimeout(), undefined);
  });

  test('up for 29 s between two downs is not told, and the second down is not told again', () => {
    const rig = new Rig().enter('up', 'a').enter('down', 'a').pass(MINUTE);
    rig
      .enter('up', 'a')
      .pass(29 * SECOND)
      .enter('down', 'a')
      .pass(10 * MINUTE);
    assert.deepEqual(rig.story, ['20s a down']);
  });

  test('doubt is told only if it is asked for, and doubt after a recovery is no recovery', () => {
    const silent = new Rig().enter('up', 'a').enter('suspect', 'a').pass(MINUTE);
    assert.deepEqual(silent.story, []);
    const on = ['suspect', 'down', 'back'] as const;
    const rig = new Rig({ rule: { on } }).enter('up', 'a').enter('suspect', 'a').pass(MINUTE);
    rig
      .enter('down', 'a')
      .pass(MINUTE)
      .enter('up', 'a')
      .pass(20 * SECOND)
      .enter('suspect', 'a');
    rig.pass(MINUTE).enter('up', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, ['20s a suspect', '80s a down', '240s a back']);
    assert.deepEqual(
      rig.outputs.map(({ closed }) => closed.length),
      [0, 0, 1],
    );
    const back = rig.outputs[2]?.notices[0];
    assert.deepEqual(back?.ended, { suspect: isoAt(0), down: isoAt(MINUTE) });
  });

  test('fifty links at once are one message with one incident, which ends with the last', () => {
    const names = Array.from({ length: 50 }, (_, index) => `l${index}`);
    const rig = new Rig({ links: names }).enter('up', ...names).enter('down', ...names);
    rig.pass(MINUTE);
    assert.equal(rig.outputs.length, 1);
    assert.equal(rig.outputs[0]?.notices.length, 50);
    assert.equal(new Set(rig.outputs[0]?.notices.map(({ incident }) => incident)).size, 1);
    rig.enter('up', ...names.slice(1)).pass(MINUTE);
    assert.deepEqual(rig.outputs[1]?.closed, []);
    rig.enter('up', 'l0').pass(MINUTE);
    assert.deepEqual(rig.outputs[2]?.closed, [`all/link:l0@${isoAt(0)}`]);
  });

  test('501 facts are two messages, and what is closed is told by the last', () => {
    const names = Array.from({ length: 501 }, (_, index) => `l${index}`);
    const rig = new Rig({ links: names }).enter('up', ...names).enter('down', ...names);
    rig
      .pass(MINUTE)
      .enter('up', ...names)
      .pass(MINUTE);
    assert.deepEqual(
      rig.outputs.map(({ notices, closed }) => [notices.length, closed.length]),
      [
        [500, 0],
        [1, 0],
        [500, 0],
        [1, 1],
      ],
    );
  });

  test('2,000 links are looked at and told of 500 at a time, and others have their turn', () => {
    const names = Array.from({ length: 2_000 }, (_, index) => `l${index}`);
    const rig = new Rig({ links: names }).enter('up', ...names).enter('down', ...names);
    const waited = () => rig.machine.pollTimeout();
    rig.sleep(10 * SECOND);
    for (let more = 0; more < 3; more += 1) {
      assert.equal(waited(), rig.now, 'more of them are due');
      rig.sleep(0);
    }
    assert.equal(waited(), 20 * SECOND);
    rig.sleep(10 * SECOND);
    for (let told = 1; told < 4; told += 1) {
      assert.equal(rig.outputs.length, told);
      assert.equal(waited(), rig.now, 'the rest is to be told');
      // The turns of others are long, which is no gap in what was observed.
      rig.sleep(4 * SECOND);
    }
    assert.deepEqual(
      rig.outputs.map(({ notices }) => notices.length),
      [500, 500, 500, 500],
    );
    assert.equal(waited(), undefined);
  });

  test('a drained link tells nothing, a gap tells nothing, and what was told stays open', () => {
    const rig = new Rig().enter('up', 'a', 'b').enter('down', 'a').pass(MINUTE);
    rig.enter('drained', 'a', 'b').pass(MINUTE).enter('down', 'a').pass(MINUTE);
    rig.enter('unknown', 'a', 'c').pass(MINUTE).enter('up', 'a', 'b', 'c').pass(MINUTE);
    assert.deepEqual(rig.story, ['20s a down', '280s a back']);
  });

  test('a link that is drained while its news wait is left out of them', () => {
    const rig = new Rig()
      .enter('up', 'a')
      .enter('down', 'a')
      .pass(15 * SECOND);
    rig.enter('drained', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, []);
  });

  test('reminders come every remindEvery while it is down', () => {
    const rig = new Rig({ rule: { remindEvery: '5m' } }).enter('up', 'a').enter('down', 'a');
    rig
      .pass(12 * MINUTE)
      .enter('up', 'a')
      .pass(10 * MINUTE);
    assert.deepEqual(rig.story, [
      '20s a down',
      '330s a still down',
      '640s a still down',
      '760s a back',
    ]);
  });

  test('flapping is told once; recovery waits until it is calm', () => {
    const rig = new Rig().enter('up', 'a');
    for (let falls = 0; falls < 6; falls += 1) {
      rig
        .enter('down', 'a')
        .pass(MINUTE)
        .enter('up', 'a')
        .pass(10 * SECOND);
    }
    assert.deepEqual(rig.story, ['20s a down', '150s a flapping']);
    rig.pass(3 * 60 * MINUTE);
    assert.equal(rig.story.length, 3);
    assert.match(rig.story[2] ?? '', /^[\d.]+s a back$/);
    const wentUpAt = rig.outputs[2]?.at ?? 0;
    assert(wentUpAt > 30 * MINUTE, `${wentUpAt}`);
  });

  test('only what fits a pattern or has a tag is told', () => {
    const names = ['db-a', 'db-b', 'web'];
    const down = (rule: Partial<RuleEntry>, tags: readonly string[] = []) => {
      const rig = new Rig({ rule, links: names, tags, groups: [{ ...WAN, paths: [] }] });
      return rig
        .enter('up', ...names)
        .enter('down', ...names)
        .pass(MINUTE).story;
    };
    assert.deepEqual(down({ links: ['db-*'] }), ['20s db-a down, db-b down']);
    assert.deepEqual(down({ links: ['*b'] }), ['20s db-b down, web down']);
    assert.deepEqual(down({ groups: ['*'] }), []);
    assert.deepEqual(down({ tags: ['prod'], links: ['web'] }), ['20s web down']);
    assert.equal(down({ tags: ['prod'] }, ['prod'])[0]?.split(',').length, 3);
    assert.deepEqual(down({ on: ['switch'] }), []);
  });

  test('an observer that slept starts its waits again and tells nothing it did not see', () => {
    const rig = new Rig()
      .enter('up', 'a')
      .enter('down', 'a')
      .pass(5 * SECOND)
      .sleep(MINUTE);
    assert.deepEqual(rig.story, []);
    rig.enter('up', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, []);
    rig
      .enter('down', 'a')
      .pass(5 * SECOND)
      .sleep(MINUTE)
      .pass(MINUTE);
    assert.deepEqual(rig.story, ['210s a down']);
  });
});

suite('groups and uplinks', () => {
  const BEHIND: readonly Omit<GroupConfig, 'why' | 'since'>[] = [
    {
      name: 'far',
      active: 'a',
      paths: [
        { links: ['a'], atLeast: 1, behind: 'up1' },
        { links: ['b'], atLeast: 1, behind: 'up1' },
      ],
    },
  ];
  const LINKS = ['a', 'b', 'up1'];

  test('a switch is told with its reason, several of them as one, and there and back as none', () => {
    const rig = new Rig({ groups: [WAN] }).enter('up', 'a', 'b').switch('wan', 'b').pass(MINUTE);
    rig.switch('wan', 'a').pass(SECOND).switch('wan', 'b').pass(MINUTE);
    assert.deepEqual(rig.story, ['10s wan switch']);
    const { from, to, why } = rig.outputs[0]?.notices[0] ?? {};
    assert.deepEqual([from, to, why], ['a', 'b', 'because']);
  });

  test('a group is down when none of its paths can be up, and each path counts `atLeast` links', () => {
    const paths = [{ links: ['a', 'b', 'c'], atLeast: 2 }];
    const rig = new Rig({ rule: { groups: ['*'] }, groups: [{ name: 'g', active: 'a', paths }] });
    rig.enter('up', 'a', 'b', 'c').enter('down', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, []);
    rig.enter('down', 'b').pass(MINUTE);
    assert.deepEqual(rig.story, ['80s g down']);
    rig.enter('up', 'b').pass(MINUTE);
    assert.deepEqual(rig.story.at(-1), '160s g back');
  });

  test('what a dead uplink explains is a line of its message, whoever was found dead first', () => {
    for (const order of [
      ['up1', 'a', 'b'],
      ['a', 'b', 'up1'],
    ]) {
      const rig = new Rig({ links: LINKS, groups: BEHIND }).enter('up', ...LINKS);
      for (const name of order) rig.enter('down', name).pass(2 * SECOND);
      rig.pass(10 * MINUTE);
      assert.equal(rig.outputs.length, 1, rig.story.join('\n'));
      const [only, ...others] = rig.outputs[0]?.notices ?? [];
      assert.deepEqual(others, []);
      assert.equal(only?.name, 'up1');
      assert.deepEqual(only?.behind, { count: 3, names: ['a', 'b', 'far'] });
      rig.enter('up', 'up1', 'a', 'b').pass(10 * MINUTE);
      assert.equal(rig.story.length, 2);
      assert.match(rig.story[1] ?? '', /s up1 back$/);
    }
  });

  test('while an uplink is in doubt, what lies behind it waits for the verdict', () => {
    const rig = new Rig({ links: LINKS, groups: BEHIND }).enter('up', ...LINKS);
    rig
      .enter('suspect', 'up1')
      .enter('down', 'a')
      .pass(10 * MINUTE);
    assert.deepEqual(rig.story, []);
    rig.enter('up', 'up1').pass(MINUTE);
    assert.deepEqual(rig.story, ['610s a down']);
  });

  test('what is still down when the uplink is back is told by itself, `after` later', () => {
    const rig = new Rig({ links: LINKS, groups: BEHIND }).enter('up', ...LINKS);
    rig
      .enter('down', ...LINKS)
      .pass(MINUTE)
      .enter('up', 'up1', 'b')
      .pass(MINUTE);
    assert.deepEqual(rig.story, ['20s up1 down', '80s a down', '100s up1 back']);
  });

  test('an uplink that the rule does not tell of, or that is drained, explains nothing', () => {
    const rig = new Rig({ rule: { links: ['a', 'b'] }, links: LINKS, groups: BEHIND });
    rig
      .enter('up', ...LINKS)
      .enter('down', ...LINKS)
      .pass(MINUTE);
    assert.deepEqual(rig.story, ['20s a down, b down']);
    const drained = new Rig({ links: LINKS, groups: BEHIND }).enter('up', ...LINKS);
    drained.enter('drained', 'up1').enter('down', 'a').pass(MINUTE);
    assert.deepEqual(drained.story, ['20s a down']);
  });

  test('falls with an uplink, whoever fell first, make no link flap', () => {
    for (const [first, second] of [
      ['up1', 'a'],
      ['a', 'up1'],
    ] as const) {
      const rule = { on: ['flapping'] as const, links: ['a'] };
      const rig = new Rig({ rule, links: LINKS, groups: BEHIND }).enter('up', ...LINKS);
      for (let falls = 0; falls < 6; falls += 1) {
        rig.enter('down', first).pass(SECOND).enter('down', second).pass(SECOND);
        rig.enter('up', 'a', 'up1').pass(SECOND);
      }
      assert.deepEqual(rig.pass(MINUTE).story, []);
    }
  });

  test('two links that lie behind each other are both told', () => {
    const paths = [
      { links: ['a'], atLeast: 1, behind: 'b' },
      { links: ['b'], atLeast: 1, behind: 'a' },
    ];
    const rig = new Rig({ rule: { links: ['*'] }, groups: [{ ...WAN, paths }] });
    rig.enter('up', 'a', 'b').enter('down', 'a', 'b').pass(MINUTE);
    assert.deepEqual(rig.story, ['20s a down, b down']);
  });
});

suite('quiet times', () => {
  test('nothing is told in them; what is still so at their end is told at once', () => {
    const rig = new Rig({ quiet: [0, 10 * MINUTE], groups: [WAN] }).enter('up', 'a', 'b', 'c');
    rig
      .enter('down', 'a', 'c')
      .switch('wan', 'b')
      .pass(5 * MINUTE)
      .enter('up', 'c');
    rig.pass(15 * MINUTE);
    assert.deepEqual(rig.story, ['600s (quiet) wan switch, a down']);
  });

  test('what was told before and is over in them is told as back at their end', () => {
    const rig = new Rig({ quiet: [MINUTE, 10 * MINUTE] }).enter('up', 'a').enter('down', 'a');
    rig
      .pass(2 * MINUTE)
      .enter('up', 'a')
      .pass(20 * MINUTE);
    assert.deepEqual(rig.story, ['20s a down', '600s (quiet) a back']);
    rig.enter('down', 'a').pass(MINUTE);
    assert.equal(rig.story[2], '1340s a down');
  });
});

suite('a restart', () => {
  test('what was told as down and still is, is not told again; its end is', () => {
    const before = new Rig().enter('up', 'a').enter('down', 'a').pass(MINUTE);
    const rig = new Rig({ memory: remembered(before.told) }).enter('down', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, []);
    rig.enter('up', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, ['100s a back']);
    assert.deepEqual(rig.outputs[0]?.closed, [`all/link:a@${isoAt(0)}`]);
    assert.deepEqual([...rig.told], []);
  });

  test('a reminder keeps its hour', () => {
    const rule = { remindEvery: '10m' };
    const before = new Rig({ rule }).enter('up', 'a').enter('down', 'a').pass(MINUTE);
    const memory = remembered(before.told, 8 * MINUTE);
    const rig = new Rig({ rule, memory }).enter('down', 'a').pass(3 * MINUTE);
    assert.deepEqual(rig.story, ['130s a still down']);
  });

  test('a group that is on another path than was told is told as a switch', () => {
    const before = new Rig({ groups: [WAN] }).enter('up', 'a', 'b').switch('wan', 'b').pass(MINUTE);
    const rig = new Rig({ groups: [WAN], memory: remembered(before.told) }).pass(MINUTE);
    assert.deepEqual(rig.story, ['10s wan switch']);
    const { from, to, why } = rig.outputs[0]?.notices[0] ?? {};
    assert.deepEqual([from, to, why], ['b', 'a', 'start']);
  });

  test('what was told and is no longer in the configuration is closed', () => {
    const before = new Rig().enter('up', 'a').enter('down', 'a').pass(MINUTE);
    const rig = new Rig({ links: ['b'], memory: remembered(before.told) }).pass(MINUTE);
    assert.deepEqual(rig.story, ['10s a gone']);
    assert.equal(rig.outputs[0]?.closed.length, 1);
    assert.deepEqual(rig.outputs[0]?.memory, [['link:a', undefined]]);
  });

  test('without `back` an end is not told, but a new beginning is', () => {
    const rig = new Rig({ rule: { on: ['down'] } }).enter('up', 'a').enter('down', 'a');
    rig.pass(MINUTE).enter('up', 'a').pass(MINUTE).enter('down', 'a').pass(MINUTE);
    assert.deepEqual(rig.story, ['20s a down', '140s a down']);
  });
});
