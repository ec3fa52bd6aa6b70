/**
 * What a configuration file may say: the types, and the schema that checks them and describes each key.
 * Completion in editors and docs/configuration.md are made of it. References, URLs and timings are
 * checked where the file is loaded.
 * @module
 */
import { z } from 'zod';
import { MOST_RULES } from '../host/rule.ts';
import type { TimingInput } from '../keepalive/timing.ts';
import { type NotifyEntry, notifySchema, tagsSchema } from './notify/notify-schema.ts';
import { type RelayEntry, relaySchema } from './relay-schema.ts';
import {
  count,
  duration,
  grace,
  name,
  type OldFlows,
  oldFlows,
  type Shape,
  timing,
} from './schema-parts.ts';
import { type StatusPageEntry, statusPageSchema } from './status-page/status-schema.ts';

/** One link: its URL, and its timing as everywhere. */
export interface LinkEntry extends TimingInput {
  readonly url: string;
  readonly tags?: readonly string[] | undefined;
}

/** One path of a group. */
export interface PathEntry {
  readonly link: string;
  readonly also?: readonly string[] | undefined;
  readonly atLeast?: number | undefined;
  readonly behind?: string | undefined;
  readonly maintenance?: boolean | undefined;
  readonly tier?: number | undefined;
  readonly weight?: number | undefined;
  readonly to?: string | undefined;
  readonly via?: string | undefined;
  readonly dev?: string | undefined;
}

/** Paths to one destination, of which one is in use. */
export interface GroupEntry {
  readonly paths: readonly PathEntry[];
  readonly fall?: number | undefined;
  readonly rise?: number | undefined;
  readonly failbackAfter?: string | undefined;
  readonly holdDown?: string | undefined;
  readonly verifyWithin?: string | undefined;
  readonly doubtInterval?: string | undefined;
  readonly balance?: boolean | undefined;
  readonly slowStart?: string | undefined;
  readonly quality?: QualityEntry | undefined;
}

/** Limits of what a link may lose and how late it may answer, each with its way back. */
export interface QualityEntry {
  readonly window?: number | undefined;
  readonly lossBad?: number | undefined;
  readonly lossGood?: number | undefined;
  readonly latencyBad?: string | undefined;
  readonly latencyGood?: string | undefined;
}

/** What is left of a route when the daemon ends: it, or what was there before. */
export const ON_EXIT = ['restore', 'keep'] as const;
export type OnExit = (typeof ON_EXIT)[number];

/** A route of this machine that follows a group's path in use. */
export interface RouteEntry {
  readonly destination: string;
  readonly table?: number | undefined;
  readonly group: string;
  readonly metric?: number | undefined;
  readonly oldFlows?: OldFlows | undefined;
  readonly grace?: string | undefined;
  readonly onExit?: OnExit | undefined;
}

