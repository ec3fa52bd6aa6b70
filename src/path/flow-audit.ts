/**
 * After failback: does any flow stay behind on a path that was left? Asks until none does, and
 * tells people twice at most: that some did, and that none does any more. It counts nothing itself.
 * @module
 */
import { formatDuration } from '../time/duration.ts';
import { earliest, type Instant } from '../time/instant.ts';

/** Gap between two looks at the flows of a path that was left. */
const AUDIT_INTERVAL_MS = 10_000;

interface Audit {
  readonly since: Instant;
  at: Instant;
  told: boolean;
}

/** The audits of one group. */
export class FlowAudit {
  readonly #audits = new Map<string, Audit>();

  /** When somebody is to be asked next. */
  get deadline(): Instant | undefined {
    let next: Instant | undefined;
    for (const { at } of this.#audits.values()) next = earliest(next, at);
    return next;
  }

  /** Input: traffic went back to a better path and left this one. */
  handleLeft(path: string, now: Instant): void {
    this.#audits.set(path, { since: now, at: now + AUDIT_INTERVAL_MS, told: false });
  }

  /** Input: the path carries traffic again: its flows are where they belong. */
  handleUsed(path: string): void {
    this.#audits.delete(path);
  }

  /** Input: so many flows are on a path that was left. What to tell people, if anything. */
  handleFlows(path: string, flows: number, now: Instant): string | undefined {
    const audit = this.#audits.get(path);
    if (audit === undefined) return undefined;
    if (flows <= 0) {
      this.#audits.delete(path);
      return audit.told ? `no flow is left on ${path}` : undefined;
    }
    if (audit.told) return undefined;
    audit.told = true;
    const some = flows === 1 ? '1 flow is' : `${flows} flows are`;
    return `${some} still on ${path}, ${formatDuration(now - audit.since)} after failback from it`;
  }

  /** Whose flows are to be counted now. */
  due(now: Instant): string[] {
    const due: string[] = [];
    for (const [path, audit] of this.#audits) {
      if (now < audit.at) continue;
      audit.at = now + AUDIT_INTERVAL_MS;
      due.push(path);
    }
    return due;
  }
}
