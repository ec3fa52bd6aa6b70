/**
 * What may be looked at: links, groups, relays, routes, events, and the summary of it all.
 * @module
 */
import { z } from 'zod';
import { LINK_STATES } from '../../keepalive/keepalive.ts';
import type { Link } from '../../link/link.ts';
import type { Supervisor } from '../supervisor.ts';
import type { ApiContext } from './context.ts';
import { type Endpoint, endpoint } from './endpoint.ts';
import { limitOf, matcher, oneOf, page, paging, searching, text, wholeNumber } from './lists.ts';
import { ProblemError, quote } from './problem.ts';
import {
  eventRow,
  groupRow,
  type LinkRow,
  type LinksPage,
  linkRow,
  linksPage,
  pageOf,
  relayRow,
  routeRow,
  type Summary,
  summaryRow,
} from './rows.ts';

/** Rows that a summary names; more are counted. */
const MOST_NAMED = 1_000;

const SORTS = ['file', 'worst'] as const;
const WORST_FIRST = ['down', 'suspect', 'unknown', 'drained', 'up'] as const;

/** A link as the API shows it. */
export function showLink(supervisor: Supervisor, link: Link): LinkRow {
  return { ...link.status(), tags: supervisor.tagsOf(link.name) };
}

/** Throws `ProblemError` (404). */
export function findLink(supervisor: Supervisor, name: string): Link {
  const link = supervisor.link(name);
  if (link === undefined) throw new ProblemError(404, `there is no link ${quote(name)}`);
  return link;
}

export function reads(context: ApiContext): Endpoint[] {
  return [summaryEndpoint(context), ...linkReads(context), ...pathReads(context), events(context)];
}

function linkReads({ supervisor }: ApiContext): Endpoint[] {
  return [
    endpoint({
      method: 'GET',
      path: '/api/v1/links',
      summary: 'The links as they are now, and how many there are in each state.',
      query: z.object({
        ...searching,
        state: oneOf(LINK_STATES).optional().describe('Only links in this state.'),
        tag: text().optional().describe('Only links with this tag.'),
        sort: oneOf(SORTS)
          .optional()
          .describe(
            'Their order: as in the file, or those in the worst state first. Default file.',
          ),
      }),
      answer: linksPage,
      run: ({ query }) => {
        const { state, tag, q, sort } = query;
        const fits = matcher(q);
        const found = supervisor.links().filter((link) => {
          const tags = supervisor.tagsOf(link.name);
          if (tag !== undefined && !tags.includes(tag)) return false;
          return fits(link.name, link.identity.url, ...tags);
        });
        const byState = Map.groupBy(found, (link) => link.state);
        const sorted =
          sort === 'worst' ? WORST_FIRST.flatMap((one) => byState.get(one) ?? []) : found;
        const links = state === undefined ? sorted : (byState.get(state) ?? []);
        const counts = LINK_STATES.map((one) => [one, byState.get(one)?.length ?? 0] as const);
        return {
          ...page(links, query, (link) => showLink(supervisor, link)),
          counts: Object.fromEntries(counts) as LinksPage['counts'],
        };
      },
    }),
    endpoint({
      method: 'GET',
      path: '/api/v1/links/:name',
      summary: 'One link as it is now.',
      answer: linkRow,
      problems: [404],
      run: ({ name }) => showLink(supervisor, findLink(supervisor, name)),
    }),
  ];
}

function pathReads({ supervisor }: ApiContext): Endpoint[] {
  return [
    endpoint({
      method: 'GET',
      path: '/api/v1/groups',
      summary: 'The groups with their paths, the one in use, since when and why.',
      query: z.object(searching),
      answer: pageOf(groupRow),
      run: ({ query }) => {
        const fits = matcher(query.q);
        const groups = supervisor
          .groupStatuses()
          .filter(({ name, paths }) => fits(name, ...paths.map(({ link }) => link)));
        return page(groups, query, (group) => group);
      },
    }),
    endpoint({
      method: 'GET',
      path: '/api/v1/groups/:name',
      summary: 'One group as it is now.',
      answer: groupRow,
      problems: [404],
      run: ({ name }) => {
        const group = supervisor.groupStatus(name);
        if (group === undefined) throw new ProblemError(404, `there is no group ${quote(name)}`);
        return group;
      },
    }),
    endpoint({
      method: 'GET',
      path: '/api/v1/relays',
      summary: 'The relays with their flows.',
      query: z.object(searching),
      answer: pageOf(relayRow),
      run: ({ query }) => {
        const fits = matcher(query.q);
        const relays = supervisor
          .relayStatuses()
          .filter(({ name, listen, group }) => fits(name, listen, group));
        return page(relays, query, (relay) => relay);
      },
    }),
    endpoint({
      method: 'GET',
      path: '/api/v1/routes',
      summary: 'The routes of the kernel that follow a group.',
      query: z.object(searching),
      answer: pageOf(routeRow),
      run: ({ query }) => {
        const fits = matcher(query.q);
        const routes = supervisor
          .routeStatuses()
          .filter(({ name, destination, group }) => fits(name, destination, group));
        return page(routes, query, (route) => route);
      },
    }),
  ];
}

function events({ log }: ApiContext): Endpoint {
  return endpoint({
    method: 'GET',
    path: '/api/v1/events',
    summary:
      'What happened, oldest first: the newest ones, those after "since", or the last before "before".',
    query: z.object({
      limit: paging.limit,
      since: wholeNumber(0, Number.MAX_SAFE_INTEGER)
        .optional()
        .describe('Only events after this id; "next" is the "since" of the following page.'),
      before: wholeNumber(0, Number.MAX_SAFE_INTEGER)
        .optional()
        .describe('The last events before this id; "next" is the "before" of the older page.'),
      link: text().optional().describe('Only events of this link or group.'),
    }),
    answer: pageOf(eventRow),
    problems: [503],
    run: ({ query }) => {
      if (query.since !== undefined && query.before !== undefined) {
        throw new ProblemError(400, 'before: write it, or "since", and not both');
      }
      const { items, next, isWhole } = log.query({ ...query, limit: limitOf(query) });
      // Who follows by id is not to believe that it has everything.
      if (!isWhole && (query.since ?? query.before) !== undefined) {
        throw new ProblemError(503, 'the events before cannot be read now', 5);
      }
      return { items, next };
    },
  });
}

function summaryEndpoint({ supervisor, log, version, troubles }: ApiContext): Endpoint {
  return endpoint({
    method: 'GET',
    path: '/api/v1/summary',
    summary: 'How everything stands, for a first look.',
    answer: summaryRow,
    run: (): Summary => {
      const links = { total: 0, unknown: 0, up: 0, suspect: 0, down: 0, drained: 0 };
      const tags = new Set<string>();
      for (const link of supervisor.links()) {
        links.total += 1;
        links[link.state] += 1;
        for (const tag of supervisor.tagsOf(link.name)) if (tags.size < MOST_NAMED) tags.add(tag);
      }
      const groups = supervisor.groupStatuses();
      const wrong = troubles();
      return {
        version,
        status: wrong.length === 0 ? 'ok' : 'degraded',
        troubles: wrong,
        lastEventId: log.lastId,
        links,
        tags: [...tags].toSorted((a, b) => a.localeCompare(b, 'en')),
        groups: groups.slice(0, MOST_NAMED).map(({ name, active, paths }) => {
          const path = paths.find((one) => one.link === active);
          return { name, active, up: path?.state === 'up' && !path.drained };
        }),
        totals: {
          groups: groups.length,
          relays: supervisor.relayStatuses().length,
          routes: supervisor.routeStatuses().length,
        },
      };
    },
  });
}
