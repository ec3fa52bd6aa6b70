/**
 * What a configuration file may say: the types, and the schema that checks them. References, URLs
 * and timings are checked where the file is loaded.
 * @module
 */
import { z } from 'zod';
import { MOST_RULES } from '../host/rule.ts';
import type { ProfileName, TimingInput } from '../keepalive/timing.ts';
import { OLD_FLOWS, type OldFlows } from '../relay/relay.ts';
import { type NotifyEntry, notifySchema, tagsSchema } from './notify/notify-schema.ts';

/** One link: its URL, and its timing as everywhere. */
export interface LinkEntry extends TimingInput {
  readonly url: string;
  /** Names by which rules of `notify` find it. */
  readonly tags?: readonly string[] | undefined;
}

/** One path of a group. */
export interface PathEntry {
  /** The link that says whether the path works; the path is named after it. */
  readonly link: string;
  /** Further links that say so too, each by another way or to another target. */
  readonly also?: readonly string[] | undefined;
  /** How many of all these links must be up for the path to be. Default 1. */
  readonly atLeast?: number | undefined;
  /** A link that the path needs: while it is down, the path's downs are not held against it. */
  readonly behind?: string | undefined;
  /** Out of use as if drained, for as long as the file says so. Default false. */
  readonly maintenance?: boolean | undefined;
  /** Lower is preferred. Default 1. */
  readonly tier?: number | undefined;
  /** Among equal tiers, heavier is preferred; with `balance`, its part of new flows. Default 1. */
  readonly weight?: number | undefined;
  /** Where relays connect to, `HOST:PORT`. Default: host and port of the link's URL. */
  readonly to?: string | undefined;
  /** The gateway by which routes of the group lead there. */
  readonly via?: string | undefined;
  /** The device by which they do. Default: the one that reaches `via`. */
  readonly dev?: string | undefined;
}

/** Paths to one destination, of which one is in use. */
export interface GroupEntry {
  readonly paths: readonly PathEntry[];
  /** Bad results in a row that take a path down. Default 1: a link has counted probes already. */
  readonly fall?: number | undefined;
  /** Good results in a row that bring it back. Default 2. */
  readonly rise?: number | undefined;
  /** How long a better path must have been good before traffic returns to it. Default 60s. */
  readonly failbackAfter?: string | undefined;
  /** A path that falls again is last choice for so long, times its falls. 0s: never. Default 30s. */
  readonly holdDown?: string | undefined;
  /** How long a candidate has to answer before a switch. Default 1s. */
  readonly verifyWithin?: string | undefined;
  /** Gap between probes of a link in doubt. Default 1s. */
  readonly doubtInterval?: string | undefined;
  /** All fit paths of the tier in use share new flows by weight. Default false: one carries all. */
  readonly balance?: boolean | undefined;
  /** With `balance`: how long a returned path's share takes to grow. Default 30s. */
  readonly slowStart?: string | undefined;
  /** When a link that answers is still too poor to use. Default: never. */
  readonly quality?: QualityEntry | undefined;
}

/** Limits of what a link may lose and how late it may answer, each with its way back. */
export interface QualityEntry {
  /** Probes judged together. Default 20. */
  readonly window?: number | undefined;
  /** Percent lost that make it poor. */
  readonly lossBad?: number | undefined;
  /** Percent lost at or below which it is good again. Default: half of `lossBad`. */
  readonly lossGood?: number | undefined;
  /** Mean round trip that makes it poor. */
  readonly latencyBad?: string | undefined;
  /** Mean round trip at or below which it is good again. Default: half of `latencyBad`. */
  readonly latencyGood?: string | undefined;
}

/** A listener in front of a group. */
export interface RelayEntry {
  /** `ADDRESS:PORT`. */
  readonly listen: string;
  readonly group: string;
  /** What becomes of flows on a path that was left. Default `keep`. */
  readonly oldFlows?: OldFlows | undefined;
  /** With `drain`: how long old flows may go on. Default 30s. */
  readonly grace?: string | undefined;
  /** Connect to the paths by Multipath TCP, where their servers have it. Default: no. */
  readonly mptcp?: boolean | undefined;
}

/** What is left of a route when the daemon ends: it, or what was there before. */
export const ON_EXIT = ['restore', 'keep'] as const;
export type OnExit = (typeof ON_EXIT)[number];

/** A route of this machine that follows a group's path in use. */
export interface RouteEntry {
  /** A range of addresses: `0.0.0.0/0` is the default route. */
  readonly destination: string;
  /** The number of its routing table. Default 254, main. */
  readonly table?: number | undefined;
  /** Every path of it has a `via` or a `dev`. */
  readonly group: string;
  /** Lower is preferred. Default: in front of every other, 0 for IPv4 and 1 for IPv6. */
  readonly metric?: number | undefined;
  /** What becomes of flows that a NAT of this machine holds on a path that was left. Default `keep`. */
  readonly oldFlows?: OldFlows | undefined;
  /** With `drain`: how long old flows may go on. Default 30s. */
  readonly grace?: string | undefined;
  /** Default `restore`. */
  readonly onExit?: OnExit | undefined;
}