/** A responder for `beat://` links inside the daemon. */
export interface ResponderEntry {
  readonly listen: string;
  readonly key?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** Keepalive for connections of other programs on this machine, those that exist and those to come. */
export interface ProtectEntry extends Omit<TimingInput, 'beat'> {
  readonly port?: number | undefined;
  readonly to?: string | undefined;
  readonly cgroup?: string | undefined;
  readonly lock?: boolean | undefined;
}

/** A whole file, as written: durations are still text. */
export interface Config {
  readonly links: Readonly<Record<string, LinkEntry>>;
  readonly groups: Readonly<Record<string, GroupEntry>>;
  readonly relays: Readonly<Record<string, RelayEntry>>;
  readonly routes: Readonly<Record<string, RouteEntry>>;
  readonly respond: readonly ResponderEntry[];
  readonly protect: readonly ProtectEntry[];
  readonly notify?: NotifyEntry | undefined;
  readonly statusPage?: StatusPageEntry | undefined;
}

const link = z.strictObject({
  url: z
    .string()
    .describe(
      'Kind and address, for example `tcp://10.0.0.5:5432`; `?source=ADDRESS` sends from there.',
    ),
  tags: tagsSchema.optional().describe('Words to find and count links by, at most 16.'),
  ...timing,
  beat: duration
    .optional()
    .describe(
      'Sends a beat after so long of sending nothing; kinds with a send clock only. Default: no beats.',
    ),
} satisfies Shape<LinkEntry>);

const path = z.strictObject({
  link: z
    .string()
    .describe('The link that says whether the path works; the path is named after it.'),
  also: z
    .array(z.string())
    .max(15)
    .optional()
    .describe(
      'Further links that say so, each by another way or to another target. Default: none.',
    ),
  atLeast: z
    .int()
    .min(1)
    .max(16)
    .optional()
    .describe(
      'How many of its links must be up. Too small and one lucky target hides a dead path. Default 1.',
    ),
  behind: z
    .string()
    .optional()
    .describe(
      'A link that the path needs: while it is down, the path is not blamed. Default: none.',
    ),
  maintenance: z
    .boolean()
    .optional()
    .describe('Out of use as if drained, for as long as the file says so. Default false.'),
  tier: z
    .int()
    .min(1)
    .max(100)
    .optional()
    .describe('Lower is preferred: 2 is used only while every 1 is out. Default 1.'),
  weight: z
    .number()
    .positive()
    .max(1_000)
    .optional()
    .describe(
      'Within a tier the heavier is preferred; with `balance`, its part of new flows. Default 1.',
    ),
  to: z
    .string()
    .optional()
    .describe("Where relays connect to, `HOST:PORT`. Default: host and port of the link's URL."),
  via: z.string().optional().describe('The gateway by which routes of the group lead there.'),
  dev: z
    .string()
    .regex(/^[^\s/:]{1,15}$/)
    .optional()
    .describe('The device by which they do. Default: the one that reaches `via`.'),
} satisfies Shape<PathEntry>);

const quality = z.strictObject({
  window: z
    .int()
    .optional()
    .describe('Probes judged together. Too small and one loss counts as many. Default 20.'),
  lossBad: z.number().optional().describe('Percent lost that make a path poor. Default: never.'),
  lossGood: z
    .number()
    .optional()
    .describe('Percent lost at or below which it is good again. Default: half of `lossBad`.'),
  latencyBad: duration.optional().describe('Mean round trip that makes it poor. Default: never.'),
  latencyGood: duration
    .optional()
    .describe('Mean round trip at or below which it is good again. Default: half of `latencyBad`.'),
} satisfies Shape<QualityEntry>);

const group = z.strictObject({
  paths: z.array(path).min(1).max(64).describe('1 to 64 of them.'),
  fall: count
    .optional()
    .describe(
      'Bad results in a row that take a path down. Default 1: a link has counted probes already.',
    ),
  rise: count
    .optional()
    .describe(
      'Good results in a row that bring it back. Too small and one that works now and then is believed. Default 2.',
    ),
  failbackAfter: duration
    .optional()
    .describe(
      'How long a better path must have been good before traffic returns. Too small and flows move twice for one outage. Default 60s.',
    ),
  holdDown: duration
    .optional()
    .describe(
      'A path that falls again is last choice for so long, times its falls. `0s`: never. Default 30s.',
    ),
  verifyWithin: duration
    .optional()
    .describe(
      'How long a candidate has to answer before a switch. Under a round trip, good ones are passed over. Default 1s.',
    ),
  doubtInterval: duration.optional().describe('Gap between probes of a link in doubt. Default 1s.'),
  balance: z
    .boolean()
    .optional()
    .describe('All fit paths of the tier in use share new flows by weight. Default false.'),
  slowStart: duration
    .optional()
    .describe("With `balance`: how long a returned path's share takes to grow. Default 30s."),
  quality: quality
    .optional()
    .describe('When a link that answers is still too poor to use. Default: never.'),
} satisfies Shape<GroupEntry>);

const route = z.strictObject({
  destination: z.string().describe('A range of addresses; `0.0.0.0/0` is the default route.'),
  table: z
    .int()
    .min(1)
    .max(0xffff_ffff)
    .optional()
    .describe('The number of its routing table. Default 254, main.'),
  group: z.string().describe('The group it follows; each of its paths has a `via` or a `dev`.'),
  metric: z
    .int()
    .min(0)
    .max(0xffff_ffff)
    .optional()
    .describe('Lower is preferred. Default: before every other, 0 for IPv4 and 1 for IPv6.'),
  oldFlows,
  grace,
  onExit: z
    .enum(ON_EXIT)
    .optional()
    .describe('When the daemon ends: what was there before, or it stays. Default `restore`.'),
} satisfies Shape<RouteEntry>);

const responder = z.strictObject({
  listen: z.string().describe('`ADDRESS:PORT`, UDP.'),
  key: z.string().optional().describe('The secret shared with the links that it answers.'),
  keyFile: z.string().optional().describe('A file with the secret, instead of `key`.'),
} satisfies Shape<ResponderEntry>);

const protect = z.strictObject({
  port: z.int().min(1).max(65_535).optional().describe('Of either end. Default: any.'),
  to: z.string().optional().describe('Of the remote end: an address or a prefix. Default: any.'),
  cgroup: z
    .string()
    .optional()
    .describe('Only what this control group and those below it have. Default: all.'),
  lock: z.boolean().optional().describe('The program cannot undo it. Default false.'),
  ...timing,
} satisfies Shape<ProtectEntry>);

/** A section whose entries are all commented out is there, and empty. */
function section<Entry extends z.ZodType>(entries: Entry, empty: z.output<Entry>, about: string) {
  return entries
    .nullish()
    .transform((given) => given ?? empty)
    .describe(about);
}

/** Checks the shape of a file. Sections left out are empty. */
export const configSchema: z.ZodType<Config> = z.strictObject({
  links: section(z.record(name, link), {}, 'The links that are held, by name.'),
  groups: section(
    z.record(name, group),
    {},
    'Paths to one destination, of which one is in use, by name.',
  ),
  relays: section(z.record(name, relaySchema), {}, 'Listeners in front of a group, by name.'),
  routes: section(
    z.record(name, route),
    {},
    "Routes of this machine that follow a group's path in use, by name.",
  ),
  respond: section(
    z.array(responder).max(1_000),
    [],
    'Responders for `beat://` links inside the daemon.',
  ),
  protect: section(
    z.array(protect).max(MOST_RULES),
    [],
    'Keepalive for connections of other programs on this machine, existing ones and those to come.',
  ),
  notify: notifySchema.optional().describe('Who is told of what, and how.'),
  statusPage: statusPageSchema.optional().describe('A page of chosen links for everybody.'),
} satisfies Shape<Config>);
