/**
 * How a command that runs on is told to stop.
 * @module
 */

const FOREVER_MS = 2 ** 31 - 1;

/** Who is told to stop. */
export interface StopListener {
  /** Resolves with the signal's name on Ctrl-C (SIGINT) or SIGTERM. A second one ends at once. */
  readonly told: Promise<NodeJS.Signals>;
  /** Listens no more, and lets the process end. */
  forget(): void;
}

/** Listens from now on; until it is told, the process lives, also if it has nothing else to do. */
export function listenForStop(): StopListener {
  const { promise: told, resolve } = Promise.withResolvers<NodeJS.Signals>();
  const hold = setInterval(() => undefined, FOREVER_MS);
  const stop = (signal: NodeJS.Signals) => {
    clearInterval(hold);
    resolve(signal);
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const forget = () => {
    clearInterval(hold);
    process.off('SIGINT', stop).off('SIGTERM', stop);
  };
  return { told, forget };
}

/** As `listenForStop`, for those who only wait. */
export async function toldToStop(): Promise<NodeJS.Signals> {
  return await listenForStop().told;
}
