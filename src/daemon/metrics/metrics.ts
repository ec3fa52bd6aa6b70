/**
 * Figures for Prometheus, of links, paths and the daemon itself. They are counted up to date when
 * somebody asks, and written piece by piece, so that no timer of a link waits for all of it.
 * @module
 */
import { setImmediate } from 'node:timers/promises';
import { Registry } from 'prom-client';
import type { EventStream } from '../api/stream.ts';
import type { Supervisor } from '../supervisor.ts';
import { DaemonMetrics, type DaemonMetricsOptions } from './daemon-metrics.ts';
import { LinkMetrics } from './link-metrics.ts';
import { PathMetrics } from './path-metrics.ts';

export interface MetricsOptions extends DaemonMetricsOptions {
  readonly supervisor: Supervisor;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #links: LinkMetrics;
  readonly #paths: PathMetrics;
  readonly #daemon: DaemonMetrics;
  #rendering: Promise<string> | undefined;

  constructor(options: MetricsOptions) {
    const { supervisor, log } = options;
    this.#links = new LinkMetrics(supervisor, this.#registry);
    this.#paths = new PathMetrics(supervisor, log, this.#registry);
    this.#daemon = new DaemonMetrics(options, this.#registry);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Counts the readers of this stream, too. */
  follow(stream: EventStream): void {
    this.#daemon.stream = stream;
  }

  /** Everything in Prometheus' text format. Who asks while it is being written gets the same. */
  render(): Promise<string> {
    this.#rendering ??= this.#write().finally(() => {
      this.#rendering = undefined;
    });
    return this.#rendering;
  }

  async #write(): Promise<string> {
    await this.#links.refresh();
    this.#paths.refresh();
    this.#daemon.refresh();
    const texts: string[] = [];
    for (const { name } of this.#registry.getMetricsAsArray()) {
      texts.push(await this.#registry.getSingleMetricAsString(name));
      await setImmediate();
    }
    return `${texts.join('\n\n')}\n`;
  }
}
