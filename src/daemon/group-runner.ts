/**
 * Drives one group: feeds it what its links tell, and passes on what it decides. The order of a
 * switch is the machine's: new flows first, then the old ones.
 * @module
 */

import type { LinkState } from '../keepalive/keepalive.ts';
import { Driver } from '../link/driver.ts';
import type { Link, ProbeEvent, ReplyEvent, StateEvent } from '../link/link.ts';
import {
  PathGroup,
  type PathGroupConfig,
  type PathGroupOutput,
  type PathState,
} from '../path/path-group.ts';

/** A group as shown to people and programs. */
export interface GroupStatus {
  readonly name: string;
  /** The path in use. */
  readonly active: string;
  readonly since: string;
  readonly why: string;
  readonly paths: readonly {
    readonly link: string;
    readonly tier: number;
    readonly weight: number;
    readonly state: PathState;
    readonly since: string;
    readonly drained: boolean;
    /** Until when a flapping path is last choice. */
    readonly heldUntil: string | null;
    readonly active: boolean;
  }[];
}

/** Who is to be told. */
export interface GroupHooks {
  /** New flows go to `to` from now on. */
  switched(from: string, to: string, why: string): void;
  note(text: string): void;
}

function wallTime(instant: number): string {
  return new Date(Date.now() + instant - performance.now()).toISOString();
}

export class GroupRunner {
  readonly name: string;
  readonly #group: PathGroup;
  readonly #driver: Driver<PathGroupOutput>;
  readonly #links: ReadonlyMap<string, Link>;
  readonly #hooks: GroupHooks;

  /** `links` are those of the group's paths; they outlive it. */
  constructor(name: string, config: PathGroupConfig, links: readonly Link[], hooks: GroupHooks) {
    this.name = name;
    this.#hooks = hooks;
    this.#links = new Map(links.map((link) => [link.name, link]));
    this.#group = new PathGroup(config, performance.now());
    this.#driver = new Driver(this.#group, (output) => this.#perform(output));
  }

  get active(): string {
    return this.#group.active;
  }

  /** Takes the links as they stand, and follows them from now on. */
  start(): void {
    for (const link of this.#links.values()) {
      const { state, reason } = link.status();
      this.#handleState(link.name, 'unknown', state, reason);
      link.on('state', this.#onState);
      link.on('reply', this.#onReply);
      link.on('probe', this.#onProbe);
    }
  }

  close(): void {
    this.#driver.stop();
    for (const link of this.#links.values()) {
      link.off('state', this.#onState);
      link.off('reply', this.#onReply);
      link.off('probe', this.#onProbe);
    }
  }

  status(): GroupStatus {
    return {
      name: this.name,
      active: this.#group.active,
      since: wallTime(this.#group.activeSince),
      why: this.#group.activeWhy,
      paths: this.#group.rows(performance.now()).map(({ name, heldUntil, since, ...row }) => ({
        link: name,
        ...row,
        since: wallTime(since),
        heldUntil: heldUntil === undefined ? null : wallTime(heldUntil),
      })),
    };
  }

  readonly #onState = ({ link, from, to, reason }: StateEvent): void =>
    this.#handleState(link, from, to, reason);

  /** The answer that brings a link up is told twice, as reply and as state: it counts once. */
  readonly #onReply = ({ link }: ReplyEvent): void => {
    const state = this.#links.get(link)?.state;
    if (state === 'up' || state === 'drained') this.#handleResult(link, true, 'heard');
  };

  /** A link that is down and probes again has had one more silence. */
  readonly #onProbe = ({ link }: ProbeEvent): void => {
    if (this.#links.get(link)?.state === 'down') this.#handleResult(link, false, 'no-answer');
  };

  #handleState(path: string, from: LinkState, to: LinkState, reason: string): void {
    const now = performance.now();
    if (to === 'drained') this.#group.handleDrain(path, true, now);
    if (from === 'drained') this.#group.handleDrain(path, false, now);
    if (to === 'up' || to === 'down') this.#handleResult(path, to === 'up', reason);
    this.#driver.settle();
  }

  #handleResult(path: string, good: boolean, reason: string): void {
    this.#group.handleResult(path, good, reason, performance.now());
    this.#driver.settle();
  }

  #perform(output: PathGroupOutput): void {
    if (output.type === 'probe') this.#links.get(output.path)?.probe();
    else if (output.type === 'note') this.#hooks.note(output.text);
    else this.#hooks.switched(output.from, output.to, output.why);
  }
}
