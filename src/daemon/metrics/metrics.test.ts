/** The figures for Prometheus: what is counted, and that their number is bounded. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { createLink } from '../../link/registry.ts';
import { EventLog } from '../event-log.ts';
import type { GroupStatus } from '../group-runner.ts';
import { LoopWatch } from '../loop-watch.ts';
import type { RelayStatus } from '../relays.ts';
import { Supervisor } from '../supervisor.ts';
import { MOST_SINGLE_LINKS } from './link-metrics.ts';
import { Metrics } from './metrics.ts';

/** Links that are never started: what they tell is told by the test. */
function linksCalled(...names: readonly string[]) {
  return names.map((name) => createLink('tcp://127.0.0.1:1', { time: '45s' }, '', name));
}

function rig(t: TestContext, wrong: readonly string[] = []) {
  const log = new EventLog();
  const supervisor = new Supervisor(log);
  const shown = { links: linksCalled('a', 'b'), groups: [] as GroupStatus[] };
  const relay = {
    name: 'r',
    listen: '',
    group: 'g',
    oldFlows: 'keep',
    pid: 1,
    protocol: 'tcp',
    engine: 'splice',
    bytesUp: 0,
    bytesDown: 0,
    failure: null,
  } as const;
  const relays: RelayStatus[] = [{ ...relay, flows: { a: 3 }, accepted: 7, refused: 1 }];
  t.mock.method(supervisor, 'links', () => shown.links);
  t.mock.method(supervisor, 'link', (name: string) =>
    shown.links.find((link) => link.name === name),
  );
  t.mock.method(supervisor, 'groupStatuses', () => shown.groups);
  t.mock.method(supervisor, 'relayStatuses', () => relays);
  t.mock.method(supervisor, 'tagsOf', (name: string) => (name === 'a' ? ['eu'] : []));
  const loop = new LoopWatch();
  const metrics = new Metrics({ supervisor, log, loop, version: '1.2.3', troubles: () => wrong });
  /** Every series by its name and labels. */
  const scrape = async () => {
    const lines = (await metrics.render()).split('\n').filter((line) => /^[a-z]/.test(line));
    return new Map(
      lines.map((line) => [line.replace(/ \S+$/, ''), Number(/\S+$/.exec(line)?.[0])]),
    );
  };
  return { shown, log, metrics, scrape };
}

const at = '2026-11-22T12:00:00.000Z';
const happening = { at, link: 'a' };

