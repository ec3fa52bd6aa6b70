/**
 * The figures of the daemon itself: how late it is, what it costs, what waits, and what is wrong.
 * @module
 */
import { readdirSync, statSync } from 'node:fs';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { EventStream } from '../api/stream.ts';
import type { EventLog } from '../event-log.ts';
import type { LoopWatch } from '../loop-watch.ts';

/** Seconds: a timer of Node's is a few milliseconds late; a second is an illness. */
const LATENESS_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export interface DaemonMetricsOptions {
  readonly log: EventLog;
  readonly loop: LoopWatch;
  readonly version: string;
  /** What is wrong with the daemon, a sentence each. */
  troubles(): readonly string[];
}

export class DaemonMetrics {
  /** The API's stream, once there is one. */
  stream: EventStream | undefined;
  readonly #log: EventLog;
  readonly #troubles: () => readonly string[];
  readonly #seconds: Counter;
  readonly #gauges: readonly (readonly [Gauge, () => number])[];

  constructor({ log, loop, version, troubles }: DaemonMetricsOptions, registry: Registry) {
    const registers = [registry];
    this.#log = log;
    this.#troubles = troubles;
    const events = new Counter({
      name: 'linkhold_events_total',
      help: 'Events told, by type.',
      labelNames: ['type'],
      registers,
    });
    for (const type of ['state', 'switch', 'note']) events.inc({ type }, 0);
    log.on('event', ({ type }) => events.inc({ type }));
    const lateness = new Histogram({
      name: 'linkhold_timer_lateness_seconds',
      help: 'How late a timer of the daemon was; looked at four times a second.',
      buckets: LATENESS_BUCKETS,
      registers,
    });
    loop.onLateness((lateMs) => lateness.observe(lateMs / 1_000));
    new Gauge({
      name: 'linkhold_build_info',
      help: '1; the labels say which build it is.',
      labelNames: ['version', 'node'],
      registers,
    }).set({ version, node: process.versions.node }, 1);
    this.#seconds = new Counter({
      name: 'process_cpu_seconds_total',
      help: 'CPU time used.',
      registers,
    });
    this.#gauges = GAUGES.map(([name, help, read]) => [
      new Gauge({ name, help, registers }),
      () => read(this),
    ]);
  }

  get unkept(): number {
    return this.#log.unkept;
  }

  get wrong(): number {
    return this.#troubles().length;
  }

  /** Brings everything up to date. */
  refresh(): void {
    const { user, system } = process.cpuUsage();
    this.#seconds.reset();
    this.#seconds.inc((user + system) / 1_000_000);
    for (const [gauge, read] of this.#gauges) gauge.set(read());
  }
}

const STARTED_S = Date.now() / 1_000 - process.uptime();

const GAUGES: readonly (readonly [string, string, (metrics: DaemonMetrics) => number])[] = [
  ['linkhold_troubles', 'What is wrong with the daemon, as in /healthz.', ({ wrong }) => wrong],
  ['linkhold_events_unkept', 'Events that are still to be kept.', ({ unkept }) => unkept],
  [
    'linkhold_stream_readers',
    'Readers of the stream of events.',
    ({ stream }) => stream?.readers ?? 0,
  ],
  [
    'linkhold_stream_unread_bytes',
    'Bytes that they have not taken yet.',
    ({ stream }) => stream?.unreadBytes ?? 0,
  ],
  ['process_resident_memory_bytes', 'Memory in use.', () => process.memoryUsage.rss()],
  ['process_start_time_seconds', 'When it started, since 1970.', () => STARTED_S],
  ['process_open_fds', 'Open descriptors.', () => openDescriptors()],
];

/** 0 where the system does not tell. Since Linux 6.2 it need not list them: of many, 10 ms. */
function openDescriptors(): number {
  try {
    return statSync('/proc/self/fd').size || readdirSync('/proc/self/fd').length;
  } catch {
    return 0;
  }
}
