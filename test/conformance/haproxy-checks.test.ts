/**
 * Differential against the real HAProxy: it and Linkhold watch the same flapping servers, with the same
 * fall and rise, and must tell the same ups and downs in the same order. The k-th check of a server gets
 * the k-th answer of its schedule, so that nothing depends on who checks when.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { GroupRunner } from '../../src/daemon/group-runner.ts';
import type { Link } from '../../src/link/link.ts';
import { createLink } from '../../src/link/registry.ts';
import { PathGroup } from '../../src/path/path-group.ts';
import { temporaryDirectory } from '../support/cli.ts';
import { type CheckAnswer, FAULTS, FlappingServer } from '../support/flapping-server.ts';
import { Haproxy, haproxyMissing, type Verdicts } from '../support/haproxy.ts';
import { pause } from '../support/lab.ts';
import { Prng } from '../support/prng.ts';

const SCHEDULES = 1_000;
const CHECKS = 80;
/** The first of them are watched by real links too; every last tenth server is silent now and then. */
const LINKS = 100;
const SILENT_FROM = 900;
const MOST_SILENCES = 2;
const MOST_RISE = 5;
const PAUSE_MS = 200;
/** For HAProxy. A good answer later than that would be a bad one, and a silence takes so long. */
const LATE_MS = 4_000;
const BOUND_MS = 180_000;

interface Schedule {
  readonly seed: number;
  readonly fall: number;
  readonly rise: number;
  readonly answers: readonly CheckAnswer[];
}

/** Runs of equal results, or no long count would ever be reached. The first check is good. */
function scheduleOf(seed: number): Schedule {
  const prng = new Prng(seed);
  const [fall, rise] = [prng.between(1, 5), prng.between(1, MOST_RISE)];
  const staying = 0.3 + 0.6 * prng.next();
  const answers: CheckAnswer[] = [];
  let silences = seed >= SILENT_FROM ? MOST_SILENCES : 0;
  let good = true;
  for (let check = 0; check < CHECKS; check += 1) {
    if (check > 0 && !prng.chance(staying)) good = !good;
    const silent = !good && silences > 0 && prng.chance(0.1);
    if (silent) silences -= 1;
    const fault = FAULTS[prng.between(0, FAULTS.length - 1)] ?? 'reset';
    answers.push(good ? 'good' : silent ? 'silence' : fault);
  }
  return { seed, fall, rise, answers };
}

/** What a path's machine tells of a schedule, and of the good checks that follow it. */
function toldByMachine({ fall, rise, answers }: Omit<Schedule, 'seed'>): string[] {
  const group = new PathGroup({ paths: [{ name: 's' }], fall, rise }, 0);
  const states = ['unknown'];
  for (let check = 0; check < answers.length + MOST_RISE; check += 1) {
    const now = check * PAUSE_MS;
    group.handleResult('s', (answers[check] ?? 'good') === 'good', 'no-answer', now);
    while (group.pollOutput() !== undefined);
    const { state = '' } = group.rows(now)[0] ?? {};
    if (state !== states.at(-1)) states.push(state);
  }
  return states.slice(1);
}

/** A real link to a server, in a group of its own, and what the group says of it. */
class WatchedPath {
  readonly states: string[] = [];
  readonly #link: Link;
  readonly #runner: GroupRunner;

  constructor({ fall, rise }: Schedule, port: number) {
    const timing = { time: '60s', interval: '60s', probes: 3 };
    this.#link = createLink(`http://127.0.0.1:${port}/`, timing, 's', 's');
    const config = { paths: [{ name: 's' }], fall, rise };
    this.#runner = new GroupRunner('g', config, [this.#link], {
      switched: () => assert.fail('there is nowhere to switch to'),
      note: () => undefined,
      joined: () => undefined,
      left: () => undefined,
      flowsOn: () => 0,
    });
    this.#runner.start();
    const look = () => {
      const state = this.#runner.status().paths[0]?.state ?? '';
      if (state !== (this.states.at(-1) ?? 'unknown')) this.states.push(state);
    };
    for (const type of ['state', 'reply', 'probe'] as const) this.#link.on(type, look);
    this.#link.start();
  }

  /** Asks once more, if the answer before has come. */
  probe(): void {
    this.#link.probe();
  }

  close(): void {
    this.#runner.close();
    this.#link.close();
  }
}

/** So many checks have had their answer once one more has begun. */
const isThrough = ({ checks }: FlappingServer) => checks > CHECKS + MOST_RISE;

