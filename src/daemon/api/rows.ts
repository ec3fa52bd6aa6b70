/**
 * What the API answers, as schemas: the one source of its checks and of its OpenAPI document. Each is
 * held against the type of what it describes by the compiler. Knows no HTTP.
 * @module
 */
import { z } from 'zod';
import { RISKS } from '../../host/risk.ts';
import type { SocketReport } from '../../host/socket-report.ts';
import { type Evidence, LINK_STATES, REASONS } from '../../keepalive/keepalive.ts';
import type { LinkStatus } from '../../link/link.ts';
import { STANDINGS } from '../../path/group-member.ts';
import { PATH_STATES } from '../../path/link-health.ts';
import { TCP_STATES, TCP_TIMERS } from '../../wire/inet-diag.ts';
import type { LoggedEvent } from '../event-log.ts';
import type { GroupStatus } from '../group-runner.ts';
import { ENGINES, PROTOCOLS } from '../relay-schema.ts';
import type { RelayStatus } from '../relays.ts';
import type { RouteStatus } from '../route-runner.ts';
import { OLD_FLOWS } from '../schema-parts.ts';
import { learnedRow } from '../store/past.ts';

/** A link, with the tags that its configuration gives it. */
export interface LinkRow extends LinkStatus {
  readonly tags: readonly string[];
}

/** What a caller may do: only look, or also change things. */
export const SCOPES = ['read', 'operate'] as const;
export type Scope = (typeof SCOPES)[number];

const CLASSES = ['answered', 'two-sided', 'one-way'] as const;

const ms = z.number().describe('Milliseconds.');
const instant = z.iso.datetime().describe('UTC, ISO 8601.');
const count = z.int().min(0);

const evidence: z.ZodType<Evidence> = z
  .object({
    probes: count.exactOptional().describe('Probes in a row that nobody answered.'),
    silentMs: ms.exactOptional().describe('How long nothing was heard while we were listening.'),
    errno: z.string().exactOptional().describe("The kernel's error, for example ETIMEDOUT."),
  })
  .describe('What the last change of state rests on.');

export const linkRow: z.ZodType<LinkRow> = z
  .object({
    name: z.string(),
    url: z.string().describe('Keys and passwords in it are shown as ***.'),
    kind: z.string().describe('For example tcp, beat, https.'),
    class: z.enum(CLASSES).describe('Who keeps which clock.'),
    tags: z.array(z.string()),
    state: z.enum(LINK_STATES),
    since: instant.describe('When it entered its state.'),
    reason: z.enum(REASONS),
    rttMs: ms.nullable().describe('The last round trip in milliseconds; null before the first.'),
    detectsWithinMs: ms.describe('A dead peer is known within so long, in the worst case.'),
    largestSilenceMs: ms.describe('The longest silence the link leaves on the path while up.'),
    evidence,
    local: z.string().nullable(),
    remote: z.string().nullable(),
    proves: z.string().describe('What "up" proves, and what it does not.'),
    learned: learnedRow
      .exactOptional()
      .describe('What it found out about its peer, also before a restart, if anything.'),
    mptcp: z.object({ inUse: z.boolean(), subflows: count }).exactOptional(),
  })
  .meta({ id: 'Link' });

export const groupRow: z.ZodType<GroupStatus> = z
  .object({
    name: z.string(),
    active: z.string().describe('The path in use.'),
    since: instant,
    why: z.string(),
    paths: z.array(
      z.object({
        link: z.string(),
        tier: z.number().describe('Lower is preferred.'),
        weight: z.number(),
        state: z.enum(PATH_STATES),
        since: instant,
        drained: z.boolean(),
        standing: z.enum(STANDINGS).describe('What a switch may make of it.'),
        heldUntil: instant.nullable().describe('Until when a flapping path is last choice.'),
        failbackAt: instant.nullable().describe('When traffic returns to it, if it stays up.'),
        flappingUntil: instant.nullable().describe('Until when it counts as flapping.'),
        poor: z.string().nullable().describe('What is poor about a path that is up.'),
        silencedBy: z.string().nullable().describe('The dead link it lies behind.'),
        share: z.number().describe('The part of new flows that goes there, from 0 to 1.'),
        active: z.boolean(),
      }),
    ),
  })
  .meta({ id: 'Group' });