/** A responder for `beat://` links inside the daemon. */
export interface ResponderEntry {
  /** `ADDRESS:PORT`, UDP. */
  readonly listen: string;
  readonly key?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** Keepalive for connections of other programs on this machine, those that exist and those to come. */
export interface ProtectEntry extends Omit<TimingInput, 'beat'> {
  /** Of either end. Default: any. */
  readonly port?: number | undefined;
  /** Of the remote end: an address or a prefix. Default: any. */
  readonly to?: string | undefined;
  /** Only what this control group and those below it have. Default: all of the machine. */
  readonly cgroup?: string | undefined;
  /** The program cannot undo it. Default: it can. */
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
}

const PROFILE_NAMES: readonly [ProfileName, ...ProfileName[]] = [
  'rfc9293',
  'linux',
  'windows',
  'windows-legacy',
  'macos',
  'typical',
  'default',
];

/** What links, groups, relays and routes may be called: fit for URLs, pages and terminals. */
export const NAME: RegExp = /^[A-Za-z\d][\w-]{0,63}$/;

const name = z.string().regex(NAME);
const duration = z.string({ error: 'write a duration with its unit: 500ms, 45s, 10m, 2h' });
const count = z.int().min(1).max(1_000);

const timing = {
  profile: z.enum(PROFILE_NAMES).optional(),
  time: duration.optional(),
  interval: duration.optional(),
  probes: z.int().optional(),
  userTimeout: duration.optional(),
};

const link = z.strictObject({
  url: z.string(),
  ...timing,
  beat: duration.optional(),
  tags: tagsSchema.optional(),
});

const protect = z.strictObject({
  port: z.int().min(1).max(65_535).optional(),
  to: z.string().optional(),
  cgroup: z.string().optional(),
  lock: z.boolean().optional(),
  ...timing,
});

const path = z.strictObject({
  link: z.string(),
  also: z.array(z.string()).max(15).optional(),
  atLeast: z.int().min(1).max(16).optional(),
  behind: z.string().optional(),
  maintenance: z.boolean().optional(),
  tier: z.int().min(1).max(100).optional(),
  weight: z.number().positive().max(1_000).optional(),
  to: z.string().optional(),
  via: z.string().optional(),
  dev: z
    .string()
    .regex(/^[^\s/:]{1,15}$/)
    .optional(),
});

const quality = z.strictObject({
  window: z.int().optional(),
  lossBad: z.number().optional(),
  lossGood: z.number().optional(),
  latencyBad: duration.optional(),
  latencyGood: duration.optional(),
});

const group = z.strictObject({
  paths: z.array(path).min(1).max(64),
  fall: count.optional(),
  rise: count.optional(),
  failbackAfter: duration.optional(),
  holdDown: duration.optional(),
  verifyWithin: duration.optional(),
  doubtInterval: duration.optional(),
  balance: z.boolean().optional(),
  slowStart: duration.optional(),
  quality: quality.optional(),
});

const relay = z.strictObject({
  listen: z.string(),
  group: z.string(),
  oldFlows: z.enum(OLD_FLOWS).optional(),
  grace: duration.optional(),
  mptcp: z.boolean().optional(),
});

const route = z.strictObject({
  destination: z.string(),
  table: z.int().min(1).max(0xffff_ffff).optional(),
  group: z.string(),
  metric: z.int().min(0).max(0xffff_ffff).optional(),
  oldFlows: z.enum(OLD_FLOWS).optional(),
  grace: duration.optional(),
  onExit: z.enum(ON_EXIT).optional(),
});

const responder = z.strictObject({
  listen: z.string(),
  key: z.string().optional(),
  keyFile: z.string().optional(),
});

/** A section whose entries are all commented out is there, and empty. */
function section<Entry extends z.ZodType>(entries: Entry, empty: z.output<Entry>) {
  return entries.nullish().transform((given) => given ?? empty);
}

/** Checks the shape of a file. Sections left out are empty. */
export const configSchema: z.ZodType<Config> = z.strictObject({
  links: section(z.record(name, link), {}),
  groups: section(z.record(name, group), {}),
  relays: section(z.record(name, relay), {}),
  routes: section(z.record(name, route), {}),
  respond: section(z.array(responder).max(1_000), []),
  protect: section(z.array(protect).max(MOST_RULES), []),
  notify: notifySchema.optional(),
});
