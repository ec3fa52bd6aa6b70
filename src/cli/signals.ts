/**
 * How a command that runs on is told to stop.
 * @module
 */

/** Resolves with the signal's name on Ctrl-C (SIGINT) or SIGTERM. A second one ends at once. */
export function toldToStop(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    process.once('SIGINT', resolve).once('SIGTERM', resolve);
  });
}
