/**
 * Weighted rendezvous hashing: each flow asks every path for a score and takes the best. A path
 * that comes or goes moves only the flows it wins or had, and a flow needs no memory to be sent
 * again the way it went.
 * @module
 */

/** Who may be chosen. */
export interface Contender {
  readonly name: string;
  /** At least 0; shares are in proportion. */
  readonly weight: number;
}

/** A 32-bit hash of text: FNV-1a, mixed once more so that the last character reaches every bit. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    h = Math.imul(h ^ text.charCodeAt(index), 0x01000193);
  }
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The contender that `key` belongs to; the first if none has any weight. */
export function rendezvous<Kind extends Contender>(
  key: string,
  contenders: readonly Kind[],
): Kind | undefined {
  let best = contenders[0];
  let least = Infinity;
  for (const contender of contenders) {
    // An exponential variate of rate `weight`: the smallest of several is each one's by its share.
    const uniform = (hash(`${key}\n${contender.name}`) + 0.5) / 2 ** 32;
    const score = -Math.log(uniform) / contender.weight;
    if (score >= least) continue;
    least = score;
    best = contender;
  }
  return best;
}