function assertSame(ours: readonly string[], theirs: Verdicts, where: Schedule): void {
  const { seed, fall, rise, answers } = where;
  const schedule = answers.map((answer) => (answer === 'good' ? '+' : '-')).join('');
  const told = `seed ${seed}, fall ${fall}, rise ${rise}, ${schedule}\n${theirs.lines.join('\n')}`;
  // HAProxy takes a server for up before its first check; here that was good.
  assert.deepEqual(ours, ['up', ...theirs.states], told);
}

/** Servers whose first check is bad, and what either says of them. */
const FIRST_BAD: readonly {
  readonly answers: readonly CheckAnswer[];
  readonly theirs: readonly string[];
  readonly ours: readonly string[];
}[] = [
  { answers: ['reset'], theirs: ['down', 'up'], ours: ['up'] },
  { answers: ['reset', 'close'], theirs: ['down', 'up'], ours: ['up'] },
  { answers: ['reset', 'close', 'garbage'], theirs: ['down', 'up'], ours: ['down', 'up'] },
];

interface Run {
  readonly schedules: readonly Schedule[];
  readonly verdicts: readonly Verdicts[];
  readonly paths: readonly WatchedPath[];
}

/** All servers watched by one HAProxy, and some by real links, until everything has been told. */
async function watchAll(t: TestContext): Promise<Run> {
  const schedules = Array.from({ length: SCHEDULES }, (_, seed) => scheduleOf(seed));
  const firstBad = FIRST_BAD.map(({ answers }) => ({ seed: 0, fall: 3, rise: 2, answers }));
  const listen = async ({ answers }: Schedule) => {
    const server = new FlappingServer(answers);
    t.after(() => server.close());
    return { server, port: await server.start() };
  };
  const all = [...schedules, ...firstBad];
  const theirs = await Promise.all(all.map(listen));
  const ours = await Promise.all(schedules.slice(0, LINKS).map(listen));
  const watched = theirs.map(({ port }, index) => ({ ...(all[index] as Schedule), port }));
  const options = { pauseMs: PAUSE_MS, lateMs: LATE_MS, home: temporaryDirectory(t) };
  const haproxy = new Haproxy(watched, options);
  t.after(() => haproxy.stop());
  const paths = ours.map(({ port }, index) => new WatchedPath(schedules[index] as Schedule, port));
  t.after(() => {
    for (const path of paths) path.close();
  });
  const servers = [...theirs, ...ours].map(({ server }) => server);
  const begun = performance.now();
  while (!servers.every(isThrough)) {
    haproxy.assertRuns();
    const late = performance.now() - begun > BOUND_MS;
    assert(!late, `not within ${BOUND_MS} ms: ${servers.map(({ checks }) => checks)}`);
    for (const path of paths) path.probe();
    await pause(PAUSE_MS / 2);
  }
  await haproxy.stop();
  return { schedules, verdicts: haproxy.verdicts(), paths };
}

test('Linkhold beside HAProxy', { skip: haproxyMissing() }, async (t) => {
  const { schedules, verdicts, paths } = await watchAll(t);
  const told = (index: number) => verdicts[index] ?? assert.fail();

  await t.test(
    `the same ups and downs of ${SCHEDULES} servers in ${CHECKS} checks of each`,
    (t) => {
      for (const [index, schedule] of schedules.entries()) {
        assertSame(toldByMachine(schedule), told(index), schedule);
      }
      const changes = verdicts.reduce((sum, { states }) => sum + states.length, 0);
      const late = verdicts.filter(({ lines }) => lines.some((line) => line.includes('timeout')));
      t.diagnostic(`${changes} changes; ${late.length} servers were silent now and then`);
      assert(changes > 5 * SCHEDULES, 'the schedules are too tame');
    },
  );

  await t.test(`the same of the ${LINKS} that an http link watches for a group as well`, () => {
    for (const [index, path] of paths.entries()) {
      const schedule = schedules[index] ?? assert.fail();
      assertSame(path.states, told(index), schedule);
    }
  });

  await t.test(
    'they differ before the first good check: one bad one is enough for HAProxy, which takes a server for up, and fall 3 needs three for a path that is unknown',
    () => {
      for (const [index, { answers, ours, theirs }] of FIRST_BAD.entries()) {
        const { states, lines } = told(SCHEDULES + index);
        assert.deepEqual(states, theirs, lines.join('\n'));
        assert.deepEqual(toldByMachine({ fall: 3, rise: 2, answers }), ours);
      }
    },
  );
});
