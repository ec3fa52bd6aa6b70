/**
 * A browser's session: opened with a token, carried by a cookie, ended by its owner.
 * @module
 */
import { type Endpoint, endpoint } from './endpoint.ts';
import type { ApiGuard, Caller } from './guard.ts';
import { type SessionRow, sessionRow } from './rows.ts';

const PATH = '/api/v1/session';

export function sessionRoutes({ sessions }: ApiGuard): Endpoint[] {
  return [
    endpoint({
      method: 'POST',
      path: PATH,
      summary: 'Opens a session with the token of the Authorization header; answers a cookie.',
      needs: 'read',
      answer: sessionRow,
      run: ({ caller, reply }) => {
        const { session, cookie } = sessions.open(caller?.name ?? '', Date.now());
        reply.header('set-cookie', cookie);
        return show(caller, session.expiresAt);
      },
    }),
    endpoint({
      method: 'GET',
      path: PATH,
      summary: 'Who is asking, and what they may do.',
      answer: sessionRow,
      run: ({ caller }) => show(caller, caller?.expiresAt),
    }),
    endpoint({
      method: 'DELETE',
      path: PATH,
      summary: 'Ends the session of the cookie.',
      needs: 'read',
      answer: sessionRow,
      run: ({ caller, request, reply }) => {
        reply.header('set-cookie', sessions.close(request.headers.cookie));
        return show(caller, undefined);
      },
    }),
  ];
}

function show(caller: Caller | undefined, expiresAt: number | undefined): SessionRow {
  return {
    name: caller?.name ?? null,
    scope: caller?.scope ?? 'read',
    expiresAt: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
  };
}
