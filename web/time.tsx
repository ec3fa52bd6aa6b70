/**
 * Times in the reader's zone, with UTC for who points at them, and how long ago, which goes on by itself.
 * @module
 */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { lengthOf } from './words.ts';

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium', hourCycle: 'h23' });
const DAY = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });
const YEAR = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });

function startOfDay(ms: number): number {
  return new Date(ms).setHours(0, 0, 0, 0);
}

/** `14:02:10` today, else with the day. */
export function wallTime(iso: string, nowMs: number = Date.now()): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const clock = CLOCK.format(at);
  if (startOfDay(at.getTime()) === startOfDay(nowMs)) return clock;
  const sameYear = at.getFullYear() === new Date(nowMs).getFullYear();
  return `${(sameYear ? DAY : YEAR).format(at)}, ${clock}`;
}

export function utc(iso: string): string {
  return `${iso.slice(0, 19).replace('T', ' ')} UTC`;
}

export function Time({ at }: { readonly at: string }): JSX.Element {
  return (
    <time dateTime={at} title={utc(at)}>
      {wallTime(at)}
    </time>
  );
}

/** The time in milliseconds since 1970, renewed now and then. */
export function useNow(everyMs = 1_000): number {
  const [now, set] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

/** How long something lasts by now. */
export function Since({ at }: { readonly at: string }): JSX.Element {
  const now = useNow();
  return (
    <time dateTime={at} title={utc(at)}>
      {lengthOf(Math.max(0, now - Date.parse(at)))}
    </time>
  );
}
