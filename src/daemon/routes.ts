/**
 * The routes of a configuration: each follows the path in use of its group, and all of them the news
 * of the kernel. What does not differ is held through a reload, and what does is moved without a gap.
 * @module
 */
import { isDeepStrictEqual } from 'node:util';
import { describeSlot, RouteNews, requireRouteRights } from '../host/route-table.ts';
import type { Config } from './config-schema.ts';
import { routeConfigs } from './route-config.ts';
import { type PathInUse, pathHeld, RouteRunner, type RouteStatus } from './route-runner.ts';

/** How often the kernel's news are read, and a path that has not proved itself is looked at. */
const LOOK_MS = 250;

/** Whom routes ask and tell. */
export interface RouteHooks {
  /** How a group stands. */
  inUse(group: string): PathInUse | undefined;
  /** Something a person should know about a route of the group. */
  note(group: string, text: string): void;
}

export class Routes {
  readonly #hooks: RouteHooks;
  readonly #runners = new Map<string, RouteRunner>();
  #news: RouteNews | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(hooks: RouteHooks) {
    this.#hooks = hooks;
  }

  /** Makes the routes those of `config`; its groups must run by now. Answers what failed. */
  apply(config: Config): Error[] {
    const next = routeConfigs(config);
    const failures: Error[] = [];
    const tried = (attempt: () => void) => {
      try {
        attempt();
      } catch (error) {
        failures.push(error as Error);
      }
    };
    const slots = new Set([...next.values()].map(({ slot }) => slotName(slot)));
    for (const [name, runner] of this.#runners) {
      const { config: now } = runner;
      if (isDeepStrictEqual(now, next.get(name))) continue;
      this.#runners.delete(name);
      const restore = now.onExit === 'restore' && !slots.has(slotName(now.slot));
      tried(() => runner.close(restore));
    }
    if (next.size > 0) tried(() => this.#follow());
    else this.#unfollow();
    if (this.#news === undefined) return failures;
    for (const [name, route] of next) {
      if (this.#runners.has(name)) continue;
      const runner = new RouteRunner(name, route, (text) => this.#note(name, route.group, text));
      this.#runners.set(name, runner);
      const inUse = this.#hooks.inUse(route.group);
      if (inUse !== undefined) tried(() => runner.start(inUse));
    }
    return failures;
  }

  /** The path of a group by which a route of ours leads already: it is in use, whoever chose it. */
  inUse(config: Config, group: string): string | undefined {
    for (const route of routeConfigs(config).values()) {
      if (route.group !== group) continue;
      try {
        const path = pathHeld(route);
        if (path !== undefined) return path;
      } catch {
        // Whoever applies the routes will be told.
      }
    }
    return undefined;
  }

  /** New flows of a group go to `to` from now on. */
  moved(group: string, to: string, why: string): void {
    for (const runner of this.#runners.values()) {
      if (runner.config.group === group) runner.move(to, why);
    }
  }

  statuses(): RouteStatus[] {
    return [...this.#runners.values()].map((runner) => runner.status());
  }

  #note(route: string, group: string, text: string): void {
    this.#hooks.note(group, `route ${route}: ${text}`);
  }

  #follow(): void {
    if (this.#news !== undefined) return;
    requireRouteRights();
    this.#news = new RouteNews();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  #unfollow(): void {
    clearInterval(this.#timer);
    this.#news?.close();
    this.#news = undefined;
  }

  #look(): void {
    const news = this.#news?.read();
    for (const [name, runner] of this.#runners) {
      try {
        runner.check(this.#hooks.inUse(runner.config.group), news);
      } catch (error) {
        this.#note(name, runner.config.group, (error as Error).message);
      }
    }
  }
}

function slotName(slot: Parameters<typeof describeSlot>[0]): string {
  return `${describeSlot(slot)} ${slot.metric}`;
}
