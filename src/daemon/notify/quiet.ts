/**
 * Quiet times: windows of the week and of the calendar, in the clock of a time zone. A moment is
 * looked at as what that clock shows, so that daylight saving needs no arithmetic.
 * @module
 */
import { UsageError } from '../../time/usage-error.ts';
import type { QuietEntry } from './notify-schema.ts';

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'] as const;
const MINUTE_MS = 60_000;

/** What a clock on the wall shows. */
interface WallClock {
  /** `2026-12-24T18:00` */
  readonly date: string;
  /** `18:00` */
  readonly time: string;
  /** 0 is Sunday. */
  readonly day: number;
}

type Window = (epochMs: number) => boolean;

/** When a rule is quiet. */
export class QuietTimes {
  readonly #windows: readonly Window[];

  /** Throws `UsageError` for a time zone that does not exist, and a window that never begins. */
  constructor(entries: readonly QuietEntry[], where: string) {
    this.#windows = entries.map((entry, index) => windowOf(entry, `${where}.${index}`));
  }

  /**
   * When to ask again, if it is quiet: at the next full minute, for windows begin and end at full
   * minutes and the clock may be set meanwhile. `undefined` if it is not.
   */
  askAgainAt(epochMs: number): number | undefined {
    if (!this.#windows.some((isIn) => isIn(epochMs))) return undefined;
    return (Math.floor(epochMs / MINUTE_MS) + 1) * MINUTE_MS;
  }
}

function windowOf(entry: QuietEntry, where: string): Window {
  const read = clockOf(entry.timeZone, where);
  const { from, to } = entry;
  if (from.includes('T')) {
    if (!to.includes('T') || to <= from) {
      throw new UsageError('bad-config', `${where}.to: write a date and time after ${from}`);
    }
    if (entry.days !== undefined) {
      throw new UsageError('bad-config', `${where}.days: a window with dates has no days`);
    }
    return (epochMs) => {
      const { date } = read(epochMs);
      return date >= from && date < to;
    };
  }
  if (to.includes('T')) {
    throw new UsageError('bad-config', `${where}.to: write a time, for example 06:00`);
  }
  const days = new Set((entry.days ?? DAYS).map((day) => day.toLowerCase()));
  const begins = (day: number) => days.has((DAYS[(day + 7) % 7] ?? '').toLowerCase());
  return (epochMs) => {
    const { time, day } = read(epochMs);
    if (from < to) return begins(day) && time >= from && time < to;
    return (begins(day) && time >= from) || (begins(day - 1) && time < to);
  };
}

function clockOf(timeZone: string | undefined, where: string): (epochMs: number) => WallClock {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US-u-ca-gregory-nu-latn', {
      ...(timeZone === undefined ? {} : { timeZone }),
      hourCycle: 'h23',
      weekday: 'short',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
    });
  } catch {
    const text = `there is no time zone "${timeZone}"; write for example Europe/Berlin`;
    throw new UsageError('bad-config', `${where}.timeZone: ${text}`);
  }
  return (epochMs) => {
    const parts = format.formatToParts(epochMs).map(({ type, value }) => [type, value]);
    const { year, month, day, hour, minute, weekday } = Object.fromEntries(parts);
    const time = `${hour}:${minute}`;
    return { date: `${year}-${month}-${day}T${time}`, time, day: DAYS.indexOf(weekday) };
  };
}
