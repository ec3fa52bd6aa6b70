/**
 * What the API answers, kept as it is now: asked again soon after an event, and now and then without one.
 * @module
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { LoggedEvent } from '../src/daemon/event-log.ts';
import { ask, Refusal } from './api.ts';
import { live } from './live.ts';

/** A flood of events asks so often at most. Longer: news come late; shorter: a flood costs more. */
const LEAST_GAP_MS = 400;
const OFTEN_MS = 15_000;

export interface Answered<Answer> {
  readonly data: Answer | undefined;
  /** Of the address that is asked for now, and not of one before it. */
  readonly isCurrent: boolean;
  readonly refusal: Refusal | undefined;
  /** Asks now. */
  readonly renew: () => void;
}

interface Options {
  readonly concerns?: (event: LoggedEvent) => boolean;
  /** Asked again after so long without an event. */
  readonly everyMs?: number;
}

interface Held<Answer> {
  readonly url: string;
  readonly data?: Answer;
  readonly refusal?: Refusal;
}

/** `undefined` asks nothing. */
export function useLive<Answer>(url: string | undefined, options: Options = {}): Answered<Answer> {
  const [held, hold] = useState<Held<Answer>>();
  const renew = useRef<() => void>(() => undefined);
  const { concerns, everyMs = OFTEN_MS } = options;
  const concerned = useRef(concerns);
  concerned.current = concerns;
  useEffect(() => {
    if (url === undefined) return undefined;
    let [gone, asking, again, askedMs] = [false, false, false, Number.NEGATIVE_INFINITY];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = async () => {
      clearTimeout(timer);
      timer = undefined;
      askedMs = performance.now();
      [asking, again] = [true, false];
      try {
        const data = await ask<Answer>(url);
        if (!gone) hold({ url, data });
      } catch (error) {
        if (!gone && error instanceof Refusal) hold({ url, refusal: error });
      }
      asking = false;
      if (again && !gone) soon();
    };
    const soon = () => {
      again = asking;
      if (asking || timer !== undefined) return;
      const waitMs = Math.max(0, askedMs + LEAST_GAP_MS - performance.now());
      timer = setTimeout(() => void load(), waitMs);
    };
    const forget = live.listen((event) => {
      if (event === undefined || (concerned.current?.(event) ?? true)) soon();
    });
    const often = setInterval(soon, everyMs);
    renew.current = soon;
    void load();
    return () => {
      gone = true;
      forget();
      clearInterval(often);
      clearTimeout(timer);
    };
  }, [url, everyMs]);
  return {
    data: held?.data,
    isCurrent: held !== undefined && held.url === url,
    refusal: held?.url === url ? held?.refusal : undefined,
    renew: () => renew.current(),
  };
}
