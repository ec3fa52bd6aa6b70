/**
 * The status page: chosen links, by name and state and nothing else, for people who may see no more.
 * What it takes to make it is paid once for all who look within some seconds.
 * @module
 */
import type { LinkState } from '../../keepalive/keepalive.ts';
import { UsageError } from '../../time/usage-error.ts';
import type { Config } from '../config-schema.ts';
import type { EventLog, LoggedEvent } from '../event-log.ts';
import type { BarCell } from '../store/history.ts';
import type { Store } from '../store/store.ts';
import type { Supervisor } from '../supervisor.ts';
import { renderBadge } from './badge.ts';
import { renderStatus } from './status-html.ts';
import type { StatusPageEntry } from './status-schema.ts';

/** A tag may choose many; a page of more is read by nobody. */
const MOST_LINKS = 200;
/** For so long everybody is shown the same page. Longer: late news; shorter: strangers cost more. */
const AGE_MS = 2_000;
const HOUR_MS = 3_600_000;
const HOURS = 24;
const INCIDENT_DAYS = 14;
const MOST_INCIDENTS = 50;
const EVENTS_A_LINK = 200;

export interface ShownLink {
  readonly name: string;
  readonly state: LinkState;
  readonly since: string;
  readonly bar: readonly BarCell[];
}

/** A link was down, from when to when; `until` is `undefined` while it still is. */
export interface Incident {
  readonly link: string;
  readonly from: string;
  readonly until: string | undefined;
}

export interface ShownStatus {
  readonly title: string;
  readonly at: string;
  readonly links: readonly ShownLink[];
  readonly incidents: readonly Incident[];
  /** Hours that a bar shows. */
  readonly hours: number;
}

/** Throws `UsageError` where the section names what does not exist. */
export function checkStatusPage({ statusPage, links }: Config): void {
  const known = new Set(Object.entries(links).flatMap(([name, { tags = [] }]) => [name, ...tags]));
  for (const [index, name] of (statusPage?.links ?? []).entries()) {
    if (known.has(name)) continue;
    const text = `statusPage.links.${index}: there is no link, nor a link with the tag, "${name}"`;
    throw new UsageError('bad-config', text);
  }
}

export class StatusPage {
  readonly #supervisor: Supervisor;
  readonly #log: EventLog;
  readonly #history: Pick<Store, 'bars'>;
  #entry: StatusPageEntry | undefined;
  #made: { readonly html: Promise<string>; readonly untilMs: number } | undefined;

  constructor(supervisor: Supervisor, log: EventLog, history: Pick<Store, 'bars'>) {
    this.#supervisor = supervisor;
    this.#log = log;
    this.#history = history;
  }

  apply({ statusPage }: Config): void {
    this.#entry = statusPage;
    this.#made = undefined;
  }

  /** Whether there is one. */
  get exists(): boolean {
    return this.#entry !== undefined;
  }

  /** Whether strangers may see it. */
  get isPublic(): boolean {
    return this.#entry?.public ?? false;
  }

  async html(): Promise<string> {
    const now = performance.now();
    if (this.#made === undefined || now >= this.#made.untilMs) {
      this.#made = { html: this.#show().then(renderStatus), untilMs: now + AGE_MS };
    }
    return await this.#made.html;
  }

  /** The badge of a chosen link; `undefined` for any other name, whether or not it exists. */
  badge(name: string): string | undefined {
    const state = this.#chosen().includes(name) ? this.#supervisor.link(name)?.state : undefined;
    return state === undefined ? undefined : renderBadge(name, state);
  }

  #chosen(): string[] {
    const wanted = new Set(this.#entry?.links);
    const names = this.#supervisor.links().map(({ name }) => name);
    return names
      .filter((name) => {
        return wanted.has(name) || this.#supervisor.tagsOf(name).some((tag) => wanted.has(tag));
      })
      .slice(0, MOST_LINKS);
  }

  async #show(): Promise<ShownStatus> {
    const names = this.#chosen();
    const nowMs = Date.now();
    const span = { fromMs: nowMs - HOURS * HOUR_MS, toMs: nowMs };
    const bars = await this.#history.bars(names, span, HOURS);
    const links = names.flatMap((name) => {
      const link = this.#supervisor.link(name);
      if (link === undefined) return [];
      const { state, since } = link.status();
      return [{ name, state, since, bar: bars.get(name) ?? [] }];
    });
    const after = new Date(nowMs - INCIDENT_DAYS * 24 * HOUR_MS).toISOString();
    const incidents = names
      .flatMap((link) => incidentsOf(link, this.#log.query({ link, limit: EVENTS_A_LINK }).items))
      .filter(({ from, until }) => (until ?? from) >= after)
      .toSorted((a, b) => b.from.localeCompare(a.from, 'en'))
      .slice(0, MOST_INCIDENTS);
    const title = this.#entry?.title ?? 'Status';
    return { title, at: new Date(nowMs).toISOString(), links, incidents, hours: HOURS };
  }
}

/** When a link was down, by its events, oldest first. */
function incidentsOf(link: string, events: readonly LoggedEvent[]): Incident[] {
  const incidents: Incident[] = [];
  let from: string | undefined;
  for (const event of events) {
    if (event.type !== 'state') continue;
    if (event.to === 'down') from ??= event.at;
    else if (from !== undefined) {
      incidents.push({ link, from, until: event.at });
      from = undefined;
    }
  }
  return from === undefined ? incidents : [...incidents, { link, from, until: undefined }];
}
