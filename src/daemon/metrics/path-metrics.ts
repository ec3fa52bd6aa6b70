/**
 * The figures of groups and relays. Above 5,000 paths in all, those of single paths are left out.
 * @module
 */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { EventLog } from '../event-log.ts';
import type { GroupStatus } from '../group-runner.ts';
import type { Supervisor } from '../supervisor.ts';

/** Paths with series of their own. */
const MOST_SINGLE_PATHS = 5_000;

export class PathMetrics {
  readonly #supervisor: Supervisor;
  readonly #groups: Gauge<'state'>;
  readonly #inUse: Gauge<'group' | 'path'>;
  readonly #up: Gauge<'group' | 'path'>;
  readonly #switches: Counter<'group'>;
  readonly #flows: Gauge<'relay' | 'path'>;
  readonly #accepted: Counter<'relay'>;
  readonly #refused: Counter<'relay'>;

  constructor(supervisor: Supervisor, log: EventLog, registry: Registry) {
    this.#supervisor = supervisor;
    const registers = [registry];
    const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
      new Gauge({ name, help, labelNames, registers });
    const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
      new Counter({ name, help, labelNames, registers });
    this.#groups = gauge('linkhold_groups', 'Groups, by the state of their path in use.', 'state');
    const path = ['group', 'path'] as const;
    this.#inUse = gauge('linkhold_group_path_in_use', '1 for the path in use, else 0.', ...path);
    this.#up = gauge('linkhold_group_path_up', '1 for a path that may be used, else 0.', ...path);
    this.#switches = counter(
      'linkhold_group_switches_total',
      'Times that new flows were sent by another path.',
      'group',
    );
    this.#flows = gauge('linkhold_relay_flows', 'Flows open now.', 'relay', 'path');
    this.#accepted = counter('linkhold_relay_accepted_total', 'Flows taken.', 'relay');
    this.#refused = counter(
      'linkhold_relay_refused_total',
      'Flows whose path did not take the connection.',
      'relay',
    );
    log.on('event', (event) => {
      if (event.type === 'switch') this.#switches.inc({ group: event.group });
    });
  }

  /** Brings everything up to date. */
  refresh(): void {
    const groups = this.#supervisor.groupStatuses();
    for (const gauge of [this.#groups, this.#inUse, this.#up, this.#flows]) gauge.reset();
    for (const state of ['up', 'down', 'unknown']) this.#groups.set({ state }, 0);
    for (const { active, paths } of groups) {
      const state = paths.find((path) => path.link === active)?.state ?? 'unknown';
      this.#groups.inc({ state });
    }
    const count = groups.reduce((sum, { paths }) => sum + paths.length, 0);
    if (count <= MOST_SINGLE_PATHS) for (const group of groups) this.#showPaths(group);
    this.#showRelays();
  }

  #showPaths({ name: group, active, paths }: GroupStatus): void {
    this.#switches.inc({ group }, 0);
    for (const { link: path, state, drained } of paths) {
      this.#inUse.set({ group, path }, path === active ? 1 : 0);
      this.#up.set({ group, path }, state === 'up' && !drained ? 1 : 0);
    }
  }

  /** The relays count by themselves; what they say is passed on. */
  #showRelays(): void {
    this.#accepted.reset();
    this.#refused.reset();
    for (const { name: relay, flows, accepted, refused } of this.#supervisor.relayStatuses()) {
      this.#accepted.inc({ relay }, accepted);
      this.#refused.inc({ relay }, refused);
      for (const [path, open] of Object.entries(flows)) this.#flows.set({ relay, path }, open);
    }
  }
}
