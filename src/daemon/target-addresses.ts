/**
 * Addresses of named hosts, looked up in the background and again now and then: who asks gets what is
 * known at once.
 * @module
 */
import dns from 'node:dns/promises';
import { isIP } from 'node:net';

/** getaddrinfo(3) tells no lifetime. */
const RENEW_MS = 30_000;
const MOST_ADDRESSES = 4;

export class TargetAddresses {
  readonly #known = new Map<string, readonly string[]>();
  readonly #failed = new Set<string>();
  readonly #changed: () => void;
  readonly #note: (text: string) => void;
  #timer: NodeJS.Timeout | undefined;

  /** `changed` is called when a name leads elsewhere, `note` when it leads nowhere. */
  constructor(changed: () => void, note: (text: string) => void) {
    this.#changed = changed;
    this.#note = note;
  }

  /** The addresses of a host; none for a name that is not known, or not yet. */
  of(host: string): readonly string[] {
    return isIP(host) > 0 ? [host] : (this.#known.get(host) ?? []);
  }

  /** Looks up the names among `hosts`, and from then on these and no others. */
  async use(hosts: readonly string[]): Promise<void> {
    const names = new Set(hosts.filter((host) => isIP(host) === 0));
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name);
    clearInterval(this.#timer);
    if (names.size === 0) return;
    await Promise.all([...names].map((name) => this.#look(name)));
    this.#timer = setInterval(() => {
      for (const name of names) void this.#look(name);
    }, RENEW_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(name: string): Promise<void> {
    try {
      const found = (await dns.lookup(name, { all: true })).map(({ address }) => address);
      const before = this.#known.get(name);
      const now = found.slice(0, MOST_ADDRESSES);
      this.#known.set(name, now);
      this.#failed.delete(name);
      if (before !== undefined && before.join() !== now.join()) this.#changed();
    } catch (error) {
      // What it led to is better than nothing.
      if (this.#failed.has(name)) return;
      this.#failed.add(name);
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      this.#note(`the address of ${name} cannot be found (${code}); relays do without it`);
    }
  }
}
