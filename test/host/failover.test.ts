/**
 * Whatever befalls the preferred of two servers behind a relay: users are answered again within the
 * bound that is stated, the event says why, and they are back once it is mended. Network namespaces,
 * real processes; users who open one connection after the other are the witnesses.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import type { GroupStatus } from '../../src/daemon/group-runner.ts';
import type { LinkStatus } from '../../src/link/link.ts';
import { A, B, FailoverScene, SERVER_PORT } from '../support/failover-scene.ts';
import { Lab, labMissing, type Peer, pause, START_MS } from '../support/lab.ts';
import { PYTHON, until } from '../support/machine.ts';

const [TIME_MS, INTERVAL_MS, PROBES, FAILBACK_MS] = [500, 100, 3, 500];
/** `verifyWithin`, by default. */
const VERIFY_MS = 1_000;
/** Users wait 500 ms for an answer before they ask again; the rest is for a busy machine. */
const SLACK_MS = 3_000;
const DETECTION_MS = TIME_MS + INTERVAL_MS * PROBES;
const FAILOVER_MS = DETECTION_MS + VERIFY_MS;
/** A request that was lost makes way after `PROBES` intervals; the second good result takes one more. */
const RISE_MS = INTERVAL_MS * (PROBES + 1);
const BACK_MS = RISE_MS + FAILBACK_MS + VERIFY_MS;
/** Longer than any wait of the daemon, and than the time in which it would find a dead server. */
const SLEEP_MS = 2_000;
const QUIET_MS = DETECTION_MS + VERIFY_MS;
const LOSS_MS = 8_000;

const timing = `time: ${TIME_MS}ms, interval: ${INTERVAL_MS}ms, probes: ${PROBES}`;
/** Both groups watch the same links; only one of them forgets how often a path has failed. */
const CONFIG = `
links:
  a: { url: "http://${A}:${SERVER_PORT}", ${timing} }
  b: { url: "http://${B}:${SERVER_PORT}", ${timing} }
groups:
  web: { paths: [{ link: a }, { link: b, tier: 2 }], failbackAfter: ${FAILBACK_MS}ms, holdDown: 0s }
  calm: { paths: [{ link: a }, { link: b, tier: 2 }], failbackAfter: ${FAILBACK_MS}ms }
relays:
  web: { listen: "127.0.0.1:8103", group: web, oldFlows: reset }
`;

interface Told {
  readonly type: string;
  readonly at: string;
  readonly group?: string;
  readonly link?: string;
  readonly from?: string;
  readonly to?: string;
  readonly why?: string;
  readonly text?: string;
}

const UNANSWERED = /^a is down: (no-answer|unreachable)$/;
/** Each fault that takes the first server away, and what is told of it. */
const DEATHS: Readonly<Record<string, RegExp>> = {
  'process killed': /^a is down: (refused|reset)$/,
  'process stopped': /^a is down: no-answer$/,
  'port closed': /^a is down: (refused|reset)$/,
  'dropped on the way there': UNANSWERED,
  'dropped on the way back': UNANSWERED,
  'dropped both ways': UNANSWERED,
  'answers after 3 s': /^a is down: no-answer$/,
  reboot: UNANSWERED,
  'another address': UNANSWERED,
};

/** Each test is skipped by itself, so that what was not proved is counted. */
const NEEDS = { skip: labMissing() };
const FORGER = { skip: NEEDS.skip || (existsSync(PYTHON[0]) ? false : `needs ${PYTHON[0]}`) };

