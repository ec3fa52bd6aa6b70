/**
 * The front page: how everything stands in a sentence, the stories of groups, and every link.
 * @module
 */
import type { JSX } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { LinksPage as LinksAnswer, Page, Summary } from '../src/daemon/api/rows.ts';
import type { GroupStatus } from '../src/daemon/group-runner.ts';
import { BarKey } from './history-bar.tsx';
import { StateIcon } from './icons.tsx';
import { type Filter, LinkList } from './link-list.tsx';
import { Go, setQuery, useAddress } from './router.tsx';
import { rememberedSpan, rememberSpan, SPANS, SpanButtons } from './spans.tsx';
import { GroupCard, type Known, troubleOf } from './story.tsx';
import { useLive } from './use-live.ts';
import { plural, STATE_ORDER, STATES } from './words.ts';

/** Groups on the front page; the others have a page of their own. */
const MOST_GROUPS = 6;
const TYPING_MS = 150;
const GRAVITY = { down: 0, suspect: 1, up: 2 } as const;

/** Groups, those in trouble first, and the links that their stories need. */
export function useGroups(limit: number): {
  readonly groups: readonly GroupStatus[] | undefined;
  readonly known: Known;
} {
  const groups = useLive<Page<GroupStatus>>(`/api/v1/groups?limit=${limit}`).data?.items;
  const worst = useLive<LinksAnswer>('/api/v1/links?sort=worst&limit=200').data?.items;
  const known = useMemo(() => new Map((worst ?? []).map((link) => [link.name, link])), [worst]);
  const sorted = groups?.toSorted((a, b) => GRAVITY[troubleOf(a)] - GRAVITY[troubleOf(b)]);
  return { groups: sorted, known };
}

function Headline({ summary }: { readonly summary: Summary }): JSX.Element {
  const { links, groups } = summary;
  const lost = groups.filter(({ up }) => !up).length;
  const { down, suspect, total } = links;
  const parts: string[] = [];
  if (links.unknown > 0) parts.push(`${plural(links.unknown, 'link')} not known yet`);
  if (links.drained > 0) parts.push(`${links.drained} drained`);
  const more = parts.length === 0 ? '' : ` ${parts.join(', ')}.`;
  if (total === 0) {
    return (
      <div class="headline">
        <h1>Nothing is held yet</h1>
        <p>
          Write links into the configuration file and send the daemon a SIGHUP: it begins at once.
        </p>
      </div>
    );
  }
  const state = down > 0 ? 'down' : suspect > 0 ? 'suspect' : links.up === 0 ? 'unknown' : 'up';
  const heads = {
    down: `${down.toLocaleString()} of ${plural(total, 'link')} ${down === 1 ? 'is' : 'are'} dead`,
    suspect: `${plural(suspect, 'link')} in doubt`,
    unknown: 'Waiting for the first answers',
    up: 'Every link that is watched is up',
  };
  const carried =
    groups.length === 0
      ? ''
      : lost === 0
        ? 'All traffic has a path that is up.'
        : `${plural(lost, 'group')} without a path that is up.`;
  return (
    <div class={`headline ${state}`}>
      <h1>
        <StateIcon state={state} />
        {heads[state]}
      </h1>
      <p>
        {carried} {plural(links.up, 'link')} up.{more}
      </p>
    </div>
  );
}

function Chips({
  counts,
  state,
  choose,
}: {
  readonly counts: LinksAnswer['counts'] | undefined;
  readonly state: string;
  readonly choose: (state: string) => void;
}): JSX.Element {
  const all = Object.values(counts ?? {}).reduce((sum, one) => sum + one, 0);
  return (
    <fieldset class="filters">
      <legend class="sr-only">Links by state</legend>
      <button type="button" aria-pressed={state === ''} onClick={() => choose('')}>
        All <b>{all.toLocaleString()}</b>
      </button>
      {STATE_ORDER.map((one) => (
        <button
          key={one}
          type="button"
          aria-pressed={state === one}
          class={one}
          onClick={() => choose(state === one ? '' : one)}
        >
          <StateIcon state={one} />
          {STATES[one].label} <b>{(counts?.[one] ?? 0).toLocaleString()}</b>
        </button>
      ))}
    </fieldset>
  );
}

/** Typing asks once it pauses. `/` comes here, Escape empties it and leaves. */
function Search({ q }: { readonly q: string }): JSX.Element {
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    const focus = (event: KeyboardEvent) => {
      const { tagName } = event.target as HTMLElement;
      if (event.key !== '/' || /^(INPUT|SELECT|TEXTAREA)$/.test(tagName)) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    addEventListener('keydown', focus);
    return () => removeEventListener('keydown', focus);
  }, []);
  const search = (text: string) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setQuery({ q: text }), TYPING_MS);
  };
  return (
    <label class="search">
      <span class="sr-only">Search links by name, address or tag</span>
      <input
        ref={input}
        type="search"
        placeholder="Name, address or tag"
        defaultValue={q}
        maxLength={256}
        aria-keyshortcuts="/"
        onInput={(event) => search(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Escape') return;
          event.currentTarget.value = '';
          search('');
          event.currentTarget.blur();
        }}
      />
      <kbd>/</kbd>
    </label>
  );
}

function Groups({ total }: { readonly total: number }): JSX.Element | null {
  const { groups, known } = useGroups(1_000);
  if (groups === undefined) return <section aria-busy="true" />;
  return (
    <section aria-label="Groups">
      <div class="cards">
        {groups.slice(0, MOST_GROUPS).map((group) => (
          <GroupCard key={group.name} group={group} known={known} />
        ))}
      </div>
      {total > MOST_GROUPS && (
        <p>
          <Go to="/groups">All {plural(total, 'group')}</Go>
        </p>
      )}
    </section>
  );
}

export function LinksPage(): JSX.Element {
  const { query } = useAddress();
  const [span, setSpan] = useState(rememberedSpan);
  const [counts, setCounts] = useState<LinksAnswer['counts']>();
  const { data: summary } = useLive<Summary>('/api/v1/summary');
  const [q, tag, state] = ['q', 'tag', 'state'].map((key) => query.get(key) ?? '') as [
    string,
    string,
    string,
  ];
  const filter: Filter = { q, tag, state };
  return (
    <>
      {summary !== undefined && <Headline summary={summary} />}
      {summary !== undefined && summary.totals.groups > 0 && (
        <Groups total={summary.totals.groups} />
      )}
      <section aria-labelledby="links-head">
        <h2 id="links-head">Links</h2>
        <Chips counts={counts} state={state} choose={(one) => setQuery({ state: one })} />
        <div class="tools">
          <Search q={q} />
          {(summary?.tags.length ?? 0) > 0 && (
            <label>
              <span class="sr-only">Tag</span>
              <select
                value={tag}
                onChange={(event) => setQuery({ tag: event.currentTarget.value })}
              >
                <option value="">Every tag</option>
                {summary?.tags.map((one) => (
                  <option key={one} value={one}>
                    {one}
                  </option>
                ))}
              </select>
            </label>
          )}
          <SpanButtons
            of="the bars"
            spans={SPANS.slice(0, 3)}
            chosen={span}
            choose={(one) => {
              rememberSpan(one);
              setSpan(one);
            }}
          />
        </div>
        <LinkList filter={filter} span={span} counted={setCounts} />
        <BarKey />
      </section>
    </>
  );
}
