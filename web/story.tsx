/**
 * The story of a link and of a group, as sentences: what is dead and since when, by what evidence, where
 * traffic goes meanwhile, and when it comes back.
 * @module
 */
import type { ComponentChildren, JSX } from 'preact';
import type { LinkRow } from '../src/daemon/api/rows.ts';
import type { GroupStatus, PathStatus } from '../src/daemon/group-runner.ts';
import { StateIcon } from './icons.tsx';
import { Go, groupAddress, linkAddress } from './router.tsx';
import { Since, Time } from './time.tsx';
import { pathState, reasonOf, STATES, standingOf } from './words.ts';

/** Links by name: those that are not simply up. */
export type Known = ReadonlyMap<string, LinkRow>;

export function LinkStory({ link }: { readonly link: LinkRow }): JSX.Element {
  const { name, state, since, reason, evidence } = link;
  return (
    <>
      <b>{name}</b> {STATES[state].is}
      {state === 'unknown' ? '' : ' since '}
      {state !== 'unknown' && <Time at={since} />} — {reasonOf(reason, evidence)}.
    </>
  );
}

/** A path that is not simply up, with the evidence of its link where that is known. */
function PathStory({
  path,
  known,
}: {
  readonly path: PathStatus;
  readonly known: Known;
}): JSX.Element {
  const link = known.get(path.link);
  const state = pathState(path);
  const standing = standingOf(path);
  if (link !== undefined && link.state === path.state && standing === undefined) {
    return <LinkStory link={link} />;
  }
  const why = standing ?? (link === undefined ? undefined : reasonOf(link.reason, link.evidence));
  return (
    <>
      <b>{path.link}</b> {STATES[state].is} since <Time at={path.since} />
      {why !== undefined && ` — ${why}`}.
    </>
  );
}

function isTold(path: PathStatus): boolean {
  return pathState(path) !== 'up' || path.heldUntil !== null;
}

/** Whether traffic goes by another path than the preferred ones. */
export function isRerouted({ paths }: GroupStatus): boolean {
  const best = Math.min(...paths.map(({ tier }) => tier));
  return paths.some((path) => path.active && path.tier > best);
}

/** Whether anything about the group needs a person's eye. */
export function troubleOf(group: GroupStatus): 'down' | 'suspect' | 'up' {
  const active = group.paths.find((path) => path.active);
  if (active?.state === 'down') return 'down';
  const isWell = group.paths.every((path) => ['up', 'drained'].includes(pathState(path)));
  return isWell && !isRerouted(group) ? 'up' : 'suspect';
}

function Traffic({ group }: { readonly group: GroupStatus }): JSX.Element {
  const { active, since, why, paths } = group;
  const current = paths.find((path) => path.active);
  if (current?.state === 'down') {
    return (
      <>
        No path is up. Traffic stays on <b>{active}</b>, the last one that was alive, so that it
        goes on as soon as that answers.
      </>
    );
  }
  const shared = paths.filter(({ share }) => share > 0);
  if (shared.length > 1) {
    return (
      <>
        Traffic is shared by <b>{shared.map(({ link }) => link).join(', ')}</b> since{' '}
        <Time at={since} />.
      </>
    );
  }
  const isPreferred = paths.length > 1 && !isRerouted(group);
  // Where it was rerouted, the reason stands in the line above.
  const told = why === 'start' || !isPreferred ? '' : ` — ${why}`;
  return (
    <>
      Traffic goes by <b>{active}</b>
      {isPreferred && ', the preferred path,'} since <Time at={since} />
      {told}.
    </>
  );
}

function Return({ group }: { readonly group: GroupStatus }): JSX.Element | null {
  const back = group.paths.find(({ failbackAt }) => failbackAt !== null);
  if (back === undefined || back.failbackAt === null) return null;
  return (
    <>
      <b>{back.link}</b> is up again since <Time at={back.since} />. Traffic returns to it at{' '}
      <Time at={back.failbackAt} />, if it stays up until then.
    </>
  );
}

/** One sentence with a sign before it. */
function Line({
  sign,
  children,
}: {
  readonly sign: JSX.Element;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <li>
      {sign}
      <span>{children}</span>
    </li>
  );
}

const ARROW = (
  <svg class="icon arrow" viewBox="0 0 16 16" aria-hidden="true">
    <path d="M1.5 8h12M9 3.5L13.5 8 9 12.5" />
  </svg>
);

export function GroupStory({
  group,
  known,
}: {
  readonly group: GroupStatus;
  readonly known: Known;
}): JSX.Element {
  const told = group.paths.filter(isTold);
  const back = group.paths.some(({ failbackAt }) => failbackAt !== null);
  return (
    <ul class="story">
      {told.map((path) => (
        <Line key={path.link} sign={<StateIcon state={pathState(path)} />}>
          <PathStory path={path} known={known} />
          {path.heldUntil !== null && (
            <>
              {' '}
              It fell again, so it is last choice until <Time at={path.heldUntil} />.
            </>
          )}
        </Line>
      ))}
      {back && (
        <Line sign={<StateIcon state="up" />}>
          <Return group={group} />
        </Line>
      )}
      <Line sign={ARROW}>
        <Traffic group={group} />
      </Line>
    </ul>
  );
}

/** The paths in a row, the one in use marked. */
function PathChips({ group }: { readonly group: GroupStatus }): JSX.Element {
  return (
    <ul class="chips" aria-label={`Paths of ${group.name}`}>
      {group.paths.map((path) => (
        <li key={path.link} class={path.active ? 'chip active' : 'chip'}>
          <StateIcon state={pathState(path)} />
          <Go to={linkAddress(path.link)}>{path.link}</Go>
          <span class="soft">
            {path.active ? 'carries traffic' : STATES[pathState(path)].label.toLowerCase()}
          </span>
        </li>
      ))}
    </ul>
  );
}

const HEADS = { down: 'No path', suspect: 'A path is out', up: 'All well' } as const;

export function GroupCard({
  group,
  known,
}: {
  readonly group: GroupStatus;
  readonly known: Known;
}): JSX.Element {
  const trouble = troubleOf(group);
  const head = isRerouted(group) && trouble === 'suspect' ? 'Rerouted' : HEADS[trouble];
  return (
    <article class={`card group ${trouble}`}>
      <header>
        <h3>
          <Go to={groupAddress(group.name)}>{group.name}</Go>
        </h3>
        <span class={`mark ${trouble}`}>
          <StateIcon state={trouble} />
          {head}
        </span>
        <span class="soft age">
          for <Since at={group.since} />
        </span>
      </header>
      <GroupStory group={group} known={known} />
      <PathChips group={group} />
    </article>
  );
}
