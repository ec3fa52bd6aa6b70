/**
 * The list of links: ten thousand of them as easily as ten. The daemon sorts, filters and pages; only
 * the rows on the screen are asked for, with their bars.
 * @module
 */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Bars } from '../src/daemon/api/history-routes.ts';
import type { LinkRow, LinksPage } from '../src/daemon/api/rows.ts';
import { withQuery } from './api.ts';
import { HistoryBar } from './history-bar.tsx';
import { StateMark } from './icons.tsx';
import { Go, linkAddress } from './router.tsx';
import { type Span, spanQuery } from './spans.tsx';
import { Since } from './time.tsx';
import { useLive } from './use-live.ts';
import { useNarrow, useVisibleRows, type VisibleRows } from './visible-rows.ts';
import { reasonOf, roundTripOf } from './words.ts';

/** Rows asked for at once. */
const PAGE = 100;
const ROW_PX = 64;
const NARROW_ROW_PX = 104;
/** Names in one request for bars. */
const MOST_BARS = 100;
const BARS_EVERY_MS = 60_000;

export interface Filter {
  readonly q: string;
  readonly tag: string;
  readonly state: string;
}

function pageAddress(filter: Filter, page: number): string {
  return withQuery('/api/v1/links', {
    ...filter,
    sort: 'worst',
    limit: PAGE,
    cursor: page * PAGE,
  });
}

/** The pages that hold the visible rows: one, or two. */
function useRows(
  filter: Filter,
  { first, end }: VisibleRows,
): {
  readonly at: (index: number) => LinkRow | undefined;
  readonly counts: LinksPage['counts'] | undefined;
} {
  const page = Math.floor(first / PAGE);
  const spills = end > (page + 1) * PAGE;
  const one = useLive<LinksPage>(pageAddress(filter, page));
  const two = useLive<LinksPage>(spills ? pageAddress(filter, page + 1) : undefined);
  const known = useRef(new Map<number, readonly LinkRow[]>());
  const key = JSON.stringify(filter);
  const keyOf = useRef(key);
  if (keyOf.current !== key && one.isCurrent) {
    keyOf.current = key;
    known.current.clear();
  }
  if (one.isCurrent && one.data) known.current.set(page, one.data.items);
  if (two.isCurrent && two.data) known.current.set(page + 1, two.data.items);
  return {
    at: (index) => known.current.get(Math.floor(index / PAGE))?.[index % PAGE],
    counts: one.data?.counts,
  };
}

/** Bars of these links; those known stay while others come. */
function useBars(
  names: readonly string[],
  span: Span,
): (name: string) => Bars['bars'][string] | undefined {
  const known = useRef(new Map<string, Bars['bars'][string]>());
  const wanted = names.slice(0, MOST_BARS).join(',');
  const url =
    wanted === '' ? undefined : withQuery('/api/v1/history', { ...spanQuery(span), links: wanted });
  const { data } = useLive<Bars>(url, { concerns: () => false, everyMs: BARS_EVERY_MS });
  const spanKnown = useRef(span);
  if (spanKnown.current !== span) {
    spanKnown.current = span;
    known.current.clear();
  }
  useEffect(() => {
    for (const [name, cells] of Object.entries(data?.bars ?? {})) known.current.set(name, cells);
  }, [data]);
  return (name) => data?.bars[name] ?? known.current.get(name);
}

function Row({
  link,
  cells,
  span,
}: {
  readonly link: LinkRow;
  readonly cells: Bars['bars'][string] | undefined;
  readonly span: Span;
}): JSX.Element {
  const why = link.state === 'up' ? link.url : reasonOf(link.reason, link.evidence);
  return (
    <>
      <StateMark state={link.state} />
      <span class="who">
        <Go to={linkAddress(link.name)} class="name">
          {link.name}
        </Go>
        <span class={link.state === 'up' ? 'why mono' : 'why'} title={why}>
          {why}
        </span>
      </span>
      <HistoryBar cells={cells} what={`${link.name}, the last ${span.words}`} />
      <span class="figure">{roundTripOf(link.rttMs)}</span>
      <span class="figure soft">
        <Since at={link.since} />
      </span>
    </>
  );
}

/** Moves by the keyboard: j and k, and arrows once a row has the focus. */
function useRowKeys(
  count: number,
  rowPx: number,
  list: { readonly current: HTMLElement | null },
): void {
  const [at, setAt] = useState(-1);
  useEffect(() => {
    const move = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) || target.closest('dialog')) return;
      const row = target.closest('li[data-index]');
      const arrow = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const step = { j: 1, k: -1 }[event.key] ?? (row === null ? undefined : arrow);
      if (step === undefined || count === 0) return;
      event.preventDefault();
      const from = row === null ? at : Number(row.getAttribute('data-index'));
      const next = Math.max(0, Math.min(count - 1, from + step));
      setAt(next);
      const { top = 0 } = list.current?.getBoundingClientRect() ?? {};
      const y = top + next * rowPx;
      if (y < rowPx * 2) scrollBy(0, y - rowPx * 2);
      else if (y + rowPx * 2 > innerHeight) scrollBy(0, y + rowPx * 2 - innerHeight);
      requestAnimationFrame(() =>
        requestAnimationFrame(() => {
          list.current?.querySelector<HTMLElement>(`li[data-index="${next}"] a`)?.focus();
        }),
      );
    };
    addEventListener('keydown', move);
    return () => removeEventListener('keydown', move);
  }, [at, count, rowPx, list]);
}

interface LinkListProps {
  readonly filter: Filter;
  readonly span: Span;
  readonly counted: (counts: LinksPage['counts']) => void;
}

export function LinkList({ filter, span, counted }: LinkListProps): JSX.Element {
  const list = useRef<HTMLUListElement>(null);
  const [count, setCount] = useState<number>();
  const rowPx = useNarrow() ? NARROW_ROW_PX : ROW_PX;
  const rows = useVisibleRows(list, count ?? 0, rowPx);
  const { at, counts } = useRows(filter, rows);
  useEffect(() => {
    if (counts === undefined) return;
    const { state } = filter;
    const all = Object.values(counts).reduce((sum, one) => sum + one, 0);
    setCount(state === '' ? all : counts[state as keyof typeof counts]);
    counted(counts);
  }, [counts, filter.state]);
  useRowKeys(count ?? 0, rowPx, list);
  const shown = Array.from({ length: rows.end - rows.first }, (_, index) => rows.first + index);
  const names = shown.flatMap((index) => at(index)?.name ?? []);
  const cells = useBars(names, span);
  return (
    <>
      <ul
        ref={list}
        class="links card"
        aria-label="Links, the worst first"
        style={{ height: `${(count ?? 0) * rowPx}px` }}
      >
        {shown.map((index) => {
          const link = at(index);
          return (
            <li
              key={link?.name ?? index}
              data-index={index}
              aria-setsize={count ?? -1}
              aria-posinset={index + 1}
              style={{ transform: `translateY(${index * rowPx}px)`, height: `${rowPx}px` }}
            >
              {link !== undefined && <Row link={link} cells={cells(link.name)} span={span} />}
            </li>
          );
        })}
      </ul>
      {count === 0 && <p class="card empty">No link is like that.</p>}
    </>
  );
}
