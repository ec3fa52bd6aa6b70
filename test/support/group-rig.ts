/**
 * Drives a group of paths through virtual time and writes down what it does: `1000 probe b`.
 * @module
 */
import assert from 'node:assert/strict';
import {
  type PathConfig,
  PathGroup,
  type PathGroupConfig,
  type PathGroupOutput,
} from '../../src/path/path-group.ts';

function readPath(text: string): PathConfig {
  const [name = '', tier = '1', weight = '1'] = text.split(':');
  return { name, tier: Number(tier), weight: Number(weight) };
}

function tell(out: PathGroupOutput): string {
  if (out.type === 'switch') return `${out.from} > ${out.to}: ${out.why}`;
  if (out.type === 'note') return out.text;
  return out.type === 'probe' ? out.link : out.path;
}

/** Drives a group through virtual time and writes down what it does: `1000 probe b`. */
export class GroupRig {
  readonly group: PathGroup;
  now = 0;
  /** The flows that an audit finds on any path that was left. */
  left = 0;
  #log: string[] = [];

  /** Paths as `name:tier:weight`, or in full. */
  constructor(paths: string | readonly PathConfig[], options: Omit<PathGroupConfig, 'paths'> = {}) {
    const list = typeof paths === 'string' ? paths.split(' ').map(readPath) : paths;
    this.group = new PathGroup({ paths: list, ...options }, 0);
  }

  /** To this instant by way of every deadline on the way, that instant included. */
  to(instant: number): this {
    for (let steps = 0; ; steps += 1) {
      assert(steps < 10_000, 'no progress');
      const next = this.group.pollTimeout();
      if (next === undefined || next > instant) break;
      this.now = next;
      this.#note(() => this.group.handleTimeout(next));
    }
    this.now = instant;
    return this;
  }

  /** The observer sleeps until this instant. */
  sleepTo(instant: number): this {
    this.now = instant;
    return this.#note(() => this.group.handleTimeout(instant));
  }

  good(...paths: readonly string[]): this {
    for (const path of paths) {
      this.#note(() => this.group.handleResult(path, true, 'heard', this.now));
    }
    return this;
  }

  bad(path: string, reason = 'no-answer'): this {
    return this.#note(() => this.group.handleResult(path, false, reason, this.now));
  }

  /** Probes with these fates: a round trip in ms, or lost. */
  samples(link: string, ...rtts: readonly (number | undefined)[]): this {
    for (const rtt of rtts) this.#note(() => this.group.handleSample(link, rtt, this.now));
    return this;
  }

  drain(path: string): this {
    return this.#note(() => this.group.handleDrain(path, true, this.now));
  }

  resume(path: string): this {
    return this.#note(() => this.group.handleDrain(path, false, this.now));
  }

  /** What happened since the last look. */
  get log(): string[] {
    const log = this.#log;
    this.#log = [];
    return log;
  }

  #note(input: () => void): this {
    input();
    for (let out = this.group.pollOutput(); out !== undefined; out = this.group.pollOutput()) {
      this.#log.push(`${this.now} ${out.type} ${tell(out)}`);
      if (out.type === 'audit') this.group.handleFlows(out.path, this.left, this.now);
    }
    return this;
  }
}