suite('metrics', () => {
  test('probes, losses and round trips of a link, from the first scrape on', async (t) => {
    const { shown, scrape } = rig(t);
    const [a] = shown.links;
    assert(a !== undefined);
    a.emit('probe', { ...happening, type: 'probe' });
    const before = await scrape();
    assert.equal(before.get('linkhold_link_probes_total{link="a",kind="tcp"}'), 0);
    assert.equal(before.get('linkhold_link_round_trip_seconds_count{link="a",kind="tcp"}'), 0);
    const probe = () => a.emit('probe', { ...happening, type: 'probe' });
    const reply = (rttMs: number) => a.emit('reply', { ...happening, type: 'reply', rttMs });
    probe();
    reply(3);
    probe();
    probe();
    reply(30);
    probe();
    const down = { from: 'suspect', to: 'down', reason: 'no-answer', evidence: {} } as const;
    a.emit('state', { ...happening, type: 'state', ...down, detectsWithinMs: 1 });
    const after = await scrape();
    assert.equal(after.get('linkhold_link_probes_total{link="a",kind="tcp"}'), 4);
    assert.equal(after.get('linkhold_link_losses_total{link="a",kind="tcp"}'), 2);
    assert.equal(after.get('linkhold_link_losses_total{link="b",kind="tcp"}'), 0);
    const series = (le: string) =>
      after.get(`linkhold_link_round_trip_seconds_bucket{le="${le}",link="a",kind="tcp"}`);
    assert.deepEqual(['0.001', '0.005', '0.05', '+Inf'].map(series), [0, 1, 2, 2]);
    assert.equal(after.get('linkhold_link_round_trip_seconds_sum{link="a",kind="tcp"}'), 0.033);
  });

  test('states, bounds, tags, groups, relays, events, troubles and the build', async (t) => {
    const { shown, log, scrape } = rig(t, ['one', 'two']);
    const row = {
      tier: 1,
      weight: 1,
      since: at,
      heldUntil: null,
      failbackAt: null,
      flappingUntil: null,
    } as const;
    const more = {
      poor: null,
      silencedBy: null,
      share: 0,
      drained: false,
      standing: 'eligible',
    } as const;
    shown.groups = [
      {
        name: 'g',
        active: 'a',
        since: at,
        why: '',
        paths: [
          { ...row, ...more, link: 'a', state: 'down', active: true },
          { ...row, ...more, link: 'b', state: 'up', active: false },
        ],
      },
    ];
    log.append({ at, type: 'switch', group: 'g', from: 'b', to: 'a', why: '' });
    const series = await scrape();
    for (const [name, value] of [
      ['linkhold_link_state{link="a",kind="tcp",state="unknown"}', 1],
      ['linkhold_link_state{link="a",kind="tcp",state="up"}', 0],
      ['linkhold_links{kind="tcp",state="unknown"}', 2],
      ['linkhold_links{kind="tcp",state="down"}', 0],
      ['linkhold_tagged_links{tag="eu",state="unknown"}', 1],
      ['linkhold_link_detection_bound_seconds{link="a",kind="tcp"}', 75],
      ['linkhold_link_largest_silence_seconds{link="a",kind="tcp"}', 45],
      ['linkhold_groups{state="down"}', 1],
      ['linkhold_groups{state="up"}', 0],
      ['linkhold_group_path_in_use{group="g",path="a"}', 1],
      ['linkhold_group_path_in_use{group="g",path="b"}', 0],
      ['linkhold_group_path_up{group="g",path="b"}', 1],
      ['linkhold_group_switches_total{group="g"}', 1],
      ['linkhold_relay_flows{relay="r",path="a"}', 3],
      ['linkhold_relay_accepted_total{relay="r"}', 7],
      ['linkhold_relay_refused_total{relay="r"}', 1],
      ['linkhold_events_total{type="switch"}', 1],
      ['linkhold_troubles', 2],
      [`linkhold_build_info{version="1.2.3",node="${process.versions.node}"}`, 1],
    ] as const) {
      assert.equal(series.get(name), value, name);
    }
    const again = await scrape();
    assert.equal(again.get('linkhold_relay_accepted_total{relay="r"}'), 7);
  });

  test('a link that is gone has no series, and one made anew goes on counting', async (t) => {
    const { shown, scrape } = rig(t);
    await scrape();
    shown.links[0]?.emit('probe', { ...happening, type: 'probe' });
    const old = shown.links[0];
    shown.links = linksCalled('a');
    await scrape();
    shown.links[0]?.emit('probe', { ...happening, type: 'probe' });
    old?.emit('probe', { ...happening, type: 'probe' });
    const series = await scrape();
    assert.equal(series.get('linkhold_link_probes_total{link="a",kind="tcp"}'), 2);
    assert.deepEqual(
      [...series.keys()].filter((name) => name.includes('link="b"')),
      [],
    );
  });

  test('above 2,000 links those of a kind share their series: 100 times as many add none', async (t) => {
    const { shown, scrape } = rig(t);
    shown.links = linksCalled(...Array.from({ length: MOST_SINGLE_LINKS }, (_, i) => `l${i}`));
    assert((await scrape()).size > 19 * MOST_SINGLE_LINKS);
    shown.links.push(...linksCalled('one-more'));
    const few = await scrape();
    for (const link of shown.links) link.emit('probe', { at, link: link.name, type: 'probe' });
    const series = await scrape();
    assert.equal(series.get('linkhold_link_probes_total{link="",kind="tcp"}'), 2_001);
    assert.equal(series.get('linkhold_link_detection_bound_seconds{link="",kind="tcp"}'), 75);
    assert.equal(series.get('linkhold_links{kind="tcp",state="unknown"}'), 2_001);
    assert.deepEqual([...few.keys()], [...series.keys()]);
    assert(series.size < 120, `${series.size} series`);
  });

  test('a name with quotes, backslashes and newlines is one label and one line', async (t) => {
    const { shown, metrics } = rig(t);
    shown.links = linksCalled('a"} 1\n# \\evil');
    const text = await metrics.render();
    assert(
      text.includes('linkhold_link_state{link="a\\"} 1\\n# \\\\evil",kind="tcp",state="up"} 0'),
    );
  });

  test('two who ask at once get the same text', async (t) => {
    const { metrics } = rig(t);
    const [one, other] = [metrics.render(), metrics.render()];
    assert.equal(one, other);
    await one;
    assert.notEqual(metrics.render(), one);
  });

  test('names and units are by convention: base units, counters end in _total', async (t) => {
    const { metrics } = rig(t);
    const text = await metrics.render();
    const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
    assert(types.length > 20);
    for (const [, name = '', type] of types) {
      assert.match(name, /^(linkhold|process)_[a-z_]+$/);
      assert.equal(name.endsWith('_total'), type === 'counter', name);
      assert.doesNotMatch(name, /_(ms|milliseconds|kb|percent)(_|$)/);
      assert.match(text, new RegExp(`^# HELP ${name} [A-Z1].*\\.$`, 'm'));
    }
    assert(text.endsWith('\n') && !text.includes('\n\n\n'));
  });

  test('the examples for Grafana and alerts, and docs/api.md, speak of figures that there are', async (t) => {
    const { metrics } = rig(t);
    const text = await metrics.render();
    const known = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
    const root = path.join(import.meta.dirname, '..', '..', '..');
    for (const file of [
      'examples/grafana-dashboard.json',
      'examples/alert-rules.yaml',
      'docs/api.md',
    ]) {
      const used = readFileSync(path.join(root, file), 'utf8').match(/\blinkhold_[a-z_]+/g) ?? [];
      assert(used.length > 5, file);
      for (const name of used) {
        assert(known.has(name.replace(/_(bucket|sum|count)$/, '')), `${file}: ${name}`);
      }
    }
    const rules = parse(readFileSync(path.join(root, 'examples/alert-rules.yaml'), 'utf8'));
    for (const { alert, expr, annotations } of rules.groups[0].rules) {
      assert.match(alert, /^Linkhold[A-Z]\w+$/);
      assert(expr.length > 0 && annotations.summary.length > 0, alert);
    }
    const board = JSON.parse(
      readFileSync(path.join(root, 'examples/grafana-dashboard.json'), 'utf8'),
    );
    const ids = board.panels.map(({ id }: { id: number }) => id);
    assert.equal(new Set(ids).size, ids.length);
  });
});