const flows = z.record(z.string(), count);

export const relayRow: z.ZodType<RelayStatus> = z
  .object({
    name: z.string(),
    listen: z.string(),
    group: z.string(),
    oldFlows: z.enum(OLD_FLOWS).describe('What becomes of flows on a path that was left.'),
    protocol: z.enum(PROTOCOLS),
    engine: z.enum(ENGINES).describe('What carries: a process that splices, or streams.'),
    pid: z.int().describe('The process that carries its connections.'),
    failure: z.string().nullable().describe('Why it does not listen.'),
    flows: flows.describe('Flows open now, by path.'),
    accepted: count.describe('Flows since the start.'),
    refused: count.describe('Flows that no path took.'),
    bytesUp: count.describe('Bytes from clients, of flows that have ended too.'),
    bytesDown: count.describe('Bytes to clients.'),
    mptcp: z.object({ inUse: count, fellBack: count }).exactOptional(),
  })
  .meta({ id: 'Relay' });

export const routeRow: z.ZodType<RouteStatus> = z
  .object({
    name: z.string(),
    destination: z.string(),
    table: z.int(),
    group: z.string(),
    path: z.string().nullable().describe('The path it was put on last; null before the first.'),
    hop: z.string().nullable().describe('Where that leads, as `ip route` writes it.'),
    since: instant.nullable(),
    why: z.string().nullable(),
    held: z.boolean().describe('Whether the kernel holds it so.'),
    foreign: z.string().nullable().describe('What somebody else made of it.'),
    failure: z.string().nullable().describe('Why it could not be put on the path in use.'),
    oldFlows: z.enum(OLD_FLOWS),
  })
  .meta({ id: 'Route' });

const happening = { id: count.describe('Rises by one with every event.'), at: instant };

export const eventRow: z.ZodType<LoggedEvent> = z
  .discriminatedUnion('type', [
    z.object({
      ...happening,
      type: z.literal('state'),
      link: z.string(),
      from: z.enum(LINK_STATES),
      to: z.enum(LINK_STATES),
      reason: z.enum(REASONS),
      evidence,
      detectsWithinMs: ms,
    }),
    z.object({
      ...happening,
      type: z.literal('switch'),
      group: z.string(),
      from: z.string(),
      to: z.string(),
      why: z.string(),
    }),
    z.object({
      ...happening,
      type: z.literal('note'),
      link: z.string().exactOptional(),
      group: z.string().exactOptional(),
      text: z.string(),
    }),
  ])
  .meta({ id: 'Event' });

export const socketRow: z.ZodType<SocketReport> = z
  .object({
    family: z.enum(['ipv4', 'ipv6']),
    local: z.string(),
    remote: z.string(),
    state: z.enum(TCP_STATES),
    pid: z.int().nullable(),
    process: z.string().nullable(),
    cookie: z.string().describe("Hexadecimal: the kernel's own name for the socket."),
    keepalive: z
      .object({
        enabled: z.boolean(),
        timeMs: ms,
        intervalMs: ms,
        probes: count,
        userTimeoutMs: ms,
      })
      .nullable()
      .describe('null where it cannot be read; "unreadable" then says why.'),
    unreadable: z.string().exactOptional(),
    timer: z.object({ kind: z.enum(TCP_TIMERS), expiresMs: ms }).nullable(),
    idleMs: ms.nullable().describe('Since anything was heard.'),
    detection: z
      .object({ idleMs: ms.nullable().describe('null for never.'), inFlightMs: ms })
      .nullable()
      .describe('When a dead peer would be known, in the worst case.'),
    risks: z.array(z.enum(RISKS)).describe('The worst first.'),
    advice: z.string().nullable(),
  })
  .meta({ id: 'Socket' });

