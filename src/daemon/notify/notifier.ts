/**
 * Joins the parts: feeds the machine with what links and groups tell, keeps what it decides, and
 * hands it to the channels' couriers. Its own troubles are notes in the event log.
 * @module
 */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { Driver } from '../../link/driver.ts';
import type { Config } from '../config-schema.ts';
import type { EventLog, LoggedEvent } from '../event-log.ts';
import type { Supervisor } from '../supervisor.ts';
import { createChannel } from './channels.ts';
import { Courier } from './courier.ts';
import type { Message } from './message.ts';
import { ruleOptions } from './notify-config.ts';
import { NotifyMachine } from './notify-machine.ts';
import type { NotifyEntry } from './notify-schema.ts';
import { Outbox } from './outbox.ts';
import type { RuleConfig, RuleOutput } from './rule.ts';

interface Watched {
  readonly rules: NotifyEntry['rules'];
  readonly links: Config['links'];
  readonly groups: Config['groups'];
}

export class Notifier {
  readonly #stateDir: string;
  readonly #log: EventLog;
  readonly #supervisor: Supervisor;
  readonly #couriers = new Map<string, Courier>();
  #outbox: Outbox | undefined;
  #watched: Watched | undefined;
  #machine: NotifyMachine | undefined;
  #driver: Driver<RuleOutput> | undefined;

  constructor(stateDir: string, log: EventLog, supervisor: Supervisor) {
    this.#stateDir = stateDir;
    this.#log = log;
    this.#supervisor = supervisor;
  }

  /**
   * Tells from now on what `config` wants told; what it describes runs already. Throws `SystemError`
   * and `UsageError`.
   */
  apply(config: Config): void {
    const { notify, links, groups } = config;
    if (notify === undefined) {
      this.stop();
      return;
    }
    const { channels, rules } = notify;
    const made = Object.entries(channels).map(
      ([name, entry]) => [name, createChannel(entry, `notify.channels.${name}`)] as const,
    );
    const outbox = this.#outbox ?? new Outbox(this.#stateDir, this.#note);
    this.#outbox = outbox;
    for (const [name, courier] of this.#couriers) {
      if (Object.hasOwn(channels, name)) continue;
      courier.stop();
      this.#couriers.delete(name);
    }
    for (const [name, count] of outbox.keepOnly(Object.keys(channels), Object.keys(rules))) {
      this.#note(`notify: ${name} is no channel any more; messages dropped with it: ${count}`);
    }
    for (const [name, channel] of made) {
      const courier = this.#couriers.get(name);
      if (courier !== undefined) courier.use(channel);
      else this.#couriers.set(name, new Courier(name, channel, outbox, this.#note));
    }
    const watched = { rules, links, groups };
    if (isDeepStrictEqual(watched, this.#watched)) return;
    this.#watched = watched;
    this.#watch(watched, outbox);
  }

  /** Tells nothing any more; what waits for delivery stays kept. */
  stop(): void {
    this.#log.off('event', this.#onEvent);
    this.#driver?.stop();
    this.#driver = undefined;
    this.#machine = undefined;
    this.#watched = undefined;
    for (const courier of this.#couriers.values()) courier.stop();
    this.#couriers.clear();
    this.#outbox?.close();
    this.#outbox = undefined;
  }

  /** A new machine, which is told how everything stands and remembers what was told. */
  #watch({ rules, links, groups }: Watched, outbox: Outbox): void {
    this.#driver?.stop();
    const now = performance.now();
    const statuses = new Map(this.#supervisor.groupStatuses().map((group) => [group.name, group]));
    const machine = new NotifyMachine(
      {
        links: Object.entries(links).map(([name, { tags = [] }]) => ({ name, tags })),
        groups: Object.entries(groups).map(([name, { paths }]) => ({
          name,
          active: statuses.get(name)?.active ?? '',
          why: statuses.get(name)?.why ?? '',
          since: statuses.get(name)?.since ?? '',
          paths: paths.map(({ link, also = [], atLeast = 1, behind }) => {
            return { links: [link, ...also], atLeast, behind };
          }),
        })),
        rules: Object.entries(rules).map(([name, entry]): RuleConfig => {
          const { quiet, ...options } = ruleOptions(name, entry);
          const quietUntil = (at: number) => {
            const ahead = Date.now() - performance.now();
            const until = quiet.askAgainAt(at + ahead);
            return until === undefined ? undefined : until - ahead;
          };
          return { ...options, quietUntil, memory: outbox.memory(name) };
        }),
      },
      now,
    );
    this.#machine = machine;
    this.#driver = new Driver(machine, (output) => this.#perform(output));
    for (const link of this.#supervisor.links()) {
      const { name, state, since, reason, evidence } = link.status();
      machine.handleLink(name, { state, at: since, reason, evidence }, now);
    }
    this.#log.off('event', this.#onEvent).on('event', this.#onEvent);
    this.#driver.settle();
  }

  readonly #onEvent = (event: LoggedEvent): void => {
    const now = performance.now();
    if (event.type === 'state') {
      const { link, to, at, reason, evidence } = event;
      this.#machine?.handleLink(link, { state: to, at, reason, evidence }, now);
    } else if (event.type === 'switch') {
      this.#machine?.handleSwitch(event.group, event.to, event.why, event.at, now);
    } else return;
    this.#driver?.settle();
  };

  #perform({ rule, notices, closed, afterQuiet, memory }: RuleOutput): void {
    const id = randomUUID();
    const at = new Date().toISOString();
    const channels = this.#watched?.rules[rule]?.to ?? [];
    const message: Message | undefined =
      notices.length === 0 ? undefined : { id, at, rule, notices, closed, afterQuiet };
    try {
      const kept = this.#outbox?.keep(message, channels, rule, memory) ?? [];
      for (const { channel, ...queued } of kept) this.#couriers.get(channel)?.add(queued);
    } catch (error) {
      this.#note(`notify: the queue cannot be written (${(error as Error).message})`);
      if (message === undefined) return;
      const queued = { number: undefined, queuedAt: Date.now(), message };
      for (const channel of channels) this.#couriers.get(channel)?.add(queued);
    }
  }

  readonly #note = (text: string): void => {
    this.#log.append({ at: new Date().toISOString(), type: 'note', text });
  };
}
