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

const SCHEDULES = 1_050;
/** So many must have been checked as they were to be; see `isAsPlanned`. */
const LEAST = 1_000;
const CHECKS = 40;
/** The first of them are watched by real links too; the last ones are silent now and then. */
const LINKS = 100;
const SILENT_FROM = 900;
const MOST_SILENCES = 2;
const PAUSE_MS = 150;
/** For HAProxy. A good answer later than that would be a bad one, and a silence takes so long. */
const LATE_MS = 3_000;
const BOUND_MS = 180_000;

interface Schedule {
  /** Its number among them all, too. */
  readonly seed: number;
  readonly fall: number;
  readonly rise: number;
  readonly answers: readonly CheckAnswer[];
}

/** Runs of equal results, or no long count would ever be reached. The first check is good. */
function scheduleOf(seed: number): Schedule {
  const prng = new Prng(seed);
  const [fall, rise] = [prng.between(1, 5), prng.between(1, 5)];
  const staying = 0.3 + 0.5 * prng.next();
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
  for (let check = 0; check < answers.length + rise; check += 1) {
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

  constructor({ fall, rise, port }: Pick<Watched, 'fall' | 'rise' | 'port'>) {
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

/**
 * Where HAProxy tells of a timeout and the server was not silent, it was itself too busy to look: that
 * check had another result than the schedule says.
 */
function isAsPlanned({ answers }: Schedule, { lines }: Verdicts): boolean {
  const timeouts = lines.filter((line) => line.includes('timeout')).length;
  return timeouts <= answers.filter((answer) => answer === 'silence').length;
}

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

/** A server of its own for one who watches. */
interface Watched extends Schedule {
  readonly server: FlappingServer;
  readonly port: number;
}

async function listen(t: TestContext, schedule: Schedule): Promise<Watched> {
  const server = new FlappingServer(schedule.answers);
  t.after(() => server.close());
  return { ...schedule, server, port: await server.start() };
}

/** All have had their answer once one more check has begun. */
function isThrough({ server, answers, rise }: Watched): boolean {
  return server.checks > answers.length + rise;
}

/** All servers watched by one HAProxy, and some by real links, until everything has been told. */
async function watchAll(t: TestContext): Promise<Run> {
  const schedules = Array.from({ length: SCHEDULES }, (_, seed) => scheduleOf(seed));
  const firstBad = FIRST_BAD.map(({ answers }) => ({ seed: 0, fall: 3, rise: 2, answers }));
  const theirs = await Promise.all([...schedules, ...firstBad].map((one) => listen(t, one)));
  // After a reset, or an end without an answer, an http link asks once more: that would be two checks.
  const asked = ({ answers, ...one }: Schedule): Schedule => ({
    ...one,
    answers: answers.map((answer) => (answer === 'good' ? 'good' : 'garbage')),
  });
  const ours = await Promise.all(schedules.slice(0, LINKS).map((one) => listen(t, asked(one))));
  const options = { pauseMs: PAUSE_MS, lateMs: LATE_MS, home: temporaryDirectory(t) };
  const haproxy = new Haproxy(theirs, options);
  t.after(() => haproxy.stop());
  const paths = ours.map((one) => new WatchedPath(one));
  t.after(() => {
    for (const path of paths) path.close();
  });
  const begun = performance.now();
  for (;;) {
    const left = [...theirs, ...ours].filter((one) => !isThrough(one)).length;
    if (left === 0) break;
    haproxy.assertRuns();
    assert(performance.now() - begun < BOUND_MS, `${left} servers not done in ${BOUND_MS} ms`);
    for (const path of paths) path.probe();
    await pause(PAUSE_MS / 2);
  }
  await haproxy.stop();
  return { schedules, verdicts: haproxy.verdicts(), paths };
}

test('Linkhold beside HAProxy', { skip: haproxyMissing() }, async (t) => {
  const { schedules, verdicts, paths } = await watchAll(t);
  const told = (index: number) => verdicts[index] ?? assert.fail();

  const planned = schedules.filter((schedule) => isAsPlanned(schedule, told(schedule.seed)));

  await t.test(`the same ups and downs of ${LEAST} servers in ${CHECKS} checks of each`, (t) => {
    assert(planned.length >= LEAST, `${planned.length} servers: the machine is too busy`);
    let changes = 0;
    for (const schedule of planned) {
      const theirs = told(schedule.seed);
      assertSame(toldByMachine(schedule), theirs, schedule);
      changes += theirs.states.length;
    }
    t.diagnostic(`${changes} changes of ${planned.length} servers`);
    assert(changes > 2 * LEAST, 'the schedules are too tame');
  });

  await t.test(
    `the same of those among the first ${LINKS} as an http link tells it to its group`,
    (t) => {
      const watched = planned.filter(({ seed }) => seed < LINKS);
      for (const schedule of watched) {
        assertSame(paths[schedule.seed]?.states ?? [], told(schedule.seed), schedule);
      }
      t.diagnostic(`${watched.length} servers`);
      assert(watched.length > LINKS / 2);
    },
  );

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
