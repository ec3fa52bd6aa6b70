/**
 * The open descriptors of this process, for tests that nothing is left open.
 * @module
 */
import { readdirSync, readlinkSync } from 'node:fs';

/** Each descriptor and what it leads to, as `4 socket:[1234]`. */
export function descriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return `${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`;
    } catch {
      // The directory's own, closed by now.
      return [];
    }
  });
}

/** Numbers of those that `body` opened, and its answer. */
export function opened<Answer>(body: () => Answer): { answer: Answer; fds: number[] } {
  const before = new Set(descriptors());
  const answer = body();
  const fds = descriptors().filter((line) => !before.has(line));
  return { answer, fds: fds.map((line) => Number.parseInt(line, 10)) };
}
