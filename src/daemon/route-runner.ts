/**
 * Keeps one route on the path in use of its group. Nothing is touched until a path has proved itself;
 * what is asked for is read back; what somebody else changes is told and let alone until the group's
 * next switch. A route that went with its device is put again.
 * @module
 */
import { forgetFlows } from '../host/route-flows.ts';
import {
  describeHop,
  describeRoute,
  describeSlot,
  isOurs,
  leadsTo,
  putRoute,
  removeRoute,
  routesTo,
  sourceBy,
} from '../host/route-table.ts';
import { formatPrefix } from '../wire/ip-address.ts';
import type { RouteConfig } from './route-config.ts';
import type { OldFlows } from './schema-parts.ts';

/** Node turns longer delays into 1 ms. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** A route as shown to people and programs. */
export interface RouteStatus {
  readonly name: string;
  readonly destination: string;
  readonly table: number;
  readonly group: string;
  /** The path it was put on last, or `null` before the first. */
  readonly path: string | null;
  /** Where that leads, as `ip route` writes it. */
  readonly hop: string | null;
  readonly since: string | null;
  readonly why: string | null;
  /** Whether the kernel holds it so. */
  readonly held: boolean;
  /** What somebody else made of it, or `null`. */
  readonly foreign: string | null;
  /** Why it could not be put on the path in use, or `null`. */
  readonly failure: string | null;
  readonly oldFlows: OldFlows;
}

/** The path in use of the route's group, whether it is known to work, and why it is in use. */
export interface PathInUse {
  readonly path: string;
  readonly up: boolean;
  readonly why: string;
}

/** The path that a route of ours, left by a daemon before this one, leads by. */
export function pathHeld({ slot, hops }: RouteConfig): string | undefined {
  const [route] = routesTo(slot);
  if (route === undefined) return undefined;
  return [...hops].find(([, hop]) => leadsTo(route, slot, hop))?.[0];
}

export class RouteRunner {
  readonly config: RouteConfig;
  readonly #name: string;
  readonly #note: (text: string) => void;
  readonly #graces = new Map<string, NodeJS.Timeout>();
  #path: string | undefined;
  #since: string | undefined;
  #why: string | undefined;
  /** Whether the kernel took what was asked last; if not, it is asked again. */
  #put = false;
  #device = 0;
  #foreign: string | undefined;
  #failure: string | undefined;

  constructor(name: string, config: RouteConfig, note: (text: string) => void) {
    this.#name = name;
    this.config = config;
    this.#note = note;
  }

  /** Takes over what a daemon before this one left, in one step and to the same path. */
  start({ path }: PathInUse): void {
    if (pathHeld(this.config) === path) this.#lead(path, 'taken over as it was');
  }

  /** The group's path in use is another one now: moves the route, then deals with the old flows. */
  move(to: string, why: string): void {
    this.#put = false;
    this.#lead(to, why);
  }

  /** Compares with the kernel if there is news, and puts what still has to be put. */
  check(inUse: PathInUse | undefined, news: ReadonlySet<number> | 'all' | undefined): void {
    if (this.#put && news !== undefined) this.#compare(news);
    if (!this.#put && inUse?.up === true) this.#lead(inUse.path, inUse.why);
  }

  /** Leaves it as it is, or takes it away so that what was there before counts again. */
  close(restore: boolean): void {
    for (const timer of this.#graces.values()) clearTimeout(timer);
    if (restore) removeRoute(this.config.slot);
  }

  status(): RouteStatus {
    const { slot, group, hops, oldFlows } = this.config;
    const hop = hops.get(this.#path ?? '');
    return {
      name: this.#name,
      destination: formatPrefix(slot.destination),
      table: slot.table,
      group,
      path: this.#path ?? null,
      hop: hop === undefined ? null : describeHop(hop),
      since: this.#since ?? null,
      why: this.#why ?? null,
      held: this.#put && this.#foreign === undefined,
      foreign: this.#foreign ?? null,
      failure: this.#failure ?? null,
      oldFlows,
    };
  }

  #lead(path: string, why: string): void {
    const { slot, hops } = this.config;
    const hop = hops.get(path);
    // A group that is being changed may name a path that only the next configuration knows.
    if (hop === undefined) return;
    try {
      this.#device = putRoute(slot, hop).device;
    } catch (error) {
      this.#fail((error as Error).message);
      return;
    }
    const from = this.#path;
    this.#put = true;
    this.#failure = undefined;
    this.#foreign = undefined;
    [this.#path, this.#since, this.#why] = [path, new Date().toISOString(), why];
    this.#note(`${describeSlot(slot)} leads ${describeHop(hop)}: ${why}`);
    clearTimeout(this.#graces.get(path));
    this.#graces.delete(path);
    if (from !== undefined && from !== path) this.#leave(from);
  }

  #fail(text: string): void {
    if (this.#failure !== text) this.#note(`not on the path in use: ${text}`);
    this.#failure = text;
  }

  /** Not fought: a person, or another program, will have had a reason. */
  #compare(news: ReadonlySet<number> | 'all'): void {
    const { slot, hops } = this.config;
    const hop = hops.get(this.#path ?? '');
    if (hop === undefined) return;
    const routes = routesTo(slot);
    const [route] = routes;
    if (route !== undefined && leadsTo(route, slot, hop)) {
      this.#device = route.device;
      if (this.#foreign === undefined) return;
      this.#foreign = undefined;
      this.#note(`${describeSlot(slot)} leads ${describeHop(hop)} again: somebody put it back`);
      return;
    }
    const isGone = !routes.some((other) => isOurs(other, slot));
    if (isGone && this.#foreign === undefined && (news === 'all' || news.has(this.#device))) {
      this.#put = false;
      this.#fail(`${describeSlot(slot)} ${describeHop(hop)} went with its device`);
      return;
    }
    const text =
      route === undefined ? 'it was deleted' : `${describeRoute(route)} is there instead`;
    if (text === this.#foreign) return;
    this.#foreign = text;
    const until = 'let alone until the next switch';
    this.#note(`${describeSlot(slot)} was changed by somebody else: ${text}; ${until}`);
  }

  #leave(from: string): void {
    const { oldFlows, graceMs } = this.config;
    if (oldFlows === 'reset') this.#forget(from);
    if (oldFlows !== 'drain' || this.#graces.has(from)) return;
    const end = () => {
      this.#graces.delete(from);
      this.#forget(from);
    };
    this.#graces.set(from, setTimeout(end, Math.min(graceMs, LONGEST_DELAY_MS)));
  }

  #forget(from: string): void {
    const { slot, hops } = this.config;
    const sourceOf = (path = '') => {
      const hop = hops.get(path);
      return hop === undefined ? undefined : sourceBy(slot, hop);
    };
    const source = sourceOf(from);
    // By the same address they go on as they are.
    if (source === undefined || source === sourceOf(this.#path)) return;
    try {
      const count = forgetFlows(slot, source);
      this.#note(`old flows by ${from} (${source}) were reset: ${count}`);
    } catch (error) {
      this.#note(`old flows by ${from}: ${(error as Error).message}`);
    }
  }
}
