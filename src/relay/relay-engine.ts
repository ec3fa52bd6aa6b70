/**
 * What carries the flows of all relays: a process that splices, or streams in this process.
 * @module
 */
import { EventEmitter } from 'node:events';
import { SystemError } from '../sys/system-error.ts';
import type { PlannedRelay, RelayCounts } from './relay-plan.ts';
import { StreamRelay } from './stream-relay.ts';

export interface RelayEngineEvents {
  /** A path did not take a flow. */
  refused: [relay: string, path: string];
  note: [text: string];
}

/** A relay that could not be opened. */
export interface RelayFailure {
  readonly relay: string;
  readonly error: SystemError;
}

export interface RelayEngine extends EventEmitter<RelayEngineEvents> {
  /** The process that carries. */
  readonly pid: number;
  /** Makes what listens equal to the plan. Resolves when it does, to what could not be opened. */
  apply(relays: readonly PlannedRelay[]): Promise<readonly RelayFailure[]>;
  /** Resets the flows that a path carries. */
  reset(relay: string, path: string): void;
  /** How a relay stands, as far as is known; `undefined` for one that does not run. */
  counts(relay: string): RelayCounts | undefined;
  /** Ends all flows and listens no more. */
  close(): Promise<void>;
}

/** Relays by streams of this process. */
export class StreamEngine extends EventEmitter<RelayEngineEvents> implements RelayEngine {
  readonly pid: number = process.pid;
  readonly #relays = new Map<string, StreamRelay>();

  async apply(relays: readonly PlannedRelay[]): Promise<readonly RelayFailure[]> {
    const failures: RelayFailure[] = [];
    const names = new Set(relays.map(({ name }) => name));
    for (const [name, relay] of this.#relays) {
      if (names.has(name)) continue;
      relay.close();
      this.#relays.delete(name);
    }
    for (const plan of relays) {
      const running = this.#relays.get(plan.name);
      const isThere =
        running?.plan.address === plan.address &&
        running.plan.port === plan.port &&
        running.plan.protocol === plan.protocol;
      if (running !== undefined && isThere) {
        running.plan = plan;
        continue;
      }
      running?.close();
      this.#relays.delete(plan.name);
      try {
        await this.#start(plan);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        failures.push({ relay: plan.name, error });
      }
    }
    return failures;
  }

  reset(relay: string, path: string): void {
    this.#relays.get(relay)?.reset(path);
  }

  counts(relay: string): RelayCounts | undefined {
    return this.#relays.get(relay)?.counts();
  }

  async close(): Promise<void> {
    await this.apply([]);
  }

  async #start(plan: PlannedRelay): Promise<void> {
    const relay = new StreamRelay(plan);
    relay.on('refused', (path) => this.emit('refused', plan.name, path));
    relay.on('error', (error) => this.emit('note', `relay ${plan.name}: ${error.message}`));
    await relay.start();
    this.#relays.set(plan.name, relay);
  }
}
