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
  type Standing,
} from '../path/path-group.ts';

/** A path of a group as shown to people and programs. */
export interface PathStatus {
  readonly link: string;
  readonly tier: number;
  readonly weight: number;
  readonly state: PathState;
  readonly since: string;
  /** How willingly traffic is put on it, best first: see `Standing`. */
  readonly standing: Standing;
  readonly drained: boolean;
  /** Until when a path that fell again is last choice. */
  readonly heldUntil: string | null;
  /** When traffic returns to it, if it stays up. */
  readonly failbackAt: string | null;
  /** Until when it counts as flapping, if it stays up. */
  readonly flappingUntil: string | null;
  /** What is poor about a path that is up. */
  readonly poor: string | null;
  /** The dead link it lies behind. */
  readonly silencedBy: string | null;
  /** The part of new flows that goes there, from 0 to 1. */
  readonly share: number;
  readonly active: boolean;
}

/** A group as shown to people and programs. */
export interface GroupStatus {
  readonly name: string;
  /** The path in use. */
  readonly active: string;
  readonly since: string;
  readonly why: string;
  readonly paths: readonly PathStatus[];
}

/** Who is to be told. */
export interface GroupHooks {
  /** New flows go to `to` from now on. */
  switched(from: string, to: string, why: string): void;
  note(text: string): void;
  /** This path carries a share of new flows from now on, beside the one in use. */
  joined(path: string): void;
  /** It carries no new flows any more. */
  left(path: string): void;
  /** Deals once more with the flows of a path that was left, and counts those still there. */
  flowsOn(path: string): number;
}

/** A path in use as another run of the group, or of the daemon, left it. */
export interface PathInUseBefore {
  readonly active: string;
  /** In UTC (ISO 8601). */
  readonly since: string;
  readonly why: string;
}

/** The part of a group's configuration that has it go on where it was. */
export function goOn({ active, since, why }: PathInUseBefore): Partial<PathGroupConfig> {
  const ageMs = Math.max(0, Date.now() - Date.parse(since)) || 0;
  return { inUse: active, inUseSince: performance.now() - ageMs, inUseWhy: why };
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
  /** Links with a probe under way that left after they were found down. */
  readonly #asked = new Set<string>();

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

  /** The path in use, for whoever goes on after this. */
  inUse(): PathInUseBefore {
    const { active, activeSince, activeWhy } = this.#group;
    return { active, since: wallTime(activeSince), why: activeWhy };
  }

  status(): GroupStatus {
    return {
      name: this.name,
      active: this.#group.active,
      since: wallTime(this.#group.activeSince),
      why: this.#group.activeWhy,
      paths: this.#group.rows(performance.now()).map((row) => {
        const { name, since, share, poor, silencedBy, ...times } = row;
        const { heldUntil, failbackAt, flappingUntil, ...rest } = times;
        return {
          link: name,
          ...rest,
          since: wallTime(since),
          heldUntil: heldUntil === undefined ? null : wallTime(heldUntil),
          failbackAt: failbackAt === undefined ? null : wallTime(failbackAt),
          flappingUntil: flappingUntil === undefined ? null : wallTime(flappingUntil),
          poor: poor ?? null,
          silencedBy: silencedBy ?? null,
          share: Math.round(share * 1_000) / 1_000,
        };
      }),
    };
  }

  readonly #onState = ({ link, from, to, reason }: StateEvent): void =>
    this.#handleState(link, from, to, reason);

  /** The answer that brings a link up is told twice, as reply and as state: it counts once. */
  readonly #onReply = ({ link, rttMs }: ReplyEvent): void => {
    const state = this.#links.get(link)?.state;
    if (state === 'up' || state === 'drained') this.#handleResult(link, true, 'heard');
    this.#handleSample(link, rttMs);
  };

  /**
   * A link that probes while it is down or suspect has had no answer to the probe before. The first
   * one after its verdict says nothing new: what led to that was told with it.
   */
  readonly #onProbe = ({ link }: ProbeEvent): void => {
    const state = this.#links.get(link)?.state;
    if (state === 'down') {
      if (this.#asked.has(link)) this.#handleResult(link, false, 'no-answer');
      this.#asked.add(link);
    }
    if (state === 'suspect') this.#handleSample(link, undefined);
  };

  #handleState(path: string, from: LinkState, to: LinkState, reason: string): void {
    const now = performance.now();
    this.#asked.delete(path);
    if (to === 'drained') this.#group.handleDrain(path, true, now);
    if (from === 'drained') this.#group.handleDrain(path, false, now);
    if (to === 'up' || to === 'down') this.#handleResult(path, to === 'up', reason);
    this.#driver.settle();
  }

  #handleResult(path: string, good: boolean, reason: string): void {
    this.#group.handleResult(path, good, reason, performance.now());
    this.#driver.settle();
  }

  #handleSample(link: string, rttMs: number | undefined): void {
    this.#group.handleSample(link, rttMs, performance.now());
    this.#driver.settle();
  }

  #perform(output: PathGroupOutput): void {
    switch (output.type) {
      case 'probe':
        this.#links.get(output.link)?.probe();
        break;
      case 'switch':
        this.#hooks.switched(output.from, output.to, output.why);
        break;
      case 'join':
        this.#hooks.joined(output.path);
        this.#hooks.note(output.why);
        break;
      case 'leave':
        this.#hooks.left(output.path);
        this.#hooks.note(output.why);
        break;
      case 'audit': {
        const flows = this.#hooks.flowsOn(output.path);
        this.#group.handleFlows(output.path, flows, performance.now());
        break;
      }
      case 'note':
        this.#hooks.note(output.text);
        break;
    }
  }
}
