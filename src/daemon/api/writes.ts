/**
 * What may be changed: a link is taken out, back in, or probed now; the configuration is read anew; the
 * daemon is replaced by a newer one.
 * @module
 */
import { z } from 'zod';
import type { ApiContext } from './context.ts';
import { type Endpoint, endpoint } from './endpoint.ts';
import { findLink, showLink } from './reads.ts';
import { linkRow } from './rows.ts';

const VERBS = {
  drain: 'Takes a link out, gently: it is watched on, but reported as drained.',
  resume: 'Takes a drained link back in.',
  probe: 'Asks a link for evidence now.',
} as const;

export function writes({ supervisor, reload, upgrade }: ApiContext): Endpoint[] {
  const verbs = (Object.keys(VERBS) as (keyof typeof VERBS)[]).map((verb) =>
    endpoint({
      method: 'POST',
      path: `/api/v1/links/:name/${verb}`,
      summary: VERBS[verb],
      answer: linkRow,
      problems: [404],
      run: ({ name }) => {
        const link = findLink(supervisor, name);
        link[verb]();
        return showLink(supervisor, link);
      },
    }),
  );
  const again = endpoint({
    method: 'POST',
    path: '/api/v1/reload',
    summary: 'Reads the configuration file anew; a bad file is a 400 and changes nothing.',
    answer: z.object({ reloaded: z.literal(true) }),
    run: async () => {
      await reload();
      return { reloaded: true as const };
    },
  });
  const renew = endpoint({
    method: 'POST',
    path: '/api/v1/upgrade',
    summary: 'Replaces the daemon by the program on the disk; relayed connections go on.',
    answer: z.object({ upgrading: z.literal(true) }),
    run: async () => {
      await upgrade();
      return { upgrading: true as const };
    },
  });
  return [...verbs, again, renew];
}
