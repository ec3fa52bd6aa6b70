/**
 * Which rows of a long list are on the screen, so that only those are made, asked for and drawn.
 * @module
 */
import type { RefObject } from 'preact';
import { useEffect, useState } from 'preact/hooks';

/** Rows made beyond the screen on each side, so that scrolling finds them there. */
const BEYOND = 8;

export interface VisibleRows {
  readonly first: number;
  /** Before this one. */
  readonly end: number;
}

/** `rowPx` is the height of every row; the list is as high as all of them, in the page's own scroll. */
export function useVisibleRows(
  list: RefObject<HTMLElement | null>,
  count: number,
  rowPx: number,
): VisibleRows {
  const [top, setTop] = useState(0);
  useEffect(() => {
    let frame = 0;
    const measure = () => {
      frame = 0;
      const { top: offset = 0 } = list.current?.getBoundingClientRect() ?? {};
      // By the row, so that nothing is drawn anew for a few pixels.
      setTop(Math.max(0, Math.floor(-offset / rowPx)));
    };
    const later = () => {
      frame ||= requestAnimationFrame(measure);
    };
    measure();
    addEventListener('scroll', later, { passive: true });
    addEventListener('resize', later);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener('scroll', later);
      removeEventListener('resize', later);
    };
  }, [list, rowPx, count]);
  const onScreen = Math.ceil(innerHeight / rowPx);
  return {
    first: Math.max(0, Math.min(top - BEYOND, count)),
    end: Math.min(count, top + onScreen + BEYOND),
  };
}

/** Whether the page is as narrow as a phone. */
export function useNarrow(): boolean {
  const [query] = useState(() => matchMedia('(max-width: 719px)'));
  const [narrow, set] = useState(query.matches);
  useEffect(() => {
    const update = () => set(query.matches);
    query.addEventListener('change', update);
    return () => query.removeEventListener('change', update);
  }, [query]);
  return narrow;
}