const stateCounts = z.object({
  unknown: count,
  up: count,
  suspect: count,
  down: count,
  drained: count,
});

/** How everything stands, for a first look. */
export interface Summary {
  readonly version: string;
  readonly status: 'ok' | 'degraded';
  readonly troubles: readonly string[];
  readonly lastEventId: number;
  readonly links: Readonly<Record<'total' | LinkStatus['state'], number>>;
  readonly tags: readonly string[];
  readonly groups: readonly {
    readonly name: string;
    readonly active: string;
    readonly up: boolean;
  }[];
  readonly totals: Readonly<Record<'groups' | 'relays' | 'routes', number>>;
}

export const summaryRow: z.ZodType<Summary> = z
  .object({
    version: z.string(),
    status: z.enum(['ok', 'degraded']).describe('Of the daemon itself, as in /healthz.'),
    troubles: z.array(z.string()).describe('What is wrong with the daemon, a sentence each.'),
    lastEventId: count.describe('0 before the first. A stream may begin there.'),
    links: stateCounts.extend({ total: count }),
    tags: z.array(z.string()).describe('Every tag of a link, in order; at most 1,000.'),
    groups: z
      .array(z.object({ name: z.string(), active: z.string(), up: z.boolean() }))
      .describe('At most 1,000, with the path in use and whether it is up.'),
    totals: z.object({ groups: count, relays: count, routes: count }),
  })
  .meta({ id: 'Summary' });

/** The daemon itself. Who may not read is told the status alone. */
export interface Health {
  readonly status: 'ok' | 'degraded';
  readonly troubles?: readonly string[];
  readonly version?: string;
  readonly pid?: number;
  readonly uptimeMs?: number;
  readonly links?: number;
}

export const healthRow: z.ZodType<Health> = z
  .object({
    status: z.enum(['ok', 'degraded']),
    troubles: z.array(z.string()).exactOptional(),
    version: z.string().exactOptional(),
    pid: z.int().exactOptional(),
    uptimeMs: ms.exactOptional(),
    links: count.exactOptional(),
  })
  .describe('Callers who may not read get the status alone.')
  .meta({ id: 'Health' });

/** Who is asking. */
export interface SessionRow {
  readonly name: string | null;
  readonly scope: Scope;
  readonly expiresAt: string | null;
}

export const sessionRow: z.ZodType<SessionRow> = z
  .object({
    name: z.string().nullable().describe('The name of the token; null on loopback without one.'),
    scope: z.enum(SCOPES),
    expiresAt: instant.nullable().describe('When the session ends; null without a session.'),
  })
  .meta({ id: 'Session' });

/** One page of a list. */
export interface Page<Row> {
  readonly items: readonly Row[];
  readonly next: number | null;
}

export function pageOf<Row>(row: z.ZodType<Row>): z.ZodType<Page<Row>> {
  const next = count.nullable().describe('The cursor of the next page, or null at the end.');
  return z.object({ items: z.array(row), next });
}

/** A page of links, and how many pass the filter, whatever state is asked for. */
export interface LinksPage extends Page<LinkRow> {
  readonly counts: Readonly<Record<LinkStatus['state'], number>>;
}

export const linksPage: z.ZodType<LinksPage> = z.object({
  items: z.array(linkRow),
  next: count.nullable().describe('The cursor of the next page, or null at the end.'),
  counts: stateCounts.describe('How many links pass the filter, in each state.'),
});

/** RFC 9457. */
export interface Problem {
  readonly type: 'about:blank';
  readonly title: string;
  readonly status: number;
  readonly detail: string;
}

export const problemRow: z.ZodType<Problem> = z
  .object({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe('What is wrong, and how to mend it.'),
  })
  .meta({ id: 'Problem' });