suite('failover', { timeout: 180_000 }, () => {
  const removals: (() => void)[] = [];
  let lab: Lab;
  let scene: FailoverScene;
  let daemon: Peer;

  before(async () => {
    if (NEEDS.skip !== false) return;
    const home = mkdtempSync(path.join(os.tmpdir(), 'linkhold-failover-'));
    removals.push(() => rmSync(home, { recursive: true, force: true }));
    lab = new Lab({ after: (remove: () => void) => removals.unshift(remove) });
    const file = path.join(home, 'linkhold.yaml');
    writeFileSync(file, CONFIG);
    const bin = path.join(import.meta.dirname, '../../bin/linkhold');
    scene = new FailoverScene(lab, {
      observers: [[bin, 'run', file, '--json', '--state-dir', home]],
      ports: ['8103'],
    });
    [daemon] = scene.observers as [Peer];
    await scene.answered('a', Date.now());
  });
  after(() => {
    for (const remove of removals) remove();
  });

  /** What the daemon has told from that line on. */
  const told = (from: number): Told[] =>
    daemon.lines.slice(from).flatMap((line) => (JSON.parse(line) as { event?: Told }).event ?? []);
  const switches = (from: number, group: string): Told[] =>
    told(from).filter((event) => event.type === 'switch' && event.group === group);
  /** So many switches of the relay's group, once they are there. */
  const moves = async (from: number, count: number): Promise<Told[]> =>
    await until(
      () => {
        const seen = switches(from, 'web');
        return seen.length >= count && seen;
      },
      `${count} switches`,
      FAILOVER_MS + SLACK_MS,
    );
  const ask = <Item>(what: string): Item[] => {
    const question = `fetch('http://127.0.0.1:7117/api/v1/${what}').then((r) => r.text()).then(console.log)`;
    return JSON.parse(lab.run(scene.client, process.execPath, '-e', question)).items;
  };
  const faultOf = (name: string) => {
    const fault = scene.faults[name];
    assert(fault !== undefined, name);
    return fault;
  };
  const within = (t: TestContext, what: string, ms: number, promisedMs: number) => {
    t.diagnostic(`${what} after ${ms} ms; the bound is ${promisedMs} ms`);
    assert(ms <= promisedMs + SLACK_MS, `${what} after ${ms} ms`);
  };
  const back = async (t: TestContext, ended: number) => {
    const good = await scene.answered('a', ended);
    within(t, 'back', good - ended, BACK_MS);
  };

  test(
    '30 % lost each way for 8 s: with damping traffic leaves and does not come back',
    NEEDS,
    async (t) => {
      const { begin, end } = faultOf('30 % lost each way');
      const seen = daemon.lines.length;
      await begin();
      await pause(LOSS_MS);
      await end();
      const calm = switches(seen, 'calm').map(({ from, to }) => `${from}>${to}`);
      const wild = switches(seen, 'web').length;
      t.diagnostic(`${calm.length} switches, ${wild} without damping`);
      // The first fall costs no hold-down, the second 30 s of it.
      const most = ['a>b', 'b>a', 'a>b'];
      assert.deepEqual(calm, most.slice(0, calm.length));
      await back(t, Date.now());
    },
  );

  for (const [name, why] of Object.entries(DEATHS)) {
    test(
      `${name}: the second server answers within the bound, and the first once it is mended`,
      NEEDS,
      async (t) => {
        const { begin, end } = faultOf(name);
        const seen = daemon.lines.length;
        const begun = Date.now();
        await begin();
        try {
          const good = await scene.answered('b', begun);
          within(t, 'answered', good - begun, FAILOVER_MS);
          // The relay leaves a path that refuses even before the verdict.
          const [{ from, to, why: said = '' } = {}, ...more] = await moves(seen, 1);
          assert.deepEqual([from, to, more], ['a', 'b', []]);
          assert.match(said, why);
        } finally {
          await end();
        }
        await back(t, Date.now());
        const [, { why: returned = '' } = {}, ...others] = await moves(seen, 2);
        assert.match(returned, /^a is back: preferred tier 1, good for /);
        assert.deepEqual(others, []);
      },
    );
  }

  test(
    'a forged RST into the connection of a link: it makes a new one, and nothing moves',
    FORGER,
    async (t) => {
      const { begin, end } = faultOf('a forged RST');
      const connection = () => ask<LinkStatus>('links').find(({ name }) => name === 'a')?.local;
      const before = connection();
      const seen = daemon.lines.length;
      const begun = Date.now();
      await begin();
      await pause(QUIET_MS);
      await end();
      assert.notEqual(connection(), before, 'the RST was not believed: it proves nothing');
      assert.deepEqual(
        told(seen).filter(({ type, to }) => type === 'switch' || to === 'down'),
        [],
      );
      const others = scene.answersSince(begun).filter(({ who }) => who !== 'a');
      assert.deepEqual(others, []);
      t.diagnostic('no user noticed');
    },
  );

  test('the observer sleeps for 2 s: it blames nobody, and nothing moves', NEEDS, async (t) => {
    const { begin, end } = faultOf('observers stopped');
    const seen = daemon.lines.length;
    await begin();
    await pause(SLEEP_MS);
    await end();
    const ended = Date.now();
    const good = await scene.answered('a', ended);
    t.diagnostic(`answered ${good - ended} ms after it woke`);
    assert(good - ended <= SLACK_MS);
    await pause(QUIET_MS);
    assert.deepEqual(
      told(seen).filter(({ type, to }) => type === 'switch' || to === 'down'),
      [],
    );
  });

  test(
    'both dead: traffic stays on the one that was alive last, which is told, until one is back',
    NEEDS,
    async (t) => {
      const { begin, end } = faultOf('both dead');
      const seen = daemon.lines.length;
      await begin();
      await daemon.line('no path is up; staying on b', DETECTION_MS + START_MS, seen);
      await pause(QUIET_MS);
      const active = ask<GroupStatus>('groups').find(({ name }) => name === 'web')?.active;
      assert.deepEqual([active, switches(seen, 'web').length], ['b', 1]);
      const mending = Date.now();
      const mended = end();
      const good = await scene.answered('b', mending);
      within(t, 'answered', good - mending, RISE_MS);
      await mended;
      await back(t, Date.now());
      assert.deepEqual(
        switches(seen, 'web').map(({ to }) => to),
        ['b', 'a'],
      );
    },
  );
});
