/**
 * How a command that runs on is told to stop.
 * @module
 */

const FOREVER_MS = 2 ** 31 - 1;

/**
 * Resolves with the signal's name on Ctrl-C (SIGINT) or SIGTERM; until then the process lives, also
 * if it has nothing else to do. A second one ends at once.
 */
export function toldToStop(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const hold = setInterval(() => undefined, FOREVER_MS);
    const stop = (signal: NodeJS.Signals) => {
      clearInterval(hold);
      resolve(signal);
    };
    process.once('SIGINT', stop).once('SIGTERM', stop);
  });
}
