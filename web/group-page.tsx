/**
 * One group: who carries the traffic, since when and why; every path with its standing; which path
 * carried when; and what acts on it.
 * @module
 */
import type { JSX } from 'preact';
import type { LinksPage, Page } from '../src/daemon/api/rows.ts';
import type { GroupStatus, PathStatus } from '../src/daemon/group-runner.ts';
import type { RelayStatus } from '../src/daemon/relays.ts';
import type { RouteStatus } from '../src/daemon/route-runner.ts';
import { DrainOrResume } from './actions.tsx';
import { pathOf, withQuery } from './api.ts';
import { EventList } from './events.tsx';
import { StateMark } from './icons.tsx';
import { Missing } from './missing.tsx';
import { Go, linkAddress } from './router.tsx';
import { GroupStory, isRerouted, troubleOf } from './story.tsx';
import { Since, Time } from './time.tsx';
import { Timeline } from './timeline.tsx';
import { useLive } from './use-live.ts';
import { pathState, percentOf, plural, standingOf } from './words.ts';

function PathRow({
  path,
  renew,
}: {
  readonly path: PathStatus;
  readonly renew: () => void;
}): JSX.Element {
  const { link, tier, weight, share, active, since, heldUntil, flappingUntil, failbackAt } = path;
  const standing = standingOf(path);
  return (
    <tr class={active ? 'active' : ''}>
      <th scope="row">
        <Go to={linkAddress(link)}>{link}</Go>
        {active && <span class="tag">carries traffic</span>}
      </th>
      <td data-head="State">
        <StateMark state={pathState(path)} />
      </td>
      <td data-head="For">
        <Since at={since} />
      </td>
      <td data-head="Preference">
        <span>
          {tier} <span class="soft">· weight {weight}</span>
        </span>
      </td>
      <td data-head="Share">{percentOf(share)}</td>
      <td data-head="Standing" class="standing">
        <span>
          {standing ??
            (active
              ? 'in use'
              : path.state === 'up'
                ? 'ready to take over'
                : 'out until it answers')}
          {heldUntil !== null && (
            <>
              {' '}
              until <Time at={heldUntil} />
            </>
          )}
          {flappingUntil !== null && heldUntil === null && (
            <>
              {' '}
              until <Time at={flappingUntil} />, if it stays up
            </>
          )}
          {failbackAt !== null && (
            <>
              ; traffic returns at <Time at={failbackAt} />
            </>
          )}
        </span>
      </td>
      <td>
        <DrainOrResume link={link} drained={path.drained} done={renew} />
      </td>
    </tr>
  );
}

function Paths({
  group,
  renew,
}: {
  readonly group: GroupStatus;
  readonly renew: () => void;
}): JSX.Element {
  return (
    <table class="card stacked">
      <thead>
        <tr>
          <th scope="col">Path</th>
          <th scope="col">State</th>
          <th scope="col">For</th>
          <th scope="col">Preference</th>
          <th scope="col">Share</th>
          <th scope="col">Standing</th>
          <th scope="col">
            <span class="sr-only">Actions</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {group.paths.map((path) => (
          <PathRow key={path.link} path={path} renew={renew} />
        ))}
      </tbody>
    </table>
  );
}

const OLD_FLOWS = {
  keep: 'Connections on a path that was left go on there.',
  drain: 'Connections on a path that was left get a while to end, then are reset.',
  reset: 'Connections on a path that was left are reset at once, so that programs connect anew.',
} as const;

function Relay({ relay }: { readonly relay: RelayStatus }): JSX.Element {
  const flows = Object.entries(relay.flows);
  return (
    <article class="card">
      <h3>Relay {relay.name}</h3>
      <p>
        Programs connect to <span class="mono">{relay.listen}</span>.{' '}
        {flows.length === 0
          ? 'No connection is open.'
          : `Open now: ${flows.map(([path, count]) => `${plural(count, 'connection')} by ${path}`).join(', ')}.`}
      </p>
      <p class="soft">
        {OLD_FLOWS[relay.oldFlows]} {plural(relay.accepted, 'connection')} since the start
        {relay.refused > 0 && `, of which ${relay.refused} were not taken by their path`}.
      </p>
    </article>
  );
}

function Route({ route }: { readonly route: RouteStatus }): JSX.Element {
  const trouble = route.foreign ?? route.failure;
  return (
    <article class="card">
      <h3>Route {route.name}</h3>
      <p>
        <span class="mono">{route.destination}</span> in table {route.table} leads{' '}
        {route.hop === null ? 'nowhere yet' : <span class="mono">{route.hop}</span>}
        {route.path !== null && ` (${route.path})`}
        {route.since !== null && (
          <>
            {' '}
            since <Time at={route.since} />
          </>
        )}
        .
      </p>
      {trouble !== null && <p class="trouble">{trouble}</p>}
      {trouble === null && (
        <p class="soft">{route.held ? 'The kernel holds it so.' : 'Not held yet.'}</p>
      )}
    </article>
  );
}

/** Relays and routes that move traffic as the group says. */
function Acting({ name }: { readonly name: string }): JSX.Element {
  const relays = useLive<Page<RelayStatus>>(withQuery('/api/v1/relays', { limit: 1_000 }), {
    everyMs: 2_000,
  });
  const routes = useLive<Page<RouteStatus>>(withQuery('/api/v1/routes', { limit: 1_000 }));
  const mine = relays.data?.items.filter(({ group }) => group === name) ?? [];
  const myRoutes = routes.data?.items.filter(({ group }) => group === name) ?? [];
  if (mine.length + myRoutes.length === 0) {
    return (
      <p class="soft">No relay and no route follows this group: it only tells which path to use.</p>
    );
  }
  return (
    <div class="cards">
      {mine.map((relay) => (
        <Relay key={relay.name} relay={relay} />
      ))}
      {myRoutes.map((route) => (
        <Route key={route.name} route={route} />
      ))}
    </div>
  );
}

export function GroupPage({ name }: { readonly name: string }): JSX.Element {
  const {
    data: group,
    refusal,
    renew,
  } = useLive<GroupStatus>(pathOf('groups', name), { everyMs: 3_000 });
  const worst = useLive<LinksPage>('/api/v1/links?sort=worst&limit=200').data?.items ?? [];
  if (refusal?.status === 404) return <Missing what={`group ${name}`} />;
  if (group === undefined) return <p aria-busy="true" />;
  const known = new Map(worst.map((link) => [link.name, link]));
  return (
    <>
      <p class="crumbs">
        <Go to="/groups">Groups</Go>
      </p>
      <header class="title">
        <h1>{group.name}</h1>
      </header>
      <section class={`card group ${troubleOf(group)}`} aria-label="Its story">
        <GroupStory group={group} known={known} />
        {isRerouted(group) && group.why !== 'start' && (
          <p class="soft">The last switch was made because {group.why}.</p>
        )}
      </section>
      <section aria-labelledby="paths-head">
        <h2 id="paths-head">Paths</h2>
        <Paths group={group} renew={renew} />
      </section>
      <section aria-labelledby="timeline-head">
        <Timeline group={group} />
      </section>
      <section aria-labelledby="acting-head">
        <h2 id="acting-head">What follows it</h2>
        <Acting name={name} />
      </section>
      <section aria-labelledby="events-head">
        <h2 id="events-head">What happened</h2>
        <EventList key={name} of={name} />
      </section>
    </>
  );
}
