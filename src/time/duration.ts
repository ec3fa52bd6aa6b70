/**
 * Durations as people write them (`500ms`, `45s`, `10m`, `2h`) to milliseconds and back.
 * A bare number is refused: nobody can tell whether `60` meant seconds or milliseconds.
 * @module
 */
import { UsageError } from './usage-error.ts';

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
const PATTERN = /^(\d{1,12}(?:\.\d{1,3})?)(ms|s|m|h)$/;
/** As `formatDuration` writes it, for example `1h2m3s`. */
const PARTS = /^(?=\d)(?:(\d{1,5})h)?(?:(\d{1,2})m)?(?:(\d{1,2})s)?$/;

/** The longest duration accepted, in hours: a year. */
const LONGEST_HOURS = 8_760;

/**
 * Milliseconds of a duration such as `45s`. `where` names the place for the error, for example
 * `--time` or `links.db.time`. Throws `UsageError` (`bad-duration`).
 */
export function parseDuration(text: string, where = 'duration'): number {
  const ms = readDuration(text.trim());
  if (ms === undefined) {
    const hint = /^\d+(\.\d+)?$/.test(text.trim())
      ? `add a unit, for example ${text.trim()}s or ${text.trim()}ms`
      : 'write a number and a unit: 500ms, 45s, 10m, 2h';
    throw new UsageError('bad-duration', `${where}: "${text}" is not a duration; ${hint}`);
  }
  if (ms > LONGEST_HOURS * UNITS.h) {
    const hint = `the longest is ${LONGEST_HOURS}h`;
    throw new UsageError('bad-duration', `${where}: "${text}" is too long; ${hint}`);
  }
  return ms;
}

function readDuration(text: string): number | undefined {
  const single = PATTERN.exec(text);
  if (single !== null) {
    return Math.round(Number(single[1]) * UNITS[single[2] as keyof typeof UNITS]);
  }
  const parts = PARTS.exec(text);
  if (parts === null) return undefined;
  const [, hours = 0, minutes = 0, seconds = 0] = parts;
  return Number(hours) * UNITS.h + Number(minutes) * UNITS.m + Number(seconds) * UNITS.s;
}

/** A duration for people: the shortest exact-enough form, for example `1m30s`, `250ms`, `2h`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${Number((ms / 1_000).toFixed(1))}s`;
  const seconds = Math.round(ms / 1_000);
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 3_600), 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  return parts.map(([value, unit]) => (value === 0 ? '' : `${value}${unit}`)).join('');
}
